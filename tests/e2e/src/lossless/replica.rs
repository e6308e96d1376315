//! A replica of the webhook, started and stopped as Kubernetes does.

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

pub(super) struct Replica {
    pub(super) https: SocketAddr,
    readyz: String,
    stop: CancellationToken,
    done: JoinHandle<Result<(), Error>>,
}

impl Replica {
    /// One that is ready.
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
        let bound = bound.expect("free ports");
        let readyz = format!("http://{}{}", bound.probes(), contract::ports::READYZ);
        let (https, stop) = (bound.https(), CancellationToken::new());
        let done = tokio::spawn(bound.serve(stop.clone()));
        let replica = Self { https, readyz, stop, done };
        replica.until_ready(true).await;
        replica
    }

    /// Sends it SIGTERM, and returns when it says that it isn't ready: from now on no new call is sent to it.
    pub(super) async fn leave(&self) {
        self.stop.cancel();
        self.until_ready(false).await;
    }

    /// Waits for its end.
    pub(super) async fn gone(self) {
        let ended = timeout(PATIENCE, self.done).await.expect("an end");
        ended.expect("no panic").expect("an end without an error");
    }

    async fn until_ready(&self, ready: bool) {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        until("readiness to change", PATIENCE, async || {
            let answer = http.get(&self.readyz).send().await.map_err(|error| error.to_string())?;
            match answer.status().is_success() == ready {
                true => Ok(()),
                false => Err(answer.text().await.unwrap_or_default()),
            }
        })
        .await;
    }
}

/// Longer than anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
