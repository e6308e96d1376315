//! References `$(NAME)` that Kubernetes does not expand.

use contract::expand;

use crate::outcome::Unresolved;
use crate::read::view::{Container, Env};

/// The first reference in a variable's value that Kubernetes passes on literally, and the reason.
pub(super) fn unexpanded<'v>(
    container: &'v Container<'v>,
    variable: &'v Env<'v>,
) -> Option<(&'v str, Unresolved)> {
    let name = expand::references(variable.literal()?).find(|name| {
        // Kubernetes expands the variables in order.
        let is_known = container.before(variable).iter().any(|other| other.name.as_str() == *name);
        !is_known && !may_be_provided(container, name)
    })?;
    let reference = match container.variable(name) {
        Some(_) => Unresolved::DefinedLater,
        None => Unresolved::Undefined,
    };
    Some((name, reference))
}

/// `true` if the variable may exist although `env` does not define it: from `envFrom`, or as one of those that Kubernetes
/// sets for each Service, such as `DB_SERVICE_HOST` and `DB_PORT_5984_TCP`.
pub(super) fn may_be_provided(container: &Container<'_>, name: &str) -> bool {
    !container.env_from().is_empty() || name.contains("_SERVICE_") || name.contains("_PORT")
}
