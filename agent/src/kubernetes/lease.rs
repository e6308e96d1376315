//! The StatefulSet's Lease as a lock: for what at most one agent may do at a time.
//!
//! No two clocks are compared: a holder counts from its own write, every other agent from the moment in which it saw that
//! write. kubert's `LeaseManager` is not used because it compares `renewTime` with the local clock, and needs a Lease that
//! exists already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_core::decide::LeaseUser;
use agent_core::facts::LeaseState;
use contract::moves::CopiesRecord;
use contract::{PodFqdn, keys, objects};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api as Objects, Client};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{RequestError, WRITE_TIMEOUT, answer};
use super::holding::{Holding, LEASE_DURATION};
use super::knowledge::{Knowledge, update};
use super::record::{self, Founding, RecordError};

/// This agent process as a holder of the Lease.
#[derive(Clone, Debug)]
pub struct Claim {
    leases: Objects<Lease>,
    name: String,
    user: LeaseUser,
    /// `true` once Kubernetes has refused a write: the Lease cannot be used as a lock then.
    forbidden: Arc<AtomicBool>,
    known: watch::Sender<Knowledge>,
}

/// The Lease could not be taken or released.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// No answer within the time limit.
    #[error("failed to {verb} Lease '{name}': no answer within {} s", WRITE_TIMEOUT.as_secs())]
    NoAnswer {
        /// The attempted write, as a verb.
        verb: &'static str,
        /// The Lease's name.
        name: String,
    },
    /// The API server refused the write, or the connection failed.
    #[error("failed to {verb} Lease '{name}'")]
    Refused {
        /// The attempted write, as a verb.
        verb: &'static str,
        /// The Lease's name.
        name: String,
        /// The error of the client.
        source: Box<kube::Error>,
    },
}

impl Claim {
    /// Access to the Lease of the StatefulSet of `me`. Answers to writes go into `known`, as events of the watch do.
    pub(super) fn new(
        client: &Client,
        me: &PodFqdn,
        user: LeaseUser,
        known: watch::Sender<Knowledge>,
    ) -> Self {
        Self {
            leases: Objects::namespaced(client.clone(), me.namespace().as_str()),
            name: objects::companion(me.pod().set().as_str()),
            user,
            forbidden: Arc::default(),
            known,
        }
    }

    /// The state of the Lease at `now`, from what is `known`.
    pub(crate) fn state(&self, known: &Knowledge, now: Instant) -> LeaseState {
        let lease = known.holding.as_ref().map(|holding| holding.facts(now));
        self.user.state(&known.record, !self.forbidden.load(Ordering::Relaxed), lease)
    }

    /// Takes the Lease, or leaves it to an agent that takes it at the same time; the watch reports the holder. `at` is the
    /// current time, RFC 3339.
    pub(crate) async fn take(&self, at: &str) -> Result<(), LeaseError> {
        let now = at.parse().ok().map(MicroTime);
        // Others wait for the whole duration, 30 s. This process stops holding the Lease 20 s after its last write.
        let spec = LeaseSpec {
            holder_identity: Some(self.user.holder().to_owned()),
            acquire_time: now.clone(),
            renew_time: now,
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            ..LeaseSpec::default()
        };
        let revision = self.known.borrow().holding.as_ref().and_then(Holding::revision).map(str::to_owned);
        match revision {
            Some(revision) => self.patch("take", &revision, json!(spec)).await,
            // Of two agents that create it, one gets a 409.
            None => self.create(spec).await,
        }
    }

    /// Renews the Lease if this process holds it and has not written it for a while, so that no round has to do so.
    pub(crate) async fn renew(&self, at: &str) -> Result<(), LeaseError> {
        let age = self.known.borrow().holding.as_ref().map(|holding| holding.facts(Instant::now()).seen_for);
        match age {
            Some(age) if age > RENEWED_AFTER => self.take(at).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Releases the Lease unless it changed since. This process stops holding it even if the write fails.
    pub(crate) async fn release(&self) -> Result<(), LeaseError> {
        let mut revision = None;
        self.known.send_if_modified(|known| {
            if let Some(holding) = &mut known.holding {
                holding.clear_holder();
                revision = holding.revision().map(str::to_owned);
            }
            // No round has to begin because of it: the caller decides again anyway.
            false
        });
        match revision {
            Some(revision) => self.patch("release", &revision, json!({ "holderIdentity": null })).await,
            None => Ok(()),
        }
    }

    /// Writes the founding record into the Lease, independent of its holder.
    pub(crate) async fn record_founding(&self, founding: Founding<'_>) -> Result<(), RecordError> {
        let lease = record::write(&self.leases, &self.name, founding).await?;
        self.learn(lease);
        Ok(())
    }

    /// Changes the record of copies on the Lease. Returns `false` if the Lease changed since it was read, or does not exist:
    /// the caller decides again by the record that another agent has written.
    pub(crate) async fn update_copies(
        &self,
        change: impl FnOnce(CopiesRecord) -> CopiesRecord,
    ) -> Result<bool, LeaseError> {
        // Both of one moment: the change is refused unless it is based on the stored record.
        let (revision, copies) = {
            let known = self.known.borrow();
            (known.holding.as_ref().and_then(Holding::revision).map(str::to_owned), known.copies.clone())
        };
        let Some(revision) = revision else { return Ok(false) };
        let copies = change(copies);
        let text = serde_json::to_string(&copies).unwrap_or_default();
        let metadata = json!({ "resourceVersion": revision, "annotations": { keys::COPIES_RECORD: text } });
        let (params, patch) = (params(), Patch::Merge(json!({ "metadata": metadata })));
        self.write("write the copies into", self.leases.patch(&self.name, &params, &patch)).await?;
        Ok(self.known.borrow().copies == copies)
    }

    async fn create(&self, spec: LeaseSpec) -> Result<(), LeaseError> {
        let mut lease = Lease { spec: Some(spec), ..Lease::default() };
        lease.metadata.name = Some(self.name.clone());
        let params = PostParams { field_manager: Some(objects::AGENT_CONTAINER.to_owned()), dry_run: false };
        self.write("create", self.leases.create(&params, &lease)).await
    }

    async fn patch(&self, verb: &'static str, revision: &str, spec: Value) -> Result<(), LeaseError> {
        // With its `resourceVersion` the API server refuses the patch if the Lease changed in between.
        let patch = json!({ "metadata": { "resourceVersion": revision }, "spec": spec });
        self.write(verb, self.leases.patch(&self.name, &params(), &Patch::Merge(&patch))).await
    }

    async fn write(
        &self,
        verb: &'static str,
        request: impl Future<Output = kube::Result<Lease>>,
    ) -> Result<(), LeaseError> {
        let error = match answer(WRITE_TIMEOUT, request).await {
            Ok(lease) => {
                self.learn(lease);
                return Ok(());
            }
            Err(error) => error,
        };
        match error.status() {
            // Another agent was faster, or the Lease was deleted: the watch reports which.
            Some(404 | 409) => return Ok(()),
            // From now on this agent works without the Lease: the order of the steps keeps agents apart as well.
            Some(403) => self.forbidden.store(true, Ordering::Relaxed),
            Some(_) | None => {}
        }
        let name = self.name.clone();
        Err(match error {
            RequestError::NoAnswer => LeaseError::NoAnswer { verb, name },
            RequestError::Failed(source) => LeaseError::Refused { verb, name, source: Box::new(source) },
        })
    }

    /// Uses the answer to a write before the watch reports it.
    fn learn(&self, lease: Lease) {
        update(&self.known, |known| known.after_lease(&Ok(Some(lease)), Instant::now()));
    }
}

/// Half of the time after which this process stops holding the Lease.
const RENEWED_AFTER: Duration = Duration::from_secs(10);

fn params() -> PatchParams {
    PatchParams { field_manager: Some(objects::AGENT_CONTAINER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use agent_core::facts::{ApiState, KnownRecord};

    use super::*;

    fn lease(holder: &str, renewed: &str) -> Lease {
        let spec = json!({ "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 30 });
        serde_json::from_value(json!({ "metadata": { "resourceVersion": "7" }, "spec": spec })).unwrap()
    }

    fn known(holding: Option<Holding>) -> Knowledge {
        Knowledge { holding, ..Knowledge::at_start(ApiState::Current, KnownRecord::Absent) }
    }

    fn claim(nonce: u64) -> Claim {
        let me: PodFqdn = "db-1.db.shop.svc.cluster.local".parse().unwrap();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let user = LeaseUser::new(me.pod(), Some("u1"), nonce);
        Claim::new(&client, &me, user, watch::channel(known(None)).0)
    }

    #[tokio::test]
    async fn a_lease_is_held_for_its_duration_after_each_renewal() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let see = |holder, renewed, before: Option<&Holding>, seconds| {
            Holding::from_lease(Some(&lease(holder, renewed)), before, at(seconds))
        };
        let state = |holding: &Holding, seconds| claim(5).state(&known(Some(holding.clone())), at(seconds));

        let theirs = see("db-0_u0_0000000000000001", "2026-01-01T00:00:00.000000Z", None, 0);
        assert_eq!(state(&theirs, 30), LeaseState::Held("db-0".to_owned()));
        assert_eq!(state(&theirs, 31), LeaseState::Free, "not renewed within its duration");
        let again = see("db-0_u0_0000000000000001", "2026-01-01T00:00:00.000000Z", Some(&theirs), 20);
        assert_eq!(state(&again, 31), LeaseState::Free, "the same renewal, seen again");
        let renewed = see("db-0_u0_0000000000000001", "2026-01-01T00:00:01.000000Z", Some(&theirs), 20);
        assert_eq!(state(&renewed, 50), LeaseState::Held("db-0".to_owned()));

        let mine = see("db-1_u1_0000000000000005", "1999-01-01T00:00:00.000000Z", None, 0);
        assert_eq!(state(&mine, 19), LeaseState::Mine, "the Lease's own times are not compared with a clock");
        assert_eq!(state(&mine, 20), LeaseState::Free);
        let former = see("db-1_u1_0000000000000004", "2026-01-01T00:00:00.000000Z", None, 0);
        assert_eq!(state(&former, 1), LeaseState::Free, "this container's former process");
        let twin = see("db-1_u2_0000000000000005", "2026-01-01T00:00:00.000000Z", None, 0);
        assert_eq!(state(&twin, 1), LeaseState::Held("db-1".to_owned()), "another pod of this name");

        assert_eq!(state(&see("", "2026-01-01T00:00:00.000000Z", None, 0), 1), LeaseState::Free);
        assert_eq!(state(&Holding::from_lease(None, None, at(0)), 1), LeaseState::Free);
    }

    #[tokio::test]
    async fn a_lease_that_cannot_be_read_or_written_is_not_used() {
        let now = Instant::now();
        assert_eq!(claim(1).state(&known(None), now), LeaseState::Unknown);
        let refused = Knowledge { record: KnownRecord::Forbidden, ..known(None) };
        assert_eq!(claim(1).state(&refused, now), LeaseState::NotUsed);
        let claim = claim(1);
        let free = known(Some(Holding::from_lease(None, None, now)));
        assert_eq!(claim.state(&free, now), LeaseState::Free);
        let status = kube::core::Status::failure("no", "Forbidden").with_code(403).boxed();
        let refused = claim.write("take", async { Err(kube::Error::Api(status)) });
        assert!(refused.await.is_err());
        assert_eq!(claim.state(&free, now), LeaseState::NotUsed, "readable and not writable");
    }
}
