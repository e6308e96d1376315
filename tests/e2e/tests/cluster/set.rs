//! A StatefulSet of CouchDB in a namespace of its own, looked at from the outside.

use std::cell::RefCell;
use std::time::Duration;

use contract::status::{KubernetesState, Page, RecordState};
use contract::{keys, ports};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::RwLockReadGuard;

use crate::diagnosis::{self, is_ready};
use crate::installation;
use crate::kubectl::{Kubectl, Output};
use crate::waiting::until;

/// The name of the StatefulSet of the example.
pub(crate) const NAME: &str = "couchdb";

/// The time for a call to a pod.
const CALL: Duration = Duration::from_secs(10);

/// The example, applied.
pub(crate) struct Set {
    pub(crate) kubectl: Kubectl,
    http: Client,
    /// The admin's password as it was last read: a process for each call takes longer than the call.
    password: RefCell<Option<String>>,
    _installed: Option<RwLockReadGuard<'static, bool>>,
}

/// The objects of `manifests/examples/couchdb.yaml`, with the image of `COUCHDB_IMAGE` if it is set.
pub(crate) fn example() -> Vec<Value> {
    let mut objects = e2e::manifest::objects(e2e::manifest::EXAMPLE).unwrap();
    if let Some(image) = couchdb_image() {
        let set = stateful_set(&mut objects);
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    }
    objects
}

#[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
fn couchdb_image() -> Option<String> {
    std::env::var("COUCHDB_IMAGE").ok()
}

/// The StatefulSet among these objects.
pub(crate) fn stateful_set(objects: &mut [Value]) -> &mut Value {
    objects.iter_mut().find(|object| object["kind"] == "StatefulSet").unwrap()
}

/// The example with a changed StatefulSet.
pub(crate) fn example_with(change: impl FnOnce(&mut Value)) -> Vec<Value> {
    let mut objects = example();
    change(stateful_set(&mut objects));
    objects
}

/// Sets an annotation of a StatefulSet.
pub(crate) fn annotate(set: &mut Value, key: &str, value: &str) {
    set["metadata"]["annotations"][key] = json!(value);
}

/// Makes the set comply with the Pod Security standard `restricted`.
pub(crate) fn comply(set: &mut Value) {
    let pod = &mut set["spec"]["template"]["spec"];
    pod["securityContext"] = json!({ "fsGroup": 5984 });
    pod["containers"][0]["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "runAsNonRoot": true,
        "runAsUser": 5984,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    // Directories of the default class belong to root.
    set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] = json!("local");
}

/// Creates a namespace, after the end of one that an earlier run has left.
pub(crate) async fn namespace(name: &str, labels: &[&str]) -> Kubectl {
    let kubectl = Kubectl::new(name);
    kubectl.run(&["delete", "namespace", name, "--ignore-not-found", "--timeout=120s"]).await;
    kubectl.run(&["create", "namespace", name]).await;
    if !labels.is_empty() {
        kubectl.run(&[&["label", "namespace", name], labels].concat()).await;
    }
    kubectl
}

impl Set {
    /// Applies the objects in a new namespace, and waits until all nodes are one cluster. The installation stays as it
    /// is for as long as this lives.
    pub(crate) async fn formed(name: &str, objects: &[Value]) -> Self {
        let installed = installation::shared().await;
        let mut set = Self::formed_under(&installed, name, objects).await;
        set._installed = Some(installed);
        set
    }

    /// Like [`Self::formed`], for a test that holds the installation itself.
    pub(crate) async fn formed_under(_: &bool, name: &str, objects: &[Value]) -> Self {
        let set = Self::apply(namespace(name, &[]).await, objects).await.0;
        set.until_settled(3).await;
        set
    }

    /// Applies the objects.
    pub(crate) async fn apply(kubectl: Kubectl, objects: &[Value]) -> (Self, Output) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let output = kubectl.apply(objects).await;
        let http = Client::builder().no_proxy().timeout(CALL).build().unwrap();
        (Self { kubectl, http, password: RefCell::default(), _installed: None }, output)
    }

    /// The pods that exist, by name.
    pub(crate) async fn pods(&self) -> Vec<Value> {
        let pods = self.kubectl.get(&["pods", "--selector=app=couchdb", "--sort-by=.metadata.name"]).await;
        pods["items"].as_array().cloned().unwrap_or_default()
    }

    /// The uid of a pod.
    pub(crate) async fn uid(&self, pod: &str) -> String {
        self.kubectl.get(&["pod", pod]).await["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until there are exactly `size` pods of the newest revision, all ready, all agents settled, and all nodes
    /// members that are connected to each other.
    pub(crate) async fn until_settled(&self, size: usize) {
        let what = format!("{size} settled nodes in {}", self.kubectl.namespace);
        until(&what, async || self.settled(size).await.into(), async || self.diagnosis().await).await;
    }

    pub(crate) async fn diagnosis(&self) -> String {
        let mut text = diagnosis::of(&self.kubectl).await;
        for pod in self.pods().await {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let state = match self.page(&pod).await {
                Ok(page) => format!("{}: {} {:?}", page.step.reason, page.step.message, page.step.evidence),
                Err(error) => error,
            };
            text += &format!("agent of {name}: {state}\n");
        }
        text
    }

    async fn settled(&self, size: usize) -> Result<(), String> {
        self.rolled_out().await?;
        let pods = self.pods().await;
        let mut states = Vec::new();
        for pod in &pods {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            states.push(format!("{name}: {}", self.state(pod).await));
        }
        let is_settled = |state: &String| state.ends_with(": Settled");
        if states.len() != size || !states.iter().all(is_settled) {
            return Err(format!("{states:?}"));
        }
        self.connected(&pods).await
    }

    /// Fails unless each node lists all nodes as members, and is connected to them.
    async fn connected(&self, pods: &[Value]) -> Result<(), String> {
        let names: Vec<String> = (0..pods.len()).map(|ordinal| self.node(ordinal)).collect();
        for pod in pods {
            let members = self.call(pod, Method::GET, "/_membership", Value::Null).await?.1;
            if members["all_nodes"] != json!(names) || members["cluster_nodes"] != json!(names) {
                return Err(format!("{}: {members}", pod["metadata"]["name"]));
            }
        }
        Ok(())
    }

    /// Fails while pods of an old revision exist.
    async fn rolled_out(&self) -> Result<(), String> {
        let set = self.kubectl.get(&["statefulset", NAME]).await;
        let status = &set["status"];
        let is_current = status["observedGeneration"] == set["metadata"]["generation"]
            && status["updatedReplicas"] == set["spec"]["replicas"]
            && status["replicas"] == set["spec"]["replicas"];
        is_current.then_some(()).ok_or_else(|| status.to_string())
    }

    async fn state(&self, pod: &Value) -> String {
        if !is_ready(pod) {
            let page = self.page(pod).await;
            return page.map_or_else(
                |_| diagnosis::describe(pod),
                |page| format!("not ready, {}", page.step.reason),
            );
        }
        self.page(pod).await.map_or_else(|error| error, |page| summary(&page))
    }

    /// The agent's page of a pod.
    pub(crate) async fn page(&self, pod: &Value) -> Result<Page, String> {
        let url = format!("http://{}:{}{}", address(pod)?, ports::AGENT, ports::STATUS);
        let answer = self.http.get(url).send().await.map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    }

    /// Calls the CouchDB of a pod as the admin. Returns status and body.
    pub(crate) async fn call(
        &self,
        pod: &Value,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<(u16, Value), String> {
        let url = format!("http://{}:{}{path}", address(pod)?, ports::COUCHDB);
        let request = self.http.request(method, url);
        let request = if body.is_null() { request } else { request.json(&body) };
        let again = request.try_clone().ok_or("the request has a body that cannot be sent again")?;
        let known = self.password.borrow().clone();
        let password = if let Some(password) = known { password } else { self.read_password().await };
        let mut answer = send(request, &password).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            answer = send(again, &self.read_password().await).await?;
        }
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.map_err(|error| error.to_string())?))
    }

    async fn read_password(&self) -> String {
        use base64::Engine as _;
        let secret = self.kubectl.get(&["secret", "couchdb-admin"]).await;
        let encoded = secret["data"]["password"].as_str().unwrap_or_default().to_owned();
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
        let password = String::from_utf8(decoded).unwrap();
        self.password.replace(Some(password.clone()));
        password
    }

    /// Writes documents through different nodes, each of which must be acknowledged by a majority.
    pub(crate) async fn write(&self, db: &str, ids: std::ops::Range<u32>) {
        let pods = self.pods().await;
        let (status, body) = self.call(&pods[0], Method::PUT, &format!("/{db}"), Value::Null).await.unwrap();
        assert!([201, 202, 412].contains(&status), "{body}");
        for id in ids {
            let pod = &pods[id as usize % pods.len()];
            let path = format!("/{db}/{id}");
            let (status, body) = self.call(pod, Method::PUT, &path, json!({ "id": id })).await.unwrap();
            assert_eq!(status, 201, "{path} on {}: {body}", pod["metadata"]["name"]);
        }
    }

    /// Reads the documents from each node: none may be missing.
    pub(crate) async fn read(&self, db: &str, ids: std::ops::Range<u32>) {
        for pod in self.pods().await {
            for id in ids.clone() {
                let path = format!("/{db}/{id}");
                let (status, body) = self.call(&pod, Method::GET, &path, Value::Null).await.unwrap();
                assert_eq!(
                    (status, &body["id"]),
                    (200, &json!(id)),
                    "{path} on {}: {body}",
                    pod["metadata"]["name"]
                );
            }
        }
    }

    /// The Erlang name of a node.
    pub(crate) fn node(&self, ordinal: usize) -> String {
        format!("couchdb@{NAME}-{ordinal}.{NAME}.{}.svc.cluster.local", self.kubectl.namespace)
    }

    /// Changes the StatefulSet as `kubectl patch` does. Returns what kubectl prints.
    pub(crate) async fn patch(&self, patch: &Value) -> Output {
        self.kubectl.run(&["patch", "statefulset", NAME, "--type=merge", "--patch", &patch.to_string()]).await
    }

    /// Sets the label that asks for the agent.
    pub(crate) async fn label(&self, value: &str) -> Output {
        self.patch(&json!({ "metadata": { "labels": { keys::INJECT: value } } })).await
    }

    /// Waits until the rollout has ended, the condition holds for the pods, and all nodes are connected.
    pub(crate) async fn until_pods(&self, what: &str, check: impl Fn(&[Value]) -> Result<(), String>) {
        let look = async || {
            self.rolled_out().await?;
            let pods = self.pods().await;
            check(&pods)?;
            self.connected(&pods).await
        };
        until(what, async || look().await.into(), async || self.diagnosis().await).await;
    }

    /// Deletes the namespace without waiting for its end.
    pub(crate) async fn delete(self) {
        self.kubectl.run(&["delete", "namespace", &self.kubectl.namespace, "--wait=false"]).await;
    }
}

/// The step of a ready agent, and what it works without: agents form a cluster without some permissions, too.
fn summary(page: &Page) -> String {
    let conditions: Vec<&str> = page.conditions.iter().map(|condition| &*condition.reason).collect();
    let step = &page.step.reason;
    if page.kubernetes == KubernetesState::Current
        && page.record == RecordState::Formed
        && conditions.is_empty()
    {
        return step.clone();
    }
    let (kubernetes, record) = (page.kubernetes, page.record);
    format!("{step}, Kubernetes API: {kubernetes:?}, founding record: {record:?}, conditions: {conditions:?}")
}

/// Sends a request as the admin.
async fn send(request: RequestBuilder, password: &str) -> Result<Response, String> {
    request.basic_auth("admin", Some(password)).send().await.map_err(|error| error.to_string())
}

fn address(pod: &Value) -> Result<&str, String> {
    pod["status"]["podIP"].as_str().ok_or_else(|| format!("{} has no address", pod["metadata"]["name"]))
}
