//! The certificate authority that all replicas share, and its publication to those who call.
//!
//! The authority is in one Secret, which is watched; whoever finds something to do there does it, with optimistic
//! locking, and nobody leads. Each replica signs a certificate for itself, which never leaves the process. The
//! caBundle is watched too, and put right by server-side apply. What is to be done is decided in [`certs::rotation`]
//! and [`backoff`]; here it is carried out.

mod backoff;
mod change;
mod configuration;
mod keeper;
mod outlets;
mod publication;
mod secret;

use std::pin::pin;

use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::kubernetes::{Kubernetes, Told, client, why_watch};
use crate::tls::Trust;
use configuration::View;
use keeper::Keeper;
pub(crate) use outlets::{Outlets, Plan};

/// Keeps the authority, the served certificate and the caBundle as they should be, until `stop`.
pub(crate) async fn keep(kubernetes: Kubernetes, plan: Plan, out: Outlets, stop: CancellationToken) {
    out.trust.send_replace(Trust::Nobody("the Kubernetes API has not been reached yet".to_owned()));
    let keeping = async {
        let client = client(&kubernetes, "connecting to Kubernetes for the certificate authority").await;
        let mut keeper = Keeper::new(client, plan, out);
        let mut secret = pin!(watch_object(keeper.secrets(), contract::objects::CA_SECRET).default_backoff());
        let name = keeper.config_name().to_owned();
        let mut configuration = pin!(watch_object(keeper.configurations(), &name).default_backoff());
        let mut wake = Instant::now();
        loop {
            tokio::select! {
                Some(event) = secret.next() => keeper.heard_secret(event),
                Some(event) = configuration.next() => keeper.heard_configuration(event),
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

/// Follows whom callers trust, where somebody else publishes the caBundle, such as cert-manager's injector. Where that
/// can't be known the certificate is taken to be accepted.
pub(crate) async fn follow(
    kubernetes: Kubernetes,
    config_name: String,
    trust: watch::Sender<Trust>,
    stop: CancellationToken,
) {
    let following = async {
        let client = client(&kubernetes, "connecting to Kubernetes to follow the caBundle").await;
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(client);
        let mut events = pin!(watch_object(configurations, &config_name).default_backoff());
        let mut told = Told::of(FOLLOWING);
        while let Some(event) = events.next().await {
            trust.send_replace(whom(event, &mut told));
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
    }
}

const FOLLOWING: &str = "following the caBundle";

fn whom(event: watcher::Result<Option<MutatingWebhookConfiguration>>, told: &mut Told) -> Trust {
    match event {
        Ok(configuration) => {
            told.went_well();
            // Without a caBundle callers trust their system's roots, which nobody knows here.
            let bundles = configuration.and_then(|configuration| View::from(configuration).bundles().ok());
            bundles.map_or(Trust::Unknown, Trust::Bundles)
        }
        Err(error) => {
            told.failed(&why_watch(&error));
            Trust::Unknown
        }
    }
}
