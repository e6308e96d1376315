//! The service account of the pods, which is given the agents' role.

use crate::outcome::Warning;
use crate::read::Planning;

/// Warns if the pods name no account of their own: the role would go to every pod of the namespace that names none.
pub(super) fn warn(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let pod = planning.view.pod();
    let named = pod.service_account_name.iter().chain(&pod.service_account).map(|name| name.as_str());
    // Kubernetes treats an empty name as none.
    if named.into_iter().all(|name| name.is_empty() || name == "default") {
        warnings.push(Warning::DefaultAccount);
    }
}
