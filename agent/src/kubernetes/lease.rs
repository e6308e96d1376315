//! The StatefulSet's Lease as a lock: what only one agent may do at a time is done by whoever holds it.
//!
//! Nobody's clock is compared with anybody else's. A holder counts from when it wrote, everybody else from when they saw
//! that; whoever has not renewed it for as long as it promised no longer holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_core::decide::{LeaseFacts, LeaseUser};
use agent_core::facts::LeaseState;
use contract::{PodFqdn, objects};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api as Objects, Client};
use serde_json::json;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::record::{self, Founding};
use super::{Knowledge, RecordError, heard_lease};

/// What the Lease says of who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Who, if anybody.
    holder: Option<String>,
    /// When they said so last, by their own clock.
    renewed: Option<MicroTime>,
    /// How long they may be silent.
    lasts: Duration,
    /// What a change must be based on, so that of two at the same time one fails. `None`: there is no Lease yet.
    revision: Option<String>,
    /// When this was first seen here.
    seen: Instant,
}

/// This agent's hand on the Lease.
#[derive(Clone, Debug)]
pub struct Claim {
    leases: Objects<Lease>,
    name: String,
    user: LeaseUser,
    /// Kubernetes refused that the Lease be written, so there is no lock to be had.
    forbidden: Arc<AtomicBool>,
    known: watch::Sender<Knowledge>,
}

/// Why the Lease could not be taken or given back.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// Kubernetes didn't do it.
    #[error("failed to {verb} Lease '{name}'")]
    Refused {
        /// What was to be done with it.
        verb: &'static str,
        /// The Lease's name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// Kubernetes said nothing.
    #[error("failed to {verb} Lease '{name}': no answer within {} s", PATIENCE.as_secs())]
    Silent {
        /// What was to be done with it.
        verb: &'static str,
        /// The Lease's name.
        name: String,
    },
}

impl Holding {
    /// What a Lease says, seen at `now`. Whatever it said `before` is no news.
    pub(super) fn from_lease(lease: Option<&Lease>, before: Option<&Self>, now: Instant) -> Self {
        let spec = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let renewed = spec.renew_time;
        let same = |before: &&Self| (&before.holder, &before.renewed) == (&holder, &renewed);
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            seen: before.filter(same).map_or(now, |before| before.seen),
            holder,
            renewed,
            lasts: seconds.map_or(LASTS, Duration::from_secs),
            revision: lease.and_then(|lease| lease.metadata.resource_version.clone()),
        }
    }
}

impl Claim {
    /// `nonce` tells this process from every other.
    pub(super) fn new(
        client: &Client,
        me: &PodFqdn,
        uid: Option<&str>,
        nonce: u64,
        known: watch::Sender<Knowledge>,
    ) -> Self {
        Self {
            leases: Objects::namespaced(client.clone(), me.namespace().as_str()),
            name: objects::companion(me.pod().set().as_str()),
            user: LeaseUser::new(me.pod(), uid, nonce),
            forbidden: Arc::default(),
            known,
        }
    }

    /// Who holds it at `now`, by what is `known`.
    pub(crate) fn lock(&self, known: &Knowledge, now: Instant) -> LeaseState {
        let lease = known.holding.as_ref().map(|holding| LeaseFacts {
            holder: holding.holder.as_deref(),
            lasts: holding.lasts,
            seen_for: now - holding.seen,
        });
        self.user.state(&known.record, !self.forbidden.load(Ordering::Relaxed), lease)
    }

    /// Takes it, unless somebody else is just doing that: who has it then, the next round sees. `at` is now, RFC 3339.
    pub(crate) async fn take(&self, at: &str) -> Result<(), LeaseError> {
        let revision = self.known.borrow().holding.as_ref().and_then(|holding| holding.revision.clone());
        let now = at.parse().ok().map(MicroTime);
        let spec = LeaseSpec {
            holder_identity: Some(self.user.holder().to_owned()),
            acquire_time: now.clone(),
            renew_time: now,
            lease_duration_seconds: i32::try_from(LASTS.as_secs()).ok(),
            ..LeaseSpec::default()
        };
        let Some(revision) = revision else {
            let mut lease = Lease { spec: Some(spec), ..Lease::default() };
            lease.metadata.name = Some(self.name.clone());
            let params =
                PostParams { field_manager: Some(objects::AGENT_CONTAINER.to_owned()), dry_run: false };
            return self.done("create", timeout(PATIENCE, self.leases.create(&params, &lease)).await);
        };
        self.patch("take", &revision, json!(spec)).await
    }

    /// Gives it back, if it is still as it was. Whether Kubernetes hears of it or not, this process no longer holds it.
    pub(crate) async fn release(&self) -> Result<(), LeaseError> {
        let mut revision = None;
        self.known.send_if_modified(|known| {
            if let Some(holding) = &mut known.holding {
                (holding.holder, revision) = (None, holding.revision.clone());
            }
            false
        });
        match revision {
            Some(revision) => self.patch("release", &revision, json!({ "holderIdentity": null })).await,
            None => Ok(()),
        }
    }

    /// Writes the founding record into it, whoever holds it.
    pub(crate) async fn record(&self, founding: Founding<'_>) -> Result<(), RecordError> {
        let lease = record::write(&self.leases, &self.name, founding).await?;
        heard_lease(&self.known, &Ok(Some(lease)));
        Ok(())
    }

    async fn patch(
        &self,
        verb: &'static str,
        revision: &str,
        spec: serde_json::Value,
    ) -> Result<(), LeaseError> {
        let patch = json!({ "metadata": { "resourceVersion": revision }, "spec": spec });
        let params = PatchParams {
            field_manager: Some(objects::AGENT_CONTAINER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&patch);
        self.done(verb, timeout(PATIENCE, self.leases.patch(&self.name, &params, &patch)).await)
    }

    fn done(
        &self,
        verb: &'static str,
        answer: Result<kube::Result<Lease>, Elapsed>,
    ) -> Result<(), LeaseError> {
        let name = || self.name.clone();
        let Ok(answer) = answer else { return Err(LeaseError::Silent { verb, name: name() }) };
        match answer {
            Ok(lease) => {
                heard_lease(&self.known, &Ok(Some(lease)));
                Ok(())
            }
            // Somebody was quicker, or it is gone: the watch tells.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
            Err(source) => {
                if matches!(&source, kube::Error::Api(status) if status.code == 403) {
                    self.forbidden.store(true, Ordering::Relaxed);
                }
                Err(LeaseError::Refused { verb, name: name(), source: Box::new(source) })
            }
        }
    }
}

/// Longer than founding takes with a slow CouchDB, and as long as the others wait for one that died meanwhile.
const LASTS: Duration = Duration::from_secs(30);
/// An API server answers a change in some 10 ms; nobody waits for one that doesn't.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::facts::{ApiState, KnownRecord};

    fn lease(holder: &str, renewed: &str) -> Lease {
        let spec = json!({ "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 30 });
        serde_json::from_value(json!({ "metadata": { "resourceVersion": "7" }, "spec": spec })).unwrap()
    }

    fn known(holding: Option<Holding>) -> Knowledge {
        Knowledge { api: ApiState::Current, set: None, record: KnownRecord::Absent, holding, occupant: None }
    }

    fn claim(nonce: u64) -> Claim {
        let me: PodFqdn = "db-1.db.shop.svc.cluster.local".parse().unwrap();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        Claim::new(&client, &me, Some("u1"), nonce, watch::channel(known(None)).0)
    }

    #[tokio::test]
    async fn a_lease_is_held_for_as_long_as_its_holder_speaks() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let see = |holder, renewed, before: Option<&Holding>, seconds| {
            Holding::from_lease(Some(&lease(holder, renewed)), before, at(seconds))
        };
        let lock = |holding: &Holding, seconds| claim(5).lock(&known(Some(holding.clone())), at(seconds));

        let theirs = see("db-0_u0_0000000000000001", "2026-01-01T00:00:00.000000Z", None, 0);
        assert_eq!(lock(&theirs, 30), LeaseState::Held("db-0".to_owned()));
        assert_eq!(lock(&theirs, 31), LeaseState::Free, "silent for longer than it promised");
        let again = see("db-0_u0_0000000000000001", "2026-01-01T00:00:00.000000Z", Some(&theirs), 20);
        assert_eq!(lock(&again, 31), LeaseState::Free, "seen once more is not renewed");
        let renewed = see("db-0_u0_0000000000000001", "2026-01-01T00:00:01.000000Z", Some(&theirs), 20);
        assert_eq!(lock(&renewed, 50), LeaseState::Held("db-0".to_owned()));

        let mine = see("db-1_u1_0000000000000005", "1999-01-01T00:00:00.000000Z", None, 0);
        assert_eq!(
            (lock(&mine, 19), lock(&mine, 20)),
            (LeaseState::Mine, LeaseState::Free),
            "no clock but ours counts"
        );
        let former = see("db-1_u1_0000000000000004", "2026-01-01T00:00:00.000000Z", None, 0);
        assert_eq!(lock(&former, 1), LeaseState::Free, "this container's former process");
        let twin = see("db-1_u2_0000000000000005", "2026-01-01T00:00:00.000000Z", None, 0);
        assert_eq!(lock(&twin, 1), LeaseState::Held("db-1".to_owned()), "another pod of this name");

        assert_eq!(lock(&see("", "2026-01-01T00:00:00.000000Z", None, 0), 1), LeaseState::Free);
        assert_eq!(lock(&Holding::from_lease(None, None, at(0)), 1), LeaseState::Free);
    }

    #[tokio::test]
    async fn where_the_lease_can_not_be_had_there_is_no_lock() {
        let now = Instant::now();
        assert_eq!(claim(1).lock(&known(None), now), LeaseState::Unknown);
        let refused = Knowledge { record: KnownRecord::Forbidden, ..known(None) };
        assert_eq!(claim(1).lock(&refused, now), LeaseState::NotUsed);
        let claim = claim(1);
        let free = known(Some(Holding::from_lease(None, None, now)));
        assert_eq!(claim.lock(&free, now), LeaseState::Free);
        let status = kube::core::Status::failure("no", "Forbidden").with_code(403).boxed();
        assert!(claim.done("take", Ok(Err(kube::Error::Api(status)))).is_err());
        assert_eq!(claim.lock(&free, now), LeaseState::NotUsed, "it may be read and not written");
    }
}
