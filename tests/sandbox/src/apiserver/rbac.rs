//! Role-based access control over the Roles and bindings in the store.

use serde_json::Value;

use super::access::{User, resource_of};
use super::path::{Key, Resource, Target};
use super::store::Store;
use crate::json::{items, lists, strings, text};

const GROUP: &str = "rbac.authorization.k8s.io";

/// `true` if a binding grants the user a role with a rule for this verb on this target.
pub(crate) fn allows(store: &Store, user: &User, verb: &str, target: &Target) -> bool {
    // Members of this group bypass RBAC in a real server, too.
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    let bindings = store.all().filter(|(key, _)| key.group == GROUP);
    let mut granted = bindings.filter(|(key, binding)| {
        // A RoleBinding grants permissions only in its own namespace.
        let applies = match key.plural.as_str() {
            "clusterrolebindings" => true,
            "rolebindings" => key.namespace.is_some() && key.namespace == target.namespace,
            _ => false,
        };
        applies && items(&binding["subjects"]).any(|subject| is_subject(user, subject))
    });
    granted.any(|(key, binding)| {
        let role = role_key(&binding["roleRef"], key.namespace.clone());
        let rules = store.get(&role).map(|role| &role["rules"]);
        rules.is_some_and(|rules| items(rules).any(|rule| covers(rule, verb, target)))
    })
}

/// The role that a binding refers to, as a target for the verb `bind`.
pub(crate) fn role_of(binding: &Value, target: &Target) -> Option<Target> {
    let key = role_key(&binding["roleRef"], target.namespace.clone());
    (!key.name.is_empty()).then(|| Target {
        resource: Resource { group: key.group, version: "v1".to_owned(), plural: key.plural },
        // Permission to `bind` a ClusterRole can be limited to one namespace.
        namespace: target.namespace.clone(),
        name: Some(key.name),
        subresource: None,
    })
}

fn role_key(reference: &Value, namespace: Option<String>) -> Key {
    let is_cluster_role = reference["kind"] == "ClusterRole";
    Key {
        group: GROUP.to_owned(),
        plural: if is_cluster_role { "clusterroles" } else { "roles" }.to_owned(),
        // A ClusterRole has no namespace, even if a RoleBinding refers to it.
        namespace: namespace.filter(|_| !is_cluster_role),
        name: text(&reference["name"]).to_owned(),
    }
}

fn is_subject(user: &User, subject: &Value) -> bool {
    let name = text(&subject["name"]);
    match text(&subject["kind"]) {
        "ServiceAccount" => {
            user.name == format!("system:serviceaccount:{}:{name}", text(&subject["namespace"]))
        }
        "User" => user.name == name,
        "Group" => user.groups.iter().any(|group| group == name),
        _ => false,
    }
}

fn covers(rule: &Value, verb: &str, target: &Target) -> bool {
    let names: Vec<&str> = strings(&rule["resourceNames"]).collect();
    // A rule without names covers all objects; one with names never covers a list or a creation, which have none.
    let named = names.is_empty() || target.name.as_deref().is_some_and(|name| names.contains(&name));
    lists(&rule["verbs"], verb)
        && lists(&rule["apiGroups"], &target.resource.group)
        && lists(&rule["resources"], &resource_of(target))
        && named
}
