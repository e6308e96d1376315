//! The Helm chart on a real API server: installed, upgraded, tested by its own account, and removed.

use std::process::{Command, Output};

use cli::check::{self, Level, Report};
use cli::cluster::Target;
use e2e::envtest::{Envtest, path as path_of};
use e2e::manifest;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::install::{a_published_ca_bundle, apply, path};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_chart_is_installed_upgraded_without_a_change_and_removed() {
    let plane = Envtest::start().await.unwrap();
    let helm = Helm::new(&plane);
    let install = ["install", "couchdiscover", &path("chart"), "--create-namespace"];
    let notes = helm.run(&install).await;
    assert!(notes.contains("helm test couchdiscover --namespace couchdiscover --logs"), "{notes}");
    let admin = plane.admin();
    let deployment = "/apis/apps/v1/namespaces/couchdiscover/deployments/couchdiscover-webhook";
    let installed = admin.get(deployment).await.accepted();

    let bundle = a_published_ca_bundle(&admin).await;
    let upgrade = ["upgrade", "couchdiscover", &path("chart")];
    helm.run(&upgrade).await;
    let upgraded = admin.get(deployment).await.accepted();
    assert_eq!(upgraded["metadata"]["generation"], installed["metadata"]["generation"]);
    let configuration = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/couchdiscover";
    let stored = admin.get(configuration).await.accepted();
    for webhook in stored["webhooks"].as_array().unwrap() {
        assert_eq!(webhook["clientConfig"]["caBundle"], bundle, "{}", webhook["name"]);
    }

    // A value that adds objects, and one that removes some.
    let values = ["--set", "scaleDownDrain=true,provide=false"];
    helm.run(&[&upgrade[..], &values].concat()).await;
    let role =
        |name: &str| format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/couchdiscover-webhook-{name}");
    admin.get(&role("scale-down")).await.accepted();
    assert_eq!(admin.get(&role("provider")).await.code, 404);

    helm.run(&["uninstall", "couchdiscover"]).await;
    let left = apply(
        &plane,
        &[
            "get",
            KINDS,
            "--all-namespaces",
            "--selector",
            "app.kubernetes.io/name=couchdiscover",
            "--output=name",
        ],
        "",
    )
    .await;
    assert_eq!(left, Vec::<String>::new());
}

/// Everything that the chart may contain, without cert-manager's kinds.
const KINDS: &str = "deployments,services,serviceaccounts,poddisruptionbudgets,networkpolicies,roles,rolebindings,clusterroles,clusterrolebindings,priorityclasses,mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings,configmaps,pods";

/// No webhook runs here, so `check` reports problems. It must not report that it could not look.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_account_of_helm_test_may_read_what_check_reads() {
    let plane = Envtest::start().await.unwrap();
    let helm = Helm::new(&plane);
    let admin = plane.admin();
    // Before the webhook is called, so that `check` has a StatefulSet to look at.
    for object in manifest::objects(manifest::EXAMPLE).unwrap() {
        let mut object = if object["kind"] == "StatefulSet" { manifest::injected(&object) } else { object };
        object["metadata"]["namespace"] = json!("default");
        admin.create(&object).await.accepted();
    }
    helm.run(&["install", "couchdiscover", &path("chart"), "--create-namespace"]).await;
    let hooks = helm.run(&["get", "hooks", "couchdiscover"]).await;
    let hooks = manifest::objects(&hooks).unwrap();
    let pod = hooks.iter().find(|object| object["kind"] == "Pod").unwrap();
    // The API server validates the pod, too.
    for object in &hooks {
        admin.create(object).await.accepted();
    }
    let account = hooks.iter().find(|object| object["kind"] == "ServiceAccount").unwrap();
    assert_eq!(pod["spec"]["serviceAccountName"], account["metadata"]["name"]);
    let token = format!("{}/token", path_of(account));
    let token = admin.send(Method::POST, &token, &json!({ "spec": {} })).await.accepted();
    let token = token["status"]["token"].as_str().unwrap();

    // As in the pod, whose kubeconfig names the namespace of the dry run.
    let mut config = plane.config(token);
    config.default_namespace = kubeconfig_namespace(&hooks);
    let arguments = check::Args {
        target: Target { namespace: None, context: None },
        config_name: "couchdiscover".to_owned(),
        output: check::Output::Table,
        pre: false,
        wait: None,
    };
    let report: Report = check::check(config, &arguments, OffsetDateTime::now_utc()).await.unwrap();
    let table = report.to_table();
    // Secrets stay unread, and so does the dry run of a pod, which would need the permission to create pods.
    let forbidden: Vec<&str> = table.lines().filter(|line| line.contains("is forbidden: User")).collect();
    let expected = |line: &&str| {
        line.contains("resource \"secrets\"") || line.contains("cannot create resource \"pods\"")
    };
    assert!(forbidden.iter().all(expected), "{table}");
    assert!(report.findings.iter().any(|finding| finding.check == "service"), "{table}");
    let admission = report.findings.iter().find(|finding| finding.check == "admission").unwrap();
    assert_eq!(admission.level, Level::Wrong, "the dry run reached the missing webhook: {table}");
}

fn kubeconfig_namespace(hooks: &[Value]) -> String {
    let file = hooks.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let config = &manifest::objects(file["data"]["kubeconfig"].as_str().unwrap()).unwrap()[0];
    config["contexts"][0]["context"]["namespace"].as_str().unwrap().to_owned()
}

/// Helm, as a user with all permissions.
struct Helm {
    folder: tempfile::TempDir,
}

impl Helm {
    fn new(plane: &Envtest) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = plane.kubeconfig(e2e::envtest::ADMIN_TOKEN);
        std::fs::write(folder.path().join("kubeconfig"), config).unwrap();
        Self { folder }
    }

    /// Runs Helm in the namespace of couchdiscover, and returns its output.
    async fn run(&self, arguments: &[&str]) -> String {
        let mut helm = program();
        helm.args(arguments).args(["--namespace", "couchdiscover"]);
        helm.env("KUBECONFIG", self.folder.path().join("kubeconfig")).env("HOME", self.folder.path());
        let arguments = format!("{arguments:?}");
        let output = tokio::task::spawn_blocking(move || helm.output()).await.unwrap();
        let Output { status, stdout, stderr } = output.expect("tests/envtest/build builds helm");
        assert!(status.success(), "{arguments}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "the variable that such tests use by convention")]
fn program() -> Command {
    let folder = std::env::var_os("KUBEBUILDER_ASSETS").unwrap();
    Command::new(std::path::Path::new(&folder).join("helm"))
}
