//! The writes of a change of size.

use contract::keys;
use kube::Client;
use serde_json::{Value, json};

use super::error::SizeError;
use super::facts::SizeFacts;
use crate::cluster::{Lookup, merge, stateful_sets};

/// Sets the target size, or removes it.
pub(super) async fn set_target(
    client: &Client,
    facts: &SizeFacts,
    target: Option<u32>,
) -> Result<(), SizeError> {
    let value = target.map_or(Value::Null, |target| json!(target.to_string()));
    let change = json!({ "metadata": { "annotations": { keys::TARGET_SIZE: value } } });
    let verb = if target.is_some() { "set" } else { "remove" };
    let written = merge(client, &stateful_sets(Some(&facts.namespace)), &facts.name, None, &change).await;
    refused(written, || format!("{verb} the annotation {} of '{}'", keys::TARGET_SIZE, facts.name))
}

/// Sets the replicas by the subresource, as `kubectl scale` does.
pub(super) async fn set_replicas(client: &Client, facts: &SizeFacts, replicas: u32) -> Result<(), SizeError> {
    let change = json!({ "spec": { "replicas": replicas } });
    let sets = stateful_sets(Some(&facts.namespace));
    let written = merge(client, &sets, &facts.name, Some("scale"), &change).await;
    refused(written, || format!("set the replicas of '{}' to {replicas}", facts.name))
}

fn refused(written: Lookup<Value>, what: impl Fn() -> String) -> Result<(), SizeError> {
    match written {
        Ok(_) => Ok(()),
        Err(error) => Err(SizeError::Change { what: what(), reason: error.to_string() }),
    }
}
