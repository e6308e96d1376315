//! Trust, where another program publishes the caBundle, such as cert-manager's injector.

use std::pin::pin;

use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::configuration::Configuration;
use crate::kubernetes::{ApiError, Kubernetes, client};
use crate::log_once::LogOnce;
use crate::tls::CallerTrust;

/// Reports the published bundles until `stop`. While they are unknown, the certificate is assumed to be accepted.
pub(crate) async fn follow(
    kubernetes: Kubernetes,
    config_name: String,
    trust: watch::Sender<CallerTrust>,
    stop: CancellationToken,
) {
    let following = async {
        let client = client(&kubernetes, "connecting to Kubernetes to follow the caBundle").await;
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(client);
        let mut events = pin!(watch_object(configurations, &config_name).default_backoff());
        let mut log = LogOnce::new("following the caBundle");
        while let Some(event) = events.next().await {
            trust.send_replace(trust_of(event, &mut log));
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
    }
}

fn trust_of(event: watcher::Result<Option<MutatingWebhookConfiguration>>, log: &mut LogOnce) -> CallerTrust {
    match event {
        Ok(configuration) => {
            log.succeeded();
            // Without a caBundle API servers trust their system's roots, which are not known here.
            let bundles = configuration.and_then(|object| Configuration::from(object).bundles().ok());
            bundles.map_or(CallerTrust::Unknown, CallerTrust::Bundles)
        }
        // The last known bundles may be outdated, and would then make a working server unready.
        Err(error) => {
            log.failed(&ApiError::from(error));
            CallerTrust::Unknown
        }
    }
}
