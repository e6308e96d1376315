//! One replica's view of the authority and of the caBundle, and what it does about them.

use std::fmt;
use std::time::Duration;

use certs::rotation::{LeafStep, Served, Step, carry_out, next, next_leaf};
use certs::{Bundle, Validity};
use contract::objects;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backoff::Pace;
use super::change::Why;
use super::configuration::View;
use super::outlets::{Outlets, Plan};
use super::secret::{self, Around, Stored};
use crate::error::chain;
use crate::kubernetes::{CallError, Told, call, why_watch};
use crate::tls::IdentityError;

/// See the module.
pub(crate) struct Keeper {
    pub(super) plan: Plan,
    pub(super) out: Outlets,
    pub(super) secrets: Api<Secret>,
    pub(super) configurations: Api<MutatingWebhookConfiguration>,
    /// The Secret as it was last seen; `None`: never.
    pub(super) stored: Option<Stored>,
    /// The authorities that were last read or written: what is written back when the Secret is lost.
    pub(super) held: Option<Bundle>,
    /// The configuration as it was last seen; `None`: never.
    pub(super) view: Option<Option<View>>,
    /// What every entry of the configuration has, and since when.
    pub(super) published: Option<(Vec<u8>, Instant)>,
    /// The last of our bundles that was published: where it isn't any more, somebody else has changed it.
    pub(super) ours: Option<String>,
    pub(super) served: Option<ServedLeaf>,
    pub(super) pace: Pace,
    /// How often in a row something failed.
    pub(super) failures: u32,
    pub(super) troubles: Troubles,
}

#[derive(Debug)]
pub(super) struct ServedLeaf {
    validity: Validity,
    issuer: CertificateDer<'static>,
}

/// What can fail, each told apart from the others.
#[derive(Debug)]
pub(super) struct Troubles {
    pub(super) reading_secret: Told,
    pub(super) reading_configuration: Told,
    pub(super) authority: Told,
    pub(super) leaf: Told,
    pub(super) publication: Told,
}

/// Why something couldn't be done now.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A certificate couldn't be made.
    #[error("{}", chain(.0))]
    Certificate(#[from] certs::Error),
    /// A certificate couldn't be served.
    #[error("{}", chain(.0))]
    Serve(#[from] IdentityError),
    /// The Secret is not ours to understand.
    #[error(
        "the Secret '{}' has schema '{schema}', which this version doesn't know: run the version that wrote it",
        objects::CA_SECRET
    )]
    Newer {
        /// Which.
        schema: String,
    },
}

/// A change of the Secret, and why.
struct Write {
    bundle: Bundle,
    why: Why,
}

impl Keeper {
    pub(crate) fn new(client: Client, plan: Plan, out: Outlets) -> Self {
        let secrets = Api::namespaced(client.clone(), &plan.namespace);
        let configurations = Api::all(client);
        Self {
            plan,
            out,
            secrets,
            configurations,
            stored: None,
            held: None,
            view: None,
            published: None,
            ours: None,
            served: None,
            pace: Pace::default(),
            failures: 0,
            troubles: Troubles {
                reading_secret: Told::of("reading the certificate authority's Secret"),
                reading_configuration: Told::of("reading the webhook configuration"),
                authority: Told::of("tending the certificate authority"),
                leaf: Told::of("renewing the certificate"),
                publication: Told::of("publishing the caBundle"),
            },
        }
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        self.secrets.clone()
    }

    pub(crate) fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        self.configurations.clone()
    }

    pub(crate) fn config_name(&self) -> &str {
        &self.plan.config_name
    }

    pub(crate) fn heard_secret(&mut self, event: watcher::Result<Option<Secret>>) {
        match event {
            Ok(secret) => {
                self.troubles.reading_secret.went_well();
                self.adopt(Stored::read(secret));
            }
            Err(error) => {
                self.troubles.reading_secret.failed(&why_watch(&error));
            }
        }
    }

    pub(crate) fn heard_configuration(
        &mut self,
        event: watcher::Result<Option<MutatingWebhookConfiguration>>,
    ) {
        match event {
            Ok(configuration) => {
                self.troubles.reading_configuration.went_well();
                self.see(configuration.map(View::from));
            }
            Err(error) => {
                self.troubles.reading_configuration.failed(&why_watch(&error));
            }
        }
    }

    /// Does what is due, one thing after another, and says after how long to look again.
    pub(crate) async fn converge(&mut self) -> Duration {
        for _ in 0..MOST_AT_A_TIME {
            let now = OffsetDateTime::now_utc();
            let authority = self.tend_authority(now).await;
            let leaf = self.tend_leaf(now).await;
            let publication = self.tend_publication().await;
            self.face();
            let troubles = &mut self.troubles;
            let results = [
                (authority, &mut troubles.authority),
                (leaf, &mut troubles.leaf),
                (publication, &mut troubles.publication),
            ];
            let (mut changed, mut failed) = (false, false);
            for (result, told) in results {
                match result {
                    Ok(done) => {
                        told.went_well();
                        changed |= done;
                    }
                    Err(trouble) => {
                        told.failed(&trouble.to_string());
                        failed = true;
                    }
                }
            }
            if failed {
                self.failures = self.failures.saturating_add(1);
                return backoff(self.failures);
            }
            self.failures = 0;
            if !changed {
                return self.rest(now);
            }
        }
        backoff(1)
    }

    /// Changes the Secret, if there is something to change.
    async fn tend_authority(&mut self, now: OffsetDateTime) -> Result<bool, Trouble> {
        let Some(Write { bundle, why }) = self.due(now)? else { return Ok(false) };
        let around = self.stored.as_ref().and_then(Stored::around);
        match self.write(&bundle, around).await {
            Ok(secret) => {
                why.tell(&bundle);
                self.out.metrics.rotated(why.word());
                self.adopt(Stored::read(Some(secret)));
                Ok(true)
            }
            // Someone else was faster: what they wrote counts.
            Err(error) if error.code() == 409 => self.reread().await.map(|_| true),
            Err(error) => Err(error.into()),
        }
    }

    /// What is to be written into the Secret now.
    fn due(&self, now: OffsetDateTime) -> Result<Option<Write>, Trouble> {
        let (name, terms) = (&self.plan.service, self.plan.terms);
        let step = match (&self.stored, &self.held) {
            (None, _) => return Ok(None),
            (Some(Stored::Newer { schema }), _) => return Err(Trouble::Newer { schema: schema.clone() }),
            // What others may be serving leaves of is worth more than a new one.
            (Some(Stored::Absent | Stored::Garbage { .. }), Some(held)) => {
                return Ok(Some(Write { bundle: held.clone(), why: Why::Restored }));
            }
            (Some(Stored::Absent | Stored::Garbage { .. }), None) => Step::Found,
            (Some(Stored::Bundle { bundle, .. }), _) => next(Some(bundle), self.published_for(), terms, now),
        };
        let changed = carry_out(step, self.held.as_ref(), name, terms, now)?;
        Ok(changed.zip(Why::of(step)).map(|(bundle, why)| Write { bundle, why }))
    }

    async fn write(&self, bundle: &Bundle, around: Option<&Around>) -> Result<Secret, CallError> {
        let secret = secret::with(bundle, around, &self.plan.namespace);
        let params =
            PostParams { field_manager: Some(objects::WEBHOOK_MANAGER.to_owned()), ..PostParams::default() };
        match around {
            None => call(self.secrets.create(&params, &secret)).await,
            Some(_) => call(self.secrets.replace(objects::CA_SECRET, &params, &secret)).await,
        }
    }

    /// Asks for the Secret, since a watch may be late; says whether the authorities were others.
    pub(super) async fn reread(&mut self) -> Result<bool, Trouble> {
        let before = self.held.as_ref().map(Bundle::to_fields);
        let secret = call(self.secrets.get_opt(objects::CA_SECRET)).await?;
        self.adopt(Stored::read(secret));
        Ok(before != self.held.as_ref().map(Bundle::to_fields))
    }

    fn adopt(&mut self, stored: Stored) {
        if let Stored::Bundle { bundle, .. } = &stored {
            self.out.metrics.authority_expires(bundle.current().validity().not_after);
            self.held = Some(bundle.clone());
        }
        if let Stored::Garbage { why, .. } = &stored {
            warn!(error = why, "the Secret '{}' holds no certificate authority", objects::CA_SECRET);
        }
        self.stored = Some(stored);
    }

    /// Signs a certificate and serves it, if it is time.
    async fn tend_leaf(&mut self, now: OffsetDateTime) -> Result<bool, Trouble> {
        if self.leaf_step(now) != Some(LeafStep::Mint) {
            return Ok(false);
        }
        // Should the authority have retired without our hearing of it, what it signs now would not be trusted for long.
        // Where that can't be asked, any certificate is better than none.
        if self.served.is_some()
            && self.reread().await.unwrap_or(false)
            && self.leaf_step(now) != Some(LeafStep::Mint)
        {
            return Ok(true);
        }
        let Some(bundle) = &self.held else { return Ok(false) };
        let leaf = bundle.leaf(&self.plan.names, self.plan.terms, now)?;
        self.out.current.serve(&leaf)?;
        let (validity, issuer) = (leaf.validity(), bundle.current().certificate().clone());
        info!(until = %validity.not_after, "serving a new certificate");
        self.out.metrics.expires(validity.not_after);
        if self.served.replace(ServedLeaf { validity, issuer }).is_some() {
            self.out.metrics.renewals.inc();
        }
        Ok(true)
    }

    fn leaf_step(&self, now: OffsetDateTime) -> Option<LeafStep> {
        let bundle = self.held.as_ref()?;
        let served =
            self.served.as_ref().map(|served| Served { validity: served.validity, issuer: &served.issuer });
        Some(next_leaf(bundle, served, self.published_for().is_some(), now))
    }

    /// How long nothing will be due, by what is known now; a minute at most, since clocks jump.
    fn rest(&self, now: OffsetDateTime) -> Duration {
        let step = match (&self.stored, &self.held) {
            (Some(Stored::Bundle { bundle, .. }), _) => {
                next(Some(bundle), self.published_for(), self.plan.terms, now)
            }
            (_, _) => return LOOK,
        };
        let authority = match step {
            Step::Wait { until } => until - now,
            Step::AwaitPublication => match self.published_for() {
                Some(published) => self.plan.terms.publication() - published,
                None => time::Duration::MAX,
            },
            Step::Found | Step::Bring | Step::Promote | Step::Forget | Step::Replace => time::Duration::ZERO,
        };
        let leaf = self.served.as_ref().map_or(time::Duration::MAX, |served| served.validity.renewal() - now);
        // A renewal that waits for the publication is looked at when that is seen.
        let leaf = if leaf.is_positive() { leaf } else { time::Duration::MAX };
        let due = Duration::try_from(authority.min(leaf)).unwrap_or(Duration::ZERO);
        let pause = self.pace.rest(Instant::now()).unwrap_or(LOOK);
        due.min(pause).clamp(SHORTEST, LOOK)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// 1 s, doubling to half a minute.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(5)).min(Duration::from_secs(30))
}

/// A machine that slept wakes up to an expired certificate, and no timer that ran by its own clock would tell.
const LOOK: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_millis(50);
/// A whole rotation takes fewer.
const MOST_AT_A_TIME: usize = 8;
