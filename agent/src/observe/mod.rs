//! I/O in: asks the local CouchDB and its peers, and returns what they said as facts.

mod ports;
pub(crate) mod restart;
pub mod service;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use agent_core::decide::{
    Agreed, LocalName, agree, displaced_by, expectation, ours_and_strangers, unconnected_members,
};
use agent_core::facts::{
    BrokenMaps, Identity, LeaseState, MaintenanceMode, Node, Observed, PodInstance, PortCheck, Publication,
    Release, Spread, Unseen, VolumeNote,
};
use contract::{Naming, PodFqdn, PodName};
use futures::StreamExt;
use reqwest::StatusCode;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::couch::{Couch, CouchError, Databases, Held, Membership, SetupState, Standing};
use crate::kubernetes::{Claim, Knowledge};
use crate::observe::ports::probe;
use crate::settings::{Endpoint, Pod, Size};

/// Where everybody is.
#[derive(Clone, Debug)]
pub struct Directory {
    /// This agent's pod.
    pub me: PodFqdn,
    /// The local CouchDB; peers have the same scheme and port.
    pub endpoint: Endpoint,
    /// What Erlang calls the nodes, as they said in the last round.
    pub naming: Naming,
    /// Addresses that are known without DNS: of CouchDB by the pod's full name, of Erlang's ports by `<host>:<port>`.
    pub known: HashMap<String, SocketAddr>,
}

/// What is known before anybody is asked.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The injected size.
    pub size: Option<Size>,
    /// What the pod says of itself.
    pub pod: &'a Pod,
    /// The last word of Kubernetes.
    pub knowledge: &'a Knowledge,
    /// The hand on the Lease, where Kubernetes is asked.
    pub claim: Option<&'a Claim>,
}

impl Told<'_> {
    fn lock(&self) -> LeaseState {
        self.claim.map_or(LeaseState::NotUsed, |claim| claim.lock(self.knowledge, Instant::now()))
    }

    fn displaced_by(&self) -> Option<String> {
        let me = self.pod.uid.clone().zip(self.pod.ip).map(|(uid, ip)| PodInstance { uid, ip });
        displaced_by(me.as_ref(), self.knowledge.occupant.as_ref())
    }
}

/// Looks once at everything that decides the next step; with `probes` also at the ports of members that answer and to
/// which CouchDB has had no connection for a while. What the nodes are called is written down in `directory`.
pub async fn observe(couch: &Couch, directory: &mut Directory, told: Told<'_>, probes: bool) -> Observed {
    let me = directory.me.pod().ordinal();
    let Told { size, knowledge, .. } = told;
    let expectation = expectation(size, knowledge.set.as_ref());
    let peers: BTreeSet<u32> =
        expectation.expected.union(&expectation.founders).copied().filter(|ordinal| *ordinal != me).collect();
    let (local, peers) = tokio::join!(hear_local(couch, directory), hear_peers(couch, directory, peers));
    let (local, more) = match local {
        Ok((heard, more)) => (Ok(heard), more),
        Err(unseen) => (Err(unseen), LocalFacts::default()),
    };
    directory.naming = directory.agree(local.as_ref().ok(), &peers).await;
    let naming = &directory.naming;
    let local = local.and_then(|heard| heard.sorted(naming));
    let peers =
        peers.into_iter().map(|(ordinal, peer)| (ordinal, peer.and_then(|heard| heard.sorted(naming))));
    let peers = peers.collect();
    let mut observed = Observed {
        me,
        expected: expectation.expected,
        founders: expectation.founders,
        api: knowledge.api,
        record: knowledge.record.clone(),
        lease: told.lock(),
        displaced_by: told.displaced_by(),
        form_anew: knowledge.set.as_ref().and_then(|set| set.form_anew.clone()),
        local,
        finished: more.finished,
        enabled: more.enabled,
        session_secret: more.session_secret,
        wanted_copies: more.wanted_copies,
        note: more.note,
        maintenance: more.mode,
        compared: more.compared,
        peers,
        broken_maps: BrokenMaps::default(),
        port_checks: BTreeMap::new(),
        publication: Publication::default(),
    };
    if probes {
        observed.port_checks = probe_all(directory, unconnected_members(&observed)).await;
    }
    observed
}

impl Directory {
    /// Base URL of the CouchDB beside this agent.
    pub fn local(&self) -> String {
        match self.endpoint.loopback() {
            Some(_) => self.endpoint.at(&self.me.to_string()),
            None => self.endpoint.at(&self.endpoint.host),
        }
    }

    /// Base URL of a peer.
    pub fn peer(&self, peer: &PodFqdn) -> String {
        let name = peer.to_string();
        match self.known.get(&name) {
            Some(address) => format!("{}://{address}", self.endpoint.scheme),
            None => self.endpoint.at(&name),
        }
    }

    /// What Erlang calls the node of the pod with this ordinal.
    pub fn node(&self, ordinal: u32) -> String {
        self.naming.node(ordinal).to_string()
    }

    /// Where a port of a peer's Erlang is, which finds it by its node's name.
    fn erlang(&self, peer: u32, port: u16) -> String {
        let name = format!("{}:{port}", self.naming.node(peer).host());
        self.known.get(&name).map_or(name, ToString::to_string)
    }

    /// What the nodes are called, by what was heard of them.
    async fn agree(&self, local: Option<&Heard>, peers: &BTreeMap<u32, Result<Heard, Unseen>>) -> Naming {
        let own =
            local.map(|heard| LocalName { naming: &heard.naming, pristine: heard.databases.count == 0 });
        let heard = peers.iter().filter_map(|(ordinal, peer)| Some((*ordinal, &peer.as_ref().ok()?.naming)));
        match agree(Naming::usual(&self.me), own, &heard.collect()) {
            Agreed::On(naming) => naming,
            Agreed::IfFound { naming, host } if self.is_found(&host).await => naming,
            Agreed::IfFound { .. } => Naming::usual(&self.me),
        }
    }

    /// Whether DNS, or who surrounds us, knows this host.
    async fn is_found(&self, host: &str) -> bool {
        let epmd = (host, contract::ports::EPMD);
        let known = self.known.contains_key(&format!("{}:{}", epmd.0, epmd.1));
        known || timeout(LOOKUP, lookup_host(epmd)).await.is_ok_and(|found| found.is_ok())
    }
}

/// What one node said.
struct Heard {
    /// What it is called.
    name: String,
    /// What that tells of the others.
    naming: Naming,
    release: Option<Release>,
    membership: Membership,
    databases: Databases,
    identity: Identity,
}

impl Heard {
    /// With ordinals in place of names, where it is called as all are.
    fn sorted(self, naming: &Naming) -> Result<Node, Unseen> {
        let Self { name, naming: own, release, membership, databases, identity } = self;
        if own != *naming {
            return Err(Unseen::Misnamed(name));
        }
        let Membership { all_nodes, cluster_nodes } = membership;
        let (members, strangers) = ours_and_strangers(naming, &cluster_nodes);
        let (connected, _) = ours_and_strangers(naming, &all_nodes);
        let Databases { count, system } = databases;
        let spread = |held: Held| Spread {
            copies: held.copies,
            holders: ours_and_strangers(naming, &held.everywhere).0,
        };
        let system = system.into_iter().map(|(database, held)| (database, spread(held))).collect();
        Ok(Node { members, connected, strangers, databases: count, identity, system, release })
    }
}

/// What is asked of the local node only.
#[derive(Default)]
struct LocalFacts {
    enabled: bool,
    finished: bool,
    session_secret: bool,
    wanted_copies: u32,
    note: VolumeNote,
    mode: MaintenanceMode,
    compared: bool,
}

async fn hear_local(couch: &Couch, directory: &Directory) -> Result<(Heard, LocalFacts), Unseen> {
    let base = directory.local();
    let heard = hear(couch, &base, directory.me.pod()).await?;
    let facts = async {
        let state: SetupState = couch.setup_state(&base).await?;
        // Each of the two decides only on one side of the founding.
        let virgin = heard.databases.count == 0;
        let Standing { mode, compared } = couch.standing(&base).await?;
        Ok(LocalFacts {
            enabled: state.is_enabled(),
            finished: state.is_finished(),
            session_secret: virgin && couch.has_session_secret(&base).await?,
            wanted_copies: if virgin { 0 } else { couch.copies(&base).await? },
            note: couch.note(&base).await?,
            mode,
            compared,
        })
    };
    let facts = facts.await.map_err(|error| unseen(&error))?;
    Ok((heard, facts))
}

async fn hear_peers(
    couch: &Couch,
    directory: &Directory,
    ordinals: BTreeSet<u32>,
) -> BTreeMap<u32, Result<Heard, Unseen>> {
    let hear_one = |ordinal: u32| async move {
        let heard = match directory.me.sibling(ordinal) {
            Ok(peer) => hear(couch, &directory.peer(&peer), peer.pod()).await,
            Err(_) => Err(Unseen::NameUnknown),
        };
        (ordinal, heard)
    };
    futures::stream::iter(ordinals).map(hear_one).buffer_unordered(AT_ONCE).collect().await
}

async fn probe_all(directory: &Directory, peers: BTreeSet<u32>) -> BTreeMap<u32, PortCheck> {
    let probe_one = |ordinal: u32| async move {
        let at = |port| directory.erlang(ordinal, port);
        (ordinal, probe(&at(contract::ports::EPMD), directory.naming.name(), at).await)
    };
    futures::stream::iter(peers).map(probe_one).buffer_unordered(AT_ONCE).collect().await
}

/// Asks `pod`'s node what tells what it is to the cluster: its name, its members, its databases, and its identity once
/// it has one.
async fn hear(couch: &Couch, base: &str, pod: &PodName) -> Result<Heard, Unseen> {
    let answers = async {
        let (name, release) = couch.name(base).await?;
        let membership = couch.membership(base).await?;
        let databases = couch.databases(base).await?;
        Ok((name, release, membership, databases))
    };
    let (name, release, membership, databases) = answers.await.map_err(|error| unseen(&error))?;
    let Some(naming) = name.parse().ok().and_then(|node| Naming::of(&node, pod)) else {
        return Err(Unseen::Misnamed(name));
    };
    let identity = match databases.count {
        0 => Identity::default(),
        _ => couch.identity(base).await.map_err(|error| unseen(&error))?,
    };
    Ok(Heard { name, naming, release, membership, databases, identity })
}

/// The fact behind a failed call. The details go to the debug log only: the same failure would fill the log otherwise.
fn unseen(error: &CouchError) -> Unseen {
    debug!(error = error as &dyn std::error::Error, "a node could not be seen");
    match error {
        CouchError::Refused { status, .. } if status.is_server_error() || *status == StatusCode::CONFLICT => {
            Unseen::Busy
        }
        CouchError::Garbled { .. } | CouchError::Refused { .. } => Unseen::Garbled,
        CouchError::LockedOut { .. } => Unseen::LockedOut,
        CouchError::NameUnknown { .. } => Unseen::NameUnknown,
        CouchError::NoAnswer { .. } => Unseen::NoAnswer,
        CouchError::Rejects { .. } => Unseen::Rejects,
        CouchError::Unreachable { .. } => Unseen::Unreachable,
        CouchError::Untrusted { .. } => Unseen::Untrusted,
    }
}

/// The peers that are asked at the same time.
const AT_ONCE: usize = 16;
/// A name that DNS knows is answered in milliseconds.
const LOOKUP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_where_the_table_says_else_where_dns_says() {
        let me: PodFqdn = "db-0.db.shop.svc.cluster.local".parse().unwrap();
        let address = "127.0.0.1:4711".parse().unwrap();
        let known = HashMap::from([("db-1.db.shop.svc.cluster.local".to_owned(), address)]);
        let endpoint = "http://[::1]:5984".parse().unwrap();
        let directory = Directory { me: me.clone(), endpoint, naming: Naming::usual(&me), known };
        assert_eq!(directory.local(), "http://[::1]:5984");
        assert_eq!(directory.peer(&me.sibling(1).unwrap()), "http://127.0.0.1:4711");
        assert_eq!(directory.peer(&me.sibling(2).unwrap()), "http://db-2.db.shop.svc.cluster.local:5984");
    }
}
