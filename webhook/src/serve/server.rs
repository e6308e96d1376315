//! The server's life: bind, serve, drain.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use program::listen;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::accept::{ADMISSION, PROBES, Port};
use super::app::{self, Shared};
use super::budget::{Budget, Limits};
use super::pool::Pool;
use super::readiness::Readiness;
use super::renew::renew;
use super::tasks::{Panicked, Tasks};
use super::verify::{Endpoint, verify};
use crate::authority::{self, AuthorityConfig, Outputs};
use crate::guard::Guard;
use crate::kubernetes::Kubernetes;
use crate::metrics::Metrics;
use crate::provide::provide;
use crate::settings::{Args, CertMode, Provide};
use crate::tls::{CallerTrust, CertificateError, CertificateSource, TrustError};

/// A server that has bound its ports.
pub struct Bound {
    args: Args,
    kubernetes: Kubernetes,
    admission: Port,
    probes: Port,
    https: SocketAddr,
    plain: SocketAddr,
    certificates: CertificateSource,
    shared: Arc<Shared>,
}

/// A failure to start the server.
#[derive(Debug, Error)]
pub enum Error {
    /// The certificate's source failed.
    #[error("no certificate to serve")]
    Certificate(#[from] CertificateError),
    /// A port can't be bound.
    #[error("failed to listen on '{address}'")]
    Listen {
        /// The value of `--listen` or `--probe-listen`.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A background task ended by a panic.
    #[error("the task '{task}' panicked: {message}")]
    Panicked {
        /// The task's name.
        task: &'static str,
        /// The message of the panic.
        message: String,
    },
}

impl From<Panicked> for Error {
    fn from(Panicked { task, message }: Panicked) -> Self {
        Self::Panicked { task, message }
    }
}

/// Reads the certificate, if it comes from files, and binds both ports. Answers nothing before [`Bound::serve`].
pub async fn bind(args: Args, kubernetes: Kubernetes) -> Result<Bound, Error> {
    // Before the ports are bound: a server without a usable certificate must not be connected to.
    let certificates = CertificateSource::new(&args, OffsetDateTime::now_utc())?;
    let tls = certificates.config(args.client_ca.as_deref())?;
    let (https_listener, https) = bind_port(args.listen).await?;
    let (plain_listener, plain) = bind_port(args.probe_listen).await?;
    // tokio panics if a semaphore has more.
    let max_inflight = args.max_inflight.min(Semaphore::MAX_PERMITS);
    let shared = Arc::new(Shared {
        settings: args.injection.settings(),
        metrics: Arc::new(Metrics::new()),
        slots: Semaphore::new(max_inflight),
        budget: Budget::new(Limits::default()),
        connections: Arc::new(Pool::new(ADMISSION.capacity)),
        readiness: Arc::new(Readiness::default()),
        guard: Guard::new(kubernetes.clone()),
        draining: CancellationToken::new(),
    });
    // In mode `self` there is no certificate yet, and the keeper exports the expiry.
    if let Some(expiry) = certificates.served().expiry()? {
        shared.metrics.expires(expiry);
    }
    let tls = Some(TlsAcceptor::from(Arc::new(tls)));
    let admission = Port {
        listener: https_listener,
        tls,
        app: app::admission(shared.clone()),
        limits: ADMISSION,
        connections: shared.connections.clone(),
        metrics: shared.metrics.clone(),
        readiness: Some(shared.readiness.clone()),
    };
    let probes = Port {
        listener: plain_listener,
        tls: None,
        app: app::probes(shared.clone()),
        limits: PROBES,
        connections: Arc::new(Pool::new(PROBES.capacity)),
        metrics: shared.metrics.clone(),
        readiness: None,
    };
    Ok(Bound { args, kubernetes, admission, probes, https, plain, certificates, shared })
}

/// Returns the listener with its address, which differs from the given one for port 0.
async fn bind_port(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = listen(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}

impl Bound {
    /// The address of the HTTPS port.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// The address of the port for probes and metrics.
    pub fn probes(&self) -> SocketAddr {
        self.plain
    }

    /// The authority's certificate in PEM form, in mode `memory`; the other modes publish it elsewhere.
    pub fn ca_bundle(&self) -> Option<String> {
        self.certificates.ca_bundle()
    }

    /// Serves until `shutdown`, and for the drain delay after it: in the meantime the endpoint becomes unready, and
    /// callers are asked to close their connections.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { args, kubernetes, admission, probes, https, plain, certificates, shared } = self;
        info!(%https, probes = %plain, "serving");
        let stop = CancellationToken::new();
        // If this future is dropped, the tasks end as well.
        let _stop_tasks = stop.clone().drop_guard();
        let metrics = &shared.metrics;
        let mut tasks = Tasks::default();
        tasks.spawn("probes", probes.serve(stop.clone()));
        tasks.spawn("admission", admission.serve(stop.clone()));
        if args.provide == Provide::On {
            let home = args.namespace.clone();
            tasks.spawn("provider", provide(kubernetes.clone(), home, metrics.clone(), stop.clone()));
        }
        let trust = watch::Sender::new(initial_trust(&args, &certificates));
        match args.cert_mode {
            CertMode::Memory => {}
            CertMode::Files => {
                let name = args.config_name.clone();
                tasks.spawn("authority", authority::follow(kubernetes, name, trust.clone(), stop.clone()));
            }
            CertMode::SelfSigned => {
                let served = certificates.served().clone();
                let outputs = Outputs { served, trust: trust.clone(), metrics: metrics.clone() };
                let config = authority_config(&args);
                tasks.spawn("authority", authority::keep(kubernetes, config, outputs, stop.clone()));
            }
        }
        let endpoint = Endpoint { name: args.server_name(), address: https };
        let readiness = shared.readiness.clone();
        let verifying = verify(trust.subscribe(), endpoint, readiness, metrics.clone(), stop.clone());
        tasks.spawn("verification", verifying);
        tasks.spawn("renewal", renew(certificates, metrics.clone(), stop.clone()));

        tokio::select! {
            () = shutdown.cancelled() => {}
            // Without the task the pod would stay ready, with an old certificate or without what pods need. Kubernetes
            // restarts a process that ends.
            panicked = tasks.panicked() => return Err(panicked.into()),
        }
        // Unready at once, but serving: endpoints, kube-proxy and API servers take seconds to follow.
        shared.draining.cancel();
        info!(delay = ?args.drain_delay, "stopping");
        tokio::time::sleep(args.drain_delay).await;
        // Both ports close; requests in flight are finished within the time of `accept`.
        stop.cancel();
        tasks.join().await?;
        info!("stopped");
        Ok(())
    }
}

fn initial_trust(args: &Args, certificates: &CertificateSource) -> CallerTrust {
    match (args.cert_mode, certificates.ca_bundle()) {
        (_, Some(ca_bundle)) => CallerTrust::Bundles(vec![ca_bundle]),
        (CertMode::SelfSigned, None) => CallerTrust::Missing(TrustError::AuthorityNotRead),
        (CertMode::Files | CertMode::Memory, None) => CallerTrust::Unknown,
    }
}

fn authority_config(args: &Args) -> AuthorityConfig {
    AuthorityConfig {
        namespace: args.namespace.clone(),
        config_name: args.config_name.clone(),
        service: args.service.clone(),
        names: args.names(),
        lifetimes: args.lifetimes(),
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
