//! The other objects of the same files, which the webhook does not see: warnings about those that injected StatefulSets
//! depend on.

use contract::keys;
use serde_json::Value;

use super::object::label;
use super::{configuration, network};

/// The objects that decide about labelled StatefulSets, and these.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    pub(super) objects: Vec<Value>,
    sets: Vec<Value>,
}

impl Surroundings {
    /// Adds an object of the files, if it is a labelled StatefulSet or may matter to one.
    pub(super) fn add(&mut self, object: &Value) {
        const KINDS: [&str; 5] = ["ConfigMap", "Secret", "Service", "NetworkPolicy", "PodDisruptionBudget"];
        let kind = object["kind"].as_str().unwrap_or_default();
        if KINDS.contains(&kind) {
            self.objects.push(object.clone());
        }
        if kind == "StatefulSet" && label(object) == Some(keys::INJECT_ENABLED) {
            self.sets.push(object.clone());
        }
    }

    /// A line for each problem.
    pub(super) fn report(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for set in &self.sets {
            let set = Set { set, surroundings: self };
            set.namespace(&mut lines);
            set.services(&mut lines);
            configuration::warn(&set, &mut lines);
            network::warn(&set, &mut lines);
            set.budgets(&mut lines);
        }
        // Several StatefulSets may share an object.
        let mut seen = std::collections::BTreeSet::new();
        lines.retain(|line| seen.insert(line.clone()));
        lines
    }
}

/// One labelled StatefulSet among the objects of the files.
pub(super) struct Set<'s> {
    pub(super) set: &'s Value,
    surroundings: &'s Surroundings,
}

impl<'s> Set<'s> {
    /// The StatefulSet's name.
    pub(super) fn name(&self) -> &'s str {
        self.set["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The labels of the pods.
    pub(super) fn labels(&self) -> &'s Value {
        &self.set["spec"]["template"]["metadata"]["labels"]
    }

    /// Number of pods.
    pub(super) fn replicas(&self) -> i64 {
        self.set["spec"]["replicas"].as_i64().unwrap_or(1)
    }

    /// The objects of a kind in the StatefulSet's namespace. Compared as JSON values: two absent namespaces are the same one.
    pub(super) fn beside(&self, kind: &str) -> impl Iterator<Item = &'s Value> {
        let namespace = &self.set["metadata"]["namespace"];
        let objects = self.surroundings.objects.iter();
        objects.filter(move |it| it["kind"] == kind && it["metadata"]["namespace"] == *namespace)
    }

    fn namespace(&self, lines: &mut Vec<String>) {
        // Those of the webhook's namespaceSelector; its own has this name unless it was changed.
        const EXCLUDED: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "couchdiscover"];
        if let Some(namespace) = self.set["metadata"]["namespace"].as_str()
            && EXCLUDED.contains(&namespace)
        {
            lines.push(format!(
                "statefulset/{}: warning: metadata.namespace: the webhook is not called for '{namespace}', so the label has no \
                 effect there. Fix: use another namespace",
                self.name()
            ));
        }
    }

    fn services(&self, lines: &mut Vec<String>) {
        let governing =
            self.beside("Service").find(|it| it["metadata"]["name"] == self.set["spec"]["serviceName"]);
        // Files without Services may be a part of a manifest.
        let Some(governing) = governing else { return };
        lines.extend(governing_problem(governing));
        let leads_to_ready = |service: &Value| {
            service["spec"]["publishNotReadyAddresses"] != true
                && selects_by_labels(&service["spec"]["selector"], self.labels())
        };
        if !self.beside("Service").any(leads_to_ready) {
            lines.push(format!(
                "statefulset/{}: warning: no Service of the files leads to its ready pods only, so clients also reach nodes that \
                 are not ready. Fix: add a Service for clients, without publishNotReadyAddresses",
                self.name()
            ));
        }
    }

    fn budgets(&self, lines: &mut Vec<String>) {
        let selects = |budget: &&Value| selects(&budget["spec"]["selector"], self.labels());
        for budget in self.beside("PodDisruptionBudget").filter(selects) {
            let spec = &budget["spec"];
            let is_zero = spec["maxUnavailable"] == 0 || spec["maxUnavailable"] == "0%";
            let is_all = spec["minAvailable"].as_i64().is_some_and(|least| least >= self.replicas())
                || spec["minAvailable"] == "100%";
            if is_zero || is_all {
                let field = if is_zero { "maxUnavailable" } else { "minAvailable" };
                lines.push(format!(
                    "poddisruptionbudget/{}: warning: spec.{field}: allows no eviction, so 'kubectl drain' of a node never ends. \
                     Fix: set 'maxUnavailable: 1'",
                    budget["metadata"]["name"].as_str().unwrap_or_default()
                ));
            }
        }
    }
}

fn governing_problem(service: &Value) -> Option<String> {
    let (name, spec) = (service["metadata"]["name"].as_str()?, &service["spec"]);
    let problem = if spec["clusterIP"] != "None" {
        "spec.clusterIP: not 'None', so the pods have no DNS names. Fix: name a headless Service in the StatefulSet's spec.serviceName"
    } else if spec["publishNotReadyAddresses"] != true {
        // Pods find each other by DNS, and become ready only after that.
        "spec.publishNotReadyAddresses: not true, so pods can find each other only when they are ready, which they become only after finding each other. Fix: set it to true"
    } else {
        return None;
    };
    Some(format!("service/{name}: warning: {problem}"))
}

/// `true` if a Service's selector matches the labels. An empty one matches nothing.
fn selects_by_labels(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object();
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
    })
}

/// `true` if a label selector matches the labels. An empty one matches everything.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let mut wanted = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    wanted.all(|(key, value)| labels[key] == *value)
        && expressions.all(|expression| {
            let value = &labels[expression["key"].as_str().unwrap_or_default()];
            let is_listed = expression["values"].as_array().is_some_and(|values| values.contains(value));
            match expression["operator"].as_str().unwrap_or_default() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => !value.is_null(),
                "DoesNotExist" => value.is_null(),
                _ => false,
            }
        })
}
