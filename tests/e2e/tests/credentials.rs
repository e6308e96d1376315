//! Agents without injected credentials, which read those of the CouchDB container.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashMap;
use std::time::Duration;

use e2e::cluster::{PASSWORD, TestCluster, is_refused_password};
use e2e::control_plane::ControlPlane;
use e2e::example::stored_statefulset;
use e2e::manifest::{self, EXAMPLE, companion_secret};
use e2e::until::until;
use sandbox::apiserver::{Forbidden, User};
use sandbox::couchdb::Clock;
use serde_json::{Value, json};

const ROLE: &str = include_str!("../../../manifests/base/agent-role.yaml");
const READS_SECRETS: &str = include_str!("../../../manifests/examples/agent-reads-secrets.yaml");

#[tokio::test]
async fn they_are_read_from_the_statefulsets_couchdb_container() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let reads = control_plane.api.calls();
    let secrets: Vec<_> = reads.iter().filter(|call| call.path.contains("/secrets")).collect();
    assert!(!secrets.is_empty());
    // The agent does not read the Secret with the cookie and the session secret.
    assert!(secrets.iter().all(|call| call.path.ends_with("/secrets/couchdb-admin")), "{secrets:#?}");
}

#[tokio::test]
async fn the_pods_own_spec_takes_precedence_over_the_statefulsets_template() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 1).await;
    let mut set = stored_statefulset(&control_plane);
    control_plane.api.seed(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": "default", "name": "couchdb-0" },
        "spec": set["spec"]["template"]["spec"],
    }));
    // An update that has not reached this pod yet.
    set["spec"]["template"]["spec"]["containers"][0]["env"] = json!([
        { "name": "COUCHDB_USER", "value": "another" },
        { "name": "COUCHDB_PASSWORD", "value": "wrong" },
    ]);
    control_plane.api.seed(set);
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    assert!(cluster.net.calls().iter().all(|call| call.status != Some(401)));
}

#[tokio::test]
async fn a_missing_secret_or_key_is_named_and_used_once_it_exists() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 1).await;
    let api = &control_plane.api;
    let secret = api.get("v1", "secrets", Some("default"), "couchdb-admin").unwrap();
    api.delete("v1", "secrets", Some("default"), "couchdb-admin");
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "CredentialsMissing").await;
    assert!(message.contains("Secret 'couchdb-admin', which does not exist"), "{message}");
    let (code, _) = cluster.readyz(0).await;
    assert_eq!(code, 503);
    let mut other_key = secret.clone();
    other_key["data"] = json!({ "user": "YWRtaW4=" });
    api.seed(other_key);
    until("the missing key", DEADLINE, async || {
        let message = cluster.until_step(0, "CredentialsMissing").await;
        if message.contains("key 'password' of Secret 'couchdb-admin'") { Ok(()) } else { Err(message) }
    })
    .await;
    assert!(cluster.net.calls().is_empty(), "no call is made without a password");
    api.seed(secret);
    cluster.until_formed().await;
}

#[tokio::test]
async fn for_a_container_without_credentials_the_variable_names_are_reported() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 1).await;
    let mut set = stored_statefulset(&control_plane);
    set["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
    set["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{ "secretRef": { "name": "couchdb-admin" } }]);
    control_plane.api.seed(set);
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "CredentialsMissing").await;
    insta::assert_snapshot!(message, @"no admin credentials were injected, and container 'couchdb' of StatefulSet 'couchdb' has neither COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS nor COUCHDB_USER and COUCHDB_PASSWORD in its env or envFrom (read: Secret 'couchdb-admin')");
}

#[tokio::test]
async fn a_changed_password_is_read_again_after_one_rejection() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let mut secret = control_plane.api.get("v1", "secrets", Some("default"), "couchdb-admin").unwrap();
    secret["data"] = json!({});
    secret["stringData"] = json!({ "user": "admin", "password": "an:other\u{1F511}\n" });
    control_plane.api.seed(secret);
    for i in 0..3 {
        cluster.put(i, "/_node/_local/_config/admins/admin", &json!("an:other\u{1F511}")).await;
    }
    cluster.net.forget_calls();
    // Each agent calls its node every 10 s.
    for i in 0..3 {
        until("a call with the new password", DEADLINE, async || {
            let calls = cluster.calls_of_agent(i);
            let rejected = calls.iter().filter(|call| is_refused_password(call)).count();
            let after = calls.iter().skip_while(|call| call.status != Some(401));
            let accepted = after.filter(|call| call.status == Some(200)).count();
            if rejected > 0 && accepted > 0 { Ok(()) } else { Err((rejected, accepted)) }
        })
        .await;
        cluster.until_step(i, "Settled").await;
        cluster.until_ready(i).await;
    }
    let mut rejections: HashMap<_, u32> = HashMap::new();
    for call in cluster.net.calls().into_iter().filter(is_refused_password) {
        *rejections.entry((call.source, call.node.as_str().to_owned())).or_default() += 1;
    }
    assert!(rejections.values().all(|count| *count == 1), "{rejections:?}");
}

#[tokio::test]
async fn members_stay_ready_while_every_node_has_another_password_than_the_secret() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    for i in 0..3 {
        cluster.put(i, "/_node/_local/_config/admins/admin", &json!("set through the API")).await;
    }
    for i in 0..3 {
        let message = cluster.until_step(i, "CredentialsRejected").await;
        assert!(message.contains("a restart brings that one back"), "{message}");
        assert_eq!(cluster.readyz(i).await.0, 200, "the uuid is that of the founding record");
    }
}

#[tokio::test]
async fn a_missing_role_is_named_and_the_example_role_is_sufficient() {
    let control_plane = ControlPlane::start().await.unwrap();
    let api = &control_plane.api;
    api.add_token("of-the-pods", User::service_account("default", "couchdb"));
    for object in manifest::objects(ROLE).unwrap() {
        api.seed(object);
    }
    api.seed(binding("couchdiscover-agent"));
    api.enforce_rbac();
    let mut config = control_plane.client_config();
    config.auth_info.token = Some("of-the-pods".to_owned().into());
    let mut cluster = example_cluster_as(&control_plane, 2, config).await;
    cluster.start_agents(0..2).await;
    let message = cluster.until_step(0, "CredentialsForbidden").await;
    insta::assert_snapshot!(message, @r#"no admin credentials were injected, and the pod's service account may not read Secret 'couchdb-admin'. Fix: allow it by a Role (apiGroups [""], resources [secrets], verbs [get]; manifests/examples/agent-reads-secrets.yaml is one), or let the webhook inject the credentials"#);
    for mut object in manifest::objects(READS_SECRETS).unwrap() {
        object["metadata"]["namespace"] = json!("default");
        api.seed(object);
    }
    cluster.until_formed().await;
}

#[tokio::test]
async fn agents_wait_for_an_api_server_that_is_down() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 1).await;
    control_plane.api.down();
    cluster.start_agent(0).await;
    cluster.until_step(0, "WaitingForKubernetes").await;
    assert_eq!(cluster.readyz(0).await.0, 503);
    control_plane.api.up().unwrap();
    cluster.until_formed().await;
}

#[tokio::test]
async fn injected_credentials_are_used_without_reading_secrets() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.api.forbid(Forbidden::new(&["get"], &["secrets", "configmaps", "pods"]));
    let mut cluster = example_cluster(&control_plane, 1).await;
    cluster.set("COUCHDB_USER", "admin");
    cluster.set("COUCHDB_PASSWORD", "wrong");
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "CredentialsRejected").await;
    assert!(message.contains("COUCHDB_USER and COUCHDB_PASSWORD") && !message.contains("wrong"), "{message}");
    assert!(control_plane.api.calls().iter().all(|call| !call.path.contains("/secrets")));
    let attempts = cluster.net.calls().into_iter().filter(is_refused_password).count();
    assert_eq!(attempts, 1);
}

/// The example through the webhook, with agents that do not get the injected credentials.
async fn example_cluster(control_plane: &ControlPlane, nodes: usize) -> TestCluster {
    example_cluster_as(control_plane, nodes, control_plane.client_config()).await
}

/// Like [`example_cluster`], with agents that use this client configuration.
async fn example_cluster_as(control_plane: &ControlPlane, nodes: usize, config: kube::Config) -> TestCluster {
    for mut object in manifest::objects(EXAMPLE).unwrap() {
        match object["kind"].as_str() {
            Some("StatefulSet") => object["spec"]["replicas"] = json!(nodes),
            Some("Secret") => object["stringData"]["password"] = json!(PASSWORD),
            _ => {}
        }
        control_plane.create(&object).await.unwrap();
    }
    control_plane.api.seed(companion_secret(&stored_statefulset(control_plane), "ck", "sec"));
    let pods =
        manifest::pods(&stored_statefulset(control_plane), control_plane.api.list("v1", "secrets")).unwrap();
    control_plane.api.forget_calls();
    let mut cluster = TestCluster::of(pods, Clock::faster(20.0), Some(config), |settings| settings);
    for (user, password) in contract::env::CREDENTIALS {
        cluster.set(user, "");
        cluster.set(password, "");
    }
    cluster
}

fn binding(role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "namespace": "default", "name": role },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": "couchdb", "namespace": "default" }],
    })
}

const DEADLINE: Duration = Duration::from_secs(40);
