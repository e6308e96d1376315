//! The stored ClusterRoles, compared with those of the manifests.

use std::collections::BTreeSet;

use kube::Client;
use serde_json::Value;

use crate::check::facts::ClusterRoleFacts;
use crate::cluster::{RBAC, get, items, path, string, strings};

/// Reads each ClusterRole of the manifests from the cluster.
pub(super) async fn look(client: &Client) -> Vec<ClusterRoleFacts> {
    let mut roles = vec![];
    for shipped in shipped_roles() {
        let name = string(&shipped["metadata"]["name"]);
        let stored = get(client, &path(RBAC, None, "clusterroles"), &name).await;
        let missing = stored.map(|stored| stored.map(|stored| missing(&shipped["rules"], &stored["rules"])));
        let component = COMPONENTS.iter().find(|(role, _)| *role == name);
        let removed_by = component.map(|(_, component)| *component);
        roles.push(ClusterRoleFacts { name, removed_by, missing });
    }
    roles
}

/// The ClusterRoles of the manifests of this release.
fn shipped_roles() -> Vec<Value> {
    // The files are part of the program, and a test reads them: an error cannot occur here.
    let documents = [AGENT_ROLE, WEBHOOK_ROLE].map(serde_saphyr::from_multiple::<Value>);
    let objects = documents.into_iter().flat_map(Result::unwrap_or_default);
    objects.filter(|object| object["kind"] == "ClusterRole").collect()
}

/// The permissions of the `needed` rules that the `stored` ones do not grant.
fn missing(needed: &Value, stored: &Value) -> Vec<String> {
    items(needed)
        .flat_map(permissions)
        .filter(|permission| !items(stored).any(|rule| permission.is_granted_by(rule)))
        .map(|permission| permission.to_string())
        .collect()
}

/// One verb on one resource, for the object names of a rule.
struct Permission<'a> {
    verb: &'a str,
    resource: &'a str,
    group: &'a str,
    /// Object names; empty for all objects.
    names: BTreeSet<&'a str>,
}

fn permissions(rule: &Value) -> Vec<Permission<'_>> {
    let mut permissions = vec![];
    for group in strings(&rule["apiGroups"]) {
        for resource in strings(&rule["resources"]) {
            for verb in strings(&rule["verbs"]) {
                permissions.push(Permission { verb, resource, group, names: names(rule) });
            }
        }
    }
    permissions
}

fn names(rule: &Value) -> BTreeSet<&str> {
    strings(&rule["resourceNames"]).collect()
}

impl Permission<'_> {
    fn is_granted_by(&self, rule: &Value) -> bool {
        let granted = names(rule);
        // A rule without names grants all objects; one with names never does.
        let names = granted.is_empty() || (!self.names.is_empty() && self.names.is_subset(&granted));
        names
            && contains(&rule["apiGroups"], self.group)
            && contains(&rule["resources"], self.resource)
            && contains(&rule["verbs"], self.verb)
    }
}

fn contains(list: &Value, wanted: &str) -> bool {
    strings(list).any(|entry| entry == wanted || entry == "*")
}

impl std::fmt::Display for Permission<'_> {
    /// As kubectl writes a resource with its group: `get leases.coordination.k8s.io`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verb, resource, group, .. } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(f, "{verb} {resource}{dot}{group}")
    }
}

/// Roles that a component of the manifests removes.
const COMPONENTS: [(&str, &str); 2] =
    [("couchdiscover-webhook-publisher", "cert-manager"), ("couchdiscover-webhook-provider", "provide-off")];

const AGENT_ROLE: &str = include_str!("../../../../manifests/base/agent-role.yaml");
const WEBHOOK_ROLE: &str = include_str!("../../../../manifests/base/webhook-role.yaml");

#[cfg(test)]
mod tests {
    use std::path::Path;

    use contract::objects;
    use serde_json::json;

    use super::*;

    #[test]
    fn shipped_roles_are_complete_and_fewer_rules_are_not() {
        let roles = shipped_roles();
        let names: Vec<&Value> = roles.iter().map(|role| &role["metadata"]["name"]).collect();
        assert_eq!(names[0], objects::AGENT_CLUSTER_ROLE);
        assert_eq!(names.len(), 4, "{names:?}");
        for (role, component) in COMPONENTS {
            assert!(names.contains(&&json!(role)), "{role}");
            let patches =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/components").join(component);
            let patches = std::fs::read_to_string(patches.join("kustomization.yaml")).unwrap();
            assert!(patches.contains(&format!("    kind: ClusterRole\n    name: {role}\n")), "{component}");
        }
        for rules in roles.iter().map(|role| &role["rules"]) {
            assert_eq!(missing(rules, rules), Vec::<String>::new());
            let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
            assert_eq!(missing(rules, &everything), Vec::<String>::new());
            for (index, rule) in items(rules).enumerate() {
                let mut fewer = rules.clone();
                fewer.as_array_mut().unwrap().remove(index);
                assert!(!missing(rules, &fewer).is_empty(), "without {rule}");
            }
        }
    }

    #[test]
    fn a_rule_for_some_names_does_not_grant_all_names() {
        let rules = |names: Value| json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names }]);
        let secrets = vec!["get secrets".to_owned()];
        assert_eq!(missing(&rules(json!([])), &rules(json!(["a"]))), secrets);
        assert_eq!(missing(&rules(json!(["a", "b"])), &rules(json!(["a"]))), secrets);
        assert_eq!(missing(&rules(json!(["a"])), &rules(json!(["b", "a"]))), Vec::<String>::new());
        assert_eq!(missing(&rules(json!(["a"])), &rules(json!([]))), Vec::<String>::new());
    }
}
