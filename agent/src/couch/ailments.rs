//! Shard maps that a person has to look at: what CouchDB itself never says.

use std::collections::BTreeSet;

use super::shards::{MapRow, ShardMap};
use super::{Couch, CouchError};
use crate::step::{Ailing, Ailment};

impl Couch {
    /// Looks at the map of every database that the node knows; `members` are all names that may be in one.
    ///
    /// It goes through `_dbs` in pages, so 10,000 databases are some 20 calls.
    pub async fn ailing_maps(&self, base: &str, members: &BTreeSet<String>) -> Result<Ailing, CouchError> {
        let mut ailing = Ailing::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.maps_after(base, after.as_deref(), 0, PAGE).await?;
            for row in &page.rows {
                if let Some(ailment) = ailment(row, members) {
                    ailing.add(&row.id, ailment);
                }
            }
            let more = page.rows.len() == PAGE;
            match page.rows.into_iter().next_back() {
                Some(last) if more => after = Some(last.id),
                Some(_) | None => return Ok(ailing),
            }
        }
    }
}

fn ailment(row: &MapRow, members: &BTreeSet<String>) -> Option<Ailment> {
    let map = row.doc.as_ref().filter(|_| !row.id.starts_with("_design/"))?;
    let mut holders = map.by_range.values().flatten();
    match (map.conflicts.is_empty(), map.is_complete()) {
        (false, _) => Some(Ailment::Conflict),
        (true, false) => Some(Ailment::LacksRange),
        (true, true) => {
            holders.find(|holder| !members.contains(*holder)).map(|name| Ailment::NoMember(name.clone()))
        }
    }
}

impl ShardMap {
    /// Whether the ranges follow on each other from 0 to ffffffff, and somebody holds each.
    fn is_complete(&self) -> bool {
        let bound = |text: &str| u32::from_str_radix(text, 16).ok().map(u64::from);
        let range =
            |range: &str| range.split_once('-').and_then(|(from, to)| Some((bound(from)?, bound(to)?)));
        let mut next = 0;
        for (text, holders) in &self.by_range {
            match range(text) {
                Some((from, to)) if from == next && !holders.is_empty() => next = to + 1,
                Some(_) | None => return false,
            }
        }
        next == 1 << 32
    }
}

/// Maps in one answer: some 500 kB with two ranges of three copies.
const PAGE: usize = 500;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(doc: serde_json::Value) -> Option<Ailment> {
        let row = serde_json::from_value(json!({ "id": "orders", "doc": doc })).unwrap();
        ailment(&row, &["a", "b"].map(str::to_owned).into())
    }

    #[test]
    fn a_map_is_well_when_every_range_is_held_by_members_and_nobody_made_another() {
        let halves =
            |low: &[&str], high: &[&str]| json!({ "00000000-7fffffff": low, "80000000-ffffffff": high });
        assert_eq!(found(json!({ "by_range": halves(&["a", "b"], &["b"]) })), None);
        let stranger = found(json!({ "by_range": halves(&["a", "b"], &["b", "c"]) }));
        assert_eq!(stranger, Some(Ailment::NoMember("c".to_owned())));
        assert_eq!(found(json!({ "by_range": halves(&["a"], &[]) })), Some(Ailment::LacksRange));
        let lower = json!({ "00000000-7fffffff": ["a"] });
        assert_eq!(found(json!({ "by_range": lower })), Some(Ailment::LacksRange));
        let upper = json!({ "80000000-ffffffff": ["a"] });
        assert_eq!(found(json!({ "by_range": upper })), Some(Ailment::LacksRange));
        let two = json!({ "by_range": halves(&["a"], &["b"]), "_conflicts": ["1-967a00dff5e02add41819138abb3284d"] });
        assert_eq!(found(two), Some(Ailment::Conflict));
        assert_eq!(found(json!({})), Some(Ailment::LacksRange));
        let whole = json!({ "00000000-ffffffff": ["b"] });
        assert_eq!(found(json!({ "by_range": whole })), None);
    }
}
