//! The StatefulSet's Lease as a lock: for what at most one agent may do at a time.
//!
//! No two clocks are compared. A holder counts from its own write, every other agent from the moment in which it saw that
//! write. A holder that has not renewed the Lease for as long as it promised has lost it.

use std::time::Duration;

use contract::PodName;

use crate::facts::{ApiState, KnownRecord, LeaseState, Observed};

/// The content of the Lease, as far as it decides its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseFacts<'a> {
    /// `spec.holderIdentity`, if it is set.
    pub holder: Option<&'a str>,
    /// The time for which the holder may stay silent: `spec.leaseDurationSeconds`.
    pub lasts: Duration,
    /// The time since this agent first saw the present holder and renewal.
    pub seen_for: Duration,
}

/// The name under which one agent process holds the Lease: `<pod>_<uid>_<nonce>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseUser {
    /// Common to all processes of one pod.
    pod: String,
    holder: String,
}

impl LeaseUser {
    /// Names this process by its pod, the pod's uid and a number that no other process has.
    pub fn new(pod: &PodName, uid: Option<&str>, nonce: u64) -> Self {
        let pod = format!("{pod}_{}_", uid.unwrap_or_default());
        Self { holder: format!("{pod}{nonce:016x}"), pod }
    }

    /// The value of `spec.holderIdentity` while this process holds the Lease.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Decides the state of the Lease. `lease` is `None` until it has been read; `writable` is `false` once Kubernetes has
    /// refused a write.
    pub fn state(&self, record: &KnownRecord, writable: bool, lease: Option<LeaseFacts<'_>>) -> LeaseState {
        // The record is an annotation of the Lease: if it can't be read, neither can the holder.
        if *record == KnownRecord::Forbidden || !writable {
            return LeaseState::NotUsed;
        }
        match lease {
            Some(lease) if *record != KnownRecord::Unread => self.held(lease),
            Some(_) | None => LeaseState::Unknown,
        }
    }

    fn held(&self, LeaseFacts { holder, lasts, seen_for }: LeaseFacts<'_>) -> LeaseState {
        let Some(holder) = holder else { return LeaseState::Free };
        // The holder stops a third of the time before others may take the Lease: a write takes time to be seen, and so
        // does the work that is done under it.
        if holder == self.holder && seen_for < lasts * 2 / 3 {
            return LeaseState::Mine;
        }
        // A former process of this pod has ended: the kubelet runs one at a time.
        if holder.starts_with(&self.pod) || seen_for > lasts {
            return LeaseState::Free;
        }
        LeaseState::Held(holder.split('_').next().unwrap_or(holder).to_owned())
    }
}

/// Returns `true` if this agent has the Lease, may take it, or needs none.
pub(super) fn may_take_lease(observed: &Observed) -> bool {
    match observed.lease {
        LeaseState::Mine | LeaseState::NotUsed => true,
        // Without an answer of the API the Lease looks free to every agent.
        LeaseState::Free => observed.api != ApiState::Silent,
        LeaseState::Held(_) | LeaseState::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(nonce: u64) -> LeaseUser {
        LeaseUser::new(&"db-1".parse().unwrap(), Some("u1"), nonce)
    }

    fn state(holder: Option<&str>, seen_for: u64) -> LeaseState {
        let (lasts, seen_for) = (Duration::from_secs(30), Duration::from_secs(seen_for));
        user(5).state(&KnownRecord::Absent, true, Some(LeaseFacts { holder, lasts, seen_for }))
    }

    #[test]
    fn a_lease_is_held_until_its_holder_misses_a_renewal() {
        let theirs = Some("db-0_u0_0000000000000001");
        assert_eq!(state(theirs, 30), LeaseState::Held("db-0".to_owned()));
        assert_eq!(state(theirs, 31), LeaseState::Free);
        let mine = Some("db-1_u1_0000000000000005");
        assert_eq!((state(mine, 19), state(mine, 20)), (LeaseState::Mine, LeaseState::Free));
        assert_eq!(
            state(Some("db-1_u1_0000000000000004"), 1),
            LeaseState::Free,
            "a former process of the pod"
        );
        let namesake = Some("db-1_u2_0000000000000005");
        assert_eq!(state(namesake, 1), LeaseState::Held("db-1".to_owned()), "another pod of this name");
        assert_eq!(state(None, 1), LeaseState::Free);
    }

    #[test]
    fn a_lease_that_cannot_be_read_or_written_is_not_used() {
        let free = Some(LeaseFacts { holder: None, lasts: Duration::ZERO, seen_for: Duration::ZERO });
        let absent = KnownRecord::Absent;
        assert_eq!(user(1).state(&absent, true, None), LeaseState::Unknown);
        assert_eq!(user(1).state(&KnownRecord::Unread, true, free), LeaseState::Unknown);
        assert_eq!(user(1).state(&KnownRecord::Forbidden, true, free), LeaseState::NotUsed);
        assert_eq!(user(1).state(&absent, true, free), LeaseState::Free);
        assert_eq!(user(1).state(&absent, false, free), LeaseState::NotUsed, "readable and not writable");
    }
}
