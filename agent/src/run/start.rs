//! The composition of an agent from its settings.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use contract::{Naming, PodFqdn};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::act::Hand;
use crate::couch::Couch;
use crate::couch::tls::{TlsError, Trust};
use crate::credentials::Resolver;
use crate::kubernetes::Followed;
use crate::kubernetes::events::Herald;
use crate::metrics::Metrics;
use crate::observe::Directory;
use crate::observe::service::Service;
use crate::publish::page;
use crate::publish::termination::LastWords;
use crate::run::{Agent, find_credentials};
use crate::settings::Settings;
use crate::settings::pod_name::{Clues, IdentityError, who_am_i};

/// What the agent finds around it, apart from its settings.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// What tells the pod its name.
    pub clues: Clues,
    /// Addresses that are known without DNS: of CouchDB by the pod's full name, of Erlang's ports by `<name>:<port>`.
    pub addresses: HashMap<String, SocketAddr>,
    /// How to reach the Kubernetes API; without it, as `kubectl` or an in-cluster client would.
    pub kubernetes: Option<kube::Config>,
    /// Where Kubernetes reads a container's last words, if this is one.
    pub termination_log: Option<PathBuf>,
}

/// Why the agent can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The pod's name can't be told.
    #[error("failed to tell who this pod is")]
    Identity(#[source] IdentityError),
    /// The port for probes and status is taken, or not ours to take.
    #[error("failed to listen on '{address}'")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// CouchDB's certificates can't be checked.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An agent that has a name and a port, and hasn't looked around yet.
#[derive(Debug)]
pub struct Started {
    me: PodFqdn,
    http: reqwest::Client,
    trust: Trust,
    listener: TcpListener,
    settings: Settings,
    addresses: HashMap<String, SocketAddr>,
    kubernetes: Option<kube::Config>,
    last_words: LastWords,
}

/// Tells who this pod is, and binds the port. Nothing is asked of CouchDB or Kubernetes yet.
pub async fn start(settings: Settings, surroundings: Surroundings) -> Result<Started, StartError> {
    let Surroundings { clues, addresses, kubernetes, termination_log } = surroundings;
    let me = who_am_i(&clues, &settings.pod, settings.service.as_ref()).map_err(StartError::Identity)?;
    let mut trust = Trust::new(me.clone(), settings.couchdb.clone(), settings.ca_file.clone());
    let http = trust.client()?;
    let address = settings.listen;
    let listener = program::listen(address).await.map_err(|source| StartError::Listen { address, source })?;
    info!(version = env!("CARGO_PKG_VERSION"), "couchdiscover-agent of {me}");
    let last_words = LastWords::new(termination_log);
    Ok(Started { me, http, trust, listener, settings, addresses, kubernetes, last_words })
}

impl Started {
    /// Where probes and status are served.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves and goes round until `shutdown`. Every call that is under way then is dropped: each is harmless to repeat.
    pub async fn run(self, shutdown: CancellationToken) -> std::io::Result<()> {
        let Self { me, http, trust, listener, settings, addresses, kubernetes, last_words } = self;
        let (sender, page) = watch::channel(page::at_start(&me, now()));
        let metrics = Arc::new(Metrics::default());
        let shown = crate::publish::http::Shown { page, metrics: Arc::clone(&metrics) };
        let rounds = async {
            let client = crate::kubernetes::connect(settings.kubernetes, kubernetes).await;
            let ip = settings.pod.ip.map(|ip| ip.to_string());
            let herald = Herald::start(client.clone(), me.clone(), settings.pod.uid.clone(), now);
            let resolver = Resolver::new(client.clone(), me.clone(), settings.container, ip);
            let (credentials, resolver) = match settings.credentials {
                Some(injected) => (injected, None),
                None => (
                    find_credentials(&resolver, &me, &sender, &last_words, now, rand::random).await,
                    Some(resolver),
                ),
            };
            let uid = settings.pod.uid.as_deref();
            let followed = crate::kubernetes::follow(client.clone(), &me, uid, rand::random());
            let Followed { knowledge, claim } = followed;
            let hand = Hand {
                couch: Arc::new(Couch::new(http, credentials, Arc::clone(&metrics))),
                directory: Directory {
                    me: me.clone(),
                    endpoint: settings.couchdb,
                    naming: Naming::usual(&me),
                    known: addresses,
                },
                bind_address: any_address(settings.pod.ip).to_owned(),
                claim,
                survey: Arc::default(),
            };
            let agent = Agent {
                hand,
                trust,
                knowledge,
                service: Service { client, me },
                resolver,
                herald,
                metrics,
                last_words,
                pod: settings.pod,
                size: settings.size,
                pod_management: settings.pod_management,
                clock: now,
                jitter: rand::random,
            };
            agent.run(sender).await;
        };
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            served = crate::publish::http::serve(listener, shown) => served,
            () = rounds => Ok(()),
        }
    }
}

/// What CouchDB binds to when it is to listen to others: the family that the pod has.
fn any_address(pod: Option<IpAddr>) -> &'static str {
    match pod {
        Some(IpAddr::V6(_)) => "::",
        Some(IpAddr::V4(_)) | None => "0.0.0.0",
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
