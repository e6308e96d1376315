//! The Secret that holds the authority: its last known state, and the calls that read and write it.

use std::sync::Arc;

use certs::Bundle;
use contract::objects;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use tracing::warn;

use super::progress::Progress;
use super::secret::{StoredAuthority, render};
use crate::kubernetes::{ApiError, call};
use crate::log_once::LogOnce;
use crate::metrics::Metrics;
use contract::error::chain;

/// The Secret, as this replica knows it.
#[derive(Debug)]
pub(crate) struct AuthorityStore {
    api: Api<Secret>,
    namespace: String,
    /// `None` until the Secret has been read.
    state: Option<StoredAuthority>,
    /// The bundle that was last read or written. It is written back if the Secret is lost.
    held: Option<Bundle>,
    reading: LogOnce,
    metrics: Arc<Metrics>,
}

impl AuthorityStore {
    pub(crate) fn new(client: Client, namespace: &str, metrics: Arc<Metrics>) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            state: None,
            held: None,
            reading: LogOnce::new("reading the certificate authority's Secret"),
            metrics,
        }
    }

    pub(crate) fn api(&self) -> Api<Secret> {
        self.api.clone()
    }

    pub(crate) fn state(&self) -> Option<&StoredAuthority> {
        self.state.as_ref()
    }

    /// The last good bundle, which the Secret may have lost since.
    pub(crate) fn bundle(&self) -> Option<&Bundle> {
        self.held.as_ref()
    }

    /// The failure of the watch, if it is interrupted.
    pub(crate) fn watch_error(&self) -> Option<&str> {
        self.reading.error()
    }

    pub(crate) fn observe(&mut self, event: watcher::Result<Option<Secret>>) {
        match event {
            Ok(secret) => {
                self.reading.succeeded();
                self.adopt(secret);
            }
            Err(error) => self.reading.failed(&ApiError::from(error)),
        }
    }

    /// Reads the Secret, since the watch may lag behind.
    pub(crate) async fn read(&mut self) -> Result<Progress, ApiError> {
        // Compared by contents: labels and annotations of other tools change the object's version as well.
        let before = self.held.as_ref().map(Bundle::to_fields);
        let secret = call(self.api.get_opt(objects::CA_SECRET)).await?;
        self.adopt(secret);
        if before == self.held.as_ref().map(Bundle::to_fields) {
            return Ok(Progress::Idle);
        }
        Ok(Progress::Changed)
    }

    /// Writes the bundle. A conflict means that another replica was faster.
    pub(crate) async fn write(&mut self, bundle: &Bundle) -> Result<(), ApiError> {
        let envelope = self.state.as_ref().and_then(StoredAuthority::envelope);
        let secret = render(bundle, envelope, &self.namespace);
        let params =
            PostParams { field_manager: Some(objects::WEBHOOK_MANAGER.to_owned()), ..PostParams::default() };
        // A replacement carries the version that was read, so of two replicas the slower one gets a conflict.
        let written = match envelope {
            None => call(self.api.create(&params, &secret)).await?,
            Some(_) => call(self.api.replace(objects::CA_SECRET, &params, &secret)).await?,
        };
        self.adopt(Some(written));
        Ok(())
    }

    fn adopt(&mut self, secret: Option<Secret>) {
        let state = StoredAuthority::read(secret);
        match &state {
            StoredAuthority::Bundle { bundle, .. } => {
                self.metrics.authority_expires(bundle.current().validity().not_after);
                self.held = Some(bundle.clone());
            }
            // `held` stays, and is written back by the keeper.
            StoredAuthority::Unreadable { error, .. } => {
                let error = chain(error);
                warn!(error, secret = objects::CA_SECRET, "the Secret contains no certificate authority");
            }
            // A lost Secret is written back by the keeper; one of a newer version is left alone.
            StoredAuthority::Absent | StoredAuthority::NewerSchema { .. } => {}
        }
        self.state = Some(state);
    }
}
