//! A labelled StatefulSet becomes a cluster.

use contract::keys;
use serde_json::json;

use crate::installation;
use crate::set::{Set, annotate, comply, example, example_with, namespace};

#[tokio::test]
#[ignore = "needs a cluster"]
async fn the_example_forms_unchanged_and_holds_documents_on_every_node() {
    let set = Set::formed("parallel", &example()).await;
    set.write("shop", 0..10).await;
    set.read("shop", 0..10).await;
    set.delete().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn ordered_ready_with_native_sidecars_forms_under_pod_security_restricted() {
    let _installed = installation::shared().await;
    let levels =
        ["pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted"];
    let kubectl = namespace("restricted", &levels).await;
    let objects = example_with(|set| {
        comply(set);
        annotate(set, keys::SIDECAR, "native");
        set["spec"]["podManagementPolicy"] = json!("OrderedReady");
    });
    let (set, output) = Set::apply(kubectl, &objects).await;
    assert_eq!(output.warnings, "");
    set.until_settled(3).await;
    for pod in set.pods().await {
        assert_eq!(pod["spec"]["initContainers"][0]["name"], contract::objects::AGENT_CONTAINER);
    }
    set.write("shop", 0..5).await;
    set.read("shop", 0..5).await;
    set.delete().await;
}
