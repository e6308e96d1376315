//! Agents that nobody gave credentials: they read them from where CouchDB has them.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::collections::HashMap;
use std::time::Duration;

use e2e::control_plane::ControlPlane;
use e2e::example::stored;
use e2e::manifest::{self, EXAMPLE, companion_secret};
use e2e::stage::{PASSWORD, Stage};
use e2e::until::until;
use sandbox::apiserver::{Forbidden, User};
use sandbox::couchdb::{CallFilter, Clock};
use serde_json::{Value, json};

const ROLE: &str = include_str!("../../../manifests/base/agent-role.yaml");
const READS_SECRETS: &str = include_str!("../../../manifests/examples/agent-reads-secrets.yaml");

#[tokio::test]
async fn they_are_read_from_the_container_that_the_statefulset_describes() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    let reads = control_plane.api.calls();
    let secrets: Vec<_> = reads.iter().filter(|call| call.path.contains("/secrets")).collect();
    assert!(!secrets.is_empty());
    // The cookie's and the session secret's Secret is none of its business.
    assert!(secrets.iter().all(|call| call.path.ends_with("/secrets/couchdb-admin")), "{secrets:#?}");
}

#[tokio::test]
async fn the_pod_itself_counts_more_than_what_the_statefulset_would_make_now() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 1).await;
    let mut set = stored(&control_plane);
    control_plane.api.seed(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": "default", "name": "couchdb-0" },
        "spec": set["spec"]["template"]["spec"],
    }));
    // An update that has not reached this pod yet.
    set["spec"]["template"]["spec"]["containers"][0]["env"] = json!([
        { "name": "COUCHDB_USER", "value": "somebody" },
        { "name": "COUCHDB_PASSWORD", "value": "else" },
    ]);
    control_plane.api.seed(set);
    stage.start_agent(0).await;
    stage.formed().await;
    assert!(stage.net.calls().iter().all(|call| call.status != Some(401)));
}

#[tokio::test]
async fn what_lacks_is_named_and_picked_up_when_it_comes() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 1).await;
    let api = &control_plane.api;
    let secret = api.get("v1", "secrets", Some("default"), "couchdb-admin").unwrap();
    api.delete("v1", "secrets", Some("default"), "couchdb-admin");
    stage.start_agent(0).await;
    let says = stage.says(0, "CredentialsMissing").await;
    assert!(says.contains("Secret 'couchdb-admin' does not exist"), "{says}");
    let (code, _) = stage.readyz(0).await;
    assert_eq!(code, 503);
    let mut other_key = secret.clone();
    other_key["data"] = json!({ "user": "YWRtaW4=" });
    api.seed(other_key);
    until("the missing key", DEADLINE, async || {
        let says = stage.says(0, "CredentialsMissing").await;
        if says.contains("key 'password' of Secret 'couchdb-admin'") { Ok(()) } else { Err(says) }
    })
    .await;
    assert!(stage.net.calls().is_empty(), "nobody is asked without a password");
    api.seed(secret);
    stage.formed().await;
}

#[tokio::test]
async fn a_container_without_any_is_told_which_names_were_looked_for() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 1).await;
    let mut set = stored(&control_plane);
    set["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
    set["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{ "secretRef": { "name": "couchdb-admin" } }]);
    control_plane.api.seed(set);
    stage.start_agent(0).await;
    let says = stage.says(0, "CredentialsMissing").await;
    insta::assert_snapshot!(says, @"no admin credentials were injected, and container 'couchdb' of StatefulSet 'couchdb' has neither COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS nor COUCHDB_USER and COUCHDB_PASSWORD in its env or envFrom (looked into Secret 'couchdb-admin')");
}

#[tokio::test]
async fn a_password_that_was_changed_everywhere_is_picked_up_after_one_rejection() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    let mut secret = control_plane.api.get("v1", "secrets", Some("default"), "couchdb-admin").unwrap();
    secret["data"] = json!({});
    secret["stringData"] = json!({ "user": "admin", "password": "an:other\u{1F511}\n" });
    control_plane.api.seed(secret);
    for i in 0..3 {
        stage.tell_node(i, "/_node/_local/_config/admins/admin", &json!("an:other\u{1F511}")).await;
    }
    stage.net.forget_calls();
    // Each agent glances at its node every 10 s.
    for i in 0..3 {
        until("a call with the new password", DEADLINE, async || {
            let calls = stage.calls_of_agent(i);
            let rejected = calls.iter().filter(|call| call.status == Some(401)).count();
            let after = calls.iter().skip_while(|call| call.status != Some(401));
            let accepted = after.filter(|call| call.status == Some(200)).count();
            if rejected > 0 && accepted > 0 { Ok(()) } else { Err((rejected, accepted)) }
        })
        .await;
        stage.says(i, "Settled").await;
        stage.ready(i).await;
    }
    let mut rejections: HashMap<_, u32> = HashMap::new();
    for call in stage.net.calls().into_iter().filter(|call| call.status == Some(401)) {
        *rejections.entry((call.source, call.node.as_str().to_owned())).or_default() += 1;
    }
    assert!(rejections.values().all(|count| *count == 1), "{rejections:?}");
}

#[tokio::test]
async fn a_role_that_lacks_is_named_and_the_example_is_enough() {
    let control_plane = ControlPlane::start().await.unwrap();
    let api = &control_plane.api;
    api.add_token("of-the-pods", User::service_account("default", "default"));
    for object in manifest::objects(ROLE).unwrap() {
        api.seed(object);
    }
    api.seed(binding("couchdiscover-agent"));
    api.enforce_rbac();
    let mut config = control_plane.client_config();
    config.auth_info.token = Some("of-the-pods".to_owned().into());
    let mut stage = played_as(&control_plane, 2, config).await;
    stage.start_agents(0..2).await;
    let says = stage.says(0, "CredentialsForbidden").await;
    insta::assert_snapshot!(says, @r#"no admin credentials were injected, and may not read Secret 'couchdb-admin': allow the pod's service account 'get' on it by a Role (rule: apiGroups [""], resources [secrets], verbs [get]; manifests/examples/agent-reads-secrets.yaml is one), or let the webhook inject the credentials"#);
    for mut object in manifest::objects(READS_SECRETS).unwrap() {
        object["metadata"]["namespace"] = json!("default");
        api.seed(object);
    }
    stage.formed().await;
}

#[tokio::test]
async fn an_api_server_that_is_away_is_waited_for() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 1).await;
    control_plane.api.down();
    stage.start_agent(0).await;
    stage.says(0, "WaitingForKubernetes").await;
    assert_eq!(stage.readyz(0).await.0, 503);
    control_plane.api.up().unwrap();
    stage.formed().await;
}

#[tokio::test]
async fn what_is_injected_is_not_asked_for() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.api.forbid(Forbidden::new(&["get"], &["secrets", "configmaps", "pods"]));
    let mut stage = played(&control_plane, 1).await;
    stage.set("COUCHDB_USER", "admin");
    stage.set("COUCHDB_PASSWORD", "wrong");
    stage.start_agent(0).await;
    let says = stage.says(0, "CredentialsRejected").await;
    assert!(says.contains("COUCHDB_USER and COUCHDB_PASSWORD") && !says.contains("wrong"), "{says}");
    assert!(control_plane.api.calls().iter().all(|call| !call.path.contains("/secrets")));
    assert_eq!(stage.net.calls_of(&CallFilter::all()).len(), 1, "one attempt");
}

/// The example through the webhook, and its agents without the credentials that it copied.
async fn played(control_plane: &ControlPlane, nodes: usize) -> Stage {
    played_as(control_plane, nodes, control_plane.client_config()).await
}

async fn played_as(control_plane: &ControlPlane, nodes: usize, config: kube::Config) -> Stage {
    for mut object in manifest::objects(EXAMPLE).unwrap() {
        match object["kind"].as_str() {
            Some("StatefulSet") => object["spec"]["replicas"] = json!(nodes),
            Some("Secret") => object["stringData"]["password"] = json!(PASSWORD),
            _ => {}
        }
        control_plane.create(&object).await.unwrap();
    }
    control_plane.api.seed(companion_secret(&stored(control_plane), "ck", "sec"));
    let pods = manifest::pods(&stored(control_plane), control_plane.api.list("v1", "secrets")).unwrap();
    control_plane.api.forget_calls();
    let mut stage = Stage::of(pods, Clock::faster(20.0), Some(config), |settings| settings);
    for (user, password) in contract::env::CREDENTIALS {
        stage.set(user, "");
        stage.set(password, "");
    }
    stage
}

fn binding(role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "namespace": "default", "name": role },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": "default" }],
    })
}

const DEADLINE: Duration = Duration::from_secs(40);
