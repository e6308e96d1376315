//! The comparison of a node's shards with the other copies: which pages to read, and what the counts mean.

use std::collections::BTreeMap;

use super::completeness::came_empty;
use super::map::ShardMap;
use crate::facts::VolumeNote;

/// The progress of a comparison. It goes through the node's `_dbs` page by page, so 10,000 databases need as much memory
/// as ten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    purpose: Purpose,
    /// The name of the last database that was compared.
    after: Option<String>,
    /// Rows to leave out before the next page.
    skip: u64,
    /// Counts that the next database's shards must reach, by file, where it was behind before: those that the other
    /// copies had then. A copy that takes part in no write is always some documents behind the present counts.
    goals: BTreeMap<String, u64>,
    mine: u64,
    theirs: u64,
    /// Databases whose copies could be compared, and those whose holders prove nothing.
    compared: u64,
    unanswered: u64,
}

/// The question that a comparison answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Ends at the first database that is not complete.
    Completeness,
    /// Goes on past incomplete databases, over a sample of many, to distinguish an empty volume from one that missed the
    /// last writes.
    Volume,
}

/// The next page of `_dbs` to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest<'a> {
    /// The page begins after this database; with the first one for `None`.
    pub after: Option<&'a str>,
    /// Further rows to leave out.
    pub skip: u64,
    /// The number of rows.
    pub limit: usize,
}

/// A shard of which the node holds a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalShard {
    /// The name of the file, the same on every holder.
    pub file: String,
    /// The names of the nodes that hold a copy, the local one included.
    pub holders: Vec<String>,
}

/// The documents in the copies of a shard, deleted ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardCounts {
    /// In the local copy, read last.
    pub mine: u64,
    /// The other copies whose nodes answer.
    pub theirs: Vec<OtherCopy>,
}

/// A copy on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherCopy {
    /// Its documents, deleted ones included.
    pub documents: u64,
    /// The note on its node's volume.
    pub note: VolumeNote,
}

/// The result for one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The local copy is missing documents that another copy had before.
    Behind {
        /// The documents in the local copy.
        mine: u64,
        /// The documents in the fullest other copies.
        theirs: u64,
    },
    /// The local copy has all documents that the other copies had.
    Complete,
    /// The holders of some shard that answer prove nothing, so it is unknown what the local copy is missing.
    Unanswered,
}

impl Survey {
    /// A comparison that has not begun.
    pub fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            after: None,
            skip: 0,
            goals: BTreeMap::new(),
            mine: 0,
            theirs: 0,
            compared: 0,
            unanswered: 0,
        }
    }

    /// The question that this comparison answers.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The next page to read. The comparison is complete when it is empty.
    pub fn next_page(&self) -> PageRequest<'_> {
        PageRequest { after: self.after.as_deref(), skip: self.skip, limit: PAGE }
    }

    /// Takes the number of databases from the page that was read.
    pub fn begin_page(&mut self, databases: u64) {
        // An empty volume shows in a sample; completeness is a matter of every database.
        self.skip = match self.purpose {
            Purpose::Completeness => 0,
            Purpose::Volume => (databases / SAMPLE).saturating_sub(1) * PAGE as u64,
        };
    }

    /// Takes the counts of one database's local shards. Returns what they show, and whether the comparison goes on.
    ///
    /// The number of documents, deleted ones included, only grows, but for purges: a copy that has as many as another one
    /// had before is not missing any of those. CouchDB's own count of pending jobs proves nothing, because it is 0 before
    /// replication begins.
    pub fn compare(&mut self, database: &str, shards: &[(LocalShard, ShardCounts)]) -> (Compared, Next) {
        let (mut here, mut there, mut goals) = (0, 0, BTreeMap::new());
        for (shard, counts) in shards {
            let Some(theirs) = fullest(shard, counts) else {
                // With nothing to compare with, neither of the other results is proved.
                self.unanswered += 1;
                return (Compared::Unanswered, self.next(database));
            };
            // Under constant writes a closed copy never reaches the present counts: with 20 writes a second, a node of
            // 2,000 documents was not filled within 90 s.
            let goal = self.goals.get(&shard.file).map_or(theirs, |before| theirs.min(*before));
            // Shard by shard: a full one must not compensate for an empty one.
            here += counts.mine.min(goal);
            there += goal;
            goals.insert(shard.file.clone(), goal);
        }
        self.mine += here;
        self.theirs += there;
        self.compared += 1;
        if here < there {
            self.goals = goals;
            return (Compared::Behind { mine: here, theirs: there }, self.next(database));
        }
        self.goals = BTreeMap::new();
        self.pass(database);
        (Compared::Complete, Next::Continue)
    }

    /// Passes a row of `_dbs` that needs no comparison (any more): the next page begins after it.
    pub fn pass(&mut self, row: &str) {
        self.after = Some(row.to_owned());
    }

    /// The note that a comparison of all databases leaves on the volume.
    ///
    /// If no holder could prove anything, the volume stays without a note, and is compared again.
    pub fn note(&self) -> VolumeNote {
        if self.compared == 0 && self.unanswered > 0 {
            return VolumeNote::None;
        }
        let is_empty = self.purpose == Purpose::Volume && came_empty(self.mine, self.theirs);
        if is_empty { VolumeNote::Filling } else { VolumeNote::Complete }
    }

    /// The continuation after an incomplete database.
    fn next(&mut self, database: &str) -> Next {
        match self.purpose {
            Purpose::Completeness => Next::Stop,
            Purpose::Volume => {
                self.pass(database);
                Next::Continue
            }
        }
    }
}

/// The end or the continuation of a comparison after one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Compare the next database.
    Continue,
    /// Replicate this database first.
    Stop,
}

/// The shards of `database` of which the node named `me` holds a copy.
pub fn local_shards(map: &ShardMap, database: &str, me: &str) -> Vec<LocalShard> {
    let held = map.by_range.iter().filter(|(_, holders)| holders.iter().any(|holder| holder == me));
    held.map(|(range, holders)| LocalShard { file: map.shard(database, range), holders: holders.clone() })
        .collect()
}

/// The documents in the fullest other copy; `None` if the copies whose nodes answer prove nothing.
///
/// A copy that may itself be incomplete proves nothing while another one does not answer: two nodes that lost their
/// volumes would each find the other's empty copy complete, while the full one is down.
fn fullest(shard: &LocalShard, counts: &ShardCounts) -> Option<u64> {
    let others = shard.holders.len().saturating_sub(1);
    let is_proof =
        counts.theirs.len() >= others || counts.theirs.iter().any(|copy| copy.note == VolumeNote::Complete);
    // An only copy has no other one to compare with, and is complete.
    is_proof.then(|| counts.theirs.iter().map(|copy| copy.documents).max().unwrap_or_default())
}

/// Databases that a comparison of the volume looks at, and up to twice as many: of 10,000 that is 3,000 calls and not
/// 60,000.
const SAMPLE: u64 = 500;
/// Maps in one page: each has about 500 bytes for each range and copy.
const PAGE: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(holders: &[&str], mine: u64, theirs: &[u64]) -> (LocalShard, ShardCounts) {
        let holders = holders.iter().map(|name| (*name).to_owned()).collect();
        let theirs =
            theirs.iter().map(|documents| OtherCopy { documents: *documents, note: VolumeNote::None });
        let shard = LocalShard { file: "shards/0-f/db.1".to_owned(), holders };
        (shard, ShardCounts { mine, theirs: theirs.collect() })
    }

    fn compared(purpose: Purpose, shards: &[(LocalShard, ShardCounts)]) -> (Compared, Next) {
        Survey::new(purpose).compare("db", shards)
    }

    #[test]
    fn a_copy_is_complete_when_it_has_what_the_fullest_other_copy_had() {
        let complete = (Compared::Complete, Next::Continue);
        assert_eq!(compared(Purpose::Completeness, &[shard(&["a", "b", "c"], 10, &[7, 10])]), complete);
        assert_eq!(compared(Purpose::Completeness, &[shard(&["a"], 0, &[])]), complete, "the only copy");
        let behind = (Compared::Behind { mine: 9, theirs: 10 }, Next::Stop);
        assert_eq!(compared(Purpose::Completeness, &[shard(&["a", "b"], 9, &[10])]), behind);
    }

    #[test]
    fn a_full_shard_does_not_compensate_for_an_empty_one() {
        let shards = [shard(&["a", "b"], 20, &[10]), shard(&["a", "b"], 0, &[10])];
        let behind = (Compared::Behind { mine: 10, theirs: 20 }, Next::Continue);
        assert_eq!(compared(Purpose::Volume, &shards), behind);
    }

    #[test]
    fn a_copy_is_unproved_while_no_other_holder_answers() {
        let shards = [shard(&["a", "b"], 10, &[])];
        assert_eq!(compared(Purpose::Completeness, &shards), (Compared::Unanswered, Next::Stop));
        assert_eq!(compared(Purpose::Volume, &shards), (Compared::Unanswered, Next::Continue));
    }

    #[test]
    fn an_empty_copy_proves_nothing_while_another_holder_is_silent() {
        let mut shards = [shard(&["a", "b", "c"], 0, &[0])];
        assert_eq!(compared(Purpose::Completeness, &shards), (Compared::Unanswered, Next::Stop));
        shards[0].1.theirs[0].note = VolumeNote::Filling;
        assert_eq!(compared(Purpose::Completeness, &shards), (Compared::Unanswered, Next::Stop));
        shards[0].1.theirs[0].note = VolumeNote::Complete;
        assert_eq!(compared(Purpose::Completeness, &shards), (Compared::Complete, Next::Continue));
    }

    #[test]
    fn a_volume_gets_no_note_while_no_holder_proves_anything() {
        let mut survey = Survey::new(Purpose::Volume);
        survey.compare("db", &[shard(&["a", "b"], 0, &[])]);
        assert_eq!(survey.note(), VolumeNote::None);
        survey.compare("other", &[shard(&["a", "b"], 0, &[1000])]);
        assert_eq!(survey.note(), VolumeNote::Filling);
    }

    #[test]
    fn a_copy_must_reach_the_counts_at_which_it_was_found_behind() {
        let mut survey = Survey::new(Purpose::Completeness);
        let found = survey.compare("db", &[shard(&["a", "b"], 0, &[10])]);
        assert_eq!(found, (Compared::Behind { mine: 0, theirs: 10 }, Next::Stop));
        assert_eq!(survey.next_page().after, None, "the same database again");
        let found = survey.compare("db", &[shard(&["a", "b"], 10, &[15])]);
        assert_eq!(found, (Compared::Complete, Next::Continue), "5 writes came later");
        assert_eq!(survey.next_page().after, Some("db"));
    }

    #[test]
    fn of_many_databases_a_sample_shows_whether_the_volume_is_empty() {
        let mut survey = Survey::new(Purpose::Volume);
        survey.begin_page(10_000);
        assert_eq!(survey.next_page().skip, 950);
        survey.begin_page(600);
        assert_eq!(survey.next_page().skip, 0);
        survey.compare("db", &[shard(&["a", "b"], 0, &[1000])]);
        assert_eq!(survey.note(), VolumeNote::Filling);
        let mut survey = Survey::new(Purpose::Completeness);
        survey.begin_page(10_000);
        assert_eq!(survey.next_page().skip, 0, "every database");
    }
}
