//! Replacing the certificate in use.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::tls::{CertificateSource, Refresh};
use contract::error::chain;

/// Refreshes the certificate every minute until `stop`.
pub(crate) async fn renew(
    mut certificates: CertificateSource,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    // The first tick is immediate: files may have changed since they were read.
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match certificates.refresh(OffsetDateTime::now_utc()) {
            Ok(Refresh::Unchanged) => {}
            Ok(Refresh::Renewed) => {
                metrics.renewals.inc();
                if let Ok(Some(expiry)) = certificates.served().expiry() {
                    metrics.expires(expiry);
                }
                info!("serving a new certificate");
            }
            Err(error) => {
                warn!(error = chain(&error), "failed to renew the certificate: the one in use stays")
            }
        }
    }
}

/// Checked by the wall clock each time, rather than by one long timer: a machine that slept wakes up to an expired
/// certificate.
const INTERVAL: Duration = Duration::from_secs(60);
