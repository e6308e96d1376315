//! What Erlang will call CouchDB's nodes, as far as that can be told before they run.
//!
//! Agents tell from one node's name what the others are called: any name, `@`, the pod's own name and the same rest for
//! all, by which DNS must know them. A user's `ERL_FLAGS` or `NODENAME` that says something else shows here, and not
//! only when no node joins another.

use std::borrow::Cow;

use contract::{env, name};
use serde::Deserialize;

use crate::outcome::warning::Warning;
use crate::plan::value_path;
use crate::read::annotations::Wishes;
use crate::read::couchdb::CouchDb;
use crate::read::erl_flags;
use crate::read::view::{Container, Env, View};
use crate::render::sidecar::references;
use crate::render::variables::Facts;

/// Warns of a name that the user gives, and by which no peer finds the node.
pub(crate) fn warn(
    view: &View<'_>,
    couchdb: CouchDb<'_>,
    wishes: &Wishes<'_>,
    facts: &Facts<'_>,
    warnings: &mut Vec<Warning>,
) {
    if [env::ERL_FLAGS, env::NODENAME].iter().all(|name| couchdb.container.variable(name).is_none()) {
        return;
    }
    let set = view.metadata.name.as_ref().map_or("", |name| name.as_str());
    let start = view.spec.ordinals.as_ref().map_or(0, |ordinals| i64::from(ordinals.start));
    // The first and the last pod: a name without a reference is right for one of them at most.
    for ordinal in [start, start + view.replicas().max(1) - 1] {
        let pod = Pod { container: couchdb.container, name: &format!("{set}-{ordinal}"), facts };
        if let Some((variable, name)) = pod.given(wishes)
            && !pod.is_found(&name)
            // Said with its own cure.
            && unexpanded(couchdb.container, variable).is_none()
        {
            let path = value_path(couchdb, variable);
            return warnings.push(Warning::NodeName { path, name: name.into_owned() });
        }
    }
}

/// The reference in a variable's value that Kubernetes won't expand, and whether the variable that it means comes later.
pub(crate) fn unexpanded<'v>(container: &'v Container<'v>, variable: &'v Env<'v>) -> Option<(&'v str, bool)> {
    let before = earlier(container, variable);
    let is_unknown = |name: &&str| {
        let unseen = !container.env_from().is_empty() || is_of_a_service(name);
        !unseen && !before.iter().any(|other| other.name.as_str() == *name)
    };
    let name = references(variable.literal()?).find(is_unknown)?;
    Some((name, container.variable(name).is_some()))
}

/// One pod of the StatefulSet.
struct Pod<'p> {
    container: &'p Container<'p>,
    name: &'p str,
    facts: &'p Facts<'p>,
}

impl<'p> Pod<'p> {
    /// The name that the user's variables give the node, as far as it can be told, and the variable that does.
    ///
    /// A short name wins over all others. Of several long ones Erlang takes the first, which is that of `NODENAME`: the
    /// image writes it into `vm.args`.
    fn given(&self, wishes: &Wishes<'_>) -> Option<(&'p Env<'p>, Cow<'p, str>)> {
        let users = |name| self.container.variable(name).filter(|_| !wishes.keep.contains(&name));
        let flags = users(env::ERL_FLAGS).and_then(|variable| Some((variable, self.value(variable)?)));
        if let Some((variable, flags)) = &flags
            && let Some(short) = erl_flags::argument(flags, "-sname")
        {
            let host = if short.contains('@') { "" } else { self.name };
            return Some((variable, format!("{short}@{host}").trim_end_matches('@').to_owned().into()));
        }
        if let Some(host) = users(env::NODENAME) {
            return Some((host, format!("{}@{}", name::COUCHDB, self.value(host)?).into()));
        }
        let (variable, flags) = flags?;
        Some((variable, erl_flags::argument(&flags, "-name")?.into_owned().into()))
    }

    /// Whether peers find a node of this name: Kubernetes' DNS knows the pod by its full name, and by what the search
    /// domains make one. The cluster domain is each cluster's own.
    fn is_found(&self, name: &str) -> bool {
        let Facts { service, namespace, .. } = self.facts;
        // Without a host, Erlang adds the pod's full DNS name.
        let Some((_, host)) = name.split_once('@') else { return true };
        let rest = host.strip_prefix(self.name).and_then(|rest| rest.strip_prefix('.'));
        let mut labels = rest.into_iter().flat_map(|rest| rest.split('.'));
        let is_of_the_service = labels.next() == Some(service);
        let is_of_the_namespace = labels.next().is_none_or(|found| namespace.is_none_or(|it| it == found));
        is_of_the_service && is_of_the_namespace && labels.next().is_none_or(|svc| svc == "svc")
    }

    /// What a variable will hold in this pod; `None` when that can't be told.
    fn value(&self, variable: &'p Env<'p>) -> Option<Cow<'p, str>> {
        match variable.value_from {
            None => self.expand(variable),
            Some(value_from) => {
                match serde_json::from_str::<ValueFrom<'_>>(value_from.get()).ok()?.field_ref?.field_path {
                    "metadata.name" => Some(self.name.into()),
                    "metadata.namespace" => Some(self.facts.namespace.unwrap_or(ANY_NAMESPACE).into()),
                    // Known to be something else.
                    field => Some(format!("<{field}>").into()),
                }
            }
        }
    }

    fn expand(&self, variable: &'p Env<'p>) -> Option<Cow<'p, str>> {
        let text = variable.literal()?;
        let mut expanded = Cow::Borrowed(text);
        for name in references(text) {
            let before = earlier(self.container, variable);
            let Some(other) = before.iter().rfind(|other| other.name.as_str() == name) else {
                if self.container.env_from().is_empty() && !is_of_a_service(name) {
                    continue;
                }
                return None;
            };
            expanded = expanded.replace(&format!("$({name})"), &self.value(other)?).into();
        }
        Some(expanded)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom<'a> {
    #[serde(borrow)]
    field_ref: Option<FieldRef<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldRef<'a> {
    field_path: &'a str,
}

/// Stands for the namespace of a file that doesn't say where it will be applied.
const ANY_NAMESPACE: &str = "default";

/// The variables that Kubernetes knows when it expands this one.
fn earlier<'v>(container: &'v Container<'v>, variable: &Env<'_>) -> &'v [Env<'v>] {
    let env = container.env();
    let index = env.iter().position(|env| std::ptr::eq(env.raw, variable.raw));
    &env[..index.unwrap_or(0)]
}

/// Whether a variable may be one of those that Kubernetes sets for each Service: `DB_SERVICE_HOST`, `DB_PORT_5984_TCP`.
fn is_of_a_service(name: &str) -> bool {
    name.contains("_SERVICE_") || name.contains("_PORT")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Question, Settings, decide};

    /// What is said of a container's variables, in the file of a StatefulSet that may say its namespace.
    fn said(env: Value, replicas: u32, namespace: Option<&str>) -> Vec<Warning> {
        let settings = Settings {
            agent_image: "agent".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            version: "0".to_owned(),
        };
        let object = json!({
            "metadata": {"name": "db", "labels": {"couchdiscover.io/inject": "enabled"}},
            "spec": {"serviceName": "dbs", "replicas": replicas, "ordinals": {"start": 5}, "template": {"spec": {
                "containers": [{"name": "couchdb", "image": "couchdb", "env": env}],
            }}},
        });
        let object = object.to_string();
        let decision = decide(&settings, &Question { object: &object, old: None, namespace });
        assert!(decision.problems.is_empty(), "{:?}", decision.problems);
        let is_about_names =
            |warning: &Warning| matches!(warning, Warning::NodeName { .. } | Warning::Unexpanded { .. });
        decision.warnings.into_iter().filter(is_about_names).collect()
    }

    /// The name that is found wrong, if one is.
    fn wrong(env: Value, replicas: u32, namespace: Option<&str>) -> Option<String> {
        let mut said = said(env, replicas, namespace);
        assert!(said.len() <= 1, "{said:?}");
        let warning = said.pop()?;
        let Warning::NodeName { name, .. } = warning else { return Some(warning.to_string()) };
        Some(name)
    }

    fn node(value: &str) -> Value {
        json!([
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "NODENAME", "value": value},
        ])
    }

    #[test]
    fn names_are_expanded_as_in_the_first_and_in_the_last_pod() {
        let shop = Some("shop");
        for good in [
            "$(POD).dbs.$(NS).svc.cluster.local",
            "$(POD).dbs.shop.svc.other.domain",
            "$(POD).dbs.shop.svc",
            "$(POD).dbs.$(NS)",
            "$(POD).dbs",
        ] {
            assert_eq!(wrong(node(good), 3, shop), None, "{good}");
            assert_eq!(wrong(node(good), 3, None), None, "{good}");
        }
        assert_eq!(wrong(node("$(POD).dbs.bar.svc.cluster.local"), 3, None), None, "may be applied there");
        assert_eq!(wrong(node("db-5.dbs.$(NS).svc.cluster.local"), 1, shop), None, "the only pod's own");
        for (bad, name) in [
            ("$(POD).dbs.bar.svc.cluster.local", "couchdb@db-5.dbs.bar.svc.cluster.local"),
            ("$(POD).dbs.shop.pod.cluster.local", "couchdb@db-5.dbs.shop.pod.cluster.local"),
            ("$(POD)", "couchdb@db-5"),
            ("$(POD)x.dbs", "couchdb@db-5x.dbs"),
            ("$(POD).other.shop.svc.cluster.local", "couchdb@db-5.other.shop.svc.cluster.local"),
            ("db-5.dbs.shop.svc.cluster.local", "couchdb@db-5.dbs.shop.svc.cluster.local"),
            ("db-0.dbs.shop.svc.cluster.local", "couchdb@db-0.dbs.shop.svc.cluster.local"),
        ] {
            assert_eq!(wrong(node(bad), 3, shop).as_deref(), Some(name));
        }
    }

    #[test]
    fn of_several_names_the_one_counts_that_erlang_takes() {
        let flags = |flags: &str, host: Option<&str>| {
            let mut env = vec![json!({"name": "ERL_FLAGS", "value": flags})];
            env.extend(host.map(|host| json!({"name": "NODENAME", "value": host})));
            wrong(env.into(), 1, Some("shop"))
        };
        let own = Some("db-5.dbs.shop.svc.cluster.local");
        assert_eq!(flags("-name couchdb", None), None);
        assert_eq!(flags("-name other", None), None, "with the pod's full DNS name");
        assert_eq!(flags("-name other@db-5.dbs", None), None);
        assert_eq!(flags("-name other@here", None).as_deref(), Some("other@here"));
        assert_eq!(flags("-name other@here", own), None, "that of NODENAME comes first");
        assert_eq!(flags("-name couchdb", Some("here")).as_deref(), Some("couchdb@here"));
        assert_eq!(flags("-sname couchdb", own).as_deref(), Some("couchdb@db-5"), "a short one before all");
        assert_eq!(flags("-sname a@b", None).as_deref(), Some("a@b"));
    }

    #[test]
    fn what_cannot_be_seen_is_not_judged() {
        let shop = Some("shop");
        for value_from in [
            json!({"configMapKeyRef": {"name": "a", "key": "b"}}),
            json!({"secretKeyRef": {"name": "a", "key": "b"}}),
        ] {
            assert_eq!(wrong(json!([{"name": "NODENAME", "valueFrom": value_from}]), 3, shop), None);
            let env =
                json!([{"name": "A", "valueFrom": value_from}, {"name": "NODENAME", "value": "$(A).b"}]);
            assert_eq!(wrong(env, 3, shop), None);
        }
        assert_eq!(wrong(node("$(DB_SERVICE_HOST)"), 3, shop), None);
        assert!(
            wrong(node("$(hostname -f)"), 3, shop)
                .unwrap()
                .contains("'$(hostname -f)' stays as it is: define it")
        );
    }
}
