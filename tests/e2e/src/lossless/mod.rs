//! Load on two replicas of the webhook while all that may change under it changes: leaves, the certificate authority, and
//! the replicas themselves, one after the other. Every call that isn't answered as it should be is counted as lost.

mod caller;
mod replica;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::Lifetimes;
use certs::rotation::{Step, carry_out};
use clap::Parser as _;
use contract::objects;
use sandbox::apiserver::ApiServer;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};
use tokio_rustls::TlsConnector;
use webhook::serve::Args;

use crate::control_plane::{configuration, install_crypto};
use crate::example::creation;
use crate::until::until;
use caller::{Connection, connector};
use replica::Replica;

/// How much is to be called.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls of each kind, at least.
    pub calls: usize,
    /// Callers of each kind.
    pub callers: usize,
    /// How often a replica is replaced, at least.
    pub restarts: usize,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Report {
    /// Calls on connections that are kept.
    pub kept: usize,
    /// Calls on a connection of their own, each with a whole TLS handshake.
    pub fresh: usize,
    /// Why calls were lost, each.
    pub lost: Vec<String>,
    /// How often a replica renewed its certificate while it served.
    pub renewals: usize,
    /// How many different caBundles were published: the old authority, both, the new one.
    pub bundles: usize,
    /// How often a replica was replaced.
    pub restarts: usize,
    /// How long it took.
    pub took: Duration,
}

/// Calls until all of the plan is done and the authority has been replaced by another one.
///
/// # Panics
///
/// When a replica doesn't start, doesn't end, or the authority isn't replaced.
pub async fn run(plan: Plan) -> Report {
    install_crypto();
    let begun = Instant::now();
    let api = ApiServer::start().expect("an API server stand-in");
    let old = old_authority(&api);
    let mut config = configuration("https://127.0.0.1:1", "");
    config["webhooks"][0]["clientConfig"].as_object_mut().map(|client| client.shift_remove("caBundle"));
    api.seed(config);

    let mut replicas = vec![];
    for _ in 0..REPLICAS {
        replicas.push(Replica::start(&api, LEAF_LIFE).await);
    }
    let shared = Arc::new(Shared::new(published(&api), &replicas));
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(api.clone(), shared.clone()));
    for index in 0..plan.callers {
        tasks.spawn(call(shared.clone(), Kind::Kept, index));
        tasks.spawn(call(shared.clone(), Kind::Fresh, index));
    }

    let mut restarts = 0;
    while restarts < plan.restarts
        || !shared.has_called(plan.calls)
        || shared.trust().ca_bundle.contains(&old)
    {
        assert!(begun.elapsed() < LONGEST, "not done in time: {:?}", shared.counts());
        // A new one is ready first, and the oldest one goes.
        replicas.push(Replica::start(&api, LEAF_LIFE).await);
        let leaving = replicas.remove(0);
        leaving.leave().await;
        shared.route_to(&replicas);
        leaving.gone().await;
        restarts += 1;
        if restarts % replicas.len() == 0 {
            // They stay until each has renewed its certificate.
            shared.sees_more_certificates(replicas.len()).await;
        }
    }
    shared.done.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    for replica in replicas {
        replica.leave().await;
        replica.gone().await;
    }
    shared.report(restarts, begun.elapsed())
}

/// What callers share.
struct Shared {
    request: Vec<u8>,
    name: String,
    endpoints: Mutex<Vec<SocketAddr>>,
    trust: Mutex<Arc<Trust>>,
    done: AtomicBool,
    kept: AtomicUsize,
    fresh: AtomicUsize,
    lost: Mutex<Vec<String>>,
    certificates: Mutex<HashSet<Vec<u8>>>,
    bundles: Mutex<HashSet<String>>,
}

/// Whom callers trust at a time.
struct Trust {
    ca_bundle: String,
    connector: TlsConnector,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A connection is kept for as long as the server and the caBundle allow.
    Kept,
    /// Each call has a connection of its own.
    Fresh,
}

impl Shared {
    fn new(ca_bundle: String, replicas: &[Replica]) -> Self {
        let args = Args::parse_from(["serve"]);
        let shared = Self {
            request: request(&args.server_name()),
            name: args.server_name(),
            endpoints: Mutex::default(),
            trust: Mutex::new(Arc::new(Trust::of(ca_bundle))),
            done: AtomicBool::new(false),
            kept: AtomicUsize::new(0),
            fresh: AtomicUsize::new(0),
            lost: Mutex::default(),
            certificates: Mutex::default(),
            bundles: Mutex::default(),
        };
        shared.route_to(replicas);
        shared
    }

    fn route_to(&self, replicas: &[Replica]) {
        *lock(&self.endpoints) = replicas.iter().map(|replica| replica.https).collect();
    }

    fn trust(&self) -> Arc<Trust> {
        lock(&self.trust).clone()
    }

    fn counts(&self) -> [usize; 2] {
        [&self.kept, &self.fresh].map(|count| count.load(Ordering::Relaxed))
    }

    fn has_called(&self, calls: usize) -> bool {
        self.counts().into_iter().all(|count| count >= calls)
    }

    /// A connection to one of the replicas that are ready.
    async fn connect(&self, turn: usize, trust: &Trust) -> std::io::Result<Connection> {
        let to = {
            let endpoints = lock(&self.endpoints);
            endpoints[turn % endpoints.len()]
        };
        let connection = Connection::open(&trust.connector, to, &self.name).await?;
        lock(&self.certificates).extend(connection.certificate());
        Ok(connection)
    }

    async fn sees_more_certificates(&self, more: usize) {
        let seen = || lock(&self.certificates).len();
        let enough = seen() + more;
        until(
            "renewed certificates",
            PATIENCE,
            async || if seen() >= enough { Ok(()) } else { Err(self.counts()) },
        )
        .await;
    }

    fn report(&self, restarts: usize, took: Duration) -> Report {
        let [kept, fresh] = self.counts();
        let lost = lock(&self.lost).clone();
        let (certificates, bundles) = (lock(&self.certificates).len(), lock(&self.bundles).len());
        let renewals = certificates - (restarts + REPLICAS);
        Report { kept, fresh, lost, renewals, bundles, restarts, took }
    }
}

impl Trust {
    fn of(ca_bundle: String) -> Self {
        let connector = connector(&ca_bundle).expect("a caBundle");
        Self { ca_bundle, connector }
    }
}

/// Follows what is published, as late as a busy API server hears of it.
async fn follow(api: ApiServer, shared: Arc<Shared>) {
    let mut look = interval(LATE);
    while !shared.done.load(Ordering::Relaxed) {
        look.tick().await;
        let ca_bundle = published(&api);
        if ca_bundle != shared.trust().ca_bundle {
            *lock(&shared.trust) = Arc::new(Trust::of(ca_bundle.clone()));
        }
        lock(&shared.bundles).insert(ca_bundle);
    }
}

async fn call(shared: Arc<Shared>, kind: Kind, first: usize) {
    let mut kept: Option<(Connection, Arc<Trust>)> = None;
    for turn in first.. {
        if shared.done.load(Ordering::Relaxed) {
            return;
        }
        let trust = shared.trust();
        // Who trusts others opens new connections, as API servers do.
        let connection = kept.take().filter(|(_, before)| Arc::ptr_eq(before, &trust));
        let called = async {
            let mut connection = match connection {
                Some((connection, _)) => connection,
                None => shared.connect(turn, &trust).await?,
            };
            let answer = connection.call(&shared.request).await?;
            Ok::<_, std::io::Error>((connection, answer))
        };
        let count = match kind {
            Kind::Kept => &shared.kept,
            Kind::Fresh => &shared.fresh,
        };
        match called.await {
            Ok((connection, answer)) if answer.status == 200 && is_injection(&answer.body) => {
                count.fetch_add(1, Ordering::Relaxed);
                kept = match kind {
                    Kind::Kept if !answer.closes => Some((connection, trust)),
                    Kind::Kept | Kind::Fresh => None,
                };
            }
            Ok((_, answer)) => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                lock(&shared.lost).push(format!("{kind:?}: {} {body}", answer.status));
            }
            Err(error) => lock(&shared.lost).push(format!("{kind:?}: {error}")),
        }
    }
}

fn is_injection(body: &[u8]) -> bool {
    let review: Value = serde_json::from_slice(body).unwrap_or_default();
    review["response"]["allowed"] == true && review["response"]["patch"].is_string()
}

/// The creation of the example, asked as an API server asks.
fn request(name: &str) -> Vec<u8> {
    let review = creation().to_string();
    let length = review.len();
    let head = format!(
        "POST {}?timeout=5s HTTP/1.1\r\nHost: {name}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        contract::ports::MUTATE
    );
    [head, review].concat().into_bytes()
}

/// Stores an authority that is to be replaced after [`OLD_FOR`], and returns its certificate.
fn old_authority(api: &ApiServer) -> String {
    let made = |at: OffsetDateTime| {
        let bundle = carry_out(Step::Found, None, "old", Lifetimes::default(), at);
        bundle.ok().flatten().expect("an authority")
    };
    let now = OffsetDateTime::now_utc();
    let renewed_after = made(now).current().validity().renewal() - now;
    let bundle = made(now + OLD_FOR - renewed_after);
    let fields = bundle.to_fields().into_iter();
    let data: Map<String, Value> =
        fields.map(|(name, value)| (name, json!(STANDARD.encode(value)))).collect();
    api.seed(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": objects::CA_SECRET, "namespace": Args::parse_from(["serve"]).namespace },
        "data": data,
    }));
    bundle.pem()
}

/// The caBundle of the configuration.
fn published(api: &ApiServer) -> String {
    let kinds = ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations");
    let configuration = api.get(kinds.0, kinds.1, None, "couchdiscover").unwrap_or_default();
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    String::from_utf8(STANDARD.decode(bundle).unwrap_or_default()).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

const REPLICAS: usize = 2;
/// Both are ready before, and callers trust it alone.
const OLD_FOR: Duration = Duration::from_secs(5);
/// Renewed after 7 s; an authority signs 1 s after it was published, and is trusted for 10 s after it retired.
const LEAF_LIFE: &str = "10s";
/// API servers hear of a change within milliseconds.
const LATE: Duration = Duration::from_millis(250);
/// Longer than a certificate is good for, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(1800);
