//! The names that Erlang will give CouchDB's nodes, as far as the template determines them.
//!
//! Agents derive the other nodes' names from their own: any name, `@`, the pod's name, and the same rest for all, which
//! must resolve in DNS. If `ERL_FLAGS` or `NODENAME` gives another name, this shows here, and not only when no node joins
//! another.

use std::borrow::Cow;

use contract::{env, expand, name};
use serde::Deserialize;

use super::references::{may_be_provided, unexpanded};
use crate::outcome::Warning;
use crate::read::view::Env;
use crate::read::{Facts, Planning, erl_flags};

/// Warns of a node name that DNS does not resolve to the node's pod.
pub(super) fn warn(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let container = planning.couchdb.container;
    if [env::ERL_FLAGS, env::NODENAME].iter().all(|name| container.variable(name).is_none()) {
        return;
    }
    let first = i64::from(planning.view.first_ordinal());
    // The first and the last pod: a name without a reference is right for one of them at most.
    for ordinal in [first, first + planning.view.replicas().max(1) - 1] {
        let pod = Pod { planning, name: format!("{}-{ordinal}", planning.view.name()) };
        if let Some((variable, name)) = pod.node_name()
            && !pod.is_resolvable(&name)
            // An unexpanded reference has a warning of its own.
            && unexpanded(container, variable).is_none()
        {
            let path = planning.couchdb.value_path(variable);
            return warnings.push(Warning::NodeName { path, name: name.into_owned() });
        }
    }
}

/// One pod of the StatefulSet.
struct Pod<'p> {
    planning: &'p Planning<'p>,
    name: String,
}

impl<'p> Pod<'p> {
    /// The node name that the user's variables give, if it is known, and the variable that gives it.
    ///
    /// A short name takes precedence over all others. Of several long names Erlang uses the first, which is that of
    /// `NODENAME`: the image writes it into `vm.args`.
    fn node_name(&self) -> Option<(&'p Env<'p>, Cow<'_, str>)> {
        let flags = self.users(env::ERL_FLAGS).and_then(|variable| Some((variable, self.value(variable)?)));
        if let Some((variable, flags)) = &flags
            && let Some(short) = erl_flags::argument(flags, "-sname")
        {
            // Without a host, Erlang adds the short host name, which is the pod's name.
            let name =
                if short.contains('@') { short.into_owned() } else { format!("{short}@{}", self.name) };
            return Some((variable, name.into()));
        }
        if let Some(host) = self.users(env::NODENAME) {
            return Some((host, format!("{}@{}", name::COUCHDB, self.value(host)?).into()));
        }
        let (variable, flags) = flags?;
        Some((variable, erl_flags::argument(&flags, "-name")?.into_owned().into()))
    }

    /// The container's variable of this name, unless `keep` lists it: then its effective value is not visible.
    fn users(&self, name: &str) -> Option<&'p Env<'p>> {
        if self.planning.annotations.keeps(name) {
            return None;
        }
        self.planning.couchdb.container.variable(name)
    }

    /// `true` if the name resolves to the pod: Kubernetes' DNS has its full name, and its search domains complete shorter
    /// ones. The cluster domain is not checked, as it differs between clusters.
    fn is_resolvable(&self, name: &str) -> bool {
        let Facts { service, namespace, .. } = &self.planning.facts;
        // Without a host, Erlang adds the pod's full DNS name.
        let Some((_, host)) = name.split_once('@') else { return true };
        let Some(rest) = host.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('.')) else {
            return false;
        };
        // `<pod>.<service>`, optionally with the namespace, `svc` and the cluster domain.
        let mut labels = rest.split('.');
        labels.next() == Some(service)
            && labels.next().is_none_or(|found| namespace.is_none_or(|namespace| namespace == found))
            && labels.next().is_none_or(|svc| svc == "svc")
    }

    /// The value of a variable in this pod, if it is known.
    fn value(&self, variable: &'p Env<'p>) -> Option<Cow<'_, str>> {
        let Some(source) = variable.value_from else {
            return self.expand(variable.literal()?, variable);
        };
        let ValueFrom { field_ref } = serde_json::from_str(source.get()).ok()?;
        Some(match field_ref?.field_path {
            "metadata.name" => Cow::Borrowed(&self.name),
            "metadata.namespace" => Cow::Borrowed(self.planning.facts.namespace.unwrap_or(ANY_NAMESPACE)),
            // Certainly something else than the two above.
            field => Cow::Owned(format!("<{field}>")),
        })
    }

    /// Expands `text`, the value of `variable`, as Kubernetes does.
    fn expand<'s>(&'s self, text: &'p str, variable: &'p Env<'p>) -> Option<Cow<'s, str>> {
        let container = self.planning.couchdb.container;
        // An inserted value is not expanded again, so all values are collected first.
        let mut values = Vec::new();
        for name in expand::references(text) {
            match container.before(variable).iter().rfind(|other| other.name.as_str() == name) {
                Some(other) => values.push((name, self.value(other)?)),
                None if may_be_provided(container, name) => return None,
                // Kubernetes leaves the reference as it is.
                None => {}
            }
        }
        let expanded = expand::expand(text, |wanted| {
            values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
        });
        Some(expanded.into())
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

/// Replaces the namespace for a file that does not specify it.
const ANY_NAMESPACE: &str = "default";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Question, Settings, decide};

    /// The warnings about names for a container with these variables.
    fn warnings(env: Value, replicas: u32, namespace: Option<&str>) -> Vec<Warning> {
        let settings = Settings {
            agent_image: "agent".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            version: "0".to_owned(),
            defaults: crate::read::Defaults::default(),
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

    /// The name that does not resolve, or the message of another warning.
    fn wrong(env: Value, replicas: u32, namespace: Option<&str>) -> Option<String> {
        let mut warnings = warnings(env, replicas, namespace);
        assert!(warnings.len() <= 1, "{warnings:?}");
        let warning = warnings.pop()?;
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
    fn names_are_checked_for_the_first_and_the_last_pod() {
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
        assert_eq!(
            wrong(node("$(POD).dbs.bar.svc.cluster.local"), 3, None),
            None,
            "may be applied in that namespace"
        );
        assert_eq!(
            wrong(node("db-5.dbs.$(NS).svc.cluster.local"), 1, shop),
            None,
            "the name of the only pod"
        );
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
    fn of_several_names_the_one_that_erlang_uses_counts() {
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
        assert_eq!(flags("-name other@here", own), None, "NODENAME takes precedence");
        assert_eq!(flags("-name couchdb", Some("here")).as_deref(), Some("couchdb@here"));
        assert_eq!(
            flags("-sname couchdb", own).as_deref(),
            Some("couchdb@db-5"),
            "a short name takes precedence"
        );
        assert_eq!(flags("-sname a@b", None).as_deref(), Some("a@b"));
    }

    #[test]
    fn values_that_are_not_visible_cause_no_warning() {
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
                .contains("'$(hostname -f)' is passed on literally. Fix: define it")
        );
    }
    #[test]
    fn an_escaped_reference_is_not_expanded() {
        let shop = Some("shop");
        assert_eq!(wrong(node("$$(POD).dbs"), 1, shop).as_deref(), Some("couchdb@$(POD).dbs"));
        assert_eq!(wrong(node("$$(POD)-$(POD).dbs"), 1, shop).as_deref(), Some("couchdb@$(POD)-db-5.dbs"));
        let twice = json!([
            {"name": "A", "value": "$$(POD)"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NODENAME", "value": "$(A).dbs"},
        ]);
        assert_eq!(wrong(twice, 1, shop).as_deref(), Some("couchdb@$(POD).dbs"), "not twice");
    }
}
