//! Reads the StatefulSets, their pods, and the pages of the agents.

use kube::Client;

use super::view::{Overview, PodView, SetView};
use crate::cluster::{Lookup, PodFacts, labelled, pods, string};

/// Reads the StatefulSets with the label, or the one of that name. The error is why they could not be listed.
pub(super) async fn overview(
    client: &Client,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Lookup<Overview> {
    let mut sets = vec![];
    for stored in labelled(client, namespace).await? {
        let metadata = &stored["metadata"];
        let (found, namespace) = (string(&metadata["name"]), string(&metadata["namespace"]));
        if name.is_some_and(|name| name != found) {
            continue;
        }
        let replicas = stored["spec"]["replicas"].as_u64().unwrap_or(1);
        let pods = pods(client, &namespace, &found, &stored).await;
        let (pods, problem) = match pods {
            Ok(pods) => (pods.into_iter().map(view).collect(), None),
            Err(error) => (vec![], Some(error.to_string())),
        };
        sets.push(SetView { namespace, name: found, replicas, pods, problem });
    }
    Ok(Overview::new(sets))
}

fn view(PodFacts { name, ready, has_agent, problem, page, .. }: PodFacts) -> PodView {
    let problem = problem.or_else(|| (!has_agent).then(|| NO_AGENT.to_owned()));
    PodView { name, ready, problem, page: page.map(|page| *page) }
}

/// Shown for a pod that runs from a template of before the injection, or after opting out.
const NO_AGENT: &str = "the pod has no agent";
