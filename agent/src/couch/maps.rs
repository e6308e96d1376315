//! Shard maps that a person has to look at: what CouchDB itself never says.

use std::collections::BTreeSet;

use agent_core::facts::BrokenMaps;

use super::{Couch, CouchError};

impl Couch {
    /// Looks at the map of every database that the node knows; `members` are all names that may be in one.
    ///
    /// It goes through `_dbs` in pages, so 10,000 databases are some 20 calls.
    pub async fn broken_maps(
        &self,
        base: &str,
        members: &BTreeSet<String>,
    ) -> Result<BrokenMaps, CouchError> {
        let mut broken = BrokenMaps::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.maps_after(base, after.as_deref(), 0, PAGE).await?;
            for row in &page.rows {
                if let Some(problem) = row.map().and_then(|map| map.problem(members)) {
                    broken.add(&row.id, problem);
                }
            }
            let more = page.rows.len() == PAGE;
            match page.rows.into_iter().next_back() {
                Some(last) if more => after = Some(last.id),
                Some(_) | None => return Ok(broken),
            }
        }
    }
}

/// Maps in one answer: some 500 kB with two ranges of three copies.
const PAGE: usize = 500;
