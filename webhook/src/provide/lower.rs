//! The calls that complete a drain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::error::chain;
use contract::keys;
use kube::Client;
use serde_json::json;
use tokio::time::timeout;
use tracing::{info, warn};

use super::drain::{Drain, DrainStep};
use super::needs::Key;
use crate::guard::{Look, LookError};

/// The look at one drain, and the change that followed.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) key: Key,
    pub(crate) uid: String,
    pub(crate) result: Result<DrainStep, LookError>,
}

/// Reports each failure once.
#[derive(Debug)]
pub(crate) struct Lowering {
    look: Arc<Look>,
    /// The last failure of each StatefulSet.
    failures: BTreeMap<Key, String>,
}

impl Lowering {
    pub(crate) fn new(client: Client) -> Self {
        Self { look: Arc::new(Look::of(client)), failures: BTreeMap::new() }
    }

    pub(crate) fn look(&self) -> Arc<Look> {
        self.look.clone()
    }

    /// Forgets the failures of StatefulSets that drain no more.
    pub(crate) fn forget_all_but(&mut self, pass: &[Lowered]) {
        self.failures.retain(|key, _| pass.iter().any(|lowered| lowered.key == *key));
    }

    /// Logs the result. Returns the problem, unless it was returned before.
    pub(crate) fn finish(&mut self, lowered: &Lowered) -> Option<String> {
        let Key { namespace, name } = &lowered.key;
        let error = match &lowered.result {
            Ok(step) => {
                self.failures.remove(&lowered.key);
                match step {
                    DrainStep::Wait => {}
                    DrainStep::Lower => info!(namespace, name, "the nodes are drained: lowered the replicas"),
                    DrainStep::Forget => {
                        info!(namespace, name, "the drained nodes are removed: removed the target size")
                    }
                }
                return None;
            }
            Err(error) => chain(error),
        };
        if self.failures.get(&lowered.key) == Some(&error) {
            return None;
        }
        warn!(namespace, name, error, "the drain cannot be completed: trying again");
        self.failures.insert(lowered.key.clone(), error.clone());
        Some(format!(
            "a drain cannot be completed: {error}. Fix: if the permission to patch StatefulSets is missing: kubectl apply -k \
             manifests/overlays/scale-down-drain"
        ))
    }
}

/// Looks at each drain, and completes those that can be.
pub(crate) async fn lower(look: Arc<Look>, drains: Vec<(Key, Drain)>) -> Vec<Lowered> {
    let mut all = vec![];
    for (key, drain) in drains {
        let lowering = timeout(LIMIT, lower_one(&look, &key, &drain));
        let result = lowering.await.unwrap_or(Err(LookError::OutOfTime(LIMIT)));
        all.push(Lowered { key, uid: drain.uid, result });
    }
    all
}

async fn lower_one(look: &Look, key: &Key, drain: &Drain) -> Result<DrainStep, LookError> {
    let Key { namespace, name } = key;
    let step = drain.next(name, &look.evidence(namespace, name).await?);
    // Of another version nothing is known: the user may have changed the size since.
    let version = &drain.resource_version;
    let change = match step {
        DrainStep::Wait => return Ok(step),
        DrainStep::Lower => {
            json!({ "metadata": { "resourceVersion": version }, "spec": { "replicas": drain.target } })
        }
        DrainStep::Forget => {
            json!({ "metadata": { "resourceVersion": version, "annotations": { keys::TARGET_SIZE: null } } })
        }
    };
    match look.patch(namespace, name, &change).await {
        Ok(()) => Ok(step),
        // Another replica was faster, or the StatefulSet has changed, which the watch reports.
        Err(error) if error.is_conflict() => Ok(DrainStep::Wait),
        Err(error) => Err(error),
    }
}

/// For the calls of one StatefulSet. API servers answer within milliseconds.
const LIMIT: Duration = Duration::from_secs(10);
