//! Adds copies of system databases on the local node.

use agent_core::facts::SystemDatabase;
use agent_core::shards::{Properties, Property, ShardMap, missing_ranges, with_copy};
use serde_json::Value;

use super::actor::Actor;
use super::error::ActError;
use crate::couch::{CouchError, FileAt};

impl Actor {
    /// Adds the node `me` to a ring of ranges in the database's map, in its own `_dbs`. A map that already has the node, or
    /// that was changed in between (409), is not modified.
    pub(super) async fn add_copy(
        &self,
        base: &str,
        me: &str,
        database: SystemDatabase,
    ) -> Result<(), ActError> {
        let document = self.couch.map(base, database.name()).await?;
        let Ok(map) = serde_json::from_value::<ShardMap>(Value::Object(document.clone())) else {
            return Ok(());
        };
        let Some(changed) = with_copy(document, me) else { return Ok(()) };
        for range in missing_ranges(&map, me) {
            self.prepare_file(base, database, &map, &range).await?;
        }
        self.couch.put_map(base, database.name(), &changed).await?;
        Ok(self.couch.sync_shards(base, database.name()).await?)
    }

    /// Creates the file of a range with the properties of the other copies, before readers and writers can meet it: of two
    /// copies with different `_security` CouchDB repairs neither.
    async fn prepare_file(
        &self,
        base: &str,
        database: SystemDatabase,
        map: &ShardMap,
        range: &str,
    ) -> Result<(), CouchError> {
        let file = map.shard(database.name(), range);
        let mut known: Option<Properties> = None;
        for node in map.by_range.get(range).into_iter().flatten() {
            // Through the own CouchDB: a holder may be no pod of the StatefulSet.
            let found = self.couch.properties(FileAt { base, node, file: &file }).await?;
            // Where the holders disagree, the default values stay, and the comparison reports it.
            if found.is_none() || known.as_ref().is_some_and(|known| found.as_ref() != Some(known)) {
                return Ok(());
            }
            known = found;
        }
        let Some(Properties { security, revs_limit }) = known else { return Ok(()) };
        let at = FileAt { base, node: "_local", file: &file };
        self.couch.create_file(at).await?;
        self.couch.set_property(at, &Property::Security(security)).await?;
        self.couch.set_property(at, &Property::RevsLimit(revs_limit)).await
    }
}
