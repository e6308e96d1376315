//! An API server with the webhook and one StatefulSet, and the changes of a user to its manifest.

use std::fmt::Write as _;

use inject::{Decision, Problem, Question, Settings, decide};
use serde_json::{Value, json};

pub(crate) const INJECTED: &str = "couchdiscover.io/injected";

/// An API server with the webhook, and the StatefulSet that it stores.
#[derive(Clone)]
pub(crate) struct Cluster {
    settings: Settings,
    pub(crate) stored: Value,
    /// The change of an API server or of another webhook to a template, after this webhook.
    afterwards: fn(&mut Value),
    /// The decision for each change, with its warnings.
    pub(crate) log: String,
}

impl Cluster {
    /// Creates `manifest` through the webhook.
    pub(crate) fn with(manifest: &Value) -> Self {
        let mut cluster = Self::without_webhook(manifest);
        let decision = cluster.review(manifest, None);
        cluster.stored = cluster.admitted(manifest, &decision);
        cluster
    }

    /// Stores `manifest` without calling the webhook.
    pub(crate) fn without_webhook(manifest: &Value) -> Self {
        Self { settings: settings("1.0.0"), stored: manifest.clone(), afterwards: |_| {}, log: String::new() }
    }

    pub(crate) fn upgraded(mut self) -> Self {
        self.settings = settings("2.0.0");
        self
    }

    /// The cluster's admin changes the defaults of the annotations.
    pub(crate) fn configured(mut self, values: &[(&'static str, &str)]) -> Self {
        let values = values.iter().map(|(key, value)| (*key, Some((*value).to_owned())));
        self.settings.defaults = inject::Defaults::new(values);
        self
    }

    pub(crate) fn afterwards(mut self, afterwards: fn(&mut Value)) -> Self {
        self.afterwards = afterwards;
        afterwards(&mut self.stored["spec"]["template"]);
        self
    }

    /// The user changes the stored object.
    pub(crate) fn edit(self, what: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut new = self.stored.clone();
        change(&mut new);
        self.submit(what, &new)
    }

    /// The user submits `new`. The result is stored, and the decision logged.
    pub(crate) fn submit(mut self, what: &str, new: &Value) -> Self {
        let old = self.stored.clone();
        let decision = self.review(new, Some(&old));
        let mut stored = self.admitted(new, &decision);
        if (self.afterwards as usize) != (untouched as fn(&mut Value) as usize) {
            // The API server calls the webhook again, since another webhook changed the object after it.
            let decision = self.review(&stored, Some(&old));
            stored = self.admitted(&stored, &decision);
        }
        let denied = !decision.problems.is_empty();
        let pods = match denied || stored["spec"]["template"] == old["spec"]["template"] {
            true => "pods stay",
            false => "pods restart",
        };
        let log = &mut self.log;
        let _ = writeln!(log, "{what}: {} ({}), {pods}", decision.outcome, decision.reason);
        for warning in &decision.warnings {
            let _ = writeln!(log, "  warning: {warning}");
        }
        if denied {
            let _ = writeln!(log, "  {}", Problem::message(&decision.problems));
            return self;
        }
        // Called again for its own result, or for the stored object, the webhook changes nothing.
        assert_eq!(self.review(&stored, Some(&old)).patch, "", "{what}: called again");
        assert_eq!(self.review(&stored, Some(&stored)).patch, "", "{what}: called for the stored object");
        self.stored = stored;
        self
    }

    pub(crate) fn review(&self, new: &Value, old: Option<&Value>) -> Decision {
        let (object, old) = (new.to_string(), old.map(Value::to_string));
        let question = Question { object: &object, old: old.as_deref(), namespace: Some("shop") };
        let decision = decide(&self.settings, &question);
        let again = decide(&self.settings, &question);
        assert_eq!(decision.patch, again.patch, "the same bytes for the same request");
        decision
    }

    pub(crate) fn admitted(&self, new: &Value, decision: &Decision) -> Value {
        let mut stored = new.clone();
        if !decision.patch.is_empty() {
            let patch: json_patch::Patch = serde_json::from_str(&decision.patch).unwrap();
            let outside = |op: &json_patch::PatchOperation| {
                let path = op.path().to_string();
                // The one annotation that the webhook sets itself.
                !path.starts_with("/spec/template/")
                    && path != "/metadata/annotations/couchdiscover.io~1target-size"
            };
            assert!(!patch.iter().any(outside), "changes outside the template: {}", decision.patch);
            json_patch::patch(&mut stored, &patch).unwrap();
        }
        (self.afterwards)(&mut stored["spec"]["template"]);
        stored
    }

    pub(crate) fn record(&self) -> String {
        self.stored["spec"]["template"]["metadata"]["annotations"][INJECTED].to_string()
    }

    pub(crate) fn container(&self, name: &str) -> Value {
        let containers = self.stored["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        containers.iter().find(|container| container["name"] == name).cloned().unwrap_or_default()
    }
}

pub(crate) fn untouched(_: &mut Value) {}

pub(crate) fn settings(version: &str) -> Settings {
    Settings {
        agent_image: format!("agent:{version}"),
        cluster_domain: "cluster.local".to_owned(),
        version: version.to_owned(),
        defaults: inject::Defaults::default(),
    }
}

pub(crate) fn manifest() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "shop", "labels": {"couchdiscover.io/inject": "enabled"}},
        "spec": {
            "replicas": 3,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"serviceAccountName": "db", "containers": [{
                    "name": "couchdb",
                    "image": "couchdb:3.5",
                    "env": [
                        {"name": "COUCHDB_USER", "valueFrom": {"secretKeyRef": {"name": "admin", "key": "user"}}},
                        {"name": "COUCHDB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "admin", "key": "password"}}},
                    ],
                }]},
            },
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        },
    })
}

pub(crate) fn created() -> Cluster {
    Cluster::with(&manifest())
}

pub(crate) fn label(object: &mut Value, value: &str) {
    object["metadata"]["labels"]["couchdiscover.io/inject"] = value.into();
}

pub(crate) fn unlabel(object: &mut Value) {
    object["metadata"]["labels"].as_object_mut().unwrap().remove("couchdiscover.io/inject");
}

pub(crate) fn annotate(object: &mut Value, key: &str, value: &str) {
    object["metadata"]["annotations"][format!("couchdiscover.io/{key}")] = value.into();
}

pub(crate) fn annotate_pods(object: &mut Value, key: &str, value: &str) {
    object["spec"]["template"]["metadata"]["annotations"][key] = value.into();
}

pub(crate) fn couchdb(object: &mut Value) -> &mut Value {
    &mut object["spec"]["template"]["spec"]["containers"][0]
}

pub(crate) fn variable<'v>(container: &'v mut Value, name: &str) -> &'v mut Value {
    container["env"].as_array_mut().unwrap().iter_mut().find(|variable| variable["name"] == name).unwrap()
}

/// The manifest without injection, with a change.
pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = manifest();
    change(&mut manifest);
    manifest
}
