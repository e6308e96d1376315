//! A replica of the webhook, started and stopped as by Kubernetes.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser as _;
use sandbox::apiserver::ApiServer;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use webhook::serve::{self, Args, Error, Kubernetes};

use crate::control_plane::client_config;
use crate::until::until;

/// The result of the readiness probe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Ready,
    NotReady,
}

pub(super) struct Replica {
    pub(super) https: SocketAddr,
    readyz: String,
    stop: CancellationToken,
    done: JoinHandle<Result<(), Error>>,
}

impl Replica {
    /// Starts a replica, and waits until it is ready.
    pub(super) async fn start(api: &ApiServer, leaf_life: &str) -> Self {
        let args = Args::parse_from([
            "serve",
            "--listen=127.0.0.1:0",
            "--probe-listen=127.0.0.1:0",
            "--provide=off",
            "--drain-delay=2s",
            "--ca-life=1000m",
            "--leaf-life",
            leaf_life,
        ]);
        let bound = serve::bind(args, Kubernetes::At(Box::new(client_config(api)))).await;
        let bound = bound.expect("loopback ports are free");
        let readyz = format!("http://{}{}", bound.probes(), contract::ports::READYZ);
        let (https, stop) = (bound.https(), CancellationToken::new());
        let done = tokio::spawn(bound.serve(stop.clone()));
        let replica = Self { https, readyz, stop, done };
        replica.until_readiness(Readiness::Ready).await;
        replica
    }

    /// Stops it as SIGTERM does, and returns when it is no longer ready. From then on it gets no new calls.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.until_readiness(Readiness::NotReady).await;
    }

    /// Waits until it has ended.
    pub(super) async fn ended(self) {
        let ended = timeout(DEADLINE, self.done).await.expect("the replica ends in time");
        ended.expect("the replica does not panic").expect("the replica ends without an error");
    }

    async fn until_readiness(&self, wanted: Readiness) {
        let http = reqwest::Client::builder().no_proxy().build().expect("valid client options");
        until("a change of the readiness", DEADLINE, async || {
            let answer = http.get(&self.readyz).send().await.map_err(|error| error.to_string())?;
            // The probe answers 503 while the replica is not ready.
            let current = if answer.status().is_success() { Readiness::Ready } else { Readiness::NotReady };
            if current == wanted { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await;
    }
}

/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
