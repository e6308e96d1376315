//! The webhook's Deployment: it comes up, rolls, and is missed while it is away.

use std::sync::atomic::{AtomicBool, Ordering};

use contract::keys;
use serde_json::{Value, json};

use crate::installation::{self, BASE, DEPLOYMENT, NAMESPACE, until_rolled_out};
use crate::kubectl::Kubectl;
use crate::set::{example_with, namespace, stateful_set};

/// Scales the webhook, and waits until it has as many pods.
pub(crate) async fn scale(replicas: u32) {
    let kubectl = Kubectl::new(NAMESPACE);
    kubectl.run(&["scale", DEPLOYMENT, &format!("--replicas={replicas}")]).await;
    until_rolled_out(&kubectl).await;
    if replicas == 0 {
        kubectl.run(&["wait", "pod", "--all", "--for=delete", "--timeout=60s"]).await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_labelled_statefulset_is_admitted_right_after_the_rollout_and_during_a_restart() {
    let _installed = installation::exclusive().await;
    let kubectl = namespace("rolling", &[]).await;
    let webhook = Kubectl::new(NAMESPACE);
    // A script applies both, one right after the other. Each round begins without any webhook.
    for round in 0..3 {
        webhook.run(&["delete", DEPLOYMENT]).await;
        webhook.run(&["wait", "pod", "--all", "--for=delete", "--timeout=60s"]).await;
        webhook.run(&["apply", "-k", BASE]).await;
        webhook.run(&["rollout", "status", DEPLOYMENT, "--timeout=120s"]).await;
        admitted(&kubectl)
            .await
            .unwrap_or_else(|error| panic!("round {round}, right after the rollout: {error}"));
    }

    webhook.run(&["rollout", "restart", DEPLOYMENT]).await;
    let is_rolled_out = AtomicBool::new(false);
    let rollout = async {
        until_rolled_out(&webhook).await;
        is_rolled_out.store(true, Ordering::Relaxed);
    };
    let calls = async {
        let mut refused = Vec::new();
        let mut count = 0;
        while !is_rolled_out.load(Ordering::Relaxed) {
            count += 1;
            refused.extend(admitted(&kubectl).await.err());
        }
        (count, refused)
    };
    let ((), (count, refused)) = tokio::join!(rollout, calls);
    println!("{count} StatefulSets were admitted during the restart");
    assert!(count >= 5 && refused.is_empty(), "{count} calls, refused: {refused:?}");
    kubectl.run(&["delete", "namespace", &kubectl.namespace, "--wait=false"]).await;
}

/// Creates the example's StatefulSet as a dry run, which the webhook must change.
async fn admitted(kubectl: &Kubectl) -> Result<(), String> {
    let mut objects = example_with(|_| {});
    let set = stateful_set(&mut objects).to_string();
    let dry_run = ["create", "--dry-run=server", "--output=json", "-f", "-"];
    let created = kubectl.try_run(&dry_run, &set).await?;
    let created: Value = serde_json::from_str(&created.results).map_err(|error| error.to_string())?;
    let containers = created["spec"]["template"]["spec"]["containers"].as_array().map_or(0, Vec::len);
    if containers == 2 { Ok(()) } else { Err(format!("the agent was not injected: {created}")) }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn without_a_webhook_only_labelled_statefulsets_are_refused() {
    let _installed = installation::exclusive().await;
    let kubectl = namespace("no-webhook", &[]).await;
    scale(0).await;
    let refused = admitted(&kubectl).await.unwrap_err();
    assert!(refused.contains("failed calling webhook \"inject.couchdiscover.io\""), "{refused}");
    let mut plain = example_with(|set| {
        set["metadata"]["labels"].as_object_mut().unwrap().shift_remove(keys::INJECT);
        set["spec"]["replicas"] = json!(0);
    });
    kubectl.apply(std::slice::from_ref(stateful_set(&mut plain))).await;
    scale(2).await;
    kubectl.run(&["delete", "namespace", &kubectl.namespace, "--wait=false"]).await;
}
