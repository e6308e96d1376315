//! A namespace of its own, and a webhook that is asked about nothing else.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::control_plane::{bind_webhook, configuration};
use e2e::envtest::{Answer, Envtest, User, path};
use e2e::manifest::{self, EXAMPLE};
use e2e::until::until;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The agent's image, as the first webhook of a scene injects it.
pub(crate) const IMAGE: &str = "couchdiscover-agent:one";

/// Where a story takes place.
pub(crate) struct Scene {
    pub(crate) plane: Arc<Envtest>,
    pub(crate) admin: User,
    pub(crate) namespace: &'static str,
    pub(crate) webhook: Webhook,
}

/// The product's server.
pub(crate) struct Webhook {
    pub(crate) url: String,
    ca_bundle: String,
    image: String,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Webhook {
    /// One that injects this image of the agent.
    pub(crate) async fn start(image: &str) -> Self {
        let bound = bind_webhook(&["--agent-image", image]).await.unwrap();
        let url = format!("https://{}{}", bound.https(), contract::ports::MUTATE);
        let ca_bundle = bound.ca_bundle().unwrap();
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let serving = tokio::spawn(async move { bound.serve(shutdown).await.unwrap() });
        Self { url, ca_bundle, image: image.to_owned(), stop, serving }
    }

    /// The certificate that verifies it, as configurations have it.
    pub(crate) fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.ca_bundle)
    }

    /// Ends it, and waits until nobody listens any more.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.serving).await.unwrap();
    }
}

impl Scene {
    /// A namespace and a webhook, both ready.
    pub(crate) async fn open(namespace: &'static str) -> Self {
        Self::labelled(namespace, json!({})).await
    }

    /// The same, with labels on the namespace.
    pub(crate) async fn labelled(namespace: &'static str, labels: Value) -> Self {
        Self::on(Envtest::shared().await, namespace, labels).await
    }

    /// The same, on a control plane of its own.
    pub(crate) async fn on(plane: Arc<Envtest>, namespace: &'static str, labels: Value) -> Self {
        let admin = plane.admin();
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace, "labels": labels }
        });
        admin.create(&object).await.taken();
        let webhook = Webhook::start(IMAGE).await;
        let scene = Self { plane, admin, namespace, webhook };
        scene.register(&scene.webhook, &[namespace]).await;
        scene
    }

    /// Makes this the webhook that is asked, about these namespaces only, and waits until it is.
    pub(crate) async fn register(&self, webhook: &Webhook, namespaces: &[&str]) {
        let mut configuration = configuration(&webhook.url, &webhook.ca_bundle);
        configuration["metadata"]["name"] = json!(format!("couchdiscover-{}", self.namespace));
        let selector = configuration["webhooks"][0]["namespaceSelector"]["matchExpressions"].as_array_mut();
        selector
            .unwrap()
            .push(json!({ "key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces }));
        self.admin.apply(&configuration).await.taken();
        let mut probe = self.example();
        probe["metadata"]["name"] = json!("probe");
        until("a webhook that is asked", DEADLINE, async || {
            let answer = self.admin.try_create(&probe).await;
            match agent(&answer.body)["image"] == *webhook.image {
                true => Ok(()),
                false => Err(answer),
            }
        })
        .await;
    }

    /// The example's StatefulSet, in this namespace.
    pub(crate) fn example(&self) -> Value {
        let objects = manifest::objects(EXAMPLE).unwrap();
        self.here(manifest::statefulset(&objects).unwrap().clone())
    }

    /// The same, with a change.
    pub(crate) fn example_with(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut example = self.example();
        change(&mut example);
        example
    }

    /// An object, in this namespace.
    pub(crate) fn here(&self, mut object: Value) -> Value {
        object["metadata"]["namespace"] = json!(self.namespace);
        object
    }

    /// Where the API server has the example's StatefulSet.
    pub(crate) fn example_path(&self) -> String {
        path(&self.example())
    }

    /// The example's StatefulSet as it is stored.
    pub(crate) async fn stored(&self) -> Value {
        self.admin.get(&self.example_path()).await.taken()
    }

    /// Changes the stored example as `kubectl patch` does.
    pub(crate) async fn merge(&self, change: Value) -> Answer {
        self.admin.merge(&self.example_path(), &change).await
    }

    /// Waits until the StatefulSet has so many pods, and returns them in the order of their names.
    pub(crate) async fn pods(&self, set: &str, count: usize) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        until("the pods", DEADLINE, async || {
            let list = self.admin.get(&path).await.taken();
            let mut pods: Vec<Value> = list["items"].as_array().unwrap().clone();
            pods.retain(|pod| pod["metadata"]["ownerReferences"][0]["name"] == set);
            pods.sort_by_key(|pod| pod["metadata"]["name"].to_string());
            if pods.len() == count { Ok(pods) } else { Err(self.why_not().await) }
        })
        .await
    }

    /// What the controllers say of their troubles.
    async fn why_not(&self) -> Vec<Value> {
        let events = self.admin.get(&format!("/api/v1/namespaces/{}/events", self.namespace)).await.taken();
        events["items"].as_array().unwrap().iter().map(|event| event["message"].clone()).collect()
    }
}

/// The injected container of a StatefulSet or pod; null where there is none.
pub(crate) fn agent(object: &Value) -> Value {
    container(object, contract::objects::AGENT_CONTAINER)
}

/// The container, or init container, of this name.
pub(crate) fn container(object: &Value, name: &str) -> Value {
    let spec = match object["kind"] == "StatefulSet" {
        true => &object["spec"]["template"]["spec"],
        false => &object["spec"],
    };
    let all = ["containers", "initContainers"].map(|list| spec[list].as_array());
    all.into_iter().flatten().flatten().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

/// The template, to the byte.
pub(crate) fn template(statefulset: &Value) -> String {
    statefulset["spec"]["template"].to_string()
}

/// The names of the variables of a container.
pub(crate) fn variables(container: &Value) -> Vec<&str> {
    container["env"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}
