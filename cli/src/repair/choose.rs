//! The pod whose agent carries a repair out. Pure.

use contract::moves::NodeState;
use contract::status::{NodeReport, Page, SeenNode};

use super::error::RepairError;
use crate::cluster::PodFacts;

/// The StatefulSet that a pod belongs to by its name.
pub(super) fn set_of(pod: &str) -> Result<&str, RepairError> {
    let set = pod.rsplit_once('-').filter(|(_, ordinal)| ordinal.parse::<u32>().is_ok()).map(|(set, _)| set);
    set.ok_or_else(|| RepairError::NotAPod { name: pod.to_owned() })
}

/// The pod of this name, which must have an agent.
pub(super) fn pod<'a>(pods: &'a [PodFacts], name: &str) -> Result<&'a PodFacts, RepairError> {
    let found = pods.iter().find(|pod| pod.name == name && pod.has_agent);
    found.ok_or_else(|| RepairError::NoAgent { pod: name.to_owned() })
}

/// The pod of a member that can list `pod` again, and the Erlang name of its node. `recorded` is the state of that node by
/// the record of drained nodes.
pub(super) fn member_for<'a>(
    pods: &'a [PodFacts],
    name: &str,
    recorded: NodeState,
) -> Result<(&'a PodFacts, String), RepairError> {
    let wanted = pod(pods, name)?;
    let Some(page) = wanted.page.as_deref() else {
        return Err(RepairError::Silent { pod: name.to_owned() });
    };
    // The old volume may have documents that were deleted since: as a member it would bring them back.
    if matches!(recorded, NodeState::Drained | NodeState::Removed) {
        return Err(RepairError::Drained { pod: name.to_owned() });
    }
    if ![&page.step, &page.readiness].iter().any(|state| state.reason == NOT_LISTED) {
        return Err(RepairError::Listed { pod: name.to_owned(), state: page.step.reason.clone() });
    }
    let others = pods.iter().filter(|pod| pod.name != name && pod.has_agent);
    let mut members = others.filter(|pod| own_node(pod).is_some_and(|node| node.members.len() > 1));
    let member = members.find(|pod| pod.page.as_deref().is_some_and(|page| page.step.reason != NOT_LISTED));
    let member = member.ok_or_else(|| RepairError::NoMember { pod: name.to_owned() })?;
    Ok((member, page.node.clone()))
}

/// A pod whose node lists `name`, a name that belongs to no pod.
pub(super) fn pod_that_lists<'a>(pods: &'a [PodFacts], name: &str) -> Option<&'a PodFacts> {
    pods.iter()
        .filter(|pod| pod.has_agent)
        .find(|pod| own_node(pod).is_some_and(|node| node.strangers.contains(name)))
}

/// The node of a pod, as its own agent sees it.
fn own_node(pod: &PodFacts) -> Option<&SeenNode> {
    let page: &Page = pod.page.as_deref()?;
    match page.nodes.get(&pod.name)? {
        NodeReport::Seen(node) => Some(node),
        NodeReport::Unseen { .. } => None,
    }
}

/// The state of a node that its members do not list any more.
const NOT_LISTED: &str = "NotListed";

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn facts(index: u32, reason: &str, members: &[&str]) -> PodFacts {
        let name = format!("db-{index}");
        let page = json!({
            "node": format!("couchdb@db-{index}.db"),
            "step": { "reason": reason, "message": "in words" },
            "nodes": { &name: { "members": members, "strangers": ["nonode@nohost"] } },
        });
        PodFacts {
            name,
            ready: reason == "Settled",
            has_agent: true,
            revision: String::new(),
            problem: None,
            page: Some(Box::new(from_value(page).unwrap())),
        }
    }

    #[test]
    fn a_node_is_listed_by_a_member_that_lists_others_and_only_if_it_was_not_drained() {
        let pods = [
            facts(0, "NotListed", &["db-0", "db-1"]),
            facts(1, "Settled", &["db-1"]),
            facts(2, "Settled", &["db-1", "db-2"]),
            facts(3, "NotListed", &["db-3"]),
        ];
        let (member, node) = member_for(&pods, "db-3", NodeState::Unknown).unwrap();
        assert_eq!((member.name.as_str(), node.as_str()), ("db-2", "couchdb@db-3.db"));
        for state in [NodeState::Drained, NodeState::Removed] {
            assert!(matches!(member_for(&pods, "db-3", state), Err(RepairError::Drained { .. })));
        }
        let listed = member_for(&pods, "db-2", NodeState::Holding);
        assert!(matches!(listed, Err(RepairError::Listed { .. })), "{listed:?}");
        assert!(matches!(member_for(&pods, "db-9", NodeState::Unknown), Err(RepairError::NoAgent { .. })));
        let alone = member_for(&pods[1..2], "db-1", NodeState::Unknown);
        assert!(matches!(alone, Err(RepairError::Listed { .. })));
        let none = member_for(&pods[3..], "db-3", NodeState::Unknown);
        assert!(matches!(none, Err(RepairError::NoMember { .. })), "{none:?}");
    }

    #[test]
    fn a_stranger_is_forgotten_by_a_pod_that_lists_it() {
        let pods = [facts(0, "Settled", &[])];
        assert_eq!(pod_that_lists(&pods, "nonode@nohost").map(|pod| pod.name.as_str()), Some("db-0"));
        assert_eq!(pod_that_lists(&pods, "other@host"), None);
    }

    #[test]
    fn a_pod_of_a_statefulset_has_an_ordinal() {
        assert_eq!(set_of("my-db-12").unwrap(), "my-db");
        assert!(set_of("web-7d4b9c-x2x1z").is_err());
    }
}
