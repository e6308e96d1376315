//! The settings of the webhook, and an injection of the release before.

use contract::keys;
use serde_json::{Value, json};

use super::cluster::*;

#[test]
fn defaults_of_the_cluster_apply_to_what_is_rendered_next_and_annotations_override_them() {
    let cluster = created()
        .configured(&[
            (keys::AGENT_CPU_REQUEST, "10m"),
            (keys::AGENT_MEMORY_REQUEST, "32Mi"),
            (keys::AGENT_CPU_LIMIT, "100m"),
            (keys::AGENT_LOG_FORMAT, "json"),
            (keys::AGENT_IMAGE_PULL_SECRETS, "registry"),
            (keys::ERLANG_COOKIE, "flag"),
        ])
        .edit("applied again", |_| {})
        .submit("replaced", &manifest())
        .edit("scaled", |object| object["spec"]["replicas"] = 5.into());
    assert_eq!(cluster.container("couchdiscover-agent")["resources"]["requests"]["cpu"], "5m");
    let cluster = cluster.edit("new image", |object| couchdb(object)["image"] = "couchdb:3.5.1".into());
    let agent = cluster.container("couchdiscover-agent");
    assert_eq!(
        agent["resources"],
        json!({
            "requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"},
        })
    );
    assert_eq!(cluster.stored["spec"]["template"]["spec"]["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(value(&cluster, "ERL_FLAGS"), "-name couchdb -setcookie $(ERLANG_COOKIE)");
    assert_eq!(value(&cluster, "COUCHDB_ERLANG_COOKIE"), Value::Null);
    let cluster = cluster
        .edit("annotations", |object| {
            annotate(object, "agent-memory-request", "128Mi");
            annotate(object, "agent-image-pull-secrets", "");
            annotate(object, "erlang-cookie", "variable");
        })
        .edit("refresh", |object| annotate(object, "refresh", "1"));
    let agent = cluster.container("couchdiscover-agent");
    assert_eq!(agent["resources"]["limits"], json!({"cpu": "100m", "memory": "128Mi"}));
    assert_eq!(cluster.stored["spec"]["template"]["spec"]["imagePullSecrets"], Value::Null);
    assert_eq!(value(&cluster, "ERL_FLAGS"), "-name couchdb");
    insta::assert_snapshot!(cluster.log, @"
    applied again: kept (template-unchanged), pods stay
    replaced: kept (template-unchanged), pods stay
    scaled: kept (template-unchanged), pods stay
      warning: spec.template.spec.imagePullSecrets: registry added. Kubernetes uses those of the ServiceAccount only where the pod names none. Fix: if CouchDB's image needs these, name them in the template, too
    new image: injected (template-changed), pods restart
      warning: spec.template.spec.imagePullSecrets: registry added. Kubernetes uses those of the ServiceAccount only where the pod names none. Fix: if CouchDB's image needs these, name them in the template, too
    annotations: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/agent-image-pull-secrets]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
      warning: metadata.annotations[couchdiscover.io/agent-memory-request]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
      warning: metadata.annotations[couchdiscover.io/erlang-cookie]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
    refresh: injected (refresh-changed), pods restart
    ");
}

#[test]
fn an_injection_of_the_release_before_is_kept_and_a_refresh_brings_it_up() {
    let injected: Value = serde_saphyr::from_str(include_str!("injected-by-the-first-release.yaml")).unwrap();
    let cluster = Cluster::without_webhook(&injected)
        .edit("applied again", |_| {})
        .edit("scaled", |object| object["spec"]["replicas"] = 5.into());
    assert_eq!(cluster.stored["spec"]["template"], injected["spec"]["template"]);
    let cluster = cluster.edit("refresh", |object| annotate(object, "refresh", "1"));
    let spec = &cluster.stored["spec"]["template"]["spec"];
    assert_eq!(spec["volumes"][0]["name"], "couchdiscover-token");
    let agent = cluster.container("couchdiscover-agent");
    assert_eq!(agent["volumeMounts"][0]["name"], "couchdiscover-token");
    assert_eq!(agent["securityContext"]["runAsUser"], Value::Null);
    let cluster = cluster
        .edit("rollout undo", |object| object["spec"]["template"] = injected["spec"]["template"].clone())
        .edit("everything", |object| annotate(object, "on-removal", "everything"))
        .edit("disabled", |object| label(object, "disabled"));
    let text = cluster.stored["spec"]["template"].to_string();
    assert!(!text.contains("couchdiscover") && !text.contains("ERL_FLAGS"), "{text}");
    insta::assert_snapshot!(cluster.log, @"
    applied again: kept (template-unchanged), pods stay
    scaled: kept (template-unchanged), pods stay
    refresh: injected (refresh-changed), pods restart
    rollout undo: kept (template-unchanged), pods restart
    everything: kept (template-unchanged), pods stay
    disabled: uninjected (opted-out), pods restart
      warning: removed: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. A formed cluster cannot reach its databases without them. Fix: to keep them, opt in again, and out with 'couchdiscover.io/on-removal: agent'
    ");
}

fn value(cluster: &Cluster, name: &str) -> Value {
    let env = cluster.container("couchdb")["env"].clone();
    env.as_array().unwrap().iter().find(|it| it["name"] == name).map_or(Value::Null, |it| it["value"].clone())
}

#[test]
fn members_outside_of_the_statefulset_are_named_at_once_and_wrong_names_are_reported() {
    let cluster = created()
        .edit("named", |object| annotate(object, "other-members", "couchdb@machine-1, *, machine-2"))
        .edit("corrected", |object| annotate(object, "other-members", "couchdb@machine-?"))
        .edit("without the API", |object| annotate(object, "kubernetes", "off"));
    insta::assert_snapshot!(cluster.log, @"
    named: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/other-members]: '*' is no Erlang node name and is ignored. Fix: write NAME@HOST, in which * stands for any characters and ? for one
      warning: metadata.annotations[couchdiscover.io/other-members]: 'machine-2' is no Erlang node name and is ignored. Fix: write NAME@HOST, in which * stands for any characters and ? for one
    corrected: kept (template-unchanged), pods stay
    without the API: kept (template-unchanged), pods stay
      warning: metadata.annotations[couchdiscover.io/kubernetes]: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set 'couchdiscover.io/refresh' to a new value
      warning: metadata.annotations[couchdiscover.io/other-members]: has no effect, since couchdiscover.io/kubernetes is 'off' and the agents read it from the API server: they may form a cluster of their own. Fix: set couchdiscover.io/kubernetes to 'auto'
    ");
}
