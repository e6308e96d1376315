//! One replica's part in keeping the authority, the served certificate and the caBundle up to date.

use std::pin::pin;
use std::time::Duration;

use certs::rotation::{LeafStep, Served, Step, carry_out, next, next_leaf};
use certs::{Bundle, Validity};
use contract::objects;
use futures::StreamExt as _;
use kube::Client;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::change::Change;
use super::outputs::{AuthorityConfig, Outputs};
use super::progress::Progress;
use super::publication::Publication;
use super::secret::StoredAuthority;
use super::store::AuthorityStore;
use crate::backoff::Backoff;
use crate::kubernetes::{ApiError, Kubernetes, client};
use crate::log_once::LogOnce;
use crate::tls::{CallerTrust, CertificateError, TrustError};

/// Keeps the authority, the served certificate and the caBundle up to date until `stop`.
pub(crate) async fn keep(
    kubernetes: Kubernetes,
    config: AuthorityConfig,
    outputs: Outputs,
    stop: CancellationToken,
) {
    outputs.trust.send_replace(CallerTrust::Missing(TrustError::KubernetesNotReached));
    let keeping = async {
        let client = client(&kubernetes, "connecting to Kubernetes for the certificate authority").await;
        let name = config.config_name.clone();
        let mut keeper = Keeper::new(client, config, outputs);
        let mut secret = pin!(watch_object(keeper.store.api(), objects::CA_SECRET).default_backoff());
        let mut configuration = pin!(watch_object(keeper.publication.api(), &name).default_backoff());
        let mut wake = Instant::now();
        loop {
            // An event may make something due, and so may the time.
            tokio::select! {
                Some(event) = secret.next() => keeper.store.observe(event),
                Some(event) = configuration.next() => keeper.publication.observe(event),
                () = sleep_until(wake) => {}
            }
            wake = Instant::now() + keeper.converge().await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keeping => {}
    }
}

struct Keeper {
    config: AuthorityConfig,
    outputs: Outputs,
    store: AuthorityStore,
    publication: Publication,
    /// The certificate that this replica serves.
    leaf: Option<ServedLeaf>,
    /// Failed passes since the last one that succeeded.
    failures: u32,
    logs: Logs,
}

struct ServedLeaf {
    validity: Validity,
    issuer: CertificateDer<'static>,
}

/// The steps of a pass that can fail, each of which is logged on its own.
struct Logs {
    authority: LogOnce,
    leaf: LogOnce,
    publication: LogOnce,
}

/// The result of all steps of a pass.
enum Pass {
    /// Nothing was due.
    Settled,
    /// A step changed something, so that others may be due now.
    Changed,
    /// A step failed, whatever the others did.
    Failed,
}

/// A failure of one step.
#[derive(Debug, Error)]
enum KeeperError {
    /// A call to the Kubernetes API failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A certificate could not be issued.
    #[error(transparent)]
    Issue(#[from] certs::Error),
    /// A certificate could not be served.
    #[error(transparent)]
    Serve(#[from] CertificateError),
    /// The Secret was written by a newer version, and is left alone.
    #[error(
        "the Secret '{}' has schema '{schema}', which this version does not know. Fix: run the version that wrote it",
        objects::CA_SECRET
    )]
    NewerSchema { schema: String },
}

impl Keeper {
    fn new(client: Client, config: AuthorityConfig, outputs: Outputs) -> Self {
        let metrics = &outputs.metrics;
        Self {
            store: AuthorityStore::new(client.clone(), &config.namespace, metrics.clone()),
            publication: Publication::new(client, &config.config_name, metrics.clone()),
            config,
            outputs,
            leaf: None,
            failures: 0,
            logs: Logs {
                authority: LogOnce::new("tending the certificate authority"),
                leaf: LogOnce::new("renewing the certificate"),
                publication: LogOnce::new("publishing the caBundle"),
            },
        }
    }

    /// Does what is due, and returns the time until the next pass.
    async fn converge(&mut self) -> Duration {
        for _ in 0..MAX_PASSES {
            let now = OffsetDateTime::now_utc();
            match self.pass(now).await {
                Pass::Settled => {
                    self.failures = 0;
                    return self.pause(now);
                }
                // One change may make the next one due: a published authority signs, its first certificate is served.
                Pass::Changed => self.failures = 0,
                Pass::Failed => {
                    self.failures = self.failures.saturating_add(1);
                    return RETRY_BACKOFF.delay(self.failures);
                }
            }
        }
        // Something changes with each pass, such as a Secret that two versions of the webhook write in turn.
        RETRY_BACKOFF.delay(1)
    }

    async fn pass(&mut self, now: OffsetDateTime) -> Pass {
        // One that fails does not hold up the others: a certificate can be renewed while nothing can be published.
        let authority = self.tend_authority(now).await;
        let leaf = self.tend_leaf(now).await;
        let publication = self.tend_publication().await;
        self.publish_trust();
        let steps = [
            (authority, &mut self.logs.authority),
            (leaf, &mut self.logs.leaf),
            (publication, &mut self.logs.publication),
        ];
        let (mut changed, mut failed) = (false, false);
        for (result, log) in steps {
            match result {
                Ok(progress) => {
                    log.succeeded();
                    changed |= progress == Progress::Changed;
                }
                Err(error) => {
                    log.failed(&error);
                    failed = true;
                }
            }
        }
        if failed {
            return Pass::Failed;
        }
        if changed { Pass::Changed } else { Pass::Settled }
    }

    /// Writes the Secret, if a change of the authority is due.
    async fn tend_authority(&mut self, now: OffsetDateTime) -> Result<Progress, KeeperError> {
        let Some((bundle, change)) = self.due_change(now)? else { return Ok(Progress::Idle) };
        match self.store.write(&bundle).await {
            Ok(()) => {
                change.log(&bundle);
                self.outputs.metrics.rotated(change.as_str());
            }
            // Another replica was faster: its write counts.
            Err(error) if error.code() == 409 => {
                self.store.read().await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Progress::Changed)
    }

    /// The bundle that must be written into the Secret now, if one must.
    fn due_change(&self, now: OffsetDateTime) -> Result<Option<(Bundle, Change)>, KeeperError> {
        let AuthorityConfig { service, lifetimes, .. } = &self.config;
        let held = self.store.bundle();
        let step = match self.store.state() {
            None => return Ok(None),
            // During an update, replicas of the older version must not write what they do not understand.
            Some(StoredAuthority::NewerSchema { schema }) => {
                return Err(KeeperError::NewerSchema { schema: schema.clone() });
            }
            Some(StoredAuthority::Absent | StoredAuthority::Unreadable { .. }) => match held {
                // Other replicas may serve certificates of the lost authority, which a new one would not verify.
                Some(held) => return Ok(Some((held.clone(), Change::Restored))),
                None => Step::Found,
            },
            Some(StoredAuthority::Bundle { bundle, .. }) => {
                next(Some(bundle), self.published_for(), *lifetimes, now)
            }
        };
        let changed = carry_out(step, held, service, *lifetimes, now)?;
        Ok(changed.zip(Change::of(step)))
    }

    /// Issues a certificate and serves it, if one is due.
    async fn tend_leaf(&mut self, now: OffsetDateTime) -> Result<Progress, KeeperError> {
        if !self.leaf_is_due(now) {
            return Ok(Progress::Idle);
        }
        // The watch may have missed that the authority was retired: a certificate of a retired one would not be
        // trusted for long. If the Secret can't be read, any certificate is better than none.
        if self.leaf.is_some()
            && self.store.read().await.is_ok_and(|progress| progress == Progress::Changed)
            && !self.leaf_is_due(now)
        {
            return Ok(Progress::Changed);
        }
        let Some(bundle) = self.store.bundle() else { return Ok(Progress::Idle) };
        let leaf = bundle.leaf(&self.config.names, self.config.lifetimes, now)?;
        self.outputs.served.serve(&leaf)?;
        let (validity, issuer) = (leaf.validity(), bundle.current().certificate().clone());
        info!(until = %validity.not_after, "serving a new certificate");
        self.outputs.metrics.expires(validity.not_after);
        // The first certificate of a process is no renewal.
        if self.leaf.replace(ServedLeaf { validity, issuer }).is_some() {
            self.outputs.metrics.renewals.inc();
        }
        Ok(Progress::Changed)
    }

    fn leaf_is_due(&self, now: OffsetDateTime) -> bool {
        let Some(bundle) = self.store.bundle() else { return false };
        let served = self.leaf.as_ref().map(|leaf| Served { validity: leaf.validity, issuer: &leaf.issuer });
        next_leaf(bundle, served, self.published_for().is_some(), now) == LeafStep::Mint
    }

    /// Corrects the caBundle, if it differs from the authority's.
    async fn tend_publication(&mut self) -> Result<Progress, KeeperError> {
        let Some(desired) = self.store.bundle().map(Bundle::pem) else { return Ok(Progress::Idle) };
        if !self.publication.differs_from(&desired) || self.publication.pause(Instant::now()).is_some() {
            return Ok(Progress::Idle);
        }
        // Another replica may know a newer authority: replicas that undo each other's work would be worse than one
        // that waits for a pass.
        if self.store.read().await? == Progress::Changed {
            return Ok(Progress::Changed);
        }
        Ok(self.publication.write(desired).await?)
    }

    fn published_for(&self) -> Option<time::Duration> {
        self.publication.published_for(self.store.bundle()?)
    }

    /// Reports the authorities that callers trust, so that readiness can be verified.
    fn publish_trust(&self) {
        let trust = match self.trust() {
            Ok(bundles) => CallerTrust::Bundles(bundles),
            Err(error) => CallerTrust::Missing(error),
        };
        // Each notice makes the server verify itself, so only changes are sent.
        self.outputs.trust.send_if_modified(|before| {
            let changed = *before != trust;
            *before = trust;
            changed
        });
    }

    fn trust(&self) -> Result<Vec<String>, TrustError> {
        if self.leaf.is_none() {
            // A failure to read explains more than a failure that follows from it.
            let cause = self.store.watch_error().or_else(|| self.logs.authority.error());
            let cause = cause.unwrap_or("the Secret has not been read yet").to_owned();
            return Err(TrustError::NoAuthority { cause });
        }
        self.publication.bundles()
    }

    /// The time until something is due, as far as is known now, within [`MAX_PAUSE`].
    fn pause(&self, now: OffsetDateTime) -> Duration {
        // Without an authority nothing is due by the clock: the next event of the watch comes first.
        let Some(StoredAuthority::Bundle { bundle, .. }) = self.store.state() else { return MAX_PAUSE };
        let lifetimes = self.config.lifetimes;
        let authority = match next(Some(bundle), self.published_for(), lifetimes, now) {
            Step::Wait { until } => until - now,
            Step::AwaitPublication => match self.published_for() {
                Some(published) => lifetimes.publication() - published,
                None => time::Duration::MAX,
            },
            Step::Found | Step::Bring | Step::Promote | Step::Forget | Step::Replace => time::Duration::ZERO,
        };
        let mut leaf = self.leaf.as_ref().map_or(time::Duration::MAX, |leaf| leaf.validity.renewal() - now);
        if !leaf.is_positive() {
            // An overdue renewal waits for the publication, and is looked at when that is observed.
            leaf = time::Duration::MAX;
        }
        let due = Duration::try_from(authority.min(leaf)).unwrap_or(Duration::ZERO);
        let heal = self.publication.pause(Instant::now()).unwrap_or(MAX_PAUSE);
        due.min(heal).clamp(MIN_PAUSE, MAX_PAUSE)
    }
}

const RETRY_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
/// A machine that slept wakes up to an expired certificate, which no timer of its own clock would notice.
const MAX_PAUSE: Duration = Duration::from_secs(60);
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// More than a whole rotation takes.
const MAX_PASSES: usize = 8;
