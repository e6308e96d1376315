//! The verdict about a request that removes pods.

use contract::moves::CopiesRecord;
use contract::text::cut;

use super::denial::Denial;
use super::evidence::Evidence;
use super::request::{ScaleDown, Volumes};
use crate::outcome::Warning;
use crate::read::ScaleDownMode;

/// The verdict about a request that removes pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pods are removed.
    Allow(Vec<Warning>),
    /// The request is denied.
    Deny(Denial),
    /// The replicas stay, and the nodes beyond `target` are drained.
    Drain {
        /// The value of the annotation `target-size`.
        target: u32,
        /// Explains the change to the user.
        warnings: Vec<Warning>,
    },
}

impl ScaleDown {
    /// Judges the request. The evidence is ignored unless [`needs_evidence`](Self::needs_evidence).
    pub fn judge(&self, evidence: &Evidence) -> Verdict {
        if !self.needs_evidence() {
            return Verdict::Allow(vec![Warning::ScaledToZero { replicas: self.old.count }]);
        }
        if *evidence == Evidence::NeverFormed {
            return Verdict::Allow(vec![Warning::NeverFormed { name: self.name.clone() }]);
        }
        if let Evidence::Recorded(record) = evidence
            && self.kept(record).next().is_none()
        {
            return Verdict::Allow(vec![]);
        }
        match self.mode {
            ScaleDownMode::Allow => Verdict::Allow(vec![self.unguarded(evidence)]),
            ScaleDownMode::Guard | ScaleDownMode::Drain => self.restrain(evidence),
        }
    }

    /// Denies the removal of nodes that are not drained, or turns it into a drain.
    fn restrain(&self, evidence: &Evidence) -> Verdict {
        let nothing = CopiesRecord::default();
        let record = match evidence {
            Evidence::Recorded(record) => record,
            Evidence::Unknown(reason) => return Verdict::Deny(Denial::unknown(self, reason)),
            // Agents record the copies once the cluster is settled, and again when they begin to drain a node. Those of an
            // older release never do: the nodes stay.
            Evidence::NotRecorded if self.mode == ScaleDownMode::Drain => &nothing,
            Evidence::NotRecorded | Evidence::NeverFormed => {
                return Verdict::Deny(Denial::not_recorded(self));
            }
        };
        if self.new.count == 0 {
            return Verdict::Deny(Denial::volumes_deleted(self));
        }
        if !self.is_from_the_end() {
            return Verdict::Deny(Denial::other_start(self, record));
        }
        if self.mode == ScaleDownMode::Drain {
            let (replicas, target) = (self.old.count, self.new.count);
            return Verdict::Drain { target, warnings: vec![Warning::DrainsFirst { replicas, target }] };
        }
        Verdict::Deny(Denial::not_drained(self, record))
    }

    /// The removed pods that are not drained.
    ///
    /// Ends after at most as many steps as the record has nodes, however many pods are removed, if only the first few are
    /// taken.
    pub(super) fn kept<'s>(&'s self, record: &'s CopiesRecord) -> impl Iterator<Item = String> + 's {
        let pods = self.removed().map(|ordinal| self.pod(ordinal));
        pods.filter(|pod| !record.state(pod).is_removable())
    }

    fn unguarded(&self, evidence: &Evidence) -> Warning {
        let empty = CopiesRecord::default();
        let record = if let Evidence::Recorded(record) = evidence { record } else { &empty };
        let names = self.kept(record).take(SHOWN_NAMES).collect::<Vec<_>>().join(", ");
        let names = cut(&names, NAMES_LENGTH).into_owned();
        match self.volumes {
            Volumes::Kept => Warning::Unguarded { names },
            Volumes::Deleted => Warning::UnguardedVolumes { names },
        }
    }
}

/// The names in a warning, which an API server may cut at 256 characters.
const SHOWN_NAMES: usize = 3;
const NAMES_LENGTH: usize = 72;
