//! Requests that remove nodes, and the verdicts about them.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::fmt::Write as _;

use contract::keys;
use contract::moves::{CopiesRecord, NodeCopies, NodeState};
use inject::guard::{Evidence, Replicas, ScaleDown, Verdict};
use inject::{Defaults, Outcome, Question, Settings, decide};
use serde_json::{Value, json};

fn set(replicas: u64, annotations: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": "db", "namespace": "shop", "labels": { "couchdiscover.io/inject": "enabled" }, "annotations": annotations,
        },
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
            "template": { "spec": {
                "serviceAccountName": "db",
                "containers": [{ "name": "couchdb", "image": "couchdb:3.5", "env": [
                    { "name": "COUCHDB_USER", "value": "admin" },
                    { "name": "COUCHDB_PASSWORD", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
                ]}],
            }},
        },
    })
}

fn settings() -> Settings {
    Settings {
        agent_image: "agent:1".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        version: "1.0.0".to_owned(),
        defaults: Defaults::default(),
    }
}

/// The pods that this update removes, as the webhook sees it.
fn update(old: &Value, new: &Value) -> Option<Box<ScaleDown>> {
    let (old, new) = (old.to_string(), new.to_string());
    let question = Question { object: &new, old: Some(&old), namespace: Some("shop") };
    let decision = decide(&settings(), &question);
    assert_ne!(decision.outcome, Outcome::Deny, "{:?}", decision.problems);
    decision.scale_down
}

fn node(state: NodeState, databases: u64, only_copies: u64, examples: &[&str]) -> NodeCopies {
    let examples = examples.iter().map(|name| (*name).to_owned()).collect();
    NodeCopies { state, databases, only_copies, examples }
}

fn recorded<const N: usize>(nodes: [(&str, NodeCopies); N]) -> Evidence {
    let nodes = nodes.map(|(name, node)| (name.to_owned(), node));
    Evidence::Recorded(CopiesRecord { as_of: "2026-11-30T12:00:00Z".to_owned(), nodes: nodes.into() })
}

fn holding() -> Evidence {
    recorded([
        ("db-0", node(NodeState::Holding, 12, 0, &["orders"])),
        ("db-3", node(NodeState::Holding, 12, 2, &["carts", "users"])),
        ("db-4", node(NodeState::Holding, 9, 0, &["orders", "stock", "_users"])),
    ])
}

fn drained() -> Evidence {
    recorded([
        ("db-0", node(NodeState::Holding, 12, 0, &["orders"])),
        ("db-3", node(NodeState::Drained, 0, 0, &[])),
        ("db-4", node(NodeState::Removed, 0, 0, &[])),
    ])
}

fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    let warnings = match verdict {
        Verdict::Allow(warnings) => {
            text.push_str("allowed");
            warnings
        }
        Verdict::Deny(denial) => {
            assert!(denial.to_string().len() <= 1024, "{denial}");
            return format!("denied: {denial}");
        }
        Verdict::Drain { target, warnings } => {
            let _ = write!(text, "drained to {target}");
            warnings
        }
    };
    for warning in warnings {
        let warning = warning.to_string();
        assert!(warning.len() <= 256, "an API server may cut it: {} {warning}", warning.len());
        let _ = write!(text, "\n  warning: {warning}");
    }
    text
}

fn judged(from: u64, to: u64, annotations: Value, evidence: &Evidence) -> String {
    let scale_down = update(&set(from, annotations.clone()), &set(to, annotations)).unwrap();
    text(&scale_down.judge(evidence))
}

#[test]
fn only_updates_that_remove_pods_of_a_labelled_statefulset_are_judged() {
    let (five, three) = (set(5, json!({})), set(3, json!({})));
    assert_eq!(update(&three, &five), None);
    assert_eq!(update(&three, &three), None);
    let removed = update(&five, &three).unwrap();
    assert_eq!(
        (removed.name.as_str(), removed.namespace.as_deref(), removed.replicas()),
        ("db", Some("shop"), 5)
    );

    let label = |mut set: Value, value: Value| {
        set["metadata"]["labels"]["couchdiscover.io/inject"] = value;
        set
    };
    let without = |mut set: Value| {
        set["metadata"].as_object_mut().unwrap().remove("labels");
        set
    };
    assert_eq!(update(&without(five.clone()), &without(three.clone())), None);
    assert_eq!(
        update(&label(five.clone(), json!("disabled")), &label(three.clone(), json!("disabled"))),
        None
    );
    assert!(update(&five, &without(three.clone())).is_some(), "the label is removed by the same request");
    assert!(update(&five, &label(three.clone(), json!("disabled"))).is_some());
    assert!(update(&without(five.clone()), &three).is_some(), "the label is set by the same request");

    let mut deleted = three;
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-30T12:00:00Z");
    assert_eq!(update(&five, &deleted), None);
    let mut moved = five.clone();
    moved["spec"]["ordinals"] = json!({ "start": 2 });
    assert!(update(&five, &moved).is_some(), "another start removes pods, too");
}

#[test]
fn a_scale_is_judged_by_the_stored_statefulset() {
    let of_scale = |stored: &Value, old, new| {
        ScaleDown::of_scale(&stored.to_string(), Replicas { old, new }, Some("shop"))
    };
    let stored = set(5, json!({ keys::SCALE_DOWN: "drain" }));
    assert_eq!(
        of_scale(&stored, 5, 3),
        update(&stored, &set(3, json!({ keys::SCALE_DOWN: "drain" }))).map(|scale| *scale)
    );
    assert_eq!(of_scale(&stored, 3, 5), None);
    let mut other = stored.clone();
    other["metadata"]["labels"] = json!({ "app": "db" });
    assert_eq!(of_scale(&other, 5, 3), None);
    let mut deleted = stored;
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-30T12:00:00Z");
    assert_eq!(of_scale(&deleted, 5, 3), None);
    assert_eq!(ScaleDown::of_scale("no JSON", Replicas { old: 5, new: 3 }, None), None);
}

#[test]
fn nodes_that_hold_copies_are_kept() {
    insta::assert_snapshot!(judged(5, 3, json!({}), &holding()), @"denied: scaling StatefulSet 'db' from 5 to 3 would stop db-4, db-3 before their data has been moved: as of 2026-11-30T12:00:00Z, db-4 has copies of 9 databases ('orders', 'stock', '_users' and 6 more); db-3 has copies of 12 databases and the only copy of 2 of them ('carts', 'users'). Fix: kubectl couchdiscover scale db -n shop --replicas 3 (moves the data, then scales down); or kubectl -n shop annotate statefulset db --overwrite couchdiscover.io/target-size=3, and repeat the request once the nodes are drained");
    insta::assert_snapshot!(judged(5, 4, json!({ keys::SCALE_DOWN: "guard" }), &holding()), @"denied: scaling StatefulSet 'db' from 5 to 4 would stop db-4 before their data has been moved: as of 2026-11-30T12:00:00Z, db-4 has copies of 9 databases ('orders', 'stock', '_users' and 6 more). Fix: kubectl couchdiscover scale db -n shop --replicas 4 (moves the data, then scales down); or kubectl -n shop annotate statefulset db --overwrite couchdiscover.io/target-size=4, and repeat the request once the nodes are drained");
    let partly = recorded([
        ("db-3", node(NodeState::Draining, 1, 0, &["orders"])),
        ("db-4", node(NodeState::Drained, 0, 0, &[])),
    ]);
    insta::assert_snapshot!(judged(5, 3, json!({}), &partly), @"denied: scaling StatefulSet 'db' from 5 to 3 would stop db-4, db-3 before their data has been moved: as of 2026-11-30T12:00:00Z, db-3 is being drained and still has copies of 1 database ('orders'). Fix: kubectl couchdiscover scale db -n shop --replicas 3 (moves the data, then scales down); or kubectl -n shop annotate statefulset db --overwrite couchdiscover.io/target-size=3, and repeat the request once the nodes are drained");
    let unlike = recorded([
        ("db-3", node(NodeState::Holding, 0, 0, &[])),
        ("db-4", node(NodeState::Unknown, 3, 0, &[])),
    ]);
    insta::assert_snapshot!(judged(6, 3, json!({}), &unlike), @"denied: scaling StatefulSet 'db' from 6 to 3 would stop db-5, db-4, db-3 before their data has been moved: as of 2026-11-30T12:00:00Z, db-5 is not in the record; db-4 is in a state that this release does not know; db-3 holds no copies now, but may get some. Fix: kubectl couchdiscover scale db -n shop --replicas 3 (moves the data, then scales down); or kubectl -n shop annotate statefulset db --overwrite couchdiscover.io/target-size=3, and repeat the request once the nodes are drained");
}

#[test]
fn of_ten_thousand_databases_a_denial_names_the_first_and_counts_the_rest() {
    let many = ["a-database-with-a-long-name-0001", "a-database-with-a-long-name-0002", "orders"];
    let many = recorded([
        ("db-2", node(NodeState::Holding, 10_000, 9_998, &many)),
        ("db-3", node(NodeState::Holding, 10_000, 9_999, &many)),
        ("db-4", node(NodeState::Holding, 10_000, 10_000, &many)),
    ]);
    insta::assert_snapshot!(judged(5, 2, json!({}), &many), @"denied: scaling StatefulSet 'db' from 5 to 2 would stop db-4, db-3, db-2 before their data has been moved: as of 2026-11-30T12:00:00Z, db-4 has copies of 10000 databases and the only copy of 10000 of them ('a-database-with-a-long-name-0001', 'a-database-with-a-long-name-0002', 'orders' and 9997 more); db-3 has copies of 10000 databases and the only copy of 9999 of them ('a-database-with-a-long-name-0001', 'a-database-with-a-long-name-0002', 'orders' and 9996 more); db-2 has copies of 10000 databases and the only copy of 9998 of them ('a-database-with-a-long-name-0001', 'a-database-with-a-long-name-0002', 'orders' and 9995 more). Fix: kubectl couchdiscover scale db -n shop --replicas 2 (moves the data, then scales down); or kubectl -n shop annotate statefulset db --overwrite couchdiscover.io/target-size=2, and repeat the request once the nodes are drained");
}

#[test]
fn drained_nodes_may_be_removed() {
    for mode in ["guard", "drain", "allow"] {
        assert_eq!(judged(5, 3, json!({ keys::SCALE_DOWN: mode }), &drained()), "allowed", "{mode}");
    }
    let mut volumes = set(3, json!({}));
    volumes["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({ "whenScaled": "Delete" });
    assert_eq!(text(&update(&set(5, json!({})), &volumes).unwrap().judge(&drained())), "allowed");
    assert!(judged(5, 2, json!({}), &drained()).starts_with("denied"), "db-2 is not in the record");
}

#[test]
fn without_a_record_of_any_cluster_nodes_may_be_removed() {
    insta::assert_snapshot!(judged(5, 3, json!({}), &Evidence::NeverFormed), @"
    allowed
      warning: nodes of 'db' are removed without a check, since the Lease 'db-couchdiscover' has no record of a cluster. Fix: if databases exist, scale back, and look with 'couchdiscover status'
    ");
}

#[test]
fn what_is_not_known_is_a_denial() {
    insta::assert_snapshot!(judged(5, 3, json!({}), &Evidence::NotRecorded), @"denied: scaling StatefulSet 'db' from 5 to 3 would stop db-4, db-3, and the agents have not recorded which databases are on them (they do so when the cluster is settled; agents of an older release never do). Fix: kubectl couchdiscover scale db -n shop --replicas 3 (moves the data, then scales down); or kubectl -n shop annotate statefulset db --overwrite couchdiscover.io/target-size=3, and repeat the request once the nodes are drained");
    let unknown = Evidence::Unknown("the API server did not answer within 1.5s".to_owned());
    insta::assert_snapshot!(judged(5, 3, json!({}), &unknown), @"denied: scaling StatefulSet 'db' from 5 to 3 would stop db-4, db-3, and it is unknown which databases are on them: the API server did not answer within 1.5s. Fix: repeat the request when the reason is gone, or look with: kubectl -n shop get lease db-couchdiscover -o yaml");
    insta::assert_snapshot!(judged(5, 3, json!({ keys::SCALE_DOWN: "drain" }), &unknown), @"denied: scaling StatefulSet 'db' from 5 to 3 would stop db-4, db-3, and it is unknown which databases are on them: the API server did not answer within 1.5s. Fix: repeat the request when the reason is gone, or look with: kubectl -n shop get lease db-couchdiscover -o yaml");
}

/// Agents of an older release record nothing before the first drain.
#[test]
fn a_drain_begins_without_a_record_of_copies() {
    let drains = judged(5, 3, json!({ keys::SCALE_DOWN: "drain" }), &Evidence::NotRecorded);
    assert!(drains.starts_with("drained to 3"), "{drains}");
}

#[test]
fn scaling_to_0_and_back_is_allowed_while_the_volumes_stay() {
    insta::assert_snapshot!(judged(5, 0, json!({}), &holding()), @"
    allowed
      warning: all 5 nodes stop, and no database can be read until they are back; the volumes stay. Fix: to have all data again, scale back to 5, not to fewer
    ");
    let mut deletes = set(0, json!({}));
    deletes["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({ "whenScaled": "Delete" });
    let removed = update(&set(5, json!({})), &deletes).unwrap();
    assert!(removed.needs_evidence());
    insta::assert_snapshot!(text(&removed.judge(&holding())), @r#"denied: scaling StatefulSet 'db' to 0 would delete the volumes of all nodes with their databases, since persistentVolumeClaimRetentionPolicy.whenScaled is 'Delete'. Fix: kubectl -n shop patch statefulset db -p '{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}'"#);
    let allows = json!({ keys::SCALE_DOWN: "allow" });
    deletes["metadata"]["annotations"] = allows.clone();
    insta::assert_snapshot!(text(&update(&set(5, allows), &deletes).unwrap().judge(&holding())), @"
    allowed
      warning: db-4, db-3, db-2: removed with their volumes and without being drained, since 'couchdiscover.io/scale-down' is 'allow' and whenScaled is 'Delete'. What only they hold is lost
    ");
}

#[test]
fn the_users_annotation_allows_the_removal_with_a_warning() {
    let allow = json!({ keys::SCALE_DOWN: "allow" });
    insta::assert_snapshot!(judged(5, 3, allow.clone(), &holding()), @"
    allowed
      warning: db-4, db-3: stopped without being drained, since 'couchdiscover.io/scale-down' is 'allow'. Clients miss what only they hold until they are back. Fix: scale back, then 'couchdiscover scale'
    ");
    let unknown = Evidence::Unknown("no permission".to_owned());
    insta::assert_snapshot!(judged(9, 3, allow, &unknown), @"
    allowed
      warning: db-8, db-7, db-6: stopped without being drained, since 'couchdiscover.io/scale-down' is 'allow'. Clients miss what only they hold until they are back. Fix: scale back, then 'couchdiscover scale'
    ");
}

#[test]
fn a_request_is_turned_into_a_drain_if_the_annotation_says_so() {
    let drain = json!({ keys::SCALE_DOWN: "drain" });
    insta::assert_snapshot!(judged(5, 3, drain.clone(), &holding()), @"
    drained to 3
      warning: spec.replicas stays 5: nodes beyond 3 are drained first, then it is lowered to 3. Watch: 'couchdiscover status'. Fix: to cancel, remove the annotation 'couchdiscover.io/target-size'
    ");
    let (old, new) = (set(5, drain.clone()), set(3, drain));
    let removed = update(&old, &new).unwrap();
    assert!(removed.may_drain());
    let patch: json_patch::Patch = serde_json::from_str(&removed.drain_patch("", 3)).unwrap();
    let mut patched = new;
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched, set(5, json!({ keys::SCALE_DOWN: "drain", keys::TARGET_SIZE: "3" })));
    assert_eq!(removed.scale_patch(), r#"[{"op":"add","path":"/spec/replicas","value":5}]"#);

    let (mut old, mut moved) = (old, patched);
    old["spec"]["replicas"] = json!(5);
    moved["spec"]["ordinals"] = json!({ "start": 1 });
    insta::assert_snapshot!(text(&update(&old, &moved).unwrap().judge(&holding())), @"denied: scaling StatefulSet 'db' from 5 to 5 beginning with ordinal 1 would stop db-0 before their data has been moved: as of 2026-11-30T12:00:00Z, db-0 has copies of 12 databases ('orders' and 11 more). Fix: keep spec.ordinals.start at 0: only the nodes with the highest ordinals can be drained");
}

#[test]
fn a_raise_under_drain_ends_the_drain() {
    let annotations = json!({ keys::SCALE_DOWN: "drain", keys::TARGET_SIZE: "3" });
    let (old, new) = (set(5, annotations.clone()).to_string(), set(6, annotations));
    let object = new.to_string();
    let decision =
        decide(&settings(), &Question { object: &object, old: Some(&old), namespace: Some("shop") });
    let mut patched = new;
    let patch: json_patch::Patch = serde_json::from_str(&decision.patch).unwrap();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched, set(6, json!({ keys::SCALE_DOWN: "drain" })));
    let warnings: Vec<String> = decision.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.last().unwrap(), @"metadata.annotations[couchdiscover.io/target-size]: '3' is removed, since spec.replicas is raised to 6: no node is drained any more");
}

#[test]
fn a_message_keeps_its_fix_and_any_size_is_judged_at_once() {
    let long = "x".repeat(200);
    let names: Vec<&str> = vec![&long; 3];
    let nodes = ["db-7", "db-8", "db-9"].map(|name| (name, node(NodeState::Holding, u64::MAX, 9, &names)));
    let denied = judged(10, 3, json!({}), &recorded(nodes));
    assert!(denied.contains("... Fix: kubectl couchdiscover scale db -n shop --replicas 3"), "{denied}");
    let evil = recorded([("db-4", node(NodeState::Holding, 1, 0, &["a\n\u{1b}[2J'b"]))]);
    let denied = judged(5, 4, json!({}), &evil);
    assert!(!denied.contains(['\n', '\u{1b}']), "{denied}");
    let huge = judged(i32::MAX as u64, 3, json!({}), &drained());
    assert!(huge.contains("db-2147483646, db-2147483645, db-2147483644 and 2147483641 more"), "{huge}");
}

#[test]
fn volumes_that_would_be_deleted_are_mentioned() {
    let mut deletes = set(4, json!({}));
    deletes["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({ "whenScaled": "Delete" });
    insta::assert_snapshot!(text(&update(&set(5, json!({})), &deletes).unwrap().judge(&holding())), @"denied: scaling StatefulSet 'db' from 5 to 4 would stop db-4 and delete the volumes before their data has been moved: as of 2026-11-30T12:00:00Z, db-4 has copies of 9 databases ('orders', 'stock', '_users' and 6 more). Fix: kubectl couchdiscover scale db -n shop --replicas 4 (moves the data, then scales down); or kubectl -n shop annotate statefulset db --overwrite couchdiscover.io/target-size=4, and repeat the request once the nodes are drained");
}
