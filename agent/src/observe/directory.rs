//! Addresses: of the local CouchDB, of its peers, and of Erlang's ports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use agent_core::decide::{Agreed, LocalName, agree};
use agent_core::facts::Observed;
use contract::{Naming, PodFqdn};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::settings::Endpoint;

/// The addresses and Erlang names of all nodes.
#[derive(Clone, Debug)]
pub struct Directory {
    /// This agent's pod.
    pub me: PodFqdn,
    /// The local CouchDB; peers have the same scheme and port.
    pub endpoint: Endpoint,
    /// The rule for the nodes' Erlang names, as observed in the last round.
    pub naming: Naming,
    /// The members outside of the StatefulSet that the local node is connected to. They are asked through it.
    pub(crate) colleagues: BTreeSet<String>,
    /// Addresses that are known without DNS: of CouchDB by the pod's full name, of Erlang's ports and the agent's by
    /// `<host>:<port>`.
    pub known: HashMap<String, SocketAddr>,
}

impl Directory {
    /// Base URL of the CouchDB in this agent's pod.
    pub fn local(&self) -> String {
        match self.endpoint.loopback() {
            // The client resolves the pod's name to loopback: no certificate is issued for 127.0.0.1.
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

    /// Base URL of a peer's agent.
    pub(super) fn agent(&self, peer: &PodFqdn) -> String {
        let name = format!("{peer}:{}", contract::ports::AGENT);
        format!("http://{}", self.known.get(&name).map_or(name, ToString::to_string))
    }

    /// The Erlang name of the node in the pod with this ordinal.
    pub fn node(&self, ordinal: u32) -> String {
        self.naming.node(ordinal).to_string()
    }

    /// The Erlang names of the nodes in the pods with these ordinals.
    pub(crate) fn nodes(&self, ordinals: &BTreeSet<u32>) -> BTreeMap<u32, String> {
        ordinals.iter().map(|ordinal| (*ordinal, self.node(*ordinal))).collect()
    }

    /// The names in the `_nodes` of the local node, as observed.
    pub(crate) fn member_names(&self, observed: &Observed) -> BTreeSet<String> {
        let Ok(local) = &observed.local else { return BTreeSet::new() };
        let pods = local.members.iter().map(|ordinal| self.node(*ordinal));
        pods.chain(&local.colleagues | &local.strangers).collect()
    }

    /// The nodes that the local node is connected to, itself included, as observed.
    pub(crate) fn connected_names(&self, observed: &Observed) -> BTreeSet<String> {
        let Ok(local) = &observed.local else { return BTreeSet::new() };
        let pods = local.connected.iter().map(|ordinal| self.node(*ordinal));
        pods.chain(&local.connected_colleagues | &local.connected_strangers).collect()
    }

    /// Address of a port of a peer's Erlang, which other nodes look up by the host in the node's name.
    pub(super) fn erlang(&self, peer: u32, port: u16) -> String {
        let name = format!("{}:{port}", self.naming.node(peer).host());
        self.known.get(&name).map_or(name, ToString::to_string)
    }

    /// The naming rule that the nodes' own names agree on, `peers` by ordinal.
    pub(super) async fn agree(&self, local: Option<LocalName<'_>>, peers: &BTreeMap<u32, &Naming>) -> Naming {
        // No node has answered with its name, so the last rule stays.
        if local.is_none() && peers.is_empty() {
            return self.naming.clone();
        }
        match agree(Naming::usual(&self.me), local, peers) {
            Agreed::On(naming) => naming,
            // No peer would find a node under a name that is not in DNS; while pristine, the node can still be renamed.
            Agreed::IfFound { naming, host } if self.is_found(&host).await => naming,
            Agreed::IfFound { .. } => Naming::usual(&self.me),
        }
    }

    /// `true` if the host is in DNS or among the known addresses.
    async fn is_found(&self, host: &str) -> bool {
        let epmd = (host, contract::ports::EPMD);
        let known = self.known.contains_key(&format!("{}:{}", epmd.0, epmd.1));
        known || timeout(LOOKUP_TIMEOUT, lookup_host(epmd)).await.is_ok_and(|found| found.is_ok())
    }
}

/// A name in DNS resolves within milliseconds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_known_addresses_precedes_dns() {
        let me: PodFqdn = "db-0.db.shop.svc.cluster.local".parse().unwrap();
        let address = "127.0.0.1:4711".parse().unwrap();
        let known = HashMap::from([("db-1.db.shop.svc.cluster.local".to_owned(), address)]);
        let endpoint = "http://[::1]:5984".parse().unwrap();
        let directory = Directory {
            me: me.clone(),
            endpoint,
            naming: Naming::usual(&me),
            colleagues: BTreeSet::new(),
            known,
        };
        assert_eq!(directory.local(), "http://[::1]:5984");
        assert_eq!(directory.peer(&me.sibling(1).unwrap()), "http://127.0.0.1:4711");
        assert_eq!(directory.peer(&me.sibling(2).unwrap()), "http://db-2.db.shop.svc.cluster.local:5984");
    }
}
