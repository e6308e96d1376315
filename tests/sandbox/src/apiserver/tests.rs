//! The server through its socket, with a webhook that answers over TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{ADMIN_TOKEN, ApiServer, Forbidden, Outcome, User};
use crate::tls::{self, ServerTls};

const SETS: &str = "/apis/apps/v1/namespaces/t1/statefulsets";

struct Client {
    http: reqwest::Client,
    server: ApiServer,
    token: &'static str,
}

impl Client {
    fn of(server: &ApiServer) -> Self {
        let tls = tls::client_for(server.ca_pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
        Self { http, server: server.clone(), token: ADMIN_TOKEN }
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: Value) -> (u16, Value, Vec<String>) {
        let request = self
            .http
            .request(method.parse().unwrap(), format!("{}{path}", self.server.url()))
            .bearer_auth(self.token)
            .header("content-type", kind)
            .body(if body.is_null() { String::new() } else { body.to_string() });
        let response = request.send().await.unwrap();
        let warnings =
            response.headers().get_all("warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap(), warnings)
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, value, _) = self.send(method, path, "application/json", body).await;
        (status, value)
    }
}

fn web(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "web", "labels": {"inject": "yes"}},
        "spec": {"replicas": replicas, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "couchdb:3"}]}}},
    })
}

type Answers = Arc<Mutex<Vec<Value>>>;

/// Starts a webhook that returns these `response`s in turn. Returns its address and `caBundle`.
async fn webhook(answers: Answers) -> (SocketAddr, String) {
    let tls = ServerTls::new("sandbox-webhook", &["127.0.0.1"]).unwrap();
    let bundle = STANDARD.encode(&tls.ca_pem);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, answers) = (TlsAcceptor::from(Arc::clone(&tls.config)), Arc::clone(&answers));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let answers = Arc::clone(&answers);
                    async move {
                        assert_eq!(request.uri().query(), Some("timeout=3s"));
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let review: Value = serde_json::from_slice(&body).unwrap();
                        let mut response = answers.lock().unwrap().remove(0);
                        if response.get("uid").is_none() {
                            response["uid"] = review["request"]["uid"].clone();
                        }
                        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
                        Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(answer.to_string()))))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (addr, bundle)
}

fn configuration(addr: SocketAddr, bundle: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "hooks"},
        "webhooks": [{
            "name": "inject.example.io", "failurePolicy": policy, "timeoutSeconds": 3, "sideEffects": "None",
            "clientConfig": {"url": format!("https://{addr}/mutate"), "caBundle": bundle},
            "objectSelector": {"matchExpressions": [{"key": "inject", "operator": "Exists"}]},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["statefulsets", "statefulsets/scale"], "operations": ["CREATE", "UPDATE"]}],
        }],
    })
}

fn patching(patch: Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string()), "warnings": ["mind \"this\""]})
}

#[tokio::test]
async fn objects_are_created_read_scaled_and_deleted() {
    let server = ApiServer::start().unwrap();
    let client = Client::of(&server);
    let (status, made) = client.call("POST", SETS, web(3)).await;
    assert_eq!((status, &made["metadata"]["generation"]), (201, &json!(1)));
    assert_eq!(made["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 0);
    assert_eq!(client.call("POST", SETS, web(3)).await.0, 409);

    let (_, list) = client
        .call(
            "GET",
            &format!("{SETS}?labelSelector=inject%3Dyes&fieldSelector=metadata.name%3Dweb"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (list["kind"].as_str(), list["items"].as_array().unwrap().len()),
        (Some("StatefulSetList"), 1)
    );

    let scale = format!("{SETS}/web/scale");
    let (_, shown) = client.call("GET", &scale, Value::Null).await;
    assert_eq!((shown["kind"].as_str(), &shown["spec"]["replicas"]), (Some("Scale"), &json!(3)));
    let merge = "application/merge-patch+json";
    let (status, scaled, _) = client.send("PATCH", &scale, merge, json!({"spec": {"replicas": 0}})).await;
    assert_eq!((status, &scaled["spec"]), (200, &json!({})));

    let mut stale = made.clone();
    stale["metadata"]["labels"]["a"] = json!("b");
    let (status, refused) = client.call("PUT", &format!("{SETS}/web"), stale).await;
    assert_eq!((status, refused["reason"].as_str()), (409, Some("Conflict")));

    let dry = format!("{SETS}/web?dryRun=All");
    assert_eq!(
        client.send("PATCH", &dry, merge, json!({"spec": {"replicas": 9}})).await.1["spec"]["replicas"],
        9
    );
    let stored = server.get("apps/v1", "statefulsets", Some("t1"), "web").unwrap();
    assert_eq!((&stored["spec"]["replicas"], &stored["metadata"]["generation"]), (&json!(0), &json!(2)));

    assert_eq!(client.call("DELETE", &format!("{SETS}/web"), Value::Null).await.1["status"], "Success");
    let (status, gone) = client.call("GET", &format!("{SETS}/web"), Value::Null).await;
    assert_eq!((status, gone["message"].as_str()), (404, Some("statefulsets.apps \"web\" not found")));
}

#[tokio::test]
async fn a_lease_is_created_once_and_apply_keeps_its_holder() {
    let server = ApiServer::start().unwrap();
    let client = Client::of(&server);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/t1/leases";
    let lease = |holder: &str| json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": holder}});
    assert_eq!(client.call("POST", leases, lease("a")).await.0, 201);
    assert_eq!(client.call("POST", leases, lease("b")).await.0, 409);
    let apply = "application/apply-patch+yaml";
    let path = format!("{leases}/l?fieldManager=agent&force=true");
    let (_, applied, _) =
        client.send("PATCH", &path, apply, json!({"metadata": {"annotations": {"formed-at": "now"}}})).await;
    assert_eq!(applied["spec"]["holderIdentity"], "a");
    assert_eq!(applied["metadata"]["managedFields"][0]["manager"], "agent");
    assert_eq!(client.send("PATCH", &format!("{leases}/l"), apply, json!({})).await.0, 400);
}

#[tokio::test]
async fn forbidden_and_failing_requests_are_answered_with_errors() {
    let server = ApiServer::start().unwrap();
    let agent = User::service_account("t1", "couchdb");
    server.add_token("agent", agent.clone());
    let mut client = Client::of(&server);
    client.token = "agent";
    assert_eq!(client.call("POST", SETS, web(1)).await.0, 201);
    server.forbid(Forbidden::new(&["get"], &["statefulsets"]).to_user(&agent));
    let (status, refused) = client.call("GET", &format!("{SETS}/web"), Value::Null).await;
    assert_eq!((status, refused["reason"].as_str()), (403, Some("Forbidden")));
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "group": "apps", "resource": "statefulsets", "namespace": "t1"}}});
    let (_, answer) =
        client.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await;
    assert_eq!(answer["status"]["allowed"], false);
    server.forbid_nothing();
    server.fail("get", "statefulsets", 1, 503);
    assert_eq!(client.call("GET", &format!("{SETS}/web"), Value::Null).await.0, 503);
    assert_eq!(client.call("GET", &format!("{SETS}/web"), Value::Null).await.0, 200);
    server.revoke_token("agent");
    assert_eq!(client.call("GET", &format!("{SETS}/web"), Value::Null).await.0, 401);
}

#[tokio::test]
async fn roles_are_enforced_on_request() {
    let server = ApiServer::start().unwrap();
    server.add_token("agent", User::service_account("t1", "couchdb"));
    let rbac = |kind: &str, namespace: Value, name: &str, rest: Value| {
        let mut object =
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
        if namespace.is_string() {
            object["metadata"]["namespace"] = namespace;
        }
        for (key, value) in rest.as_object().unwrap() {
            object[key] = value.clone();
        }
        server.seed(object);
    };
    let rule = |verbs: Value, group: &str, resource: &str, names: Value| json!({"verbs": verbs, "apiGroups": [group], "resources": [resource], "resourceNames": names});
    rbac(
        "ClusterRole",
        Value::Null,
        "agent",
        json!({"rules": [
            rule(json!(["get", "watch"]), "apps", "statefulsets", json!(["web"])),
            rule(json!(["create"]), "rbac.authorization.k8s.io", "rolebindings", json!([])),
            rule(json!(["bind"]), "rbac.authorization.k8s.io", "clusterroles", json!(["agent"])),
        ]}),
    );
    rbac(
        "RoleBinding",
        json!("t1"),
        "agent",
        json!({
            "roleRef": {"kind": "ClusterRole", "name": "agent"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "t1", "name": "couchdb"}],
        }),
    );
    server.enforce_rbac();
    let mut client = Client::of(&server);
    assert_eq!(client.call("POST", SETS, web(1)).await.0, 201, "the admin has all permissions");
    client.token = "agent";
    assert_eq!(client.call("GET", &format!("{SETS}/web"), Value::Null).await.0, 200);
    assert_eq!(client.call("GET", SETS, Value::Null).await.0, 403);
    assert_eq!(client.call("GET", "/apis/apps/v1/namespaces/t2/statefulsets/web", Value::Null).await.0, 403);
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/t1/rolebindings";
    let binding = |role: &str| json!({"metadata": {"name": format!("give-{role}")}, "roleRef": {"kind": "ClusterRole", "name": role}});
    assert_eq!(client.call("POST", bindings, binding("agent")).await.0, 201);
    assert_eq!(client.call("POST", bindings, binding("cluster-admin")).await.0, 403);
    let one = format!("{SETS}?watch=true&fieldSelector=metadata.name%3Dweb&timeoutSeconds=0");
    let watch = client.http.get(format!("{}{one}", server.url())).bearer_auth("agent").send().await.unwrap();
    assert_eq!(watch.status(), 200);
}

#[tokio::test]
async fn a_watch_reports_changes_until_the_server_stops_or_the_version_is_too_old() {
    let server = ApiServer::start().unwrap();
    let client = Client::of(&server);
    let (_, made) = client.call("POST", SETS, web(1)).await;
    let version = made["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let url = format!("{}{SETS}?watch=true&resourceVersion={version}", server.url());
    let mut watch = client.http.get(url).bearer_auth(ADMIN_TOKEN).send().await.unwrap();
    let patched = client
        .send(
            "PATCH",
            &format!("{SETS}/web"),
            "application/merge-patch+json",
            json!({"metadata": {"labels": {"x": "y"}}}),
        )
        .await;
    assert_eq!(patched.0, 200);
    let line: Value = serde_json::from_slice(&watch.chunk().await.unwrap().unwrap()).unwrap();
    assert_eq!(
        (line["type"].as_str(), line["object"]["metadata"]["labels"]["x"].as_str()),
        (Some("MODIFIED"), Some("y"))
    );

    server.down();
    assert!(watch.chunk().await.is_err());
    assert!(client.http.get(server.url()).send().await.is_err());
    server.up().unwrap();

    server.forget_history();
    let late = format!("{}{SETS}?watch=true&resourceVersion=1", server.url());
    let mut watch = client.http.get(late).bearer_auth(ADMIN_TOKEN).send().await.unwrap();
    let line: Value = serde_json::from_slice(&watch.chunk().await.unwrap().unwrap()).unwrap();
    assert_eq!((line["type"].as_str(), &line["object"]["code"]), (Some("ERROR"), &json!(410)));
    assert_eq!(watch.chunk().await.unwrap(), None, "the stream ends");

    let initial = format!("{}{SETS}?watch=true&sendInitialEvents=true&timeoutSeconds=0", server.url());
    let text = client.http.get(initial).bearer_auth(ADMIN_TOKEN).send().await.unwrap().text().await.unwrap();
    let words: Vec<Value> =
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["type"].clone()).collect();
    assert_eq!(words, ["ADDED", "BOOKMARK"]);
}

#[tokio::test]
async fn webhooks_change_and_deny_requests() {
    let server = ApiServer::start().unwrap();
    let client = Client::of(&server);
    let answers = Answers::default();
    let (addr, bundle) = webhook(Arc::clone(&answers)).await;
    server.seed(configuration(addr, &bundle, "Fail"));

    answers.lock().unwrap().push(patching(json!([{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "agent", "image": "agent:1"}}])));
    let (status, made, warnings) =
        client.send("POST", &format!("{SETS}?fieldManager=kubectl"), "application/json", web(3)).await;
    assert_eq!((status, warnings), (201, vec!["299 - \"mind \\\"this\\\"\"".to_owned()]));
    let containers = made["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!((containers.len(), &containers[1]["imagePullPolicy"]), (2, &json!("IfNotPresent")));
    let admissions = server.admissions();
    let request = &admissions[0].review["request"];
    assert_eq!(
        request["object"]["spec"]["podManagementPolicy"], "OrderedReady",
        "the review contains the defaults"
    );
    assert_eq!((&request["object"]["metadata"]["uid"], &request["oldObject"]), (&Value::Null, &Value::Null));
    assert_eq!(request["options"]["fieldManager"], "kubectl");

    answers
        .lock()
        .unwrap()
        .push(json!({"allowed": false, "status": {"code": 422, "reason": "Invalid", "message": "not so"}}));
    let (status, refused, _) = client
        .send(
            "PATCH",
            &format!("{SETS}/web"),
            "application/merge-patch+json",
            json!({"metadata": {"labels": {"inject": null}}}),
        )
        .await;
    assert_eq!(
        (status, refused["message"].as_str()),
        (422, Some("admission webhook \"inject.example.io\" denied the request: not so"))
    );
    let old_labels = &server.admissions()[1].review["request"]["oldObject"]["metadata"]["labels"];
    assert_eq!(old_labels["inject"], "yes", "called because the old object matches");

    // A Scale has no labels, so the object selector does not match it.
    let scaled = client
        .send(
            "PATCH",
            &format!("{SETS}/web/scale"),
            "application/merge-patch+json",
            json!({"spec": {"replicas": 1}}),
        )
        .await;
    assert_eq!((scaled.0, server.admissions().len()), (200, 2));

    // A patch that doesn't apply fails under either policy.
    server.seed(configuration(addr, &bundle, "Ignore"));
    answers.lock().unwrap().push(patching(json!([{"op": "remove", "path": "/nope"}])));
    let (status, broken) = client.call("PUT", &format!("{SETS}/web"), web(2)).await;
    assert_eq!((status, broken["reason"].as_str()), (500, Some("InternalError")));
}

#[tokio::test]
async fn the_failure_policy_decides_about_failed_calls_and_invalid_answers() {
    let server = ApiServer::start().unwrap();
    let client = Client::of(&server);
    let answers = Answers::default();
    let (addr, bundle) = webhook(Arc::clone(&answers)).await;
    let other = STANDARD.encode(server.ca_pem());

    server.seed(configuration(addr, &other, "Fail"));
    let (status, refused) = client.call("POST", SETS, web(1)).await;
    let message = refused["message"].as_str().unwrap();
    assert_eq!(status, 500);
    assert!(message.starts_with("Internal error occurred: failed calling webhook \"inject.example.io\": failed to call webhook: Post \"https://"), "{message}");
    assert!(message.contains("tls: failed to verify certificate"), "{message}");

    server.seed(configuration(addr, &bundle, "Fail"));
    answers.lock().unwrap().push(json!({"uid": "wrong", "allowed": true}));
    assert_eq!(client.call("POST", SETS, web(1)).await.0, 500);
    server.seed(configuration(addr, &bundle, "Ignore"));
    answers.lock().unwrap().push(json!({"uid": "wrong", "allowed": true}));
    assert_eq!(client.call("POST", SETS, web(1)).await.0, 201);
    assert!(matches!(server.admissions().last().unwrap().outcome, Outcome::Failed { ignored: true, .. }));

    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    server.seed(configuration(closed, &bundle, "Fail"));
    let (_, refused) = client.call("PUT", &format!("{SETS}/web"), web(2)).await;
    assert!(refused["message"].as_str().unwrap().ends_with("connect: connection refused"), "{refused}");
}

#[tokio::test]
async fn answers_are_delayed_on_request() {
    let server = ApiServer::start().unwrap();
    let client = Client::of(&server);
    server.slow(Duration::from_secs(60));
    let asked =
        client.http.get(format!("{}/version", server.url())).timeout(Duration::from_millis(50)).send();
    assert!(asked.await.unwrap_err().is_timeout());
}
