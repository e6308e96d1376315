//! NetworkPolicies of the files that close what CouchDB's nodes and agents need.

use contract::keys;
use serde_json::Value;

use super::surroundings::{Set, selects};

/// Ports between the nodes: epmd, the distribution of the official image, HTTP.
const NODES: [u64; 3] = [4369, 9100, 5984];
/// Ports of API servers in usual clusters.
const API_SERVERS: [u64; 4] = [443, 6443, 8443, 16443];
const DNS: u64 = 53;

/// Warns of policies that select the pods and allow too little.
pub(super) fn warn(set: &Set<'_>, lines: &mut Vec<String>) {
    egress(set, lines);
    ingress(set, lines);
}

fn egress(set: &Set<'_>, lines: &mut Vec<String>) {
    let Some((name, rules)) = rules(set, "Egress", "egress") else { return };
    let uses_kubernetes = set.set["metadata"]["annotations"][keys::KUBERNETES] != "off";
    // API servers are not pods: only a rule for all addresses or for a range leads to them.
    let leads_outside = |rule: &Value| {
        let peers = peers(rule, "to");
        peers.is_none_or(|peers| peers.iter().any(|peer| peer.get("ipBlock").is_some()))
            && API_SERVERS.iter().any(|port| allows(rule, *port))
    };
    if uses_kubernetes && !rules.iter().any(|rule| leads_outside(rule)) {
        lines.push(format!(
            "networkpolicy/{name}: warning: spec.egress: leads to no API server, so agents cannot record the formation or follow \
             changes of the size. Fix: allow the addresses of 'kubectl get endpointslices -n default', or set the annotation \
             '{}: \"off\"' on the StatefulSet",
            keys::KUBERNETES
        ));
    }
    if !rules.iter().any(|rule| allows(rule, DNS)) {
        lines.push(format!(
            "networkpolicy/{name}: warning: spec.egress: port {DNS} is closed, so nodes cannot find each other by DNS. Fix: allow \
             it by UDP and TCP"
        ));
    }
    between_nodes(set, &name, "egress", "to", &rules, lines);
}

fn ingress(set: &Set<'_>, lines: &mut Vec<String>) {
    if let Some((name, rules)) = rules(set, "Ingress", "ingress") {
        between_nodes(set, &name, "ingress", "from", &rules, lines);
    }
}

fn between_nodes(
    set: &Set<'_>,
    name: &str,
    field: &str,
    peers_of: &str,
    rules: &[&Value],
    lines: &mut Vec<String>,
) {
    let includes_pods = |rule: &Value| {
        peers(rule, peers_of).is_none_or(|all| all.iter().any(|peer| is_pods(peer, set.labels())))
    };
    let is_closed = |port: &u64| !rules.iter().any(|rule| includes_pods(rule) && allows(rule, *port));
    let closed: Vec<String> = NODES.iter().filter(|port| is_closed(port)).map(u64::to_string).collect();
    if !closed.is_empty() && set.replicas() > 1 {
        lines.push(format!(
            "networkpolicy/{name}: warning: spec.{field}: closes {} between the pods, so nodes do not connect. Fix: allow these \
             ports {} pods with the same labels",
            closed.join(", "),
            if field == "egress" { "to" } else { "from" }
        ));
    }
}

/// The rules of all policies of this direction that select the pods, and the name of the first; `None` without a policy.
fn rules<'s>(set: &Set<'s>, kind: &str, field: &str) -> Option<(String, Vec<&'s Value>)> {
    let applies = |policy: &&Value| {
        let types = policy["spec"]["policyTypes"].as_array();
        // Without the field, Ingress always applies, and Egress if it has rules.
        let has_type = match types {
            Some(types) => types.iter().any(|it| it == kind),
            None => kind == "Ingress" || policy["spec"].get(field).is_some(),
        };
        has_type && selects(&policy["spec"]["podSelector"], set.labels())
    };
    let policies: Vec<&Value> = set.beside("NetworkPolicy").filter(applies).collect();
    let name = policies.first()?["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    // Policies add up: what one allows is allowed.
    let rules = policies.iter().flat_map(|policy| policy["spec"][field].as_array().into_iter().flatten());
    Some((name, rules.collect()))
}

/// The peers of a rule; `None` for all.
fn peers<'r>(rule: &'r Value, field: &str) -> Option<&'r Vec<Value>> {
    rule[field].as_array().filter(|peers| !peers.is_empty())
}

/// `true` if a peer may be another pod of the same StatefulSet. A selector of namespaces may include its own.
fn is_pods(peer: &Value, labels: &Value) -> bool {
    if peer.get("ipBlock").is_some() {
        return true;
    }
    peer.get("podSelector").is_none_or(|selector| selects(selector, labels))
}

/// `true` if a rule allows a port. Names of ports are not resolved, so they count as allowed.
fn allows(rule: &Value, port: u64) -> bool {
    let Some(ports) = rule["ports"].as_array().filter(|ports| !ports.is_empty()) else { return true };
    ports.iter().any(|allowed| match (allowed["port"].as_u64(), allowed["endPort"].as_u64()) {
        (Some(first), Some(last)) => (first..=last).contains(&port),
        (Some(only), None) => only == port,
        (None, _) => true,
    })
}
