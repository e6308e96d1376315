//! Opting out removes the agent and keeps what a formed cluster depends on; opting in again finds it unchanged.

use serde_json::{Value, json};

use crate::cluster::*;

/// A way for a user to opt out.
#[derive(Clone, Copy, Debug)]
enum Way {
    Disabled,
    LabelRemoved,
    /// The original manifest, with the label `disabled` and without injection, replaces the stored one.
    Replaced,
}

const WAYS: [Way; 3] = [Way::Disabled, Way::LabelRemoved, Way::Replaced];

const INJECTED_VARIABLES: [&str; 5] =
    ["COUCHDB_ERLANG_COOKIE", "ERLANG_COOKIE", "COUCHDB_SECRET", "COUCHDB_CLUSTER_SIZE", "ERL_FLAGS"];

fn opted_out(cluster: Cluster, way: Way, manifest: &Value) -> Cluster {
    match way {
        Way::Disabled => cluster.edit("disabled", |object| label(object, "disabled")),
        Way::LabelRemoved => cluster.edit("label removed", unlabel),
        Way::Replaced => {
            let mut manifest = manifest.clone();
            label(&mut manifest, "disabled");
            cluster.submit("replaced", &manifest)
        }
    }
}

/// Manifests without variables of the user's own, with some, without `env`, and with everything that can be created.
fn manifests() -> [(&'static str, Value); 4] {
    let own = changed(|object| {
        let env = couchdb(object)["env"].as_array_mut().unwrap();
        env.push(json!({"name": "ERLANG_COOKIE", "value": "own"}));
        env.push(json!({"name": "ERL_FLAGS", "value": "-kernel net_ticktime 10"}));
    });
    let bare = changed(|object| {
        couchdb(object).as_object_mut().unwrap().remove("env");
        object["spec"]["template"].as_object_mut().unwrap().remove("metadata");
    });
    let native = changed(|object| {
        annotate(object, "sidecar", "native");
        object["spec"]["template"]["spec"]["automountServiceAccountToken"] = false.into();
    });
    [("usual", manifest()), ("own variables", own), ("no env", bare), ("native, with a volume", native)]
}

/// The names of the variables in CouchDB's container.
fn names(cluster: &Cluster) -> Vec<String> {
    env(cluster).iter().map(|variable| variable["name"].as_str().unwrap().to_owned()).collect()
}

fn env(cluster: &Cluster) -> Vec<Value> {
    cluster.container("couchdb")["env"].as_array().cloned().unwrap_or_default()
}

#[test]
fn opting_out_keeps_the_variables_and_opting_in_again_gives_the_first_injection() {
    for (name, manifest) in manifests() {
        let injected = Cluster::with(&manifest);
        let first = injected.stored["spec"].clone();
        let variables = env(&injected);
        for way in WAYS {
            let story = format!("{name}, {way:?}");
            let cluster = opted_out(injected.clone(), way, &manifest);
            assert_eq!(cluster.container("couchdiscover-agent"), Value::Null, "{story}");
            assert_eq!(env(&cluster), variables, "{story}");
            let spec = &cluster.stored["spec"]["template"]["spec"];
            assert_eq!((&spec["initContainers"], &spec["volumes"]), (&Value::Null, &Value::Null), "{story}");
            let kept = cluster.stored["spec"].clone();
            let cluster = cluster
                .edit("applied again", |_| {})
                .edit("another label", |object| object["metadata"]["labels"]["team"] = "a".into());
            assert_eq!(cluster.stored["spec"], kept, "{story}");
            let cluster = cluster.edit("opted in again", |object| label(object, "enabled"));
            assert_eq!(cluster.stored["spec"], first, "{story}");
            assert!(!cluster.log.contains("renames"), "{story}: {}", cluster.log);
            assert_eq!(cluster.review(&cluster.stored, Some(&cluster.stored)).patch, "", "{story}");
        }
    }
}

#[test]
fn removal_of_everything_gives_the_original_at_once_or_later() {
    for (name, manifest) in manifests() {
        let mut plain = manifest.clone();
        annotate(&mut plain, "on-removal", "everything");
        let template = &manifest["spec"]["template"];
        for way in WAYS {
            let cluster = opted_out(Cluster::with(&plain), way, &plain);
            assert_eq!(&cluster.stored["spec"]["template"], template, "{name}, {way:?}");
            assert!(cluster.log.contains("cannot reach its databases"), "{name}, {way:?}: {}", cluster.log);
        }
        let later = Cluster::with(&manifest)
            .edit("disabled", |object| label(object, "disabled"))
            .edit("everything", |object| annotate(object, "on-removal", "everything"));
        assert_eq!(&later.stored["spec"]["template"], template, "{name}");
    }
}

#[test]
fn warnings_explain_what_stays_and_how_to_remove_it() {
    let disabled = opted_out(created(), Way::Disabled, &manifest());
    let removed = opted_out(created(), Way::LabelRemoved, &manifest());
    let probed = changed(|object| couchdb(object)["readinessProbe"] = json!({"tcpSocket": {"port": 5984}}));
    let probed = Cluster::with(&probed).edit("with a probe of its own", |object| label(object, "disabled"));
    let everything = changed(|object| annotate(object, "on-removal", "everything"));
    let everything = Cluster::with(&everything).edit("everything", |object| label(object, "disabled"));
    let logs = [disabled.log, removed.log, probed.log, everything.log].concat();
    for line in logs.lines().filter_map(|line| line.strip_prefix("  warning: ")) {
        assert!(line.len() <= 256, "an API server may cut it: {} {line}", line.len());
    }
    insta::assert_snapshot!(logs, @"
    disabled: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    label removed: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: metadata.labels[couchdiscover.io/inject]: removed, so the webhook is no longer called: a manifest that replaces this object takes the kept variables away. Fix: set the label to 'disabled', or add them to your manifest
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    with a probe of its own: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    everything: uninjected (opted-out), pods restart
      warning: removed: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. A formed cluster cannot reach its databases without them. Fix: to keep them, opt in again, and out with 'couchdiscover.io/on-removal: agent'
    ");
}

#[test]
fn a_manifest_without_the_kept_variables_gets_them_back() {
    let disabled = changed(|object| label(object, "disabled"));
    let newer = |change: fn(&mut Value)| {
        let mut manifest = disabled.clone();
        change(&mut manifest);
        manifest
    };
    let cluster =
        created().edit("disabled", |object| label(object, "disabled")).submit("replaced", &disabled).submit(
            "replaced, another image",
            &newer(|object| couchdb(object)["image"] = "couchdb:3.5.1".into()),
        );
    let all = [&["COUCHDB_USER", "COUCHDB_PASSWORD"][..], &INJECTED_VARIABLES].concat();
    assert_eq!(names(&cluster), all);
    let cluster = cluster.edit("a variable removed", |object| {
        couchdb(object)["env"].as_array_mut().unwrap().retain(|it| it["name"] != "ERLANG_COOKIE");
    });
    assert_eq!(names(&cluster), all);
    let cluster = cluster.submit(
        "replaced, with flags of the user's own",
        &newer(|object| {
            let own = json!({"name": "ERL_FLAGS", "value": "-name couchdb +S 2"});
            couchdb(object)["env"].as_array_mut().unwrap().push(own);
        }),
    );
    assert_eq!(variable(&mut cluster.container("couchdb"), "ERL_FLAGS")["value"], "-name couchdb +S 2");
    assert_eq!(names(&cluster).len(), all.len());
    assert!(!cluster.record().contains("ERL_FLAGS") && cluster.record().contains("COUCHDB_SECRET"));
    let cluster = cluster.edit("everything", |object| annotate(object, "on-removal", "everything"));
    assert_eq!(names(&cluster), ["COUCHDB_USER", "COUCHDB_PASSWORD", "ERL_FLAGS"]);
    let cluster = cluster.submit("replaced again", &disabled);
    assert_eq!(names(&cluster), ["COUCHDB_USER", "COUCHDB_PASSWORD"]);
    insta::assert_snapshot!(cluster.log, @"
    disabled: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    replaced: kept (opted-out), pods stay
    replaced, another image: kept (opted-out), pods restart
    a variable removed: kept (opted-out), pods stay
    replaced, with flags of the user's own: kept (opted-out), pods restart
    everything: uninjected (opted-out), pods restart
      warning: removed: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE. A formed cluster cannot reach its databases without them. Fix: to keep them, opt in again, and out with 'couchdiscover.io/on-removal: agent'
    replaced again: skipped (disabled), pods restart
    ");
}

#[test]
fn updates_of_an_opted_out_statefulset_keep_the_variables() {
    let cluster = created().edit("disabled", |object| label(object, "disabled"));
    let kept = env(&cluster);
    let cluster = cluster
        .edit("new image", |object| couchdb(object)["image"] = "couchdb:3.5.1".into())
        .edit("scaled", |object| object["spec"]["replicas"] = 5.into())
        .edit("invalid", |object| annotate(object, "on-removal", "all"))
        .edit("label removed", unlabel)
        .upgraded()
        .edit("opted in again", |object| label(object, "enabled"))
        .edit("invalid", |object| annotate(object, "on-removal", "all"))
        .edit("opted out again", |object| label(object, "disabled"));
    let size = |mut env: Vec<Value>| {
        env.retain(|variable| variable["name"] != "COUCHDB_CLUSTER_SIZE");
        env
    };
    assert_eq!(size(env(&cluster)), size(kept), "only the size has changed");
    insta::assert_snapshot!(cluster.log, @"
    disabled: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    new image: skipped (disabled), pods restart
    scaled: skipped (disabled), pods stay
    invalid: denied (invalid), pods stay
      metadata.annotations[couchdiscover.io/on-removal]: 'all' is invalid. Fix: use 'agent' or 'everything'
    label removed: skipped (not-labelled), pods stay
      warning: metadata.labels[couchdiscover.io/inject]: removed, so the webhook is no longer called: a manifest that replaces this object takes the kept variables away. Fix: set the label to 'disabled', or add them to your manifest
    opted in again: injected (opted-in), pods restart
    invalid: denied (invalid), pods stay
      metadata.annotations[couchdiscover.io/on-removal]: 'all' is invalid. Fix: use 'agent' or 'everything'
    opted out again: uninjected (opted-out), pods restart
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: databases of a formed cluster need the kept variables. To remove these as well: set the annotation 'couchdiscover.io/on-removal: everything' and the label 'couchdiscover.io/inject: disabled'
    ");
}

#[test]
fn a_rollout_undo_of_an_opted_out_statefulset_brings_no_agent_back() {
    let injected = created();
    let older = injected.stored["spec"]["template"].clone();
    let cluster = injected.edit("disabled", |object| label(object, "disabled"));
    let kept = cluster.stored["spec"]["template"].clone();
    let cluster = cluster.edit("rollout undo", |object| object["spec"]["template"] = older);
    assert_eq!(cluster.stored["spec"]["template"], kept);
}

#[test]
fn a_statefulset_that_an_older_version_opted_out_is_warned_of_both_names() {
    let cluster = Cluster::without_webhook(&changed(|object| label(object, "disabled")))
        .edit("opted in again", |object| label(object, "enabled"));
    insta::assert_snapshot!(cluster.log, @"
    opted in again: injected (opted-in), pods restart
      warning: ERL_FLAGS renames CouchDB's nodes; each finds only databases filed under its name. Fix: if yours are under the old names, opt out with 'couchdiscover.io/on-removal: everything'; if under the injected ones, keep the label and follow NodeRenamed in /status
    ");
}
