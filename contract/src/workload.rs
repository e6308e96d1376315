//! The kind of workload that the webhook injects into and the agent runs in: the StatefulSet.

/// The API group.
pub const GROUP: &str = "apps";
/// The version within [`GROUP`].
pub const VERSION: &str = "v1";
/// `apiVersion` in a manifest and in an owner reference: [`GROUP`] and [`VERSION`].
pub const API_VERSION: &str = "apps/v1";
/// `kind` in a manifest and in an owner reference.
pub const KIND: &str = "StatefulSet";
/// The resource's name in API paths and RBAC rules.
pub const PLURAL: &str = "statefulsets";
/// JSON pointer to the pod template.
pub const TEMPLATE: &str = "/spec/template";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_version_consists_of_group_and_version() {
        assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
    }
}
