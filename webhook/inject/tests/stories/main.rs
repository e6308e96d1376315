//! Changes of a user to a created StatefulSet, the webhook's decisions, and the resulting restarts: the pods restart if the
//! stored template changes, and only then.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod cluster;
mod opting_out;
mod settings;

use cluster::*;
use serde_json::{Value, json};

#[test]
fn nothing_outside_the_template_restarts_a_pod() {
    let log = created()
        .edit("applied again", |_| {})
        .submit("replaced by the manifest, without the injection", &manifest())
        .edit("scaled up", |object| object["spec"]["replicas"] = 5.into())
        .submit("replaced and scaled down", &changed(|object| object["spec"]["replicas"] = 3.into()))
        .edit("another label", |object| object["metadata"]["labels"]["team"] = "a".into())
        .edit("another annotation", |object| object["metadata"]["annotations"] = json!({"note": "x"}))
        .edit("another update strategy", |object| {
            object["spec"]["updateStrategy"] = json!({"type": "OnDelete"})
        })
        .log;
    insta::assert_snapshot!(log, @"
    applied again: kept (template-unchanged), pods stay
    replaced by the manifest, without the injection: kept (template-unchanged), pods stay
    scaled up: kept (template-unchanged), pods stay
    replaced and scaled down: kept (template-unchanged), pods stay
    another label: kept (template-unchanged), pods stay
    another annotation: kept (template-unchanged), pods stay
    another update strategy: kept (template-unchanged), pods stay
    ");
}

#[test]
fn a_new_webhook_restarts_no_pod_until_the_user_changes_the_template() {
    let log = created()
        .upgraded()
        .edit("applied again", |_| {})
        .submit("replaced", &manifest())
        .edit("scaled", |object| object["spec"]["replicas"] = 5.into())
        .edit("new image", |object| couchdb(object)["image"] = "couchdb:3.5.1".into());
    assert_eq!(log.container("couchdiscover-agent")["image"], "agent:2.0.0");
    insta::assert_snapshot!(log.log, @"
    applied again: kept (template-unchanged), pods stay
    replaced: kept (template-unchanged), pods stay
    scaled: kept (template-unchanged), pods stay
    new image: injected (template-changed), pods restart
    ");
}

#[test]
fn changes_to_the_template_restart_pods_and_render_the_injection_again() {
    let log = created()
        .edit("rollout restart", |object| annotate_pods(object, "kubectl.kubernetes.io/restartedAt", "now"))
        .edit("new image", |object| couchdb(object)["image"] = "couchdb:3.5.1".into())
        .edit("a container in front", |object| {
            let containers = object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
            containers.insert(0, json!({"name": "first", "image": "x"}));
        })
        .submit(
            "replaced with another image",
            &changed(|object| couchdb(object)["image"] = "couchdb:3.4".into()),
        )
        .log;
    insta::assert_snapshot!(log, @"
    rollout restart: injected (template-changed), pods restart
    new image: kept (already-injected), pods restart
    a container in front: kept (already-injected), pods restart
    replaced with another image: injected (template-changed), pods restart
    ");
}

#[test]
fn changed_annotations_take_effect_at_the_next_restart_or_refresh() {
    let cluster = created()
        .edit("log level", |object| annotate(object, "agent-log-level", "debug"))
        .edit("size", |object| annotate(object, "cluster-size", "4"))
        .edit("refresh", |object| annotate(object, "refresh", "1"))
        .edit("refresh with nothing new", |object| annotate(object, "refresh", "2"))
        .edit("native", |object| annotate(object, "sidecar", "native"))
        .edit("refresh", |object| annotate(object, "refresh", "3"))
        .edit("no agent-log-level", |object| {
            object["metadata"]["annotations"]
                .as_object_mut()
                .unwrap()
                .remove("couchdiscover.io/agent-log-level");
        })
        .edit("nonsense", |object| annotate(object, "readiness", "perhaps"))
        .edit("unknown", |object| annotate(object, "agent-imgae", "x"))
        .upgraded()
        .edit("refresh of a new webhook", |object| annotate(object, "refresh", "4"));
    assert_eq!(cluster.stored["spec"]["template"]["spec"]["initContainers"][0]["image"], "agent:2.0.0");
    insta::assert_snapshot!(cluster.log, @"
    log level: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/agent-log-level]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
    size: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/cluster-size]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
      warning: the cluster forms when 4 nodes are up, but spec.replicas is 3, so it does not form. Fix: set spec.replicas to 4 or more
    refresh: injected (refresh-changed), pods restart
      warning: the cluster forms when 4 nodes are up, but spec.replicas is 3, so it does not form. Fix: set spec.replicas to 4 or more
    refresh with nothing new: kept (already-injected), pods stay
      warning: the cluster forms when 4 nodes are up, but spec.replicas is 3, so it does not form. Fix: set spec.replicas to 4 or more
    native: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/sidecar]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
      warning: the cluster forms when 4 nodes are up, but spec.replicas is 3, so it does not form. Fix: set spec.replicas to 4 or more
    refresh: injected (refresh-changed), pods restart
      warning: the cluster forms when 4 nodes are up, but spec.replicas is 3, so it does not form. Fix: set spec.replicas to 4 or more
    no agent-log-level: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/agent-log-level]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
      warning: the cluster forms when 4 nodes are up, but spec.replicas is 3, so it does not form. Fix: set spec.replicas to 4 or more
    nonsense: denied (invalid), pods stay
      warning: metadata.annotations[couchdiscover.io/readiness]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
      metadata.annotations[couchdiscover.io/readiness]: 'perhaps' is invalid. Fix: use 'joined' or 'off'
    unknown: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/agent-imgae]: unknown, so it has no effect. Did you mean 'couchdiscover.io/agent-image'?
      warning: the cluster forms when 4 nodes are up, but spec.replicas is 3, so it does not form. Fix: set spec.replicas to 4 or more
    refresh of a new webhook: injected (refresh-changed), pods restart
      warning: metadata.annotations[couchdiscover.io/agent-imgae]: unknown, so it has no effect. Did you mean 'couchdiscover.io/agent-image'?
      warning: the cluster forms when 4 nodes are up, but spec.replicas is 3, so it does not form. Fix: set spec.replicas to 4 or more
    ");
}

#[test]
fn an_injected_entry_that_the_user_changes_belongs_to_the_user() {
    let cluster = created()
        .edit("changed ERL_FLAGS", |object| {
            variable(couchdb(object), "ERL_FLAGS")["value"] = "-name couchdb +S 2".into();
        })
        .edit("scaled", |object| object["spec"]["replicas"] = 5.into());
    assert!(!cluster.record().contains("ERL_FLAGS"));
    let cluster = cluster
        .edit("changed the agent's image", |object| {
            object["spec"]["template"]["spec"]["containers"][1]["image"] = "mine".into();
        })
        .edit("new image", |object| couchdb(object)["image"] = "couchdb:3.5.1".into());
    assert!(!cluster.record().contains("couchdiscover-agent"));
    assert_eq!(cluster.container("couchdiscover-agent")["image"], "mine");
    let cluster = cluster.edit("opted out", |object| label(object, "disabled"));
    let names: Vec<_> = cluster.container("couchdb")["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].clone())
        .collect();
    assert_eq!(
        names,
        [
            "COUCHDB_USER",
            "COUCHDB_PASSWORD",
            "COUCHDB_ERLANG_COOKIE",
            "ERLANG_COOKIE",
            "COUCHDB_SECRET",
            "ERL_FLAGS",
            "COUCHDB_CLUSTER_SIZE"
        ]
    );
    assert_eq!(cluster.container("couchdiscover-agent")["image"], "mine");
    insta::assert_snapshot!(cluster.log, @"
    changed ERL_FLAGS: injected (template-changed), pods restart
    scaled: kept (template-unchanged), pods stay
    changed the agent's image: injected (template-changed), pods restart
      warning: container 'couchdiscover-agent' was not added by the webhook, or was changed since, so it stays as it is. Fix: remove it to have it injected again
    new image: kept (already-injected), pods restart
      warning: container 'couchdiscover-agent' was not added by the webhook, or was changed since, so it stays as it is. Fix: remove it to have it injected again
    opted out: skipped (disabled), pods stay
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    ");
}

#[test]
fn removed_parts_of_the_injection_are_restored() {
    let log = created()
        .edit("removed a variable", |object| {
            couchdb(object)["env"].as_array_mut().unwrap().retain(|it| it["name"] != "COUCHDB_SECRET");
        })
        .edit("removed the agent", |object| {
            object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().pop();
        })
        .edit("removed the record", |object| {
            object["spec"]["template"]["metadata"]["annotations"].as_object_mut().unwrap().remove(INJECTED);
        })
        .edit("broke the record", |object| annotate_pods(object, INJECTED, "{"))
        .log;
    insta::assert_snapshot!(log, @"
    removed a variable: kept (template-unchanged), pods stay
    removed the agent: kept (template-unchanged), pods stay
    removed the record: kept (template-unchanged), pods stay
    broke the record: kept (template-unchanged), pods stay
    ");
}

#[test]
fn opting_out_of_everything_removes_the_injection_and_opting_in_adds_it_again() {
    let original = manifest();
    let cluster = created()
        .edit("everything", |object| annotate(object, "on-removal", "everything"))
        .edit("disabled", |object| label(object, "disabled"));
    assert_eq!(cluster.stored["spec"], original["spec"], "all of it is removed");
    let cluster = cluster
        .edit("still disabled, new image", |object| couchdb(object)["image"] = "couchdb:3.5.1".into())
        .edit("enabled again", |object| label(object, "enabled"))
        .edit("label removed", unlabel)
        .edit("labelled again", |object| label(object, "enabled"))
        .submit("replaced by a manifest without label and injection", &changed(unlabel))
        .submit("replaced by one with the label", &manifest())
        .edit("misspelt label", |object| label(object, "enable"));
    insta::assert_snapshot!(cluster.log, @"
    everything: kept (template-unchanged), pods stay
    disabled: uninjected (opted-out), pods restart
      warning: removed: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. A formed cluster cannot reach its databases without them. Fix: to keep them, opt in again, and out with 'couchdiscover.io/on-removal: agent'
    still disabled, new image: skipped (disabled), pods restart
    enabled again: injected (opted-in), pods restart
      warning: ERL_FLAGS renames CouchDB's nodes; each finds only databases filed under its name. Fix: if yours are under the old names, opt out with 'couchdiscover.io/on-removal: everything'; if under the injected ones, keep the label and follow NodeRenamed in /status
    label removed: uninjected (opted-out), pods restart
      warning: removed: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. A formed cluster cannot reach its databases without them. Fix: to keep them, opt in again, and out with 'couchdiscover.io/on-removal: agent'
    labelled again: injected (opted-in), pods restart
      warning: ERL_FLAGS renames CouchDB's nodes; each finds only databases filed under its name. Fix: if yours are under the old names, opt out with 'couchdiscover.io/on-removal: everything'; if under the injected ones, keep the label and follow NodeRenamed in /status
    replaced by a manifest without label and injection: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: metadata.labels[couchdiscover.io/inject]: removed, so the webhook is no longer called: a manifest that replaces this object takes the kept variables away. Fix: set the label to 'disabled', or add them to your manifest
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    replaced by one with the label: injected (opted-in), pods restart
    misspelt label: denied (invalid), pods stay
      metadata.labels[couchdiscover.io/inject]: 'enable' is neither 'enabled' nor 'disabled'. Fix: set one of the two, or remove the label
    ");
}

#[test]
fn with_a_broken_record_nothing_is_removed() {
    let mut object = created().stored;
    annotate_pods(&mut object, INJECTED, "{}");
    let cluster = Cluster::without_webhook(&object).edit("disabled", |object| label(object, "disabled"));
    assert_ne!(cluster.container("couchdiscover-agent"), Value::Null);
    insta::assert_snapshot!(cluster.log, @"
    disabled: skipped (disabled), pods stay
      warning: spec.template.metadata.annotations[couchdiscover.io/injected]: unreadable, so nothing is removed. Fix: remove the injected parts and this annotation manually
    ");
}

#[test]
fn a_label_older_than_the_webhook_takes_effect_at_the_next_template_change() {
    let log = Cluster::without_webhook(&manifest())
        .edit("another label", |object| object["metadata"]["labels"]["team"] = "a".into())
        .edit("scaled", |object| object["spec"]["replicas"] = 5.into())
        .edit("rollout restart", |object| annotate_pods(object, "kubectl.kubernetes.io/restartedAt", "now"))
        .log;
    insta::assert_snapshot!(log, @"
    another label: skipped (not-injected-yet), pods stay
      warning: the StatefulSet is labelled but not injected, since the webhook does not restart pods. Fix: kubectl -n shop rollout restart statefulset/db
    scaled: skipped (not-injected-yet), pods stay
      warning: the StatefulSet is labelled but not injected, since the webhook does not restart pods. Fix: kubectl -n shop rollout restart statefulset/db
    rollout restart: injected (template-changed), pods restart
      warning: ERL_FLAGS renames CouchDB's nodes; each finds only databases filed under its name. Fix: if yours are under the old names, opt out with 'couchdiscover.io/on-removal: everything'; if under the injected ones, keep the label and follow NodeRenamed in /status
    ");
}

#[test]
fn updates_that_must_be_possible_are_allowed() {
    // Stored before the webhook was installed, with an invalid label and without a Service.
    let wrong = changed(|object| {
        label(object, "perhaps");
        object["spec"].as_object_mut().unwrap().remove("serviceName");
    });
    let mislabelled = Cluster::without_webhook(&wrong)
        .edit("a finalizer is removed", |object| object["metadata"]["finalizers"] = json!([]))
        .edit("replicas", |object| object["spec"]["replicas"] = 4.into())
        .edit("deleted", |object| {
            object["metadata"]["deletionTimestamp"] = "2026-11-21T00:00:00Z".into();
            object["spec"]["replicas"] = 0.into();
        });
    let no_service = changed(|object| drop(object["spec"].as_object_mut().unwrap().remove("serviceName")));
    let enabled = Cluster::without_webhook(&no_service)
        .edit("a label", |object| object["metadata"]["labels"]["team"] = "a".into())
        .edit("replicas", |object| object["spec"]["replicas"] = 4.into())
        .edit("new image", |object| couchdb(object)["image"] = "couchdb:3.5.1".into())
        .edit("disabled", |object| label(object, "disabled"));
    insta::assert_snapshot!(mislabelled.log + &enabled.log, @"
    a finalizer is removed: skipped (unchanged), pods stay
    replicas: denied (invalid), pods stay
      metadata.labels[couchdiscover.io/inject]: 'perhaps' is neither 'enabled' nor 'disabled'. Fix: set one of the two, or remove the label
    deleted: skipped (being-deleted), pods stay
    a label: skipped (not-injected-yet), pods stay
      warning: the StatefulSet is labelled but not injected, since the webhook does not restart pods. Fix: kubectl -n shop rollout restart statefulset/db
    replicas: denied (invalid), pods stay
      spec.serviceName: missing, so the pods have no DNS names. Fix: set it to a headless Service that has publishNotReadyAddresses: true
    new image: denied (invalid), pods stay
      spec.serviceName: missing, so the pods have no DNS names. Fix: set it to a headless Service that has publishNotReadyAddresses: true
    disabled: skipped (disabled), pods stay
    ");
}

#[test]
fn rollout_undo_restores_the_older_injection() {
    let before = created();
    let older = before.stored["spec"]["template"].clone();
    let cluster = before
        .upgraded()
        .edit("refresh", |object| annotate(object, "refresh", "1"))
        .edit("rollout undo", |object| object["spec"]["template"] = older);
    assert_eq!(cluster.container("couchdiscover-agent")["image"], "agent:1.0.0");
    insta::assert_snapshot!(cluster.log, @"
    refresh: injected (refresh-changed), pods restart
    rollout undo: kept (template-unchanged), pods restart
    ");
}

#[test]
fn changes_by_other_webhooks_and_api_servers_are_kept_and_not_treated_as_the_users() {
    let mirror = |template: &mut Value| {
        for container in template["spec"]["containers"].as_array_mut().unwrap() {
            let image = container["image"].as_str().unwrap().to_owned();
            if !image.starts_with("mirror/") {
                container["image"] = format!("mirror/{image}").into();
            }
        }
    };
    let defaults = |template: &mut Value| {
        for container in template["spec"]["containers"].as_array_mut().unwrap() {
            container["aDefaultOfTomorrow"] = json!({"a": 1});
        }
    };
    let mut log = String::new();
    for (origin, afterwards) in
        [("registry mirror", mirror as fn(&mut Value)), ("later API server", defaults)]
    {
        log += &created()
            .afterwards(afterwards)
            .edit(&format!("{origin}: applied again"), |_| {})
            .submit(&format!("{origin}: replaced"), &manifest())
            .upgraded()
            .submit(&format!("{origin}, and a new webhook: replaced"), &manifest())
            .edit(&format!("{origin}: scaled"), |object| object["spec"]["replicas"] = 5.into())
            .edit(&format!("{origin}: new image"), |object| couchdb(object)["image"] = "couchdb:3.5.1".into())
            .edit(&format!("{origin}: disabled"), |object| label(object, "disabled"))
            .log;
    }
    insta::assert_snapshot!(log, @"
    registry mirror: applied again: kept (template-unchanged), pods stay
    registry mirror: replaced: injected (template-changed), pods stay
    registry mirror, and a new webhook: replaced: injected (template-changed), pods stay
    registry mirror: scaled: kept (template-unchanged), pods stay
    registry mirror: new image: injected (template-changed), pods restart
    registry mirror: disabled: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    later API server: applied again: kept (template-unchanged), pods stay
    later API server: replaced: injected (template-changed), pods stay
    later API server, and a new webhook: replaced: injected (template-changed), pods stay
    later API server: scaled: kept (template-unchanged), pods stay
    later API server: new image: injected (template-changed), pods restart
    later API server: disabled: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    ");
}

#[test]
fn a_manifest_injected_as_file_is_taken_as_it_is() {
    let as_file = Cluster::with(&manifest()).stored;
    let by_newer = {
        let mut cluster = created().upgraded();
        let decision = cluster.review(&manifest(), None);
        cluster.stored = cluster.admitted(&manifest(), &decision);
        cluster.stored
    };
    let log = created()
        .submit("applied, injected by the same version", &as_file)
        .submit("applied, injected by a newer version", &by_newer)
        .submit("applied, without injection", &manifest())
        .log;
    insta::assert_snapshot!(log, @"
    applied, injected by the same version: kept (template-unchanged), pods stay
    applied, injected by a newer version: kept (template-unchanged), pods restart
    applied, without injection: kept (template-unchanged), pods stay
    ");
}

#[test]
fn annotations_about_changes_of_size_are_checked_and_change_no_template() {
    let log = created()
        .edit("drain", |object| annotate(object, "target-size", "2"))
        .edit("raised", |object| object["spec"]["replicas"] = 4.into())
        .edit("not guarded", |object| annotate(object, "scale-down", "allow"))
        .edit("raised while a node is drained", |object| {
            annotate(object, "scale-down", "drain");
            object["spec"]["replicas"] = 5.into();
        })
        .edit("a target above the replicas", |object| annotate(object, "target-size", "7"))
        .edit("rebalance and copies", |object| {
            annotate(object, "target-size", "5");
            annotate(object, "rebalance", "all");
            annotate(object, "copies", "3");
        })
        .edit("nonsense", |object| {
            annotate(object, "target-size", "0");
            annotate(object, "scale-down", "yes");
            annotate(object, "rebalance", "now");
            annotate(object, "copies", "-1");
        })
        .log;
    insta::assert_snapshot!(log, @"
    drain: kept (template-unchanged), pods stay
    raised: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/target-size]: '2' stays, so of the 4 nodes those beyond 2 are drained at once and get no copies. Fix: remove the annotation
    not guarded: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/scale-down]: 'allow', so spec.replicas can be lowered from 4 to 2 before the nodes are drained, and their copies are then missing. Fix: set it to 'guard' until the drain is complete
    raised while a node is drained: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/target-size]: '2' is removed, since spec.replicas is raised to 5: no node is drained any more
    a target above the replicas: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/target-size]: '7' is more than spec.replicas, which is 5, so it drains no node. Fix: to add nodes, set spec.replicas to 7 and remove the annotation
    rebalance and copies: kept (template-unchanged), pods stay
    nonsense: denied (invalid), pods stay
      4 problems:
    - metadata.annotations[couchdiscover.io/rebalance]: 'now' is invalid. Fix: use 'system', 'all' or 'off'
    - metadata.annotations[couchdiscover.io/copies]: '-1' is invalid. Fix: use a whole number from 1
    - metadata.annotations[couchdiscover.io/target-size]: '0' is invalid. Fix: use a whole number from 1
    - metadata.annotations[couchdiscover.io/scale-down]: 'yes' is invalid. Fix: use 'guard', 'drain' or 'allow'
    ");
}
