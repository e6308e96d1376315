//! Load on two replicas of the webhook while certificates, the certificate authority and the replicas themselves are
//! replaced. Every call without the expected answer counts as lost.

mod caller;
mod replica;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::rotation::{Step, carry_out};
use certs::{Bundle, Lifetimes};
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
use crate::example::creation_review;
use crate::until::until;
use caller::{Answer, Connection, connector};
use replica::Replica;

/// The amount of load and of replacements.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Minimum number of calls of each kind.
    pub calls: usize,
    /// Number of callers of each kind.
    pub callers: usize,
    /// Minimum number of replaced replicas.
    pub restarts: usize,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Calls on kept connections.
    pub kept: usize,
    /// Calls with a connection and a full TLS handshake each.
    pub fresh: usize,
    /// The reason for each lost call.
    pub lost: Vec<String>,
    /// Certificates that were renewed while their replica was serving.
    pub renewals: usize,
    /// Different caBundles that were published. A rotation publishes three: the old authority, both, the new one.
    pub bundles: usize,
    /// Replicas that were replaced.
    pub restarts: usize,
    /// Duration of the run.
    pub took: Duration,
}

/// Calls the webhook until the plan is fulfilled and the certificate authority has been replaced.
///
/// # Panics
///
/// If a replica doesn't start or end, or if the run takes longer than 30 minutes.
pub async fn run(plan: Plan) -> Report {
    install_crypto();
    let begun = Instant::now();
    let api = ApiServer::start().expect("the API server stand-in starts");
    let old = store_old_authority(&api);
    let mut config = configuration("https://127.0.0.1:1", "");
    for webhook in config["webhooks"].as_array_mut().into_iter().flatten() {
        webhook["clientConfig"].as_object_mut().map(|client| client.shift_remove("caBundle"));
    }
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
    while restarts < plan.restarts || !shared.has_called(plan.calls) || shared.trusts(&old) {
        assert!(begun.elapsed() < TIME_LIMIT, "not done in time: {:?}", shared.counts());
        replace_oldest(&api, &shared, &mut replicas).await;
        restarts += 1;
        // When all replicas have been replaced, each must also renew its certificate while it serves.
        if restarts % replicas.len() == 0 {
            shared.until_more_certificates(replicas.len()).await;
        }
    }
    shared.done.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("callers do not panic");
    }
    for replica in replicas {
        replica.stop().await;
        replica.ended().await;
    }
    shared.report(restarts, begun.elapsed())
}

/// Replaces the oldest replica in the order of a rolling update: the new one is ready before the old one stops.
async fn replace_oldest(api: &ApiServer, shared: &Shared, replicas: &mut Vec<Replica>) {
    replicas.push(Replica::start(api, LEAF_LIFE).await);
    let oldest = replicas.remove(0);
    oldest.stop().await;
    shared.route_to(replicas);
    oldest.ended().await;
}

/// The state that all callers share.
struct Shared {
    request: Vec<u8>,
    /// The server name that certificates must be valid for.
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

/// The caBundle that callers currently trust.
struct Trust {
    ca_bundle: String,
    connector: TlsConnector,
}

/// The use of connections by a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A connection is kept for as long as the server and the caBundle allow.
    Kept,
    /// Each call opens a connection.
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

    fn trusts(&self, certificate: &str) -> bool {
        self.trust().ca_bundle.contains(certificate)
    }

    fn counts(&self) -> [usize; 2] {
        [&self.kept, &self.fresh].map(|count| count.load(Ordering::Relaxed))
    }

    fn has_called(&self, calls: usize) -> bool {
        self.counts().into_iter().all(|count| count >= calls)
    }

    /// Connects to one of the ready replicas, in turn.
    async fn connect(&self, turn: usize, trust: &Trust) -> io::Result<Connection> {
        let address = {
            let endpoints = lock(&self.endpoints);
            endpoints[turn % endpoints.len()]
        };
        let connection = Connection::open(&trust.connector, address, &self.name).await?;
        lock(&self.certificates).extend(connection.certificate());
        Ok(connection)
    }

    /// Waits until callers have seen this many certificates more than now.
    async fn until_more_certificates(&self, more: usize) {
        let enough = lock(&self.certificates).len() + more;
        until("renewed certificates", DEADLINE, async || {
            let seen = lock(&self.certificates).len();
            if seen >= enough { Ok(()) } else { Err(self.counts()) }
        })
        .await;
    }

    fn record(&self, kind: Kind, answer: io::Result<&Answer>) {
        let reason = match answer {
            Ok(answer) if is_injection(answer) => {
                let count = match kind {
                    Kind::Kept => &self.kept,
                    Kind::Fresh => &self.fresh,
                };
                count.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(error) => error.to_string(),
        };
        lock(&self.lost).push(format!("{kind:?}: {reason}"));
    }

    fn report(&self, restarts: usize, took: Duration) -> Report {
        let [kept, fresh] = self.counts();
        let lost = lock(&self.lost).clone();
        let (certificates, bundles) = (lock(&self.certificates).len(), lock(&self.bundles).len());
        // Each started replica has a first certificate, which is no renewal.
        let renewals = certificates - (restarts + REPLICAS);
        Report { kept, fresh, lost, renewals, bundles, restarts, took }
    }
}

impl Trust {
    fn of(ca_bundle: String) -> Self {
        let connector = connector(&ca_bundle).expect("the caBundle contains valid certificates");
        Self { ca_bundle, connector }
    }
}

/// Follows the published caBundle with the delay of a busy API server.
async fn follow(api: ApiServer, shared: Arc<Shared>) {
    let mut poll = interval(PROPAGATION_DELAY);
    while !shared.done.load(Ordering::Relaxed) {
        poll.tick().await;
        let ca_bundle = published(&api);
        if ca_bundle != shared.trust().ca_bundle {
            *lock(&shared.trust) = Arc::new(Trust::of(ca_bundle.clone()));
        }
        lock(&shared.bundles).insert(ca_bundle);
    }
}

/// Calls the webhook again and again. `first` selects the replica of the first call.
async fn call(shared: Arc<Shared>, kind: Kind, first: usize) {
    let mut kept: Option<(Connection, Arc<Trust>)> = None;
    for turn in first.. {
        if shared.done.load(Ordering::Relaxed) {
            return;
        }
        let trust = shared.trust();
        // With another caBundle, API servers open new connections.
        let connection = kept.take().filter(|(_, before)| Arc::ptr_eq(before, &trust));
        let connection = connection.map(|(connection, _)| connection);
        match call_once(&shared, connection, turn, &trust).await {
            Ok((connection, answer)) => {
                shared.record(kind, Ok(&answer));
                // After an unexpected answer the next call opens a connection, whatever the kind.
                if kind == Kind::Kept && is_injection(&answer) && !answer.closes {
                    kept = Some((connection, trust));
                }
            }
            Err(error) => shared.record(kind, Err(error)),
        }
    }
}

/// Calls the webhook on this connection, or on a new one.
async fn call_once(
    shared: &Shared,
    connection: Option<Connection>,
    turn: usize,
    trust: &Trust,
) -> io::Result<(Connection, Answer)> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => shared.connect(turn, trust).await?,
    };
    let answer = connection.call(&shared.request).await?;
    Ok((connection, answer))
}

fn is_injection(answer: &Answer) -> bool {
    let review: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    answer.status == 200 && review["response"]["allowed"] == true && review["response"]["patch"].is_string()
}

/// The HTTP request of an API server for the creation of the example.
fn request(name: &str) -> Vec<u8> {
    let review = creation_review().to_string();
    let length = review.len();
    let head = format!(
        "POST {}?timeout=5s HTTP/1.1\r\nHost: {name}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        contract::ports::MUTATE
    );
    [head, review].concat().into_bytes()
}

/// Stores an authority that the webhook replaces after [`RENEWAL_IN`], and returns its certificate in PEM.
fn store_old_authority(api: &ApiServer) -> String {
    let now = OffsetDateTime::now_utc();
    // The age at which an authority is renewed, from one that is created now.
    let renewal_age = authority(now).current().validity().renewal() - now;
    let bundle = authority(now + RENEWAL_IN - renewal_age);
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

/// Generates an authority with this time of creation.
fn authority(created: OffsetDateTime) -> Bundle {
    let bundle = carry_out(Step::Found, None, "old", Lifetimes::default(), created);
    bundle.ok().flatten().expect("an authority can be generated")
}

/// The caBundle of the webhook configuration, in PEM.
fn published(api: &ApiServer) -> String {
    let configuration =
        api.get("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", None, "couchdiscover");
    let configuration = configuration.unwrap_or_default();
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    String::from_utf8(STANDARD.decode(bundle).unwrap_or_default()).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no caller panics while it holds the lock")
}

const REPLICAS: usize = 2;
/// By then both replicas are ready, and callers trust the old authority alone.
const RENEWAL_IN: Duration = Duration::from_secs(5);
/// A leaf is renewed after 7 s; an authority signs 1 s after it was published, and is trusted for 10 s after it retired.
const LEAF_LIFE: &str = "10s";
/// Much later than the few milliseconds in which an idle API server gets a change.
const PROPAGATION_DELAY: Duration = Duration::from_millis(250);
/// Longer than the life of a certificate, however slow the machine is.
const DEADLINE: Duration = Duration::from_secs(60);
/// For 100,000 calls of each kind on a slow machine.
const TIME_LIMIT: Duration = Duration::from_secs(1800);
