//! The meaning of the founding record.

use crate::facts::{ApiState, Digest, KnownRecord, Observed};

/// A cluster that was formed here.
pub(super) struct FormerCluster {
    /// `None` where a newer agent wrote the record.
    pub(super) uuid: Option<String>,
}

/// Returns the recorded cluster, unless the user has given it up.
pub(super) fn former_cluster(observed: &Observed) -> Option<FormerCluster> {
    if is_given_up(observed) {
        return None;
    }
    match &observed.record {
        KnownRecord::Formed { uuid, .. } => Some(FormerCluster { uuid: Some(uuid.clone()) }),
        // A record that can't be read may be of any cluster.
        KnownRecord::Newer => Some(FormerCluster { uuid: None }),
        // No cluster is formed while a record that can be read is unread.
        KnownRecord::Absent | KnownRecord::Forbidden | KnownRecord::Unread => None,
    }
}

/// Returns `true` if the founding must still be recorded: there is no record, or it is of a cluster that was given up.
pub(super) fn record_is_missing(observed: &Observed) -> bool {
    observed.api == ApiState::Current && (observed.record == KnownRecord::Absent || is_given_up(observed))
}

/// Returns the local node's uuid if it may be recorded: it is still the `decided` one. A node that restarted since the
/// decision has another, and the next round decides again.
pub fn recorded_uuid(uuid: String, decided: Option<Digest>) -> Option<String> {
    decided.is_none_or(|decided| Digest::of([&uuid]) == decided).then_some(uuid)
}

fn is_given_up(observed: &Observed) -> bool {
    observed.record.is_given_up(observed.form_anew.as_ref())
}
