//! Reads everything that is judged. Nothing is changed: the one write is a dry run.

mod cluster_roles;
mod handshake;
mod misplaced;
mod next_pod;
mod pod_spec;
mod stateful_set;
mod webhook;

use kube::Client;

use crate::check::facts::{ClusterFacts, Scope};

/// The part of the cluster to read.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Name of the MutatingWebhookConfiguration.
    pub(super) config_name: String,
    /// Namespace of the StatefulSets; `None` for all namespaces.
    pub(super) namespace: Option<String>,
}

/// Reads everything once.
pub(super) async fn look(client: &Client, question: &Question) -> ClusterFacts {
    let configuration = webhook::configuration(client, &question.config_name).await;
    let stored = configuration.as_ref().ok().and_then(Option::as_ref);
    let client_config = stored.map(webhook::client_config);
    // The dry run needs some namespace; any that the webhook is called for is as good as another.
    let namespace = question.namespace.as_deref().unwrap_or(client.default_namespace());
    let (scope, stateful_sets) = stateful_set::labelled(client, question.namespace.as_deref()).await;
    let labelled = stateful_sets.as_deref().unwrap_or(&[]);
    let is_excluded = |name: &str| stored.is_some_and(|stored| webhook::excludes(stored, name));
    ClusterFacts {
        misplaced: misplaced::look(client, searched(&scope), labelled, is_excluded).await,
        account_policies: webhook::account_policies(client).await,
        admission: webhook::dry_run(client, namespace, stored).await,
        handshake: webhook::handshake(client_config).await,
        endpoints: webhook::endpoints(client, client_config).await,
        policy: webhook::policy(client).await,
        roles: cluster_roles::look(client).await,
        scope,
        stateful_sets: match stateful_sets {
            Ok(stored) => Ok(stateful_set::look_at_each(client, &stored).await),
            Err(error) => Err(error),
        },
        configuration_name: question.config_name.clone(),
        configuration: configuration.map(|found| found.as_ref().map(webhook::facts)),
    }
}

/// The namespace that was searched; `None` for all.
fn searched(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::All => None,
        Scope::Namespace(namespace) | Scope::Fallback { namespace, .. } => Some(namespace),
    }
}
