//! The fix for missing permissions.

use contract::{PodFqdn, objects};

/// The command that binds the agent's ClusterRole to the pod's service account.
pub(super) fn bind_command(me: &PodFqdn) -> String {
    let (namespace, pod) = (me.namespace(), me.pod());
    format!(
        "kubectl -n {namespace} create rolebinding {} --clusterrole={} --serviceaccount={namespace}:$(kubectl -n \
         {namespace} get pod {pod} -o jsonpath='{{.spec.serviceAccountName}}')",
        objects::companion(pod.set().as_str()),
        objects::AGENT_CLUSTER_ROLE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_bound_to_the_pods_own_service_account() {
        let me = "db-0.db.shop.svc.cluster.local".parse().unwrap();
        insta::assert_snapshot!(bind_command(&me), @"kubectl -n shop create rolebinding db-couchdiscover --clusterrole=couchdiscover-agent --serviceaccount=shop:$(kubectl -n shop get pod db-0 -o jsonpath='{.spec.serviceAccountName}')");
    }
}
