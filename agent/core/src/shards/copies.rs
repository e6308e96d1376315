//! The facts about the copies of one shard, and what they prove.
//!
//! A copy has everything that another one had if the checkpoint of internal replication between the two files has reached
//! the other one's last change. Counts of documents prove nothing: after 1,000 edits that a copy missed, the counts were
//! equal and 11 of 21 reads old (CouchDB 3.5.0).

use std::collections::BTreeMap;

use serde_json::Value;

use super::map::LocalShard;
use super::range::Range;
use crate::facts::VolumeNote;

/// The info of one shard file, and the properties that each copy has for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileState {
    /// The uuid of the file; `None` if the file is missing. A file that was lost and created again has another one.
    pub uuid: Option<String>,
    /// The documents, deleted ones included.
    pub documents: u64,
    /// The number of changes, of properties and purges too; 0 for a file that was never written.
    pub update_seq: u64,
    /// The number of purges.
    pub purge_seq: u64,
    /// `None` if they have not been read.
    pub properties: Option<Properties>,
}

/// Properties of a shard file that internal replication does not copy. CouchDB itself copies `_security` only where more
/// than half of all copies have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// `_security`
    pub security: Value,
    /// `_revs_limit`
    pub revs_limit: u64,
}

/// The state of a file that its copies must have reached, or that they have reached by their checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Goal {
    /// The sequence of the last change of a document.
    pub last_change: u64,
    /// The number of purges.
    pub purge_seq: u64,
}

impl Goal {
    /// `true` if replication up to `reached` has copied everything.
    pub fn is_reached_by(self, reached: Self) -> bool {
        reached.last_change >= self.last_change && reached.purge_seq >= self.purge_seq
    }
}

/// A copy on another node that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherCopy {
    /// Its position among the other copies of the shard.
    index: usize,
    pub(super) range: Range,
    /// The note on its node's volume.
    pub note: VolumeNote,
    /// The file.
    pub state: FileState,
    /// The sequence of its last change of a document; 0 without any.
    pub last_change: u64,
    /// The sequence up to which it was replicated to the local file, by the checkpoint in this copy; 0 without one.
    pub checkpoint: u64,
    /// The purge up to which purges were replicated to the local file, by the checkpoint in this copy; 0 without one.
    pub purge_checkpoint: u64,
}

impl OtherCopy {
    /// A copy in the file that `shard` names as its other copy number `index`. Nothing of it has been replicated.
    pub fn new(shard: &LocalShard, index: usize, note: VolumeNote, state: FileState) -> Option<Self> {
        let range = shard.others.get(index)?.range;
        Some(Self { index, range, note, state, last_change: 0, checkpoint: 0, purge_checkpoint: 0 })
    }
}

impl OtherCopy {
    /// The position of its file among [`LocalShard::others`].
    pub fn index(&self) -> usize {
        self.index
    }
}

/// The state of a shard: the local copy, and the others whose nodes answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardState {
    /// The local copy.
    pub mine: FileState,
    /// The other copies.
    pub theirs: Vec<OtherCopy>,
}

/// A property of a local file that differs from what all other holders have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The local file.
    pub file: String,
    /// The value to set.
    pub property: Property,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// `_revs_limit`
    RevsLimit(u64),
    /// `_security`
    Security(Value),
}

/// The comparison of the properties of a shard's copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// The local copy has what all others have.
    Equal,
    /// All others have the same, and the local copy something else.
    Differs(Vec<Repair>),
    /// The others have different values, and none of them is known to be right.
    NoneAmongOthers,
}

impl ShardState {
    /// Returns `true` if the copies whose nodes answer prove something about the local one.
    ///
    /// A copy that may itself be incomplete proves nothing while another one does not answer: two nodes that lost their
    /// volumes would each find the other's empty copy complete, while the full one is down.
    pub(super) fn is_proof(&self, shard: &LocalShard) -> bool {
        // An only copy has no other one to compare with, and is complete.
        if self.theirs.len() >= shard.others.len() {
            return true;
        }
        let complete = self.theirs.iter().filter(|copy| copy.note == VolumeNote::Complete);
        shard.range.is_covered_by(complete.map(|copy| copy.range))
    }

    /// About as many documents as the fullest other copies have of this shard. Only for people, and to detect an empty
    /// volume.
    pub(super) fn documents_elsewhere(&self, shard: &LocalShard) -> u64 {
        let mut fullest: BTreeMap<Range, u64> = BTreeMap::new();
        for copy in &self.theirs {
            let documents = fullest.entry(copy.range).or_default();
            *documents = copy.state.documents.max(*documents);
        }
        let (mut whole, mut parts) = (0, 0_u64);
        for (range, documents) in fullest {
            if shard.range.is_covered_by([range]) {
                // Documents are spread evenly over the hashes.
                whole = whole.max(scaled(documents, shard.range, range));
            } else {
                parts = parts.saturating_add(documents);
            }
        }
        whole.max(parts)
    }

    /// Compares the properties with those of the other copies. Copies on incomplete volumes do not count.
    pub(super) fn agreement(&self, shard: &LocalShard) -> Agreement {
        let is_trusted = |copy: &&OtherCopy| copy.note != VolumeNote::Filling;
        let known = self.theirs.iter().filter(is_trusted).filter_map(|copy| copy.state.properties.as_ref());
        let mut known = known.collect::<Vec<_>>().into_iter();
        let Some(theirs) = known.next() else { return Agreement::Equal };
        if known.any(|other| other != theirs) {
            return Agreement::NoneAmongOthers;
        }
        let Some(mine) = &self.mine.properties else { return Agreement::Equal };
        let mut repairs = vec![];
        if mine.security != theirs.security {
            repairs.push(Property::Security(theirs.security.clone()));
        }
        if mine.revs_limit != theirs.revs_limit {
            repairs.push(Property::RevsLimit(theirs.revs_limit));
        }
        if repairs.is_empty() {
            return Agreement::Equal;
        }
        let file = shard.file.clone();
        Agreement::Differs(
            repairs.into_iter().map(|property| Repair { file: file.clone(), property }).collect(),
        )
    }
}

/// The documents of `part`, which lies within `whole`, if all of `whole` has `documents`.
fn scaled(documents: u64, part: Range, whole: Range) -> u64 {
    if part == whole {
        return documents;
    }
    let share = u128::from(documents) * u128::from(part.to - part.from) / u128::from(whole.to - whole.from);
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Returns `true` if the properties of a shard's copies must be read: some copy was written. A file that was never written
/// has the default ones.
pub fn reads_properties(mine: &FileState, theirs: &[OtherCopy]) -> bool {
    mine.update_seq > 0 || theirs.iter().any(|copy| copy.state.update_seq > 0)
}
