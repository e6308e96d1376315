//! The admission server: TLS port, probe port, certificates, and an end without a lost call.

mod accept;
mod app;
mod readiness;
mod verify;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use accept::Port;
use app::Shared;
use readiness::Readiness;
use verify::verify;

use crate::authority::{self, Outlets, Plan};
use crate::error::chain;
pub use crate::kubernetes::Kubernetes;
use crate::metrics::Metrics;
use crate::provide;
pub use crate::settings::{Args, CertMode, LogFormat, LogLevel, Provide};
pub use crate::tls::IdentityError;
use crate::tls::{Identity, Refresh, Trust};

/// A server that listens, and serves once told to.
pub struct Bound {
    admission: Port,
    probes: Port,
    https: SocketAddr,
    plain: SocketAddr,
    /// What API servers call it.
    name: String,
    identity: Identity,
    shared: Arc<Shared>,
    drain_delay: Duration,
    mode: CertMode,
    provide: Provide,
    plan: Plan,
    kubernetes: Kubernetes,
}

/// Why the server could not start.
#[derive(Debug, Error)]
pub enum Error {
    /// No certificate to serve.
    #[error("no certificate to serve")]
    Identity(#[from] IdentityError),
    /// A port can't be listened on.
    #[error("failed to listen on '{address}'")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Listens on both ports; a certificate from files is read before. Nothing is answered before [`Bound::serve`].
pub async fn bind(args: Args, kubernetes: Kubernetes) -> Result<Bound, Error> {
    let identity = Identity::new(&args, OffsetDateTime::now_utc())?;
    let tls = identity.config(args.client_ca.as_deref())?;
    let (listener, https) = listen(args.listen).await?;
    let (plain_listener, plain) = listen(args.probe_listen).await?;
    let max_inflight = args.max_inflight.min(Semaphore::MAX_PERMITS);
    let shared = Arc::new(Shared {
        settings: args.injection.settings(),
        metrics: Arc::new(Metrics::new()),
        slots: Semaphore::new(max_inflight),
        max_inflight,
        readiness: Arc::new(Readiness::default()),
        draining: CancellationToken::new(),
    });
    if let Some(expiry) = identity.expiry()? {
        shared.metrics.expires(expiry);
    }
    let tls = Some(TlsAcceptor::from(Arc::new(tls)));
    let admission = Port { listener, tls, app: app::admission(shared.clone()) };
    let probes = Port { listener: plain_listener, tls: None, app: app::probes(shared.clone()) };
    let (name, drain_delay, mode, provide, plan) =
        (args.server_name(), args.drain_delay, args.cert_mode, args.provide, plan(&args));
    Ok(Bound {
        admission,
        probes,
        https,
        plain,
        name,
        identity,
        shared,
        drain_delay,
        mode,
        provide,
        plan,
        kubernetes,
    })
}

fn plan(args: &Args) -> Plan {
    Plan {
        namespace: args.namespace.clone(),
        config_name: args.config_name.clone(),
        service: args.service.clone(),
        names: args.names(),
        terms: args.terms(),
    }
}

impl Bound {
    /// Where HTTPS is served.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Where probes are served.
    pub fn probes(&self) -> SocketAddr {
        self.plain
    }

    /// The certificate, in PEM, that callers verify the server with, in mode `memory`; else the API server has it.
    pub fn ca_bundle(&self) -> Option<String> {
        self.identity.ca_bundle()
    }

    /// Serves until `shutdown`, and then on for the drain delay: endpoints are told in the meantime that this
    /// server is not ready, and callers that it closes their connections.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { admission, probes, https, plain, name, identity, shared, drain_delay, .. } = self;
        info!(%https, probes = %plain, "serving");
        let stop = CancellationToken::new();
        let _stop_all = stop.clone().drop_guard();
        let mut tasks = JoinSet::new();
        tasks.spawn(probes.serve(stop.clone()));
        tasks.spawn(admission.serve(stop.clone()));
        let trust = watch::Sender::new(match identity.ca_bundle() {
            Some(ca_bundle) => Trust::Bundles(vec![ca_bundle]),
            None => Trust::Unknown,
        });
        match self.provide {
            Provide::Off => {}
            Provide::On => {
                let (kubernetes, metrics) = (self.kubernetes.clone(), shared.metrics.clone());
                tasks.spawn(provide::run(kubernetes, metrics, stop.clone()));
            }
        }
        match self.mode {
            CertMode::Memory => {}
            CertMode::Files => {
                let (kubernetes, name) = (self.kubernetes, self.plan.config_name);
                tasks.spawn(authority::follow(kubernetes, name, trust.clone(), stop.clone()));
            }
            CertMode::SelfSigned => {
                trust.send_replace(Trust::Nobody(
                    "the certificate authority has not been read yet".to_owned(),
                ));
                let out = Outlets {
                    current: identity.current().clone(),
                    trust: trust.clone(),
                    metrics: shared.metrics.clone(),
                };
                tasks.spawn(authority::keep(self.kubernetes, self.plan, out, stop.clone()));
            }
        }
        tasks.spawn(verify(
            trust.subscribe(),
            name,
            https,
            shared.readiness.clone(),
            shared.metrics.clone(),
            stop.clone(),
        ));
        tasks.spawn(renew(identity, shared.clone(), stop.clone()));
        shutdown.cancelled().await;
        shared.draining.cancel();
        info!(delay = ?drain_delay, "stopping");
        tokio::time::sleep(drain_delay).await;
        stop.cancel();
        tasks.join_all().await;
        info!("stopped");
        Ok(())
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("https", &self.https)
            .field("probes", &self.plain)
            .finish_non_exhaustive()
    }
}

/// Every minute by the wall clock, not once by a timer: a machine that slept wakes up to an expired certificate.
const RENEW: Duration = Duration::from_secs(60);

async fn renew(mut identity: Identity, shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(RENEW);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match identity.refresh(OffsetDateTime::now_utc()) {
            Ok(Refresh::Same) => {}
            Ok(Refresh::Renewed) => {
                shared.metrics.renewals.inc();
                if let Ok(Some(expiry)) = identity.expiry() {
                    shared.metrics.expires(expiry);
                }
                info!("serving a new certificate");
            }
            Err(error) => warn!(error = chain(&error), "the certificate stays as it was"),
        }
    }
}

/// On a machine without IPv6, "any address" is that of IPv4.
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let with_address = bound.and_then(|listener| listener.local_addr().map(|local| (listener, local)));
    with_address.map_err(|source| Error::Listen { address, source })
}
