//! The resources and objects that URLs of the Kubernetes API name.

use std::fmt;

/// A group, version and resource, as URLs spell them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    /// `v1`
    pub version: String,
    /// `statefulsets`
    pub plural: String,
}

impl Resource {
    /// The resource of an `apiVersion` and a plural.
    pub fn new(api_version: &str, plural: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.to_owned(), version: version.to_owned(), plural: plural.to_owned() }
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The kind of its objects: from a table of the kinds that this project uses, else derived from the plural.
    pub fn kind(&self) -> String {
        if let Some((_, kind)) = KINDS.iter().find(|(plural, _)| *plural == self.plural) {
            return (*kind).to_owned();
        }
        let singular = self.plural.strip_suffix('s').unwrap_or(&self.plural);
        let mut letters = singular.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect()
    }

    /// The resource of an object with this `apiVersion` and `kind`.
    pub fn of_kind(api_version: &str, kind: &str) -> Self {
        let known = KINDS.iter().find(|(_, k)| *k == kind).map(|(plural, _)| (*plural).to_owned());
        Self::new(api_version, &known.unwrap_or_else(|| format!("{}s", kind.to_lowercase())))
    }
}

/// Formats as `statefulsets.apps`, the form of error messages.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

/// The kinds that are not the capitalised singular of their resource.
const KINDS: &[(&str, &str)] = &[
    ("clusterrolebindings", "ClusterRoleBinding"),
    ("clusterroles", "ClusterRole"),
    ("configmaps", "ConfigMap"),
    ("customresourcedefinitions", "CustomResourceDefinition"),
    ("daemonsets", "DaemonSet"),
    ("endpoints", "Endpoints"),
    ("endpointslices", "EndpointSlice"),
    ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    ("networkpolicies", "NetworkPolicy"),
    ("persistentvolumeclaims", "PersistentVolumeClaim"),
    ("poddisruptionbudgets", "PodDisruptionBudget"),
    ("replicasets", "ReplicaSet"),
    ("rolebindings", "RoleBinding"),
    ("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("serviceaccounts", "ServiceAccount"),
    ("statefulsets", "StatefulSet"),
    ("storageclasses", "StorageClass"),
    ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
];

/// The identity of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Without the version: an object is the same in all versions of its group.
    pub(crate) group: String,
    pub(crate) plural: String,
    /// `None` for a cluster-scoped object.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

/// A parsed path, which names one object or all objects of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    /// Parses `/api/v1/..` and `/apis/<group>/<version>/..`; `None` for any other path.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // `/api/v1/namespaces/x` names the namespace itself; with a resource below, the namespace of that.
            ["namespaces", namespace, rest @ ..]
                if rest.first().is_some_and(|r| !matches!(*r, "status" | "finalize")) =>
            {
                (Some((*namespace).to_owned()), rest)
            }
            rest => (None, rest),
        };
        let mut rest = rest.iter().map(|s| (*s).to_owned());
        let plural = rest.next()?;
        Some(Self {
            resource: Resource { group: group.to_owned(), version: version.to_owned(), plural },
            namespace,
            name: rest.next(),
            subresource: rest.next(),
        })
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key {
            group: self.resource.group.clone(),
            plural: self.resource.plural.clone(),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }

    /// `true` if the object has the target's resource, and its namespace and name where the target has them.
    pub(crate) fn covers(&self, key: &Key) -> bool {
        key.group == self.resource.group
            && key.plural == self.resource.plural
            && self.namespace.as_ref().is_none_or(|ns| key.namespace.as_ref() == Some(ns))
            && self.name.as_ref().is_none_or(|name| key.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects_lists_and_subresources() {
        let target = Target::parse("/apis/apps/v1/namespaces/t1/statefulsets/web/scale").unwrap();
        assert_eq!(target.resource, Resource::new("apps/v1", "statefulsets"));
        assert_eq!(target.resource.to_string(), "statefulsets.apps");
        assert_eq!(target.resource.kind(), "StatefulSet");
        assert_eq!((target.namespace.as_deref(), target.name.as_deref()), (Some("t1"), Some("web")));
        assert_eq!(target.subresource.as_deref(), Some("scale"));

        let all = Target::parse("/api/v1/secrets").unwrap();
        assert_eq!((all.resource.kind().as_str(), all.namespace, all.name), ("Secret", None, None));
        let namespace = Target::parse("/api/v1/namespaces/t1").unwrap();
        assert_eq!((namespace.namespace, namespace.name.as_deref()), (None, Some("t1")));
        assert_eq!(Target::parse("/version"), None);
        assert_eq!(Resource::of_kind("coordination.k8s.io/v1", "Lease").plural, "leases");
    }
}
