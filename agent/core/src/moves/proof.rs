//! The proof that a copy has everything that another one had: the checkpoint of internal replication. Counts of documents
//! prove nothing.

use std::collections::BTreeMap;

use crate::shards::{Goal, Properties};

/// A shard file on one node, as far as a move needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// The uuid of the file; `None` if the file is missing. A file that was created again has another one.
    pub uuid: Option<String>,
    /// The sequence of its last change of a document; 0 without any.
    pub last_change: u64,
    /// The number of purges.
    pub purge_seq: u64,
    /// The sequences up to which the file was replicated, by the uuid of the other file.
    pub checkpoints: BTreeMap<String, u64>,
    /// The purges up to which its purges were replicated, by the uuid of the other file.
    pub purges: BTreeMap<String, u64>,
    /// `_security` and `_revs_limit`; `None` if they have not been read.
    pub properties: Option<Properties>,
}

impl FileFacts {
    /// The present state, as a goal for other copies. While documents are written, no copy ever reaches the state of the
    /// moment in which it is looked at.
    pub fn goal(&self) -> Goal {
        Goal { last_change: self.last_change, purge_seq: self.purge_seq }
    }

    /// `true` if `other` has everything that this file had at `goal`.
    ///
    /// A file that was never written gets no checkpoint and needs none.
    pub fn has_reached(&self, other: &Self, goal: Goal) -> bool {
        let Some(uuid) = &other.uuid else { return false };
        let purge_seq = self.purges.get(uuid).copied().unwrap_or_default();
        goal.is_reached_by(Goal { last_change: self.copied_to(other), purge_seq })
    }

    /// The sequence of this file up to which `other` has its changes.
    pub fn copied_to(&self, other: &Self) -> u64 {
        other.uuid.as_ref().and_then(|uuid| self.checkpoints.get(uuid)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(uuid: &str, last_change: u64, checkpoints: &[(&str, u64)]) -> FileFacts {
        let checkpoints = checkpoints.iter().map(|(uuid, seq)| ((*uuid).to_owned(), *seq)).collect();
        FileFacts { uuid: Some(uuid.to_owned()), last_change, checkpoints, ..FileFacts::default() }
    }

    #[test]
    fn a_copy_is_complete_when_the_checkpoint_of_its_own_file_has_reached_the_last_change() {
        let x = file("x", 7, &[("y", 7), ("z", 6)]);
        assert!(x.has_reached(&file("y", 0, &[]), x.goal()));
        assert!(
            !x.has_reached(&file("z", 9, &[]), x.goal()),
            "behind, however many changes it has of its own"
        );
        assert!(!x.has_reached(&file("new", 7, &[]), x.goal()), "a file that was created again");
        assert!(!x.has_reached(&FileFacts::default(), x.goal()), "a missing file");
    }

    #[test]
    fn a_file_that_was_never_written_needs_no_checkpoint_and_purges_need_one_of_their_own() {
        assert!(file("x", 0, &[]).has_reached(&file("y", 0, &[]), Goal::default()));
        assert!(!file("x", 0, &[]).has_reached(&FileFacts::default(), Goal::default()));
        let purged = FileFacts { purge_seq: 3, ..file("x", 1, &[("y", 1)]) };
        assert!(!purged.has_reached(&file("y", 1, &[]), purged.goal()));
        let replicated = FileFacts { purges: [("y".to_owned(), 3)].into(), ..purged };
        assert!(replicated.has_reached(&file("y", 1, &[]), replicated.goal()));
    }
}
