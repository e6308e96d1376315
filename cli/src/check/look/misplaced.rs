//! Labels that have no effect: on other kinds, as annotations, on pods, and where the webhook is not called.

use contract::{keys, workload};
use kube::Client;
use serde_json::Value;

use crate::check::facts::{Misplaced, Place};
use crate::cluster::{Lookup, list, path, stateful_sets, string};

/// Finds them in one namespace or in all. `labelled` are the StatefulSets with the label.
pub(super) async fn look(
    client: &Client,
    namespace: Option<&str>,
    labelled: &[Value],
    is_excluded: impl Fn(&str) -> bool,
) -> Lookup<Vec<Misplaced>> {
    let excluded = labelled.iter().filter(|set| is_excluded(&string(&set["metadata"]["namespace"])));
    let mut found: Vec<_> =
        excluded.map(|set| misplaced(set, "statefulset", Place::ExcludedNamespace)).collect();
    let group = format!("/apis/{}", workload::API_VERSION);
    for (kinds, kind) in [("deployments", "deployment"), ("daemonsets", "daemonset")] {
        for object in list(client, &path(&group, namespace, kinds), keys::INJECT).await? {
            found.push(misplaced(&object, kind, Place::OtherKind));
        }
    }
    for set in list(client, &stateful_sets(namespace), &format!("!{}", keys::INJECT)).await? {
        found.extend(place(&set).map(|place| misplaced(&set, "statefulset", place)));
    }
    Ok(found)
}

fn place(set: &Value) -> Option<Place> {
    if set["metadata"]["annotations"].get(keys::INJECT).is_some() {
        return Some(Place::Annotation);
    }
    set["spec"]["template"]["metadata"]["labels"].get(keys::INJECT).map(|_| Place::Pods)
}

fn misplaced(object: &Value, kind: &'static str, place: Place) -> Misplaced {
    let metadata = &object["metadata"];
    Misplaced { namespace: string(&metadata["namespace"]), name: string(&metadata["name"]), kind, place }
}
