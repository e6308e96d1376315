//! Users, and the requests that they are allowed to make.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::path::Target;
use super::status::ApiError;

/// The user that a token authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:default:couchdb`
    pub name: String,
    /// All groups, `system:authenticated` included.
    pub groups: Vec<String>,
}

impl User {
    /// A user with all permissions, as a member of `system:masters`.
    pub fn admin() -> Self {
        Self {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        }
    }

    /// The user that the token of a ServiceAccount authenticates.
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

    /// The `userInfo` of an admission review.
    pub(crate) fn info(&self) -> Value {
        json!({"username": self.name, "groups": self.groups})
    }
}

/// A set of requests that are forbidden; all others are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forbidden {
    verbs: Vec<String>,
    resources: Vec<String>,
    user: Option<String>,
}

impl Forbidden {
    /// Forbids these verbs (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, or `*`) on these resources
    /// (`statefulsets`, `statefulsets/scale`, or `*`).
    pub fn new(verbs: &[&str], resources: &[&str]) -> Self {
        Self { verbs: owned(verbs), resources: owned(resources), user: None }
    }

    /// Restricts it to one user.
    #[must_use]
    pub fn to_user(mut self, user: &User) -> Self {
        self.user = Some(user.name.clone());
        self
    }

    fn covers(&self, user: &User, verb: &str, resource: &str) -> bool {
        self.user.as_ref().is_none_or(|name| *name == user.name)
            && contains(&self.verbs, verb)
            && contains(&self.resources, resource)
    }
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|item| (*item).to_owned()).collect()
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// The known tokens, and the rules that forbid requests.
#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) tokens: BTreeMap<String, User>,
    pub(crate) forbidden: Vec<Forbidden>,
    /// `true` if a request also needs a Role in the store that allows it.
    pub(crate) rbac: bool,
}

impl Access {
    /// The user of a bearer token.
    pub(crate) fn user(&self, authorization: Option<&str>) -> Result<User, ApiError> {
        // Anonymous requests are not imitated: without a known token the answer is 401.
        let token = authorization.and_then(|header| header.strip_prefix("Bearer ")).map(str::trim);
        token.and_then(|token| self.tokens.get(token)).cloned().ok_or(ApiError::Unauthorized)
    }

    /// Checks that no test has forbidden the request.
    pub(crate) fn check(&self, user: &User, verb: &str, target: &Target) -> Result<(), ApiError> {
        let resource = resource_of(target);
        if self.forbidden.iter().any(|forbidden| forbidden.covers(user, verb, &resource)) {
            return Err(Self::refusal(user, verb, target));
        }
        Ok(())
    }

    /// The error of a forbidden request, in the words of a real server.
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

/// The resource as RBAC rules spell it: `statefulsets`, `statefulsets/scale`.
pub(crate) fn resource_of(target: &Target) -> String {
    match &target.subresource {
        Some(sub) => format!("{}/{sub}", target.resource.plural),
        None => target.resource.plural.clone(),
    }
}

/// The authorization verb of a method on a target; `None` if the method is unknown.
pub(crate) fn verb(method: &str, target: &Target, watching: bool) -> Option<&'static str> {
    let all = target.name.is_none();
    Some(match method {
        // A watch is a GET, but a verb of its own for authorization.
        "GET" if watching => "watch",
        "GET" if all => "list",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if all => "deletecollection",
        "DELETE" => "delete",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_request_is_worded_as_by_a_real_server() {
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
