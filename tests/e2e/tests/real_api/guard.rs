//! Requests that remove nodes of a cluster, by every way that `replicas` can be lowered.

use contract::{keys, objects};
use e2e::envtest::{Answer, Envtest, User};
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::deployed::Deployed;
use crate::namespace::{DEADLINE, TestNamespace, Webhook};

/// A namespace with a cluster of five nodes, of which the last two hold copies.
async fn five_nodes(name: &'static str) -> TestNamespace {
    let ns = TestNamespace::open(name).await;
    ns.admin.create(&ns.example_with(|set| set["spec"]["replicas"] = json!(5))).await.accepted();
    record(&ns, json!({
        "couchdb-3": { "state": "holding", "databases": 12, "onlyCopies": 2, "examples": ["carts", "users"] },
        "couchdb-4": { "state": "holding", "databases": 1, "onlyCopies": 0, "examples": ["orders"] },
    }))
    .await;
    ns
}

/// Writes the founding record and the record of copies, as agents do.
async fn record(ns: &TestNamespace, nodes: Value) {
    ns.admin.apply(&lease(ns.name, &nodes)).await.accepted();
}

fn lease(namespace: &str, nodes: &Value) -> Value {
    let copies = json!({ "asOf": "2026-11-30T12:00:00Z", "nodes": nodes }).to_string();
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": objects::companion("couchdb"), "namespace": namespace, "annotations": {
            keys::FORMED_UUID: "u", keys::RECORD_SCHEMA: "1", keys::COPIES_RECORD: copies,
        }},
    })
}

async fn drained(ns: &TestNamespace) {
    let drained = json!({ "state": "drained" });
    record(ns, json!({ "couchdb-3": drained, "couchdb-4": { "state": "removed" } })).await;
}

fn scale_path(ns: &TestNamespace) -> String {
    format!("{}/scale", ns.example_path())
}

async fn scale(ns: &TestNamespace, replicas: u32) -> Answer {
    ns.admin.merge(&scale_path(ns), &json!({ "spec": { "replicas": replicas } })).await
}

async fn stored_replicas(ns: &TestNamespace) -> Value {
    ns.stored().await["spec"]["replicas"].clone()
}

fn with_replicas(ns: &TestNamespace, replicas: u32) -> Value {
    ns.example_with(|set| set["spec"]["replicas"] = json!(replicas))
}

#[track_caller]
fn refused(answer: &Answer) {
    assert_eq!((answer.code, &answer.body["reason"]), (403, &json!("Forbidden")), "{answer:?}");
    let names_data = answer.message().contains("couchdb-3 has copies of 12 databases and the only copy of 2");
    assert!(names_data, "{}", answer.message());
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn nodes_that_hold_data_are_removed_by_no_kind_of_request() {
    let ns = five_nodes("guarded").await;
    let by_kubectl =
        ns.plane.kubectl(&["-n", ns.name, "scale", "statefulset", "couchdb", "--replicas=3"], "").await;
    assert_eq!(by_kubectl.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(by_kubectl.stderr).unwrap(), @r#"Error from server (Forbidden): admission webhook "scale.couchdiscover.io" denied the request: scaling StatefulSet 'couchdb' from 5 to 3 would stop couchdb-4, couchdb-3 before their data has been moved: as of 2026-11-30T12:00:00Z, couchdb-4 has copies of 1 database ('orders'); couchdb-3 has copies of 12 databases and the only copy of 2 of them ('carts', 'users'). Fix: kubectl couchdiscover scale couchdb -n guarded --replicas 3 (moves the data, then scales down); or kubectl -n guarded annotate statefulset couchdb --overwrite couchdiscover.io/target-size=3, and repeat the request once the nodes are drained"#);
    refused(&scale(&ns, 3).await);
    // As an autoscaler does: the whole Scale, with its version.
    let mut whole = ns.admin.get(&scale_path(&ns)).await.accepted();
    whole["spec"]["replicas"] = json!(4);
    assert_eq!(ns.admin.send(Method::PUT, &scale_path(&ns), &whole).await.code, 403);
    refused(&ns.merge(json!({ "spec": { "replicas": 3 } })).await);
    refused(&ns.admin.replace(&with_replicas(&ns, 3)).await);
    refused(&ns.admin.apply(&with_replicas(&ns, 3)).await);
    // The label is removed by the same request.
    let hidden = json!({ "metadata": { "labels": { keys::INJECT: null } }, "spec": { "replicas": 3 } });
    refused(&ns.merge(hidden).await);
    // The first pods instead of the last ones.
    assert_eq!(ns.merge(json!({ "spec": { "ordinals": { "start": 4 } } })).await.code, 403);

    // A denial that clients treat as an invalid object would make this delete the StatefulSet and create it again.
    let before = ns.stored().await;
    let forced = ns.plane.kubectl(&["apply", "--force", "-f", "-"], &with_replicas(&ns, 3).to_string()).await;
    assert_eq!(forced.status.code(), Some(1));
    let after = ns.stored().await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["spec"]["replicas"], 5);

    // Growing, and everything else, is not held up.
    scale(&ns, 6).await.accepted();
    ns.merge(json!({ "metadata": { "labels": { "team": "a" } } })).await.accepted();
    assert_eq!(stored_replicas(&ns).await, 6);
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn drained_nodes_are_removed() {
    let ns = five_nodes("drained").await;
    drained(&ns).await;
    let answer = scale(&ns, 4).await;
    assert_eq!((answer.code, answer.warnings.len()), (200, 0), "{answer:?}");
    ns.admin.apply(&with_replicas(&ns, 3)).await.accepted();
    assert_eq!(stored_replicas(&ns).await, 3);
    assert_eq!(scale(&ns, 2).await.code, 403, "couchdb-2 was never looked at");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_cluster_can_be_scaled_to_0_and_back() {
    let ns = five_nodes("to-zero").await;
    let answer = scale(&ns, 0).await;
    insta::assert_snapshot!(answer.warnings.join("\n"), @"all 5 nodes stop, and no database can be read until they are back; the volumes stay. Fix: to have all data again, scale back to 5, not to fewer");
    answer.accepted();
    scale(&ns, 5).await.accepted();
    ns.merge(json!({ "spec": { "replicas": 0 } })).await.accepted();
    ns.merge(json!({ "spec": { "replicas": 5 } })).await.accepted();

    let retention = |when: &str| {
        let policy = json!({ "whenScaled": when, "whenDeleted": "Retain" });
        json!({ "spec": { "persistentVolumeClaimRetentionPolicy": policy } })
    };
    ns.merge(retention("Delete")).await.accepted();
    let answer = scale(&ns, 0).await;
    assert_eq!(answer.code, 403, "{answer:?}");
    assert!(answer.message().contains("would delete the volumes of all nodes"), "{}", answer.message());
    // The fix of the message.
    let fix = answer.message().split_once("Fix: kubectl ").unwrap().1.to_owned();
    let arguments: Vec<&str> = fix.split(' ').map(|word| word.trim_matches('\'')).collect();
    let fixed = ns.plane.kubectl(&arguments, "").await;
    assert!(fixed.status.success(), "{fixed:?}");
    scale(&ns, 0).await.accepted();
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn without_a_record_of_a_cluster_or_with_the_users_consent_nodes_are_removed_with_a_warning() {
    let ns = five_nodes("consent").await;
    ns.merge(json!({ "metadata": { "annotations": { keys::SCALE_DOWN: "allow" } } })).await.accepted();
    let answer = scale(&ns, 4).await;
    assert!(answer.warnings[0].starts_with("couchdb-4: stopped without being drained"), "{answer:?}");
    answer.accepted();

    let ns = TestNamespace::open("unformed").await;
    ns.admin.create(&ns.example()).await.accepted();
    let answer = scale(&ns, 1).await;
    assert!(answer.warnings[0].contains("'couchdb-couchdiscover' has no record of a cluster"), "{answer:?}");
    answer.accepted();
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn what_the_webhook_may_not_read_is_a_denial_and_holds_up_no_statefulset_of_others() {
    let ns = five_nodes("unread").await;
    let nothing = account(&ns.plane, &ns, "nobody").await;
    let other = Webhook::start_as(&ns.plane, &nothing, "couchdiscover-agent:other", &[]).await;
    ns.register(&other, &[ns.name]).await;
    let answer = ns.merge(json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!(answer.code, 403, "{answer:?}");
    let reason = "it is unknown which databases are on them: leases.coordination.k8s.io \"couchdb-couchdiscover\" is forbidden";
    assert!(answer.message().contains(reason), "{}", answer.message());
    let mut others = with_replicas(&ns, 5);
    others["metadata"] = json!({ "name": "others", "namespace": ns.name });
    ns.admin.create(&others).await.accepted();
    let path = format!("{}/scale", e2e::envtest::path(&others));
    let answer = ns.admin.merge(&path, &json!({ "spec": { "replicas": 1 } })).await;
    assert!(answer.warnings[0].starts_with("couchdiscover could not check whether"), "{answer:?}");
    answer.accepted();
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_statefulset_without_the_label_scales_as_before() {
    let ns = five_nodes("unlabelled").await;
    let mut others = with_replicas(&ns, 5);
    others["metadata"] = json!({ "name": "others", "namespace": ns.name });
    ns.admin.create(&others).await.accepted();
    let path = e2e::envtest::path(&others);
    let answer = ns.admin.merge(&format!("{path}/scale"), &json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!((answer.code, answer.warnings.len()), (200, 0), "{answer:?}");
    ns.admin.merge(&path, &json!({ "spec": { "replicas": 1 } })).await.accepted();
    ns.merge(json!({ "metadata": { "labels": { keys::INJECT: "disabled" } } })).await.accepted();
    scale(&ns, 1).await.accepted();
}

/// The token of an account without permissions.
async fn account(plane: &Envtest, ns: &TestNamespace, name: &str) -> String {
    let admin: User = plane.admin();
    let account =
        ns.here(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } }));
    admin.create(&account).await.accepted();
    let path = format!("{}/token", e2e::envtest::path(&account));
    let token = admin.send(Method::POST, &path, &json!({ "spec": {} })).await.accepted();
    token["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_smaller_size_drains_first_and_is_reached_when_the_drain_is_complete() {
    let deployed = Deployed::providing("drained-first").await;
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.until_ready().await;
    let mut set = deployed.example("couchdb");
    set["spec"]["replicas"] = json!(5);
    set["metadata"]["annotations"] = json!({ keys::SCALE_DOWN: "drain" });
    let smaller = {
        let mut smaller = set.clone();
        smaller["spec"]["replicas"] = json!(3);
        smaller
    };
    let admin = &deployed.admin;
    admin.apply(&set).await.accepted();
    let path = e2e::envtest::path(&set);
    let scale = format!("{path}/scale");
    let three = json!({ "spec": { "replicas": 3 } });
    let size = async || {
        let stored = admin.get(&path).await.accepted();
        (stored["spec"]["replicas"].clone(), stored["metadata"]["annotations"][keys::TARGET_SIZE].clone())
    };
    let lease = |state: &str| {
        let nodes = json!({ "couchdb-3": { "state": state, "databases": 2 }, "couchdb-4": { "state": state, "databases": 1 } });
        lease(deployed.namespace, &nodes)
    };
    admin.apply(&lease("holding")).await.accepted();

    // Without the component nothing would lower the replicas afterwards.
    for answer in [admin.merge(&scale, &three).await, admin.apply(&smaller).await] {
        assert_eq!(answer.code, 403, "{answer:?}");
        assert!(
            answer.message().contains("Fix: kubectl apply -k manifests/overlays/scale-down-drain"),
            "{answer:?}"
        );
    }
    assert_eq!(size().await, (json!(5), Value::Null));

    deployed.grant_scale_down().await;
    // A dry run shows the result and changes nothing.
    until("the permission", DEADLINE, async || {
        match admin.merge(&format!("{scale}?dryRun=All"), &three).await {
            answer if answer.code == 200 => Ok(()),
            answer => Err(answer),
        }
    })
    .await;
    assert_eq!(size().await, (json!(5), Value::Null));
    let answer = admin.merge(&scale, &three).await;
    assert!(
        answer.warnings[0].starts_with("spec.replicas stays 5: nodes beyond 3 are drained first"),
        "{answer:?}"
    );
    assert_eq!(answer.accepted()["spec"]["replicas"], 5);
    assert_eq!(size().await, (json!(5), json!("3")));
    // Cancelled, and requested again by a manifest, as often as a GitOps tool likes.
    admin
        .merge(&path, &json!({ "metadata": { "annotations": { keys::TARGET_SIZE: null } } }))
        .await
        .accepted();
    for _ in 0..2 {
        admin.apply(&smaller).await.accepted();
        assert_eq!(size().await, (json!(5), json!("3")));
    }
    admin.merge(&scale, &three).await.accepted();

    admin.apply(&lease("drained")).await.accepted();
    until("fewer replicas", DEADLINE, async || match size().await {
        (replicas, target) if replicas == 3 => {
            assert_eq!(target, "3", "the nodes are still members");
            Ok(())
        }
        size => Err((size, replica.log())),
    })
    .await;
    admin.apply(&lease("removed")).await.accepted();
    until("the end of the target size", DEADLINE, async || match size().await {
        (_, Value::Null) => Ok(()),
        size => Err((size, replica.log())),
    })
    .await;
    // The manifest is what is stored, so that a GitOps tool has nothing to do.
    admin.apply(&smaller).await.accepted();
    assert_eq!(size().await, (json!(3), Value::Null));
}
