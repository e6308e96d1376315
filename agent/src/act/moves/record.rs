//! The record of copies on the Lease.

use std::collections::BTreeMap;

use agent_core::facts::CountedCopies;
use agent_core::moves::recorded_after;
use contract::moves::{CopiesRecord, NodeCopies};

use crate::act::actor::Actor;
use crate::kubernetes::LeaseError;
use crate::observe::Directory;

impl Actor {
    /// Writes the copies on each node into the record. Returns `false` if the Lease was changed in between.
    pub async fn record_copies(
        &self,
        directory: &Directory,
        counted: &CountedCopies,
    ) -> Result<bool, LeaseError> {
        self.update_record(directory, Some(&counted.as_of), |recorded| {
            recorded_after(&counted.nodes, &recorded)
        })
        .await
    }

    /// Changes the nodes in the record; `as_of` is the time of the count, if they were counted again. Returns `false` if the
    /// Lease was changed in between.
    pub(super) async fn update_record(
        &self,
        directory: &Directory,
        as_of: Option<&str>,
        change: impl FnOnce(BTreeMap<u32, NodeCopies>) -> BTreeMap<u32, NodeCopies>,
    ) -> Result<bool, LeaseError> {
        let Some(claim) = &self.claim else { return Ok(true) };
        let set = directory.me.pod().set();
        claim
            .update_copies(|record| {
                let as_of = as_of.map_or_else(|| record.as_of.clone(), str::to_owned);
                let nodes = change(record.by_ordinal()).into_iter();
                let nodes = nodes.map(|(ordinal, node)| (format!("{set}-{ordinal}"), node)).collect();
                CopiesRecord { as_of, nodes }
            })
            .await
    }
}
