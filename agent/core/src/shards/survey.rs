//! The comparison of a node's shards with the other copies: which pages to read, and what the copies prove.

use std::collections::BTreeMap;
use std::time::Duration;

use super::completeness::came_empty;
use super::copies::{Agreement, Goal, Repair, ShardState};
use super::map::LocalShard;
use crate::facts::{NamedDatabases, VolumeNote};

/// The progress of a comparison. It goes through the node's `_dbs` page by page, so 10,000 databases need as much memory
/// as ten.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Survey {
    purpose: Purpose,
    /// The name of the last database that was compared.
    after: Option<String>,
    /// Rows to leave out before the next page.
    skip: u64,
    /// The changes that the next database's copies must have replicated, by the uuid of the other file, where the database was
    /// behind before: those that they had then. A copy that takes part in no write is always some changes behind the present state.
    goals: BTreeMap<String, Goal>,
    /// The time at which the goals were read, and the number of goals before them.
    goals_read: (Duration, u8),
    /// Documents, for the comparison of the volume.
    mine: u64,
    theirs: u64,
    /// `true` if the copies of some database could be compared.
    compared: bool,
    /// `true` if the holders of some database proved nothing.
    unanswered: bool,
    /// Databases whose other copies have different properties.
    disagreeing: NamedDatabases,
    /// Databases with documents, which may have been written since they were compared.
    written: Vec<String>,
    /// Databases with a `_purged_infos_limit` other than the default.
    purge_limits: BTreeMap<String, u64>,
}

/// The question that a comparison answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// By the checkpoints of internal replication. Ends at the first database that is not complete.
    Completeness,
    /// By the number of documents. Goes on past incomplete databases, over a sample of many, to distinguish an empty volume
    /// from one that missed the last writes.
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

/// The result for one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The local copy is missing changes that another copy had before.
    Behind {
        /// The documents in the local copy.
        mine: u64,
        /// The documents in the fullest other copies. The same number proves nothing.
        theirs: u64,
    },
    /// The local copy has all changes that the other copies had, and their properties.
    Complete,
    /// The local copy has all changes, but not the properties that all others have.
    Differs(Vec<Repair>),
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
            goals_read: (Duration::ZERO, 0),
            mine: 0,
            theirs: 0,
            compared: false,
            unanswered: false,
            disagreeing: NamedDatabases::default(),
            written: vec![],
            purge_limits: BTreeMap::new(),
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

    /// Takes the state of one database's local shards, read at `now` since the comparison began. Returns what they show, and
    /// whether the comparison goes on.
    pub fn compare(
        &mut self,
        database: &str,
        shards: &[(LocalShard, ShardState)],
        now: Duration,
    ) -> (Compared, Next) {
        if shards.iter().any(|(shard, state)| !state.is_proof(shard)) {
            // With nothing to compare with, none of the other results is proved.
            self.unanswered = true;
            return (Compared::Unanswered, self.next(database));
        }
        let (mut here, mut there) = (0_u64, 0_u64);
        for (shard, state) in shards {
            let elsewhere = state.documents_elsewhere(shard);
            // Shard by shard: a full one must not compensate for an empty one.
            here = here.saturating_add(state.mine.documents.min(elsewhere));
            there = there.saturating_add(elsewhere);
        }
        self.compared = true;
        let is_behind = match self.purpose {
            Purpose::Completeness => self.is_behind(shards, now),
            Purpose::Volume => {
                self.mine = self.mine.saturating_add(here);
                self.theirs = self.theirs.saturating_add(there);
                here < there
            }
        };
        if is_behind {
            return (Compared::Behind { mine: here, theirs: there }, self.next(database));
        }
        if self.purpose == Purpose::Completeness
            && let Some(repairs) = self.repairs(database, shards)
        {
            return (Compared::Differs(repairs), self.next(database));
        }
        self.finish(database, shards);
        (Compared::Complete, Next::Continue)
    }

    /// Returns `true` if internal replication has not reached what some other copy had a moment ago.
    ///
    /// Under constant writes a closed copy never reaches the present state, so the goal does not move while it is waited
    /// for. A document that was edited since then is missing altogether, because its change has a later sequence: a goal
    /// that took long to reach is followed by another one, which is nearer each time.
    pub fn is_behind(&mut self, shards: &[(LocalShard, ShardState)], now: Duration) -> bool {
        if self.goals.is_empty() {
            self.goals_read = (now, 0);
        }
        if self.misses_goals(shards) {
            return true;
        }
        let (read, earlier) = self.goals_read;
        // With more writes than internal replication can carry, no goal would ever be reached in time.
        if now.saturating_sub(read) <= FRESH || earlier >= GOALS {
            return false;
        }
        self.goals.clear();
        self.goals_read = (now, earlier + 1);
        self.misses_goals(shards)
    }

    /// Returns `true` if a checkpoint has not reached its goal. A copy that is new here gets a goal.
    fn misses_goals(&mut self, shards: &[(LocalShard, ShardState)]) -> bool {
        let mut is_behind = false;
        for copy in shards.iter().flat_map(|(_, state)| &state.theirs) {
            // A missing file has nothing. One that was created again has another uuid, and its own goal.
            let Some(uuid) = &copy.state.uuid else { continue };
            let now = Goal { last_change: copy.last_change, purge_seq: copy.state.purge_seq };
            let goal = *self.goals.entry(uuid.clone()).or_insert(now);
            // A shard that was never written gets no checkpoint, and needs none.
            is_behind |=
                !goal.is_reached_by(Goal { last_change: copy.checkpoint, purge_seq: copy.purge_checkpoint });
        }
        is_behind
    }

    /// The properties to set on local files; `None` if there are none. Holders that disagree among themselves are noted: no
    /// agent can know which of them is right, and waiting for them would keep the node closed.
    fn repairs(&mut self, database: &str, shards: &[(LocalShard, ShardState)]) -> Option<Vec<Repair>> {
        let (mut repairs, mut disagree) = (vec![], false);
        for (shard, state) in shards {
            match state.agreement(shard) {
                Agreement::Differs(some) => repairs.extend(some),
                Agreement::Equal => {}
                Agreement::NoneAmongOthers => disagree = true,
            }
        }
        if !repairs.is_empty() {
            return Some(repairs);
        }
        if disagree {
            self.disagreeing.add(database);
        }
        None
    }

    fn finish(&mut self, database: &str, shards: &[(LocalShard, ShardState)]) {
        self.goals = BTreeMap::new();
        let mut others = shards.iter().flat_map(|(_, state)| &state.theirs);
        if self.written.len() < LAST_PASS && others.any(|copy| copy.last_change > 0) {
            self.written.push(database.to_owned());
        }
        self.pass(database);
    }

    /// Passes a row of `_dbs` that needs no comparison (any more): the next page begins after it.
    pub fn pass(&mut self, row: &str) {
        self.after = Some(row.to_owned());
    }

    /// Takes the `_purged_infos_limit` that another node reports for a database. It has no interface for a single file, so
    /// it is set again once the node is open.
    pub fn found_purge_limit(&mut self, database: &str, limit: u64) {
        if limit != DEFAULT_PURGE_LIMIT {
            self.purge_limits.insert(database.to_owned(), limit);
        }
    }

    /// The databases whose `_purged_infos_limit` is set again once the node is open.
    pub fn purge_limits(&self) -> &BTreeMap<String, u64> {
        &self.purge_limits
    }

    /// The databases that are replicated once more right after the node was opened: a closed node gets no write, and the
    /// other holders push it up to 5 s later.
    pub fn last_pass(&self) -> &[String] {
        &self.written
    }

    /// The databases whose other copies have different properties.
    pub fn disagreeing(&self) -> &NamedDatabases {
        &self.disagreeing
    }

    /// The note that a comparison of all databases leaves on the volume.
    ///
    /// If no holder could prove anything, the volume stays without a note, and is compared again.
    pub fn note(&self) -> VolumeNote {
        if !self.compared && self.unanswered {
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
    /// Replicate this database, or set its properties, first.
    Stop,
}

/// Returns `true` if `_sync_shards` must be posted again. One post is one pass up to the sequence of its moment.
pub fn sync_is_due(since_last: Option<Duration>) -> bool {
    since_last.is_none_or(|time| time >= BETWEEN_SYNCS)
}

/// A pass over a small shard takes a fraction of a second. More posts would only queue behind a long one.
const BETWEEN_SYNCS: Duration = Duration::from_secs(2);
/// A goal that was read longer ago than this is not the last one.
const FRESH: Duration = Duration::from_secs(5);
/// The goals of one database before the last one is accepted. Each takes a fraction of the time of the one before.
const GOALS: u8 = 8;
/// Databases that a comparison of the volume looks at, and up to twice as many: of 10,000 that is 3,000 calls and not
/// 60,000.
const SAMPLE: u64 = 500;
/// Maps in one page: each has about 500 bytes for each range and copy.
const PAGE: usize = 50;
/// Databases that get a last pass. CouchDB's own replication reaches the others within 5 s.
const LAST_PASS: usize = 500;
/// `_purged_infos_limit` of a new file.
const DEFAULT_PURGE_LIMIT: u64 = 1000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::copies::{FileState, OtherCopy, Properties, Property};
    use super::super::map::ShardMap;
    use super::*;

    /// A database with one range on these nodes; the local one is "a".
    fn local(holders: &[&str]) -> LocalShard {
        let map: ShardMap = serde_json::from_value(
            json!({ "shard_suffix": [46, 49], "by_range": { "00000000-ffffffff": holders } }),
        )
        .unwrap();
        map.local_shards("db", "a").remove(0)
    }

    fn file(uuid: &str, documents: u64) -> FileState {
        FileState { uuid: Some(uuid.to_owned()), documents, update_seq: documents, ..FileState::default() }
    }

    fn properties(revs_limit: u64) -> Option<Properties> {
        Some(Properties { security: json!({}), revs_limit })
    }

    /// The local copy with `mine` documents; the other ones with these, of which the checkpoints have reached `sent`.
    fn shard(holders: &[&str], mine: u64, theirs: &[(u64, u64)]) -> (LocalShard, ShardState) {
        let shard = local(holders);
        let theirs = theirs.iter().enumerate().map(|(index, (documents, sent))| {
            let state = file(holders[index + 1], *documents);
            let mut copy = OtherCopy::new(&shard, index, VolumeNote::None, state).unwrap();
            (copy.last_change, copy.checkpoint) = (*documents, *sent);
            copy
        });
        let theirs = theirs.collect();
        (shard, ShardState { mine: file("a", mine), theirs })
    }

    fn compared(purpose: Purpose, shards: &[(LocalShard, ShardState)]) -> (Compared, Next) {
        Survey::new(purpose).compare("db", shards, Duration::ZERO)
    }

    #[test]
    fn counts_and_sequences_at_the_end_of_their_range_are_no_sums_that_overflow() {
        let largest = || shard(&["a", "b", "c"], u64::MAX, &[(u64::MAX, u64::MAX), (u64::MAX, 0)]);
        for purpose in [Purpose::Completeness, Purpose::Volume] {
            let mut survey = Survey::new(purpose);
            survey.begin_page(u64::MAX);
            for database in ["db", "other"] {
                survey.compare(database, &[largest(), largest()], Duration::MAX);
            }
        }
        let behind = Compared::Behind { mine: u64::MAX, theirs: u64::MAX };
        assert_eq!(compared(Purpose::Completeness, &[largest()]).0, behind, "the checkpoint decides");
    }

    #[test]
    fn a_copy_is_complete_when_the_checkpoint_of_each_other_holder_has_reached_its_last_change() {
        let complete = (Compared::Complete, Next::Continue);
        assert_eq!(
            compared(Purpose::Completeness, &[shard(&["a", "b", "c"], 10, &[(7, 7), (10, 10)])]),
            complete
        );
        assert_eq!(compared(Purpose::Completeness, &[shard(&["a"], 0, &[])]), complete, "the only copy");
        assert_eq!(
            compared(Purpose::Completeness, &[shard(&["a", "b"], 0, &[(0, 0)])]),
            complete,
            "never written"
        );
        let behind = |mine, theirs| (Compared::Behind { mine, theirs }, Next::Stop);
        assert_eq!(compared(Purpose::Completeness, &[shard(&["a", "b"], 9, &[(10, 9)])]), behind(9, 10));
        let edited = [shard(&["a", "b", "c"], 10, &[(10, 10), (10, 3)])];
        assert_eq!(compared(Purpose::Completeness, &edited), behind(10, 10), "equal counts prove nothing");
    }

    #[test]
    fn purges_have_a_checkpoint_of_their_own() {
        let mut shards = [shard(&["a", "b"], 10, &[(10, 10)])];
        shards[0].1.theirs[0].state.purge_seq = 2;
        assert_eq!(compared(Purpose::Completeness, &shards).1, Next::Stop);
        shards[0].1.theirs[0].purge_checkpoint = 2;
        assert_eq!(compared(Purpose::Completeness, &shards).1, Next::Continue);
    }

    #[test]
    fn properties_are_set_as_all_other_holders_have_them() {
        let with = |mine, first, second| {
            let mut shards = [shard(&["a", "b", "c"], 1, &[(1, 1), (1, 1)])];
            shards[0].1.mine.properties = properties(mine);
            shards[0].1.theirs[0].state.properties = properties(first);
            shards[0].1.theirs[1].state.properties = properties(second);
            shards
        };
        assert_eq!(compared(Purpose::Completeness, &with(50, 50, 50)).0, Compared::Complete);
        let repair = Repair { file: local(&["a"]).file, property: Property::RevsLimit(50) };
        let differs = (Compared::Differs(vec![repair]), Next::Stop);
        assert_eq!(compared(Purpose::Completeness, &with(1000, 50, 50)), differs);
        let mut survey = Survey::new(Purpose::Completeness);
        assert_eq!(survey.compare("db", &with(1000, 50, 60), Duration::ZERO).0, Compared::Complete);
        assert_eq!(survey.disagreeing().count, 1, "no agent can know which is right");
        let mut one_is_filling = with(1000, 50, 1000);
        one_is_filling[0].1.theirs[1].note = VolumeNote::Filling;
        assert_eq!(
            compared(Purpose::Completeness, &one_is_filling),
            differs,
            "an incomplete volume has no say"
        );
    }

    #[test]
    fn a_full_shard_does_not_compensate_for_an_empty_one() {
        let shards = [shard(&["a", "b"], 20, &[(10, 0)]), shard(&["a", "b"], 0, &[(10, 0)])];
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
        let mut shards = [shard(&["a", "b", "c"], 0, &[(0, 0)])];
        assert_eq!(compared(Purpose::Completeness, &shards), (Compared::Unanswered, Next::Stop));
        shards[0].1.theirs[0].note = VolumeNote::Filling;
        assert_eq!(compared(Purpose::Completeness, &shards), (Compared::Unanswered, Next::Stop));
        shards[0].1.theirs[0].note = VolumeNote::Complete;
        assert_eq!(compared(Purpose::Completeness, &shards), (Compared::Complete, Next::Continue));
    }

    #[test]
    fn a_volume_gets_no_note_while_no_holder_proves_anything() {
        let mut survey = Survey::new(Purpose::Volume);
        survey.compare("db", &[shard(&["a", "b"], 0, &[])], Duration::ZERO);
        assert_eq!(survey.note(), VolumeNote::None);
        survey.compare("other", &[shard(&["a", "b"], 0, &[(1000, 0)])], Duration::ZERO);
        assert_eq!(survey.note(), VolumeNote::Filling);
    }

    #[test]
    fn a_copy_must_reach_the_state_at_which_it_was_found_behind() {
        let mut survey = Survey::new(Purpose::Completeness);
        let found = survey.compare("db", &[shard(&["a", "b"], 0, &[(10, 0)])], Duration::ZERO);
        assert_eq!(found, (Compared::Behind { mine: 0, theirs: 10 }, Next::Stop));
        assert_eq!(survey.next_page().after, None, "the same database again");
        let mut lost = [shard(&["a", "b"], 10, &[(15, 10)])];
        lost[0].1.theirs[0].state.uuid = Some("b2".to_owned());
        assert_eq!(
            survey.compare("db", &lost, Duration::ZERO).1,
            Next::Stop,
            "another file has a goal of its own"
        );
        let found = survey.compare("db", &[shard(&["a", "b"], 10, &[(15, 10)])], Duration::ZERO);
        assert_eq!(found, (Compared::Complete, Next::Continue), "5 writes came later");
        assert_eq!(survey.next_page().after, Some("db"));
        assert_eq!(survey.last_pass(), ["db"]);
    }

    #[test]
    fn a_goal_that_took_long_to_reach_is_followed_by_another_one() {
        let mut survey = Survey::new(Purpose::Completeness);
        let seconds = Duration::from_secs;
        let mut found =
            |last, sent, at| survey.compare("db", &[shard(&["a", "b"], 0, &[(last, sent)])], seconds(at)).1;
        assert_eq!(found(10, 0, 0), Next::Stop);
        assert_eq!(found(500, 10, 60), Next::Stop, "490 documents were edited meanwhile, and may be missing");
        assert_eq!(found(510, 490, 62), Next::Stop);
        assert_eq!(found(520, 500, 64), Next::Continue);
        let mut survey = Survey::new(Purpose::Completeness);
        let rounds = (1..100).find(|round| {
            let shards = [shard(&["a", "b"], 0, &[(10 * round, 10 * (round - 1))])];
            survey.compare("db", &shards, seconds(60 * round)).1 == Next::Continue
        });
        assert!(rounds.is_some_and(|rounds| rounds > 5), "{rounds:?}: it ends although writes never do");
    }

    #[test]
    fn of_many_databases_a_sample_shows_whether_the_volume_is_empty() {
        let mut survey = Survey::new(Purpose::Volume);
        survey.begin_page(10_000);
        assert_eq!(survey.next_page().skip, 950);
        survey.begin_page(600);
        assert_eq!(survey.next_page().skip, 0);
        survey.compare("db", &[shard(&["a", "b"], 0, &[(1000, 0)])], Duration::ZERO);
        assert_eq!(survey.note(), VolumeNote::Filling);
        let mut survey = Survey::new(Purpose::Completeness);
        survey.begin_page(10_000);
        assert_eq!(survey.next_page().skip, 0, "every database");
    }

    #[test]
    fn the_documents_of_a_split_shard_are_those_of_its_parts() {
        let map: ShardMap = serde_json::from_value(json!({ "by_range": {
            "00000000-7fffffff": ["a"], "80000000-ffffffff": ["a"], "00000000-ffffffff": ["b"] } }))
        .unwrap();
        let state = |me: &str, documents: &[u64]| {
            let shard = map.local_shards("db", me).remove(0);
            let theirs = documents.iter().enumerate().map(|(index, documents)| {
                OtherCopy::new(&shard, index, VolumeNote::None, file("x", *documents)).unwrap()
            });
            let theirs = theirs.collect();
            ShardState { mine: file("y", 0), theirs }.documents_elsewhere(&shard)
        };
        assert_eq!(state("a", &[1000]), 500, "half of the other's");
        assert_eq!(state("b", &[400, 500]), 900);
    }
}
