//! A namespace of the test's own, and a webhook that is called only for it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::control_plane::{bind_webhook_with, configuration};
use e2e::envtest::{ADMIN_TOKEN, Answer, Envtest, User, path};
use e2e::manifest::{self, EXAMPLE};
use e2e::until::until;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use webhook::serve::Kubernetes;

/// Longer than any step takes, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The agent's image that the first webhook of a namespace injects.
pub(crate) const IMAGE: &str = "couchdiscover-agent:one";

/// A namespace with its webhook, on a real control plane.
pub(crate) struct TestNamespace {
    pub(crate) plane: Arc<Envtest>,
    pub(crate) admin: User,
    pub(crate) name: &'static str,
    pub(crate) webhook: Webhook,
}

/// A webhook that runs in this process.
pub(crate) struct Webhook {
    pub(crate) url: String,
    ca_bundle: String,
    image: String,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Webhook {
    /// Starts a webhook that injects this image of the agent.
    pub(crate) async fn start(plane: &Envtest, image: &str) -> Self {
        Self::with(plane, image, &[]).await
    }

    /// Like [`Self::start`], with further options.
    pub(crate) async fn with(plane: &Envtest, image: &str, options: &[&str]) -> Self {
        Self::start_as(plane, ADMIN_TOKEN, image, options).await
    }

    /// Like [`Self::with`], with the permissions of the account of this token.
    pub(crate) async fn start_as(plane: &Envtest, token: &str, image: &str, options: &[&str]) -> Self {
        let kubernetes = Kubernetes::At(Box::new(plane.config(token)));
        let options = [&["--agent-image", image], options].concat();
        let bound = bind_webhook_with(&options, kubernetes).await.unwrap();
        let url = format!("https://{}", bound.https());
        let ca_bundle = bound.ca_bundle().unwrap();
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let serving = tokio::spawn(async move { bound.serve(shutdown).await.unwrap() });
        Self { url, ca_bundle, image: image.to_owned(), stop, serving }
    }

    /// The authority of its certificate, as a configuration contains it.
    pub(crate) fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.ca_bundle)
    }

    /// Stops it, and waits until its port is closed.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.serving).await.unwrap();
    }
}

impl TestNamespace {
    /// Creates a namespace with a webhook, and waits until the webhook is called.
    pub(crate) async fn open(name: &'static str) -> Self {
        Self::labelled(name, json!({})).await
    }

    /// Like [`Self::open`], with labels on the namespace.
    pub(crate) async fn labelled(name: &'static str, labels: Value) -> Self {
        Self::on(Envtest::shared().await, name, labels).await
    }

    /// Like [`Self::labelled`], on this control plane.
    pub(crate) async fn on(plane: Arc<Envtest>, name: &'static str, labels: Value) -> Self {
        let admin = plane.admin();
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels }
        });
        admin.create(&object).await.accepted();
        // The account of the example's pods: without it, the controller creates none.
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "couchdb", "namespace": name }
        });
        admin.apply(&account).await.accepted();
        let webhook = Webhook::start(&plane, IMAGE).await;
        let ns = Self { plane, admin, name, webhook };
        ns.register(&ns.webhook, &[name]).await;
        ns
    }

    /// Configures the API server to call this webhook for these namespaces, and waits until it does.
    pub(crate) async fn register(&self, webhook: &Webhook, namespaces: &[&str]) {
        let mut configuration = configuration(&webhook.url, &webhook.ca_bundle);
        configuration["metadata"]["name"] = json!(format!("couchdiscover-{}", self.name));
        for webhook in configuration["webhooks"].as_array_mut().unwrap() {
            let selector = webhook["namespaceSelector"]["matchExpressions"].as_array_mut();
            selector.unwrap().push(
                json!({ "key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces }),
            );
        }
        self.admin.apply(&configuration).await.accepted();
        let mut probe = self.example();
        probe["metadata"]["name"] = json!("probe");
        until("the first call of the webhook", DEADLINE, async || {
            let answer = self.admin.try_create(&probe).await;
            if agent(&answer.body)["image"] == *webhook.image { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    /// The example's StatefulSet, in this namespace.
    pub(crate) fn example(&self) -> Value {
        let objects = manifest::objects(EXAMPLE).unwrap();
        self.here(manifest::statefulset(&objects).unwrap().clone())
    }

    /// Like [`Self::example`], with a change.
    pub(crate) fn example_with(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut example = self.example();
        change(&mut example);
        example
    }

    /// Moves an object into this namespace.
    pub(crate) fn here(&self, mut object: Value) -> Value {
        object["metadata"]["namespace"] = json!(self.name);
        object
    }

    /// The path of the example's StatefulSet.
    pub(crate) fn example_path(&self) -> String {
        path(&self.example())
    }

    /// The example's StatefulSet as it is stored.
    pub(crate) async fn stored(&self) -> Value {
        self.admin.get(&self.example_path()).await.accepted()
    }

    /// Changes the stored example, as `kubectl patch` does.
    pub(crate) async fn merge(&self, change: Value) -> Answer {
        self.admin.merge(&self.example_path(), &change).await
    }

    /// Waits until the StatefulSet has this many pods, and returns them in the order of their names.
    pub(crate) async fn pods(&self, set: &str, count: usize) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{}/pods", self.name);
        until("the pods", DEADLINE, async || {
            let list = self.admin.get(&path).await.accepted();
            let mut pods: Vec<Value> = list["items"].as_array().unwrap().clone();
            pods.retain(|pod| pod["metadata"]["ownerReferences"][0]["name"] == set);
            pods.sort_by_key(|pod| pod["metadata"]["name"].to_string());
            if pods.len() == count { Ok(pods) } else { Err(self.events().await) }
        })
        .await
    }

    /// The messages of all Events, which contain the controllers' problems.
    async fn events(&self) -> Vec<Value> {
        let events = self.admin.get(&format!("/api/v1/namespaces/{}/events", self.name)).await.accepted();
        events["items"].as_array().unwrap().iter().map(|event| event["message"].clone()).collect()
    }
}

/// The injected container of a StatefulSet or pod; null if it has none.
pub(crate) fn agent(object: &Value) -> Value {
    container(object, contract::objects::AGENT_CONTAINER)
}

/// The container or init container with this name.
pub(crate) fn container(object: &Value, name: &str) -> Value {
    let is_statefulset = object["kind"] == "StatefulSet";
    let spec = if is_statefulset { &object["spec"]["template"]["spec"] } else { &object["spec"] };
    let all = ["containers", "initContainers"].map(|list| spec[list].as_array());
    all.into_iter().flatten().flatten().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

/// The pod template as text, to compare it byte by byte.
pub(crate) fn template(statefulset: &Value) -> String {
    statefulset["spec"]["template"].to_string()
}

/// The names of a container's variables.
pub(crate) fn variables(container: &Value) -> Vec<&str> {
    container["env"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}
