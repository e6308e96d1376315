//! Situations by name: what the agent decides, whether the pod is ready, and what a person reads.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

mod founding;
mod joining;
mod keeping;
mod seen_from_outside;

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::{Readiness, next_step, readiness};
use agent_core::explain::Explainer;
use agent_core::facts::{
    ApiState, BrokenMaps, KnownRecord, LeaseState, MaintenanceMode, Node, Observed, PodManagement,
    Publication, Spread, SystemDatabase, Unseen, VolumeNote,
};
use contract::{Naming, PodFqdn};

/// What the step stands on.
fn evidence(observed: &Observed) -> String {
    let me = pod(observed.me);
    explainer(&me, &Naming::usual(&me)).evidence(observed, &next_step(observed)).join("\n")
}

fn explainer<'a>(me: &'a PodFqdn, naming: &'a Naming) -> Explainer<'a> {
    Explainer { me, naming, user: "admin", credentials_source: "COUCHDB_USER and COUCHDB_PASSWORD" }
}

fn pod(ordinal: u32) -> PodFqdn {
    format!("couchdb-{ordinal}.couchdb.default.svc.cluster.local").parse().unwrap()
}

/// The step and whether the pod is ready under `Parallel`, as a person reads it.
fn tell(observed: &Observed) -> String {
    let step = next_step(observed);
    let me = pod(observed.me);
    let words = explainer(&me, &Naming::usual(&me)).step(&step);
    assert!(words.fix.is_none_or(|fix| words.message.ends_with(&fix)), "{}", words.message);
    let ready = match readiness(observed, &step, PodManagement::Parallel) {
        Readiness::Ready => "ready",
        Readiness::NotReady(_) => "not ready",
    };
    format!("[{ready}] {}: {}", words.reason, words.message)
}

fn seen<const N: usize>(
    me: u32,
    size: u32,
    local: Node,
    peers: [(u32, Result<Node, Unseen>); N],
) -> Observed {
    let finished = local.databases > 0;
    Observed {
        me,
        expected: (0..size).collect(),
        founders: (0..size).collect(),
        api: ApiState::Off,
        record: KnownRecord::Forbidden,
        lease: LeaseState::NotUsed,
        displaced_by: None,
        form_anew: None,
        local: Ok(local),
        enabled: true,
        finished,
        session_secret: true,
        wanted_copies: 3,
        note: VolumeNote::Complete,
        maintenance: MaintenanceMode::Off,
        compared: true,
        peers: peers.into(),
        broken_maps: BrokenMaps::default(),
        port_checks: BTreeMap::new(),
        publication: Publication::default(),
    }
}

/// Holds nothing, and is connected to whom it lists.
fn fresh<const N: usize>(members: [u32; N]) -> Node {
    Node { members: members.into(), connected: members.into(), ..Node::default() }
}

/// Holds the system databases in as many copies as there are members, up to three.
fn member<const N: usize>(members: [u32; N]) -> Node {
    let system = SystemDatabase::ALL.map(|database| (database, on(members))).into();
    Node { databases: 2, system, ..fresh(members) }
}

/// A database that the first three of `members` hold whole.
fn on<const N: usize>(members: [u32; N]) -> Spread {
    let holders: BTreeSet<u32> = members.into_iter().take(3).collect();
    Spread { copies: u32::try_from(holders.len()).unwrap(), holders }
}
