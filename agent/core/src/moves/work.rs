//! The moves of one database: from what the map and the files show to the next call.
//!
//! All copies of a database move together, because CouchDB computes the quorum of all ranges from one of them (`mem3:n/1`).
//! The map and the files contain the whole state. [`Work`] also keeps times and goals; an agent that starts without them
//! reads them again, which costs time and no safety.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::document::{Change, Document, Logged, Move, Phase};
use super::proof::FileFacts;
use super::roster::Roster;
use crate::shards::{Fill, Goal, Properties, shard_file};

/// The moves of one database, and what the agent remembers about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The database.
    pub database: String,
    /// The suffix of its files when the moves were planned.
    suffix: String,
    /// The moves, all in one phase.
    moves: Vec<Move>,
    phase: Phase,
    /// The number of moves at the beginning.
    count: u64,
    round: Option<Round>,
    /// `true` once properties and local documents were copied in this phase.
    copied: bool,
    /// When everything was first proved to be copied in this phase.
    proved: Option<Duration>,
    /// The last changes of the sources after they left the map, and since when they have been the same.
    quiet: Option<(Vec<u64>, Duration)>,
    /// The advance of replication, while its goal is not reached.
    copying: Option<Copying>,
    /// `true` while the quorum is not raised so that all nodes can be made to replicate.
    lowered: bool,
    /// Copies that could not be filled.
    failed: Option<Failed>,
}

/// The advance of replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copying {
    /// The changes that were copied.
    changes: u64,
    /// When they last became more.
    since: Duration,
    /// When they were last looked at.
    seen: Duration,
}

/// Copies that are given up: their placeholders leave the map, then their files are deleted.
#[derive(Clone, Debug, PartialEq)]
struct Failed {
    hindrance: Hindrance,
    files: Vec<FileKey>,
}

/// A goal that all copies must reach, and the state of reaching it.
#[derive(Clone, Debug, PartialEq)]
struct Round {
    /// When a pass was last started.
    replicated: Duration,
    /// When the goals were first seen as reached.
    reached: Option<Duration>,
    goals: BTreeMap<FileKey, Goal>,
}

/// A file: its range, and the name of its node.
pub type FileKey = (String, String);

/// The facts about one database that its next call follows from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The map, as the leading node has it.
    pub document: &'a Document,
    /// `true` if the map has conflicting revisions on some node.
    pub conflicts: bool,
    /// `true` if every member has this revision of the map.
    pub spread: bool,
    /// The files that [`Work::files`] names.
    pub files: &'a BTreeMap<FileKey, FileFacts>,
    /// `true` while a view of a target's file is built.
    pub indexing: bool,
}

/// The next call for a database.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Change the map.
    Change(Vec<Change>),
    /// Give the file on `to` what internal replication does not copy: the properties and the local documents of `from`.
    Copy(Vec<CopyOver>),
    /// Delete this file: it is of an earlier life of the copy, and no map lists it.
    Delete(FileKey),
    /// The moves are done, or not needed any more.
    Done,
    /// Nothing can be done for this database, for this reason.
    GiveUp(Hindrance),
    /// Make all nodes of the map replicate.
    Replicate,
    /// Wait.
    Wait(Waiting),
}

/// The copy of what internal replication leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOver {
    /// The range.
    pub range: String,
    /// The name of the node to copy from.
    pub from: String,
    /// The name of the node to copy to.
    pub to: String,
}

/// The reason why a database waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The change of the map must reach all members.
    Map,
    /// Copies must be replicated.
    Replication,
    /// Views must be built on the new copy.
    Views,
    /// Readers of `_changes` need time to pass on from the old copy.
    Readers,
    /// The old copy must have got its last write.
    LateWrites,
}

/// The reason why a database's copies can't be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// The map has conflicting revisions.
    Conflicts,
    /// The copies have different properties, so that the new one's would be a matter of chance.
    PropertiesDiffer,
    /// The database was deleted and created again, or resharded.
    Replaced,
    /// No node holds a complete file of the range.
    NoSource,
    /// For [`STALLED`] nothing was copied to this node.
    Stalled(String),
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflicts => f.write_str("its shard map has conflicts"),
            Self::PropertiesDiffer => f.write_str("its copies have different properties"),
            Self::Replaced => f.write_str("it was created again or resharded"),
            Self::NoSource => f.write_str("no node has a complete copy"),
            Self::Stalled(node) => write!(
                f,
                "CouchDB has copied nothing to node '{node}' for {} minutes, whose disk may be full",
                STALLED.as_secs() / 60
            ),
        }
    }
}

/// The times of moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The time for which both copies stay in the map, so that readers of `_changes` can continue from the new one.
    pub readers: Duration,
    /// The same where the quorum is raised meanwhile, so that a database with a single copy answers writes with 202.
    pub readers_while_raised: Duration,
}

impl Work {
    /// Moves that have not begun.
    pub fn planned(document: &Document, moves: Vec<Move>) -> Self {
        // A copy that is only dropped has no target to fill.
        let dropped = moves.iter().all(|one| one.to.is_none());
        let phase = if dropped { Phase::Confirm } else { Phase::Begin };
        Self::new(document, moves, phase)
    }

    /// The moves that the map shows as begun: those in the earliest phase. `None` if there are none.
    pub fn begun(document: &Document, roster: &Roster) -> Option<Self> {
        let moves = document.moves(roster);
        let phase = moves.iter().map(|(_, phase)| *phase).min();
        // A raised quorum without a move is left of an agent that ended, and is lowered.
        let phase = phase.or(document.raised().map(|_| Phase::Confirm))?;
        let moves = moves.into_iter().filter(|(_, at)| *at == phase).map(|(one, _)| one).collect();
        Some(Self::new(document, moves, phase))
    }

    fn new(document: &Document, moves: Vec<Move>, phase: Phase) -> Self {
        Self {
            database: document.database.clone(),
            suffix: document.suffix().to_owned(),
            count: u64::try_from(moves.len()).unwrap_or(u64::MAX),
            moves,
            phase,
            round: None,
            copied: false,
            proved: None,
            quiet: None,
            copying: None,
            lowered: false,
            failed: None,
        }
    }

    /// The phase of the moves.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The moves.
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// The number of moves at the beginning.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The ranges that get a copy, each with the name of the node.
    pub fn targets_of<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.targets(roster).map(|(one, _, to)| (one.range.as_str(), to))
    }

    /// The name of the file of a range.
    pub fn file(&self, range: &str) -> String {
        shard_file(range, &self.database, &self.suffix)
    }

    /// Notes that properties and local documents were copied.
    pub fn copied(&mut self) {
        self.copied = true;
        // What was written meanwhile is replicated before the map changes.
        self.round = None;
    }

    /// The node to which nothing has been copied for [`STALLED`], if there is one.
    pub fn stalled(&self, roster: &Roster, now: Duration) -> Option<String> {
        let since = self.copying?.since;
        let target = self.moves.iter().find_map(|one| roster.name(one.to?))?;
        (now.saturating_sub(since) >= STALLED).then(|| target.to_owned())
    }

    /// The files whose facts the next call follows from.
    pub fn files(&self, document: &Document, roster: &Roster) -> Vec<FileKey> {
        let mut files = self.failed.as_ref().map(|failed| failed.files.clone()).unwrap_or_default();
        for one in &self.moves {
            let holders = document.holders(&one.range);
            let ends = [one.from, one.to].into_iter().flatten().filter_map(|end| roster.name(end));
            for node in holders.chain(ends) {
                let key = (one.range.clone(), node.to_owned());
                if !files.contains(&key) {
                    files.push(key);
                }
            }
        }
        files
    }

    /// Decides the next call at `now`, the time since any moment in the past.
    pub fn next(&mut self, facts: &Facts<'_>, roster: &Roster, pace: Pace, now: Duration) -> Action {
        if facts.conflicts {
            return Action::GiveUp(Hindrance::Conflicts);
        }
        if facts.document.suffix() != self.suffix {
            return Action::GiveUp(Hindrance::Replaced);
        }
        self.follow(facts.document, roster);
        if self.moves.is_empty() {
            return self.end(facts);
        }
        // Coordinators with an older map would still send requests by it.
        if !facts.spread {
            return Action::Wait(Waiting::Map);
        }
        match self.phase {
            Phase::Begin => self.begin(facts, roster),
            Phase::Fill => self.fill(facts, roster, now),
            Phase::Confirm => self.confirm(facts, roster, pace, now),
            Phase::Verify => self.verify(facts, roster, now),
        }
    }

    /// Takes over the phase that the map shows: another agent may have gone on, or a person may have changed the map.
    fn follow(&mut self, document: &Document, roster: &Roster) {
        let shown = document.moves(roster);
        let (before, moves) = (self.phase, std::mem::take(&mut self.moves));
        let mut kept: Vec<(Move, Phase)> = vec![];
        for one in moves {
            let phase = shown.iter().find(|(other, _)| *other == one).map(|(_, phase)| *phase);
            let left = match (phase, before) {
                (Some(phase), _) => Some(phase),
                (None, Phase::Begin | Phase::Confirm) => pending(&one, document, roster, before),
                (None, Phase::Fill | Phase::Verify) => None,
            };
            kept.extend(left.map(|phase| (one, phase)));
        }
        let phase = kept.iter().map(|(_, phase)| *phase).min().unwrap_or(before);
        self.moves = kept.into_iter().filter(|(_, at)| *at == phase).map(|(one, _)| one).collect();
        if phase != before {
            let moves = std::mem::take(&mut self.moves);
            let (count, failed) = (self.count, self.failed.take());
            *self = Self { count, failed, ..Self::new(document, moves, phase) };
        }
    }

    /// The calls after which nothing is left of the moves.
    fn end(&self, facts: &Facts<'_>) -> Action {
        if let Some(change) = lower(facts.document) {
            return Action::Change(vec![change]);
        }
        let Some(Failed { hindrance, files }) = &self.failed else { return Action::Done };
        // Holders that have the old map would create the file again.
        if !facts.spread {
            return Action::Wait(Waiting::Map);
        }
        let left = files.iter().find(|(range, node)| {
            facts.file(range, node).uuid.is_some() && !facts.document.holds(range, node)
        });
        left.map_or(Action::GiveUp(hindrance.clone()), |file| Action::Delete(file.clone()))
    }

    fn begin(&self, facts: &Facts<'_>, roster: &Roster) -> Action {
        let mut changes = vec![];
        for (one, fill, to) in self.targets(roster) {
            if !facts.document.holders(&one.range).any(|holder| facts.file(&one.range, holder).uuid.is_some())
            {
                return Action::GiveUp(Hindrance::NoSource);
            }
            // Readers would get the old documents, and purged ones might come back for good.
            if facts.file(&one.range, to).uuid.is_some() {
                return Action::Delete((one.range.clone(), to.to_owned()));
            }
            changes.push(Change::add(&one.range, fill.to_string()));
        }
        Action::Change(changes)
    }

    fn fill(&mut self, facts: &Facts<'_>, roster: &Roster, now: Duration) -> Action {
        let mut pairs = vec![];
        for (one, _, to) in self.targets(roster) {
            pairs.extend(facts.document.holders(&one.range).map(|from| pair(&one.range, from, to)));
        }
        // The target is no longer a member: the copy is planned again.
        let orphans = self.moves.iter().filter(|one| one.to.and_then(|to| roster.name(to)).is_none());
        let orphans: Vec<Change> =
            orphans.map(|one| Change::remove(&one.range, one.fill().to_string())).collect();
        if !orphans.is_empty() {
            return Action::Change(orphans);
        }
        if let Some(action) = self.replicate(facts, &pairs, now) {
            return self.stalled(roster, now).map_or(action, |node| self.give_back(node, roster));
        }
        self.failed = None;
        let mut copies = vec![];
        for (one, _, to) in self.targets(roster) {
            let Some((from, properties)) = facts.agreed(&one.range) else {
                return Action::GiveUp(Hindrance::PropertiesDiffer);
            };
            if !self.copied || facts.file(&one.range, to).properties != properties {
                copies.push(CopyOver { range: one.range.clone(), from: from.to_owned(), to: to.to_owned() });
            }
        }
        if !copies.is_empty() {
            return Action::Copy(copies);
        }
        let proved = *self.proved.get_or_insert(now);
        if facts.indexing && now.saturating_sub(proved) < LONGEST_FOR_VIEWS {
            // Everything is proved again right before the map changes.
            self.round = None;
            return Action::Wait(Waiting::Views);
        }
        let mut changes = vec![];
        for (one, fill, to) in self.targets(roster) {
            changes.push(Change::remove(&one.range, fill.to_string()));
            changes.push(Change::add(&one.range, to));
        }
        // Until all coordinators have the new map, one of them writes to the source only.
        changes.extend(facts.document.quorum_too_low(&self.moves).map(raise));
        Action::Change(changes)
    }

    /// Takes the placeholders out of the map, because nothing reaches `node`.
    fn give_back(&mut self, node: String, roster: &Roster) -> Action {
        let files = self.targets(roster).map(|(one, _, to)| (one.range.clone(), to.to_owned())).collect();
        let changes =
            self.targets(roster).map(|(one, fill, _)| Change::remove(&one.range, fill.to_string())).collect();
        self.failed = Some(Failed { hindrance: Hindrance::Stalled(node), files });
        Action::Change(changes)
    }

    fn confirm(&mut self, facts: &Facts<'_>, roster: &Roster, pace: Pace, now: Duration) -> Action {
        // A copy that is dropped leaves all others as they were.
        let moved = self.moves.iter().any(|one| one.to.is_some());
        let mut pairs = vec![];
        for (one, from) in self.sources(roster) {
            let others = facts.document.holders(&one.range).filter(|holder| *holder != from);
            for other in others {
                // Before the stay the other direction as well: then no copy is missing anything.
                if self.proved.is_none() {
                    pairs.push(pair(&one.range, other, from));
                }
                pairs.push(pair(&one.range, from, other));
            }
        }
        let raised = facts.document.raised().is_some();
        if moved
            && !raised
            && !self.lowered
            && let Some(range) = facts.document.quorum_too_low(&self.moves)
        {
            return Action::Change(vec![raise(range)]);
        }
        if let Some(action) = self.replicate(facts, &pairs, now) {
            if !raised {
                return action;
            }
            // `_sync_shards` would also push to the placeholder, and try again until the holders restart. What is written is
            // pushed without it. A copy that has returned into the map, or whose holder was restarted, has nothing to push.
            self.lowered = self.copying.is_some_and(|copying| copying.is_idle(now));
            let lowered = lower(facts.document).filter(|_| self.lowered);
            return lowered.map_or(Action::Wait(Waiting::Replication), |change| Action::Change(vec![change]));
        }
        self.lowered = false;
        let copies: Vec<CopyOver> = if self.copied { vec![] } else { self.copies_over(roster) };
        if !copies.is_empty() {
            return Action::Copy(copies);
        }
        let proved = *self.proved.get_or_insert(now);
        let readers = if raised { pace.readers_while_raised } else { pace.readers };
        if moved && now.saturating_sub(proved) < readers {
            self.round = None;
            return Action::Wait(Waiting::Readers);
        }
        self.leave(facts, roster)
    }

    /// The change by which the sources leave the map.
    fn leave(&self, facts: &Facts<'_>, roster: &Roster) -> Action {
        let mut changes = Vec::from_iter(lower(facts.document));
        for (one, from) in self.sources(roster) {
            // The last copy is never removed, whatever was planned.
            if facts.document.holders(&one.range).all(|holder| holder == from) {
                return Action::GiveUp(Hindrance::NoSource);
            }
            // A move shows in the log by its placeholder already.
            if one.to.is_none() {
                changes.push(Change::log(Logged::Added, &one.range, one.fill().to_string()));
                changes.push(Change::log(Logged::Removed, &one.range, one.fill().to_string()));
            }
            changes.push(Change::remove(&one.range, from));
        }
        Action::Change(changes)
    }

    /// A write may have reached the source until every node knew the new map. It is pushed to the target, unless the source
    /// was restarted in between.
    fn verify(&mut self, facts: &Facts<'_>, roster: &Roster, now: Duration) -> Action {
        let mut last_changes = vec![];
        let mut missing = vec![];
        for (one, from) in self.sources(roster) {
            let source = facts.file(&one.range, from);
            // The file is gone, with its volume or manually: nothing is left to compare.
            if source.uuid.is_none() {
                continue;
            }
            last_changes.push(source.last_change);
            let targets = facts
                .document
                .holders(&one.range)
                .filter(|holder| one.to.is_none_or(|to| roster.name(to) == Some(*holder)));
            let mut targets = targets.map(|target| facts.file(&one.range, target));
            if !targets.all(|target| source.has_reached(&target, source.goal())) {
                missing.push(one.clone());
            }
        }
        let quiet_since = match &self.quiet {
            Some((last, since)) if *last == last_changes => *since,
            Some(_) | None => now,
        };
        self.quiet = Some((last_changes, quiet_since));
        if now.saturating_sub(quiet_since) < LATE_WRITES {
            return Action::Wait(Waiting::LateWrites);
        }
        if missing.is_empty() {
            // From now on the map shows no move. The file of the source becomes older than the other copies, and would bring
            // deleted documents back if it returned because a target was refilled.
            let sources = self.sources(roster);
            let ended = sources.map(|(one, from)| Change::log(Logged::Removed, &one.range, from));
            return Action::Change(ended.collect());
        }
        if now.saturating_sub(quiet_since) < PUSHED_WITHIN {
            return Action::Wait(Waiting::LateWrites);
        }
        Action::Change(missing.iter().flat_map(|one| put_back(one, roster)).collect())
    }

    /// The next pass of replication between these pairs of files, or `None` if the present one has reached its goals.
    fn replicate(&mut self, facts: &Facts<'_>, pairs: &[Pair], now: Duration) -> Option<Action> {
        let action = self.next_pass(facts, pairs, now);
        self.copying = action.is_some().then(|| {
            let changes = pairs.iter().map(|pair| facts.of(&pair.from).copied_to(&facts.of(&pair.to)));
            Copying { changes: changes.fold(0, u64::saturating_add), since: now, seen: now }
                .after(self.copying)
        });
        action
    }

    fn next_pass(&mut self, facts: &Facts<'_>, pairs: &[Pair], now: Duration) -> Option<Action> {
        if let Some(round) = &mut self.round {
            if round.is_reached(facts, pairs) {
                let reached = *round.reached.get_or_insert(now);
                if now.saturating_sub(reached) <= FRESH {
                    return None;
                }
            } else if now.saturating_sub(round.replicated) >= BETWEEN_PASSES {
                round.replicated = now;
                return Some(Action::Replicate);
            } else {
                return Some(Action::Wait(Waiting::Replication));
            }
        }
        // The goals are read before the pass, which ends at the changes that exist when it begins.
        let goals = pairs.iter().map(|pair| (pair.from.clone(), facts.of(&pair.from).goal())).collect();
        let mut round = Round { replicated: now, reached: None, goals };
        // Nothing has been written since the last pass, or ever.
        let is_reached = round.is_reached(facts, pairs);
        round.reached = is_reached.then_some(now);
        self.round = Some(round);
        (!is_reached).then_some(Action::Replicate)
    }

    /// The copies of what internal replication leaves out, from each source to its target.
    fn copies_over(&self, roster: &Roster) -> Vec<CopyOver> {
        let both = self.moves.iter().filter_map(|one| {
            let (from, to) = (roster.name(one.from?)?.to_owned(), roster.name(one.to?)?.to_owned());
            Some(CopyOver { range: one.range.clone(), from, to })
        });
        both.collect()
    }

    /// The moves that have a target, with its placeholder and name.
    fn targets<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = (&'a Move, Fill, &'a str)> {
        self.moves.iter().filter_map(|one| Some((one, one.fill(), roster.name(one.to?)?)))
    }

    /// The moves that have a source, with its name.
    fn sources<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = (&'a Move, &'a str)> {
        self.moves.iter().filter_map(|one| Some((one, roster.name(one.from?)?)))
    }
}

/// The phase of a move that the map does not show.
fn pending(one: &Move, document: &Document, roster: &Roster, before: Phase) -> Option<Phase> {
    let holds = |end: Option<u32>| {
        end.and_then(|end| roster.name(end)).is_some_and(|name| document.holds(&one.range, name))
    };
    match one.to {
        // The source is still to be dropped.
        None if holds(one.from) => Some(Phase::Confirm),
        None => None,
        // The target got a copy in another way, or the source lost its own: the plan no longer fits.
        Some(_) if before != Phase::Begin || holds(one.to) => None,
        Some(_) if one.from.is_some() && !holds(one.from) => None,
        Some(_) => Some(Phase::Begin),
    }
}

/// Raises the quorum of all ranges by a placeholder of no copy.
fn raise(range: &str) -> Change {
    Change::add(range, Fill::NO_COPY.to_string())
}

/// Lowers the quorum again, if it is raised.
fn lower(document: &Document) -> Option<Change> {
    document.raised().map(|range| Change::remove(range, Fill::NO_COPY.to_string()))
}

/// Gives the source its place in the map again. The entries of the log show the move as switched.
fn put_back(one: &Move, roster: &Roster) -> Vec<Change> {
    let Some(from) = one.from.and_then(|from| roster.name(from)) else { return vec![] };
    let mut changes = vec![Change::add(&one.range, from)];
    changes.push(Change::log(Logged::Added, &one.range, one.fill().to_string()));
    changes.push(Change::log(Logged::Removed, &one.range, one.fill().to_string()));
    changes
        .extend(one.to.and_then(|to| roster.name(to)).map(|to| Change::log(Logged::Added, &one.range, to)));
    changes
}

/// The files of one direction of replication.
struct Pair {
    from: FileKey,
    to: FileKey,
}

fn pair(range: &str, from: &str, to: &str) -> Pair {
    Pair { from: (range.to_owned(), from.to_owned()), to: (range.to_owned(), to.to_owned()) }
}

impl Copying {
    /// `true` if nothing more is going to be pushed without a request.
    fn is_idle(self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= PUSHED_BY_ITSELF
    }

    /// The same, with the time at which the changes became more.
    fn after(self, before: Option<Self>) -> Self {
        // While moves were paused, because a node was down, nothing was expected to be copied.
        let before = before.filter(|before| self.seen.saturating_sub(before.seen) < UNPAUSED);
        let unchanged = before.filter(|before| self.changes <= before.changes);
        Self { since: unchanged.map_or(self.since, |before| before.since), ..self }
    }
}

impl Round {
    fn is_reached(&self, facts: &Facts<'_>, pairs: &[Pair]) -> bool {
        pairs.iter().all(|pair| {
            let goal = self.goals.get(&pair.from).copied();
            goal.is_some_and(|goal| facts.of(&pair.from).has_reached(&facts.of(&pair.to), goal))
        })
    }
}

impl<'a> Facts<'a> {
    fn of(&self, key: &FileKey) -> FileFacts {
        self.files.get(key).cloned().unwrap_or_default()
    }

    fn file(&self, range: &str, node: &str) -> FileFacts {
        self.of(&(range.to_owned(), node.to_owned()))
    }

    /// The first holder of the range, with the properties that all holders have; `None` if they differ.
    fn agreed(&self, range: &str) -> Option<(&'a str, Option<Properties>)> {
        let mut holders = self.document.holders(range);
        let first = holders.next()?;
        let properties = self.file(range, first).properties;
        holders.all(|other| self.file(range, other).properties == properties).then_some((first, properties))
    }
}

/// One pass of replication is one pass up to its beginning, so it is repeated until the goal is reached.
const BETWEEN_PASSES: Duration = Duration::from_secs(2);
/// A proof that is older is made again before the map is changed.
const FRESH: Duration = Duration::from_secs(2);
/// CouchDB pushes an update after 5 s (`[mem3] sync_delay`) and up to half a second (`sync_frequency`).
const LATE_WRITES: Duration = Duration::from_secs(6);
/// The same on a node under load.
const PUSHED_BY_ITSELF: Duration = Duration::from_secs(15);
/// What a source has not pushed after this time, it has forgotten.
const PUSHED_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at moves that are not paused; one over many databases takes some seconds.
const UNPAUSED: Duration = Duration::from_secs(60);
/// A node under load may need a minute for one batch of large documents.
const STALLED: Duration = Duration::from_secs(300);
/// Views that take longer are built in part after the move. One of 3,000 documents took 60 s.
const LONGEST_FOR_VIEWS: Duration = Duration::from_secs(600);
