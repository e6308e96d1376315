//! The composition of an agent from its settings.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use contract::status::Page;
use contract::{Naming, PodFqdn};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::agent::{Agent, Outputs};
use super::login::Waiting;
use crate::act::{Actor, PlanInputs};
use crate::couch::Couch;
use crate::couch::tls::{TlsError, Trust};
use crate::credentials::Resolver;
use crate::kubernetes::events::EventSender;
use crate::kubernetes::{self, Followed, Place};
use crate::metrics::Metrics;
use crate::observe::service::Service;
use crate::observe::{Directory, Observer};
use crate::publish::termination::TerminationLog;
use crate::publish::{http, page};
use crate::settings::Settings;
use crate::settings::pod_name::{NameSources, PodNameError, full_name};

/// The agent's environment, apart from its settings.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The sources of the pod's name.
    pub names: NameSources,
    /// Addresses that are known without DNS: of CouchDB by the pod's full name, of Erlang's ports and the agent's by
    /// `<name>:<port>`.
    pub addresses: HashMap<String, SocketAddr>,
    /// Access to the Kubernetes API; `None` infers it as `kubectl` and in-cluster clients do.
    pub kubernetes: Option<kube::Config>,
    /// The place where the agent runs.
    pub place: Place,
    /// The file of the container's termination message, if this is a container.
    pub termination_log: Option<PathBuf>,
}

/// The agent can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The pod's full name can't be derived.
    #[error("failed to derive the DNS name of this pod")]
    Identity(#[source] PodNameError),
    /// The port for probes and status is taken or not permitted.
    #[error("failed to listen on '{address}'")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// CouchDB's certificates can't be checked.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An agent that knows its pod's name and has bound its port, and has observed nothing yet.
#[derive(Debug)]
pub struct Started {
    parts: Parts,
    listener: TcpListener,
}

/// The inputs of the loop.
#[derive(Debug)]
struct Parts {
    me: PodFqdn,
    client: reqwest::Client,
    trust: Trust,
    settings: Settings,
    addresses: HashMap<String, SocketAddr>,
    kubernetes: Option<kube::Config>,
    place: Place,
    termination: TerminationLog,
}

/// Derives the pod's full name and binds the port. Sends nothing to CouchDB or Kubernetes.
pub async fn start(settings: Settings, surroundings: Surroundings) -> Result<Started, StartError> {
    let Surroundings { names, addresses, kubernetes, place, termination_log } = surroundings;
    let me = full_name(&names, &settings.pod, settings.service.as_ref()).map_err(StartError::Identity)?;
    let mut trust = Trust::new(me.clone(), settings.couchdb.clone(), settings.ca_file.clone());
    let client = trust.client()?;
    let address = settings.listen;
    let listener = program::listen(address).await.map_err(|source| StartError::Listen { address, source })?;
    info!(version = env!("CARGO_PKG_VERSION"), "couchdiscover-agent of {me}");
    let termination = TerminationLog::new(termination_log);
    let parts = Parts { me, client, trust, settings, addresses, kubernetes, place, termination };
    Ok(Started { parts, listener })
}

impl Started {
    /// The address of probes, status and metrics.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves and runs rounds until `shutdown`. A call that is under way then is dropped: each is harmless to repeat.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { parts, listener } = self;
        let (sender, page) = watch::channel(page::at_start(&parts.me, now()));
        let metrics = Arc::new(Metrics::default());
        let (plans, inputs) = watch::channel(None);
        let shown =
            http::Shown { page, metrics: Arc::clone(&metrics), plans: inputs, last_plan: Arc::default() };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = http::serve(listener, shown) => {}
            () = parts.run(sender, plans, metrics) => {}
        }
    }
}

impl Parts {
    /// Connects to Kubernetes, finds the credentials, and runs rounds.
    async fn run(
        self,
        page: watch::Sender<Page>,
        plans: watch::Sender<Option<PlanInputs>>,
        metrics: Arc<Metrics>,
    ) {
        let Self { me, client, trust, settings, addresses, kubernetes, place, termination } = self;
        let access = kubernetes::connect(settings.kubernetes, kubernetes, place).await;
        let kubernetes = access.client();
        let uid = settings.pod.uid.clone();
        let events = EventSender::start(kubernetes.clone(), me.clone(), uid.clone(), now);
        let ip = settings.pod.ip.map(|ip| ip.to_string());
        let resolver = Resolver::new(kubernetes.clone(), me.clone(), settings.container, ip);
        let waiting =
            Waiting { me: &me, page: &page, termination: &termination, clock: now, jitter: rand::random };
        let (credentials, resolver) = match settings.credentials {
            // These last as long as the process: its environment cannot change.
            Some(injected) => (injected, None),
            // Until the credentials are complete, only Kubernetes gets requests.
            None => (waiting.credentials(&resolver).await, Some(resolver)),
        };
        let Followed { knowledge, claim } = kubernetes::follow(access, &me, uid.as_deref(), rand::random());
        let couch = Arc::new(Couch::new(client, credentials, Arc::clone(&metrics)));
        let naming = Naming::usual(&me);
        let directory = Directory {
            me: me.clone(),
            endpoint: settings.couchdb,
            naming,
            colleagues: BTreeSet::new(),
            known: addresses,
        };
        let observer = Observer::new(Arc::clone(&couch), directory, Service { client: kubernetes, me });
        let agent = Agent {
            actor: Actor {
                couch,
                bind_address: any_address(settings.pod.ip).to_owned(),
                claim,
                comparison: Arc::default(),
                moves: Arc::default(),
                moves_ended: Arc::default(),
                readers_stay: settings.readers_stay,
            },
            trust,
            knowledge,
            resolver,
            events,
            outputs: Outputs { page, plans, metrics, termination },
            pod: settings.pod,
            size: settings.size,
            pod_management: settings.pod_management,
            clock: now,
            jitter: rand::random,
        };
        agent.run(observer).await;
    }
}

/// The address that CouchDB binds to so that it listens on the network, in the pod's address family.
fn any_address(pod: Option<IpAddr>) -> &'static str {
    match pod {
        Some(IpAddr::V6(_)) => "::",
        Some(IpAddr::V4(_)) | None => "0.0.0.0",
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
