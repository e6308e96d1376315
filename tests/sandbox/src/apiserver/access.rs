//! Who calls, and what they may.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::path::Target;
use super::status::ApiError;

/// The bearer of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:default:couchdb`
    pub name: String,
    /// `system:authenticated`, ..
    pub groups: Vec<String>,
}

impl User {
    /// Someone who may everything.
    pub fn admin() -> Self {
        Self {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        }
    }

    /// The account of pods.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
        }
    }

    pub(crate) fn info(&self) -> Value {
        json!({"username": self.name, "groups": self.groups})
    }
}

/// What someone may not; everything else is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forbidden {
    verbs: Vec<String>,
    resources: Vec<String>,
    user: Option<String>,
}

impl Forbidden {
    /// These verbs (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, or `*`) on these resources
    /// (`statefulsets`, `statefulsets/scale`, or `*`).
    pub fn new(verbs: &[&str], resources: &[&str]) -> Self {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Self { verbs: owned(verbs), resources: owned(resources), user: None }
    }

    /// Only for this user.
    #[must_use]
    pub fn to_user(mut self, user: &User) -> Self {
        self.user = Some(user.name.clone());
        self
    }

    fn covers(&self, user: &User, verb: &str, resource: &str) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|l| l == "*" || l == wanted);
        self.user.as_ref().is_none_or(|u| *u == user.name)
            && has(&self.verbs, verb)
            && has(&self.resources, resource)
    }
}

/// Tokens and prohibitions.
#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) tokens: BTreeMap<String, User>,
    pub(crate) forbidden: Vec<Forbidden>,
    /// What Roles in the store don't allow is forbidden.
    pub(crate) rbac: bool,
}

impl Access {
    pub(crate) fn user(&self, authorization: Option<&str>) -> Result<User, ApiError> {
        let token = authorization.and_then(|header| header.strip_prefix("Bearer ")).map(str::trim);
        token.and_then(|token| self.tokens.get(token)).cloned().ok_or(ApiError::Unauthorized)
    }

    pub(crate) fn check(&self, user: &User, verb: &str, target: &Target) -> Result<(), ApiError> {
        let resource = resource_of(target);
        if self.forbidden.iter().any(|f| f.covers(user, verb, &resource)) {
            return Err(Self::refusal(user, verb, target));
        }
        Ok(())
    }

    /// In the real one's words.
    pub(crate) fn refusal(user: &User, verb: &str, target: &Target) -> ApiError {
        let object = target.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let place = match &target.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        };
        ApiError::Forbidden {
            message: format!(
                "{}{object} is forbidden: User {:?} cannot {verb} resource {:?} in API group {:?} {place}",
                target.resource,
                user.name,
                resource_of(target),
                target.resource.group
            ),
        }
    }
}

/// `statefulsets`, `statefulsets/scale`
pub(crate) fn resource_of(target: &Target) -> String {
    match &target.subresource {
        Some(sub) => format!("{}/{sub}", target.resource.plural),
        None => target.resource.plural.clone(),
    }
}

/// The verb that authorization knows, from method and target.
pub(crate) fn verb(method: &str, target: &Target, watching: bool) -> Option<&'static str> {
    Some(match (method, &target.name) {
        ("GET", _) if watching => "watch",
        ("GET", Some(_)) => "get",
        ("GET", None) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", Some(_)) => "delete",
        ("DELETE", None) => "deletecollection",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prohibition_is_worded_as_the_real_one() {
        let mut access = Access::default();
        let user = User::service_account("default", "couchdb");
        access.forbidden.push(Forbidden::new(&["get"], &["statefulsets"]).to_user(&user));
        let target = Target::parse("/apis/apps/v1/namespaces/default/statefulsets/couchdb").unwrap();
        let refused = access.check(&user, "get", &target).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "statefulsets.apps \"couchdb\" is forbidden: User \"system:serviceaccount:default:couchdb\" cannot get \
             resource \"statefulsets\" in API group \"apps\" in the namespace \"default\""
        );
        assert_eq!(access.check(&User::admin(), "get", &target), Ok(()));
        assert_eq!(access.check(&user, "list", &target), Ok(()));
    }
}
