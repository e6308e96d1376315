//! Role-based access control over the Roles and bindings in the store.

use serde_json::Value;

use super::access::{User, resource_of};
use super::path::{Key, Resource, Target};
use super::store::Store;

const GROUP: &str = "rbac.authorization.k8s.io";

/// True when a binding gives the user a role with a rule for this.
pub(crate) fn allows(store: &Store, user: &User, verb: &str, target: &Target) -> bool {
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    let bindings = store.all().filter(|(key, _)| key.group == GROUP);
    let mut given = bindings.filter(|(key, binding)| {
        let here = match key.plural.as_str() {
            "clusterrolebindings" => true,
            "rolebindings" => key.namespace.is_some() && key.namespace == target.namespace,
            _ => false,
        };
        here && items(&binding["subjects"]).any(|subject| is(user, subject))
    });
    given.any(|(key, binding)| {
        let role = role_key(&binding["roleRef"], key.namespace.clone());
        let rules = store.get(&role).map(|role| &role["rules"]);
        rules.is_some_and(|rules| items(rules).any(|rule| covers(rule, verb, target)))
    })
}

/// The role that a binding refers to, as something one may have the verb `bind` on.
pub(crate) fn role_of(binding: &Value, target: &Target) -> Option<Target> {
    let key = role_key(&binding["roleRef"], target.namespace.clone());
    (!key.name.is_empty()).then(|| Target {
        resource: Resource { group: key.group, version: "v1".to_owned(), plural: key.plural },
        // A ClusterRole may be bound in one namespace by someone who may `bind` it there.
        namespace: target.namespace.clone(),
        name: Some(key.name),
        subresource: None,
    })
}

fn role_key(reference: &Value, namespace: Option<String>) -> Key {
    let of_cluster = reference["kind"] == "ClusterRole";
    Key {
        group: GROUP.to_owned(),
        plural: if of_cluster { "clusterroles" } else { "roles" }.to_owned(),
        namespace: namespace.filter(|_| !of_cluster),
        name: reference["name"].as_str().unwrap_or_default().to_owned(),
    }
}

fn is(user: &User, subject: &Value) -> bool {
    let text = |key: &str| subject[key].as_str().unwrap_or_default();
    match text("kind") {
        "ServiceAccount" => {
            user.name == format!("system:serviceaccount:{}:{}", text("namespace"), text("name"))
        }
        "User" => user.name == text("name"),
        "Group" => user.groups.iter().any(|group| group == text("name")),
        _ => false,
    }
}

fn covers(rule: &Value, verb: &str, target: &Target) -> bool {
    let has = |field: &str, wanted: &str| items(&rule[field]).any(|item| item == "*" || item == wanted);
    let names: Vec<&Value> = items(&rule["resourceNames"]).collect();
    let named =
        names.is_empty() || target.name.as_ref().is_some_and(|name| names.iter().any(|n| **n == **name));
    has("verbs", verb)
        && has("apiGroups", &target.resource.group)
        && has("resources", &resource_of(target))
        && named
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
