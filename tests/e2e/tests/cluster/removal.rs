//! Uninstalling.

use cli::check::{self, Level, Output};
use cli::cluster::Target;

use crate::diagnosis::all_ready;
use crate::installation::{self, BASE, NAMESPACE};
use crate::kubectl::Kubectl;
use crate::set::{Set, example};

#[tokio::test]
#[ignore = "needs a cluster"]
async fn check_finds_no_problem_and_clusters_outlive_the_product() {
    let mut installed = installation::exclusive().await;
    let set = Set::formed_under(&installed, "removal", &example()).await;
    set.write("shop", 0..5).await;
    check("removal").await;

    let kubectl = Kubectl::new(NAMESPACE);
    for kind in KINDS {
        assert!(count(&kubectl, kind).await > 0, "{kind} without the label that this test looks for");
    }
    *installed = false;
    kubectl.run(&["delete", "-k", BASE, "--timeout=120s"]).await;
    for kind in KINDS {
        assert_eq!(count(&kubectl, kind).await, 0, "{kind}");
    }
    // The agents stay, and nothing restarts: they know what they need.
    set.read("shop", 0..5).await;
    set.kubectl.run(&["delete", "pod", "couchdb-1"]).await;
    set.until_pods("ready pods", |pods| all_ready(pods, 3)).await;
    set.read("shop", 0..5).await;
    set.delete().await;
}

/// Kinds outside of the product's namespace.
const KINDS: [&str; 4] =
    ["mutatingwebhookconfigurations", "validatingadmissionpolicies", "clusterroles", "clusterrolebindings"];

/// The number of the product's objects of this kind.
async fn count(kubectl: &Kubectl, kind: &str) -> usize {
    let objects = kubectl.get(&[kind, "--selector=app.kubernetes.io/name=couchdiscover"]).await;
    objects["items"].as_array().map_or(0, Vec::len)
}

/// `couchdiscover check`, which must find nothing.
async fn check(namespace: &str) {
    let args = check::Args {
        target: Target { namespace: Some(namespace.to_owned()), context: None },
        config_name: "couchdiscover".to_owned(),
        output: Output::Table,
        pre: false,
        wait: None,
    };
    let config = kube::Config::infer().await.unwrap();
    let report = check::check(config, &args, time::OffsetDateTime::now_utc()).await.unwrap();
    let levels = report.findings.iter().map(|finding| finding.level);
    assert!(
        levels.clone().count() > 8 && levels.clone().all(|level| level == Level::Ok),
        "{}",
        report.to_table()
    );
}
