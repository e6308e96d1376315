//! The published caBundle: its last known state, its correction, and the trust of API servers that follows from it.

use std::sync::Arc;
use std::time::Duration;

use certs::Bundle;
use contract::objects;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::time::Instant;
use tracing::{info, warn};

use super::configuration::Configuration;
use super::progress::Progress;
use crate::backoff::{Backoff, Streak};
use crate::kubernetes::{ApiError, call};
use crate::log_once::LogOnce;
use crate::metrics::Metrics;
use crate::tls::TrustError;

/// The webhook configuration, as this replica knows it.
#[derive(Debug)]
pub(crate) struct Publication {
    api: Api<MutatingWebhookConfiguration>,
    config_name: String,
    state: Lookup,
    /// The bundle that every entry has, and since when.
    published: Option<(Vec<u8>, Instant)>,
    /// The bundle that was last seen or written as desired. Once it is, a different one is another program's change.
    desired: Option<String>,
    heals: Streak,
    reading: LogOnce,
    metrics: Arc<Metrics>,
}

/// The state of an object that is watched.
#[derive(Debug)]
enum Lookup {
    NotRead,
    Absent,
    Found(Configuration),
}

impl Publication {
    pub(crate) fn new(client: Client, config_name: &str, metrics: Arc<Metrics>) -> Self {
        Self {
            api: Api::all(client),
            config_name: config_name.to_owned(),
            state: Lookup::NotRead,
            published: None,
            desired: None,
            heals: Streak::default(),
            reading: LogOnce::new("reading the webhook configuration"),
            metrics,
        }
    }

    pub(crate) fn api(&self) -> Api<MutatingWebhookConfiguration> {
        self.api.clone()
    }

    pub(crate) fn observe(&mut self, event: watcher::Result<Option<MutatingWebhookConfiguration>>) {
        match event {
            Ok(configuration) => {
                self.reading.succeeded();
                self.adopt(configuration);
            }
            Err(error) => self.reading.failed(&ApiError::from(error)),
        }
    }

    /// `true` if the configuration exists and an entry of it has another bundle than the desired one.
    pub(crate) fn differs_from(&mut self, desired: &str) -> bool {
        let Lookup::Found(configuration) = &self.state else { return false };
        if configuration.published() == Some(desired.as_bytes()) {
            // From now on a different value is a change by another program, not the first publication.
            self.desired = Some(desired.to_owned());
            return false;
        }
        true
    }

    /// The rest of the delay before the next correction; `None` if it may be made now.
    pub(crate) fn pause(&self, now: Instant) -> Option<Duration> {
        self.heals.remaining(HEAL_BACKOFF, now)
    }

    /// Gives every entry the desired bundle.
    pub(crate) async fn write(&mut self, desired: String) -> Result<Progress, ApiError> {
        let Lookup::Found(configuration) = &self.state else { return Ok(Progress::Idle) };
        let by = configuration.changed_by(objects::WEBHOOK_MANAGER);
        let patch = Patch::Apply(configuration.patch(&self.config_name, &desired));
        // By force, which takes the field over from the manager that changed it.
        let params = PatchParams::apply(objects::WEBHOOK_MANAGER).force();
        match call(self.api.patch(&self.config_name, &params, &patch)).await {
            Ok(configuration) => {
                self.adopt(Some(configuration));
                if self.desired.as_ref() == Some(&desired) {
                    self.count_heal(&by);
                } else {
                    info!(configuration = self.config_name, "published the caBundle");
                }
                Ok(Progress::Changed)
            }
            // Changed or deleted since it was read: the next pass decides about its new state.
            Err(error) if error.code() == 409 || error.code() == 404 => {
                let configuration = call(self.api.get_opt(&self.config_name)).await?;
                self.adopt(configuration);
                Ok(Progress::Changed)
            }
            Err(error) => Err(error),
        }
    }

    fn count_heal(&mut self, by: &str) {
        self.metrics.heals.inc();
        let heals = self.heals.record(Instant::now(), HEAL_QUIET);
        if heals < MANY_HEALS {
            info!(by, "corrected the caBundle, which another program had changed");
            return;
        }
        let delay = HEAL_BACKOFF.delay(heals);
        warn!(
            by,
            heals,
            ?delay,
            "another program keeps changing the caBundle: corrections are delayed. Fix: let it leave \
             webhooks[].clientConfig.caBundle alone"
        );
    }

    fn adopt(&mut self, configuration: Option<MutatingWebhookConfiguration>) {
        let Some(configuration) = configuration.map(Configuration::from) else {
            self.state = Lookup::Absent;
            return;
        };
        // The time of publication counts from the first sight of a bundle in every entry.
        if let Some(now) = configuration.published()
            && self.published.as_ref().is_none_or(|(before, _)| before != now)
        {
            self.published = Some((now.to_vec(), Instant::now()));
        }
        self.state = Lookup::Found(configuration);
    }

    /// The time since all certificates of this bundle are published; `None` if they are not.
    pub(crate) fn published_for(&self, bundle: &Bundle) -> Option<time::Duration> {
        let Lookup::Found(configuration) = &self.state else { return None };
        let now = configuration.published()?;
        let (published, since) = self.published.as_ref()?;
        if now != bundle.pem().as_bytes() || published != now {
            return None;
        }
        Some(time::Duration::try_from(since.elapsed()).unwrap_or(time::Duration::MAX))
    }

    /// The bundles that API servers verify the webhook with.
    pub(crate) fn bundles(&self) -> Result<Vec<String>, TrustError> {
        let name = self.config_name.clone();
        match &self.state {
            Lookup::NotRead => {
                let cause = self.reading.error().unwrap_or("it has not been read yet").to_owned();
                Err(TrustError::NotPublished { name, cause })
            }
            Lookup::Absent => Err(TrustError::NoConfiguration { name }),
            Lookup::Found(configuration) => configuration
                .bundles()
                .map_err(|error| TrustError::NotPublished { name, cause: error.to_string() }),
        }
    }
}

/// Delays of corrections. A GitOps tool looks every few minutes; a program that writes more often than once a minute
/// does so in a loop.
const HEAL_BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(60) };
/// Longer than the longest delay, or two competing writers would start over each time.
const HEAL_QUIET: Duration = Duration::from_secs(300);
/// So many heals without a quiet period indicate a competing writer.
const MANY_HEALS: u32 = 4;
