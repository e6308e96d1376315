//! The record of drained nodes, on the Lease of a StatefulSet.

use contract::objects;
use inject::guard::Evidence;
use kube::Client;

use super::lookup::Lookup;
use super::request::{COORDINATION, get, path};

/// Reads what the agents of the StatefulSet `set` have recorded about the copies on their nodes.
pub(crate) async fn evidence(client: &Client, namespace: &str, set: &str) -> Lookup<Evidence> {
    let leases = path(COORDINATION, Some(namespace), "leases");
    let lease = get(client, &leases, &objects::companion(set)).await?.unwrap_or_default();
    let annotations = &lease["metadata"]["annotations"];
    Ok(Evidence::read(|key| annotations[key].as_str()))
}
