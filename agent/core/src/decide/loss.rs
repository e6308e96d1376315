//! Volumes that were lost, and with them the only copies of some documents.

use super::step::Refusal;
use crate::facts::{Observed, VolumeNote, VolumeOrigin};

/// Returns `true` if the origin of the local volume matters: no agent has found it complete.
pub(super) fn may_be_new(observed: &Observed) -> bool {
    match observed.note {
        VolumeNote::None => true,
        VolumeNote::Filling => observed.first_note,
        VolumeNote::Complete => false,
    }
}

/// Returns `true` if a member remembers another volume of this node.
pub(super) fn is_replaced(observed: &Observed) -> bool {
    observed.origin != VolumeOrigin::Unknown
}

/// Returns the refusal of a node that held the only copies of some documents on a volume that was lost, until a person
/// accepts the loss.
///
/// Open, the node would answer with empty shards, and the documents would seem never to have existed.
pub(super) fn lost_shards(observed: &Observed) -> Option<Refusal> {
    let VolumeOrigin::Replaced { present } = &observed.origin else { return None };
    if observed.lost.count == 0 || !may_be_new(observed) {
        return None;
    }
    let token = token(present);
    // Several pods may have lost their volumes at once.
    let accepted = observed.accept_loss.as_deref().unwrap_or_default();
    let is_accepted = accepted.split(',').any(|accepted| accepted.trim() == token);
    (!is_accepted).then(|| Refusal::ShardsLost { lost: observed.lost.clone(), token })
}

/// Returns `true` if a member's volume `present` must be remembered, where another agent has left `note` on it and `before` was
/// remembered.
///
/// A volume that replaced another one counts only once it is complete. Until then the old one is the evidence of the loss,
/// and a restart of the members that remember it must not end the refusal.
pub fn is_remembered(before: Option<&str>, present: &str, note: VolumeNote) -> bool {
    before.is_none_or(|before| before == present) || note == VolumeNote::Complete
}

/// The token of one loss. It follows from the new volume, so a later loss needs another acceptance.
fn token(volume: &str) -> String {
    volume.chars().take(TOKEN).collect()
}

/// As many digits as a person can compare.
const TOKEN: usize = 12;
