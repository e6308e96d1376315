//! The holder of the Lease as seen from here.

use std::time::Duration;

use agent_core::decide::LeaseFacts;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// The Lease's holder, and the time at which its last renewal was seen here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    holder: Option<String>,
    /// The last renewal by the holder's own clock. Compared for equality only.
    renewed: Option<MicroTime>,
    /// The time for which the holder keeps the Lease without a renewal.
    lasts: Duration,
    /// The `resourceVersion` that a change is based on, so that one of two concurrent changes fails. `None`: there is no
    /// Lease yet.
    revision: Option<String>,
    /// When this renewal was first seen here.
    seen: Instant,
}

impl Holding {
    /// The holder that `lease` names, seen at `now`. A renewal that was seen `before` keeps its time.
    pub(super) fn from_lease(lease: Option<&Lease>, before: Option<&Self>, now: Instant) -> Self {
        let spec = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let renewed = spec.renew_time;
        // Watches repeat objects. Only a new holder or a new renewal starts the time again.
        let unchanged = before.filter(|before| before.holder == holder && before.renewed == renewed);
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            seen: unchanged.map_or(now, |before| before.seen),
            holder,
            renewed,
            lasts: seconds.map_or(LEASE_DURATION, Duration::from_secs),
            revision: lease.and_then(|lease| lease.metadata.resource_version.clone()),
        }
    }

    /// The facts at `now` by which the Lease is held or free.
    pub(super) fn facts(&self, now: Instant) -> LeaseFacts<'_> {
        LeaseFacts { holder: self.holder.as_deref(), lasts: self.lasts, seen_for: now - self.seen }
    }

    /// The `resourceVersion` of the Lease; `None` if there is none.
    pub(super) fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The same, whatever version the Lease has: each write of an annotation changes it.
    pub(super) fn of_any_revision(&self) -> Self {
        Self { revision: None, ..self.clone() }
    }

    /// Forgets the holder.
    pub(super) fn clear_holder(&mut self) {
        self.holder = None;
    }
}

/// Longer than forming a cluster takes with a slow CouchDB, and the time for which the other agents wait for a holder
/// that died.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(30);
