//! Random incidents, one after another, while clients write and read. After each the cluster is one, every pod is ready, and
//! no acknowledged document is missing.
//!
//! A run follows from its seed, up to the order in which the agents' calls arrive. `COUCHDISCOVER_SOAK=500` runs so many
//! incidents instead of a few, `COUCHDISCOVER_SOAK_SEED=7` another sequence.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(
    clippy::print_stdout,
    reason = "what happened and how long it took, shown with --nocapture or for a failed test"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::clients::Clients;
use e2e::cluster::{TestCluster, host};
use e2e::control_plane::ControlPlane;
use e2e::example::{annotate, example_cluster, recorded_state, scale};
use e2e::until::until;
use sandbox::couchdb::Cut;
use serde_json::Value;

#[tokio::test]
async fn a_cluster_survives_random_incidents() {
    let (incidents, seed) = (setting("COUCHDISCOVER_SOAK", 10), setting("COUCHDISCOVER_SOAK_SEED", 1));
    let mut soak = Soak::start(seed).await;
    let mut longest: BTreeMap<&str, Duration> = BTreeMap::new();
    for number in 1..=incidents {
        let incident = INCIDENTS[soak.random(INCIDENTS.len())];
        let begun = Instant::now();
        println!("incident {number} of seed {seed}: {incident:?}");
        soak.cause(incident).await;
        soak.until_whole().await;
        let (name, took) = (incident.name(), begun.elapsed());
        println!("  whole after {took:?}");
        let time = longest.entry(name).or_default();
        *time = took.max(*time);
    }
    soak.clients.end().await;
    let answers = soak.clients.answers();
    println!("longest times until everything was whole: {longest:#?}");
    println!(
        "{} documents, {} failed requests, {} wrong reads around {} lost volumes",
        answers.acknowledged,
        answers.failures.len(),
        answers.wrong_reads.len(),
        soak.lost_volumes
    );
}

/// Something that goes wrong, or that a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incident {
    /// The drain of the last pod is cancelled in the middle.
    CancelDrain,
    /// A node loses its connections to all others, which notice it late.
    CutOff,
    /// An agent is killed.
    KillAgent,
    /// A node is killed.
    KillNode,
    /// A pod is replaced by one with an empty volume.
    LoseVolume,
    /// A node is stopped for a while as if its machine was suspended.
    Pause,
    /// Agent and node are killed.
    RestartPod,
    /// All nodes are killed at the same time.
    RestartAll,
    /// The last pod is drained and removed, and comes back with an empty volume.
    ScaleDownAndUp,
    /// Copies are spread evenly.
    Spread,
}

/// Frequent ones are listed twice.
const INCIDENTS: [Incident; 13] = [
    Incident::CancelDrain,
    Incident::CutOff,
    Incident::CutOff,
    Incident::KillAgent,
    Incident::KillNode,
    Incident::KillNode,
    Incident::LoseVolume,
    Incident::LoseVolume,
    Incident::Pause,
    Incident::RestartPod,
    Incident::RestartAll,
    Incident::ScaleDownAndUp,
    Incident::Spread,
];

impl Incident {
    fn name(self) -> &'static str {
        match self {
            Self::CancelDrain => "a cancelled drain",
            Self::CutOff => "a node that was cut off",
            Self::KillAgent => "a killed agent",
            Self::KillNode => "a killed node",
            Self::LoseVolume => "a lost volume",
            Self::Pause => "a paused node",
            Self::RestartPod => "a restarted pod",
            Self::RestartAll => "a power cut",
            Self::ScaleDownAndUp => "a pod that was drained and came back",
            Self::Spread => "copies that were spread",
        }
    }
}

struct Soak {
    control_plane: ControlPlane,
    cluster: TestCluster,
    clients: Clients,
    uuid: Value,
    state: u64,
    lost_volumes: u32,
    /// The wrong reads that a lost volume explains.
    explained: usize,
}

impl Soak {
    async fn start(seed: u64) -> Self {
        let control_plane = ControlPlane::start().await.unwrap();
        let mut cluster = example_cluster(&control_plane, PODS).await;
        cluster.set("COUCHDISCOVER_READERS_STAY", "0");
        cluster.start_agents(0..PODS).await;
        cluster.until_formed().await;
        for (database, shape) in DATABASES {
            cluster.put(0, &format!("/{database}?{shape}"), &Value::Null).await;
        }
        let clients = Clients::start(&cluster, 0..PODS, DATABASES.map(|(database, _)| database)).await;
        let uuid = cluster.get(0, "/").await["uuid"].clone();
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { control_plane, cluster, clients, uuid, state, lost_volumes: 0, explained: 0 }
    }

    fn random(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % u64::try_from(below).unwrap()).unwrap()
    }

    async fn cause(&mut self, incident: Incident) {
        let pod = self.random(PODS);
        println!("  pod {pod}");
        match incident {
            Incident::KillAgent => {
                self.cluster.kill_agent(pod).await;
                self.cluster.start_agent(pod).await;
            }
            Incident::KillNode => {
                self.cluster.node(pod).kill();
                self.some_time().await;
                self.cluster.node(pod).start().unwrap();
            }
            Incident::RestartPod => {
                self.cluster.kill_agent(pod).await;
                self.cluster.node(pod).kill();
                self.some_time().await;
                self.start_pod(pod).await;
            }
            Incident::RestartAll => {
                (0..PODS).for_each(|pod| self.cluster.node(pod).kill());
                for pod in 0..PODS {
                    self.cluster.kill_agent(pod).await;
                    self.start_pod(pod).await;
                }
            }
            Incident::LoseVolume => {
                self.cluster.kill_agent(pod).await;
                self.cluster.node(pod).wipe();
                self.start_pod(pod).await;
                self.lost_volumes += 1;
            }
            Incident::Pause => {
                self.cluster.node(pod).pause();
                self.some_time().await;
                self.cluster.node(pod).resume();
            }
            Incident::CutOff => {
                for other in (0..PODS).filter(|other| *other != pod) {
                    self.cluster.net.cut(&host(pod).into(), &host(other).into(), Cut::Silent);
                }
                self.some_time().await;
                self.cluster.net.heal();
            }
            Incident::CancelDrain => {
                annotate(&self.control_plane, TARGET_SIZE, Some("3"));
                self.until_state(LAST, &["draining", "drained"]).await;
                annotate(&self.control_plane, TARGET_SIZE, None);
                self.until_state(LAST, &["holding"]).await;
            }
            Incident::ScaleDownAndUp => self.scale_down_and_up().await,
            Incident::Spread => {
                annotate(&self.control_plane, REBALANCE, Some("all"));
                self.some_time().await;
                self.until_whole().await;
                annotate(&self.control_plane, REBALANCE, None);
            }
        }
    }

    async fn scale_down_and_up(&mut self) {
        annotate(&self.control_plane, TARGET_SIZE, Some("3"));
        self.until_state(LAST, &["drained"]).await;
        scale(&self.control_plane, LAST);
        self.cluster.kill_agent(LAST).await;
        self.cluster.node(LAST).kill();
        self.until_state(LAST, &["removed"]).await;
        annotate(&self.control_plane, TARGET_SIZE, None);
        self.cluster.node(LAST).wipe();
        scale(&self.control_plane, PODS);
        self.start_pod(LAST).await;
        self.until_state(LAST, &["holding"]).await;
    }

    /// Starts node and agent of a pod.
    async fn start_pod(&mut self, pod: usize) {
        self.cluster.node(pod).start().unwrap();
        self.cluster.start_agent(pod).await;
    }

    /// Waits until the clients have got some answers, from none to those of about a second.
    async fn some_time(&mut self) {
        let wanted = self.clients.answers().count() + self.random(200);
        until("some answers", DEADLINE, async || {
            let answers = self.clients.answers().count();
            if answers >= wanted { Ok(()) } else { Err(answers) }
        })
        .await;
    }

    /// Waits until everything is as before, and checks what must hold at any time.
    async fn until_whole(&mut self) {
        until("settled agents of ready pods", DEADLINE, async || {
            let mut states = vec![];
            for pod in 0..PODS {
                let ready = self.cluster.readyz(pod).await.0;
                let resharding = self.cluster.get(pod, "/_reshard/state").await["state"].clone();
                states.push((self.cluster.status(pod).await["step"]["reason"].clone(), ready, resharding));
            }
            let is_whole = |(reason, ready, resharding): &(Value, u16, Value)| {
                reason == "Settled" && *ready == 200 && resharding == "running"
            };
            if states.iter().all(is_whole) {
                return Ok(());
            }
            let leader = self.cluster.status(0).await;
            Err((states, ["step", "progress", "moves", "lastError"].map(|field| leader[field].clone())))
        })
        .await;
        self.cluster.until_formed().await;
        self.clients.until_complete(&self.cluster, 0..PODS).await;
        for pod in 0..PODS {
            assert_eq!(self.cluster.get(pod, "/").await["uuid"], self.uuid, "pod {pod}");
        }
        let wrong = self.clients.answers().wrong_reads;
        if self.lost_volumes == 0 {
            assert!(wrong.is_empty(), "{wrong:#?}");
        }
        println!("  {} wrong reads", wrong.len() - self.explained);
        self.explained = wrong.len();
    }

    /// Waits until the record on the Lease has one of these states for a pod.
    async fn until_state(&self, pod: usize, states: &[&str]) {
        until(&format!("{states:?}"), DEADLINE, async || {
            let state = recorded_state(&self.control_plane, pod);
            if states.iter().any(|wanted| state == *wanted) { Ok(()) } else { Err(state) }
        })
        .await;
    }
}

#[expect(clippy::disallowed_methods, reason = "settings of a test")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

const PODS: usize = 4;
const LAST: usize = PODS - 1;
/// Each document is on two nodes at least: a lost volume loses none.
const DATABASES: [(&str, &str); 2] = [("orders", "n=3&q=2"), ("pairs", "n=2&q=2")];
const TARGET_SIZE: &str = "couchdiscover.io/target-size";
const REBALANCE: &str = "couchdiscover.io/rebalance";
/// Longer than any incident takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
