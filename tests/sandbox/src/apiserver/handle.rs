//! One request, from its bytes to its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::access::{self, User};
use super::admission::{FailurePolicy, Hook, Refusal};
use super::hooks::{Address, Admission, CallError, Endpoint, Outcome, warning_header};
use super::merge::PatchKind;
use super::path::Target;
use super::select::Selector;
use super::server::{Call, Shared, lock};
use super::status::ApiError;
use super::verbs::{self, Draft, Write};
use crate::date::wall_clock;
use crate::query::param;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A request, read.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: String,
    pub(crate) user_agent: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    fn param(&self, name: &str) -> Option<String> {
        param(&self.query, name)
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.param(name).as_deref(), Some("true" | "1"))
    }

    fn selector(&self) -> Selector {
        Selector::parse(self.param("labelSelector").as_deref(), self.param("fieldSelector").as_deref())
    }

    /// YAML is what server-side apply says it sends; JSON is YAML, and what clients do send.
    fn object(&self) -> Result<Value, ApiError> {
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        let bad = |message: String| ApiError::BadRequest { message };
        match serde_json::from_slice(&self.body) {
            Ok(value) => Ok(value),
            Err(_) if self.content_type.contains("yaml") => {
                let text = std::str::from_utf8(&self.body).map_err(|e| bad(e.to_string()))?;
                serde_saphyr::from_str(text).map_err(|e| bad(e.to_string()))
            }
            Err(error) => Err(bad(error.to_string())),
        }
    }
}

/// An answer that goes out whole, or as a stream.
pub(crate) enum Reply {
    /// One object.
    Object(u16, Value, Vec<String>),
    /// Plain text.
    Text(&'static str),
    /// A watch.
    Stream(Body),
}

pub(crate) async fn answer(shared: &Arc<Shared>, request: Request) -> hyper::Response<Body> {
    let slow = lock(&shared.state).slow;
    if !slow.is_zero() {
        tokio::time::sleep(slow).await;
    }
    let reply = route(shared, &request).await;
    let reply = reply.unwrap_or_else(|error| Reply::Object(error.code(), error.status(), Vec::new()));
    let status = match &reply {
        Reply::Object(status, _, _) => *status,
        Reply::Text(_) | Reply::Stream(_) => 200,
    };
    lock(&shared.state).calls.push(Call {
        method: request.method,
        path: request.path,
        query: request.query,
        user_agent: request.user_agent,
        status,
    });
    write(reply)
}

fn write(reply: Reply) -> hyper::Response<Body> {
    let (status, content_type, body, warnings) = match reply {
        Reply::Object(status, value, warnings) => {
            (status, "application/json", full(value.to_string()), warnings)
        }
        Reply::Text(text) => (200, "text/plain", full(text.to_owned()), Vec::new()),
        Reply::Stream(body) => (200, "application/json", body, Vec::new()),
    };
    let mut response = hyper::Response::new(body);
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-cache, private"));
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&warning_header(&warning)) {
            response.headers_mut().append("warning", value);
        }
    }
    response
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

async fn route(shared: &Arc<Shared>, request: &Request) -> Result<Reply, ApiError> {
    match request.path.as_str() {
        "/healthz" | "/livez" | "/readyz" => return Ok(Reply::Text("ok")),
        "/version" => {
            let version =
                json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2", "platform": "linux/amd64"});
            return Ok(Reply::Object(200, version, Vec::new()));
        }
        _ => {}
    }
    let target = Target::parse(&request.path).ok_or(ApiError::NoSuchPath)?;
    let watching = request.flag("watch");
    let user = {
        let mut state = lock(&shared.state);
        let user = state.access.user(request.authorization.as_deref())?;
        let verb = access::verb(&request.method, &target, watching).ok_or(ApiError::NotAllowed)?;
        if let Some(error) = state.injected(verb, &target) {
            return Err(error);
        }
        if target.resource.plural == "selfsubjectaccessreviews" {
            return Ok(Reply::Object(201, state.review_access(&user, request.object()?), Vec::new()));
        }
        state.access.check(&user, verb, &target)?;
        user
    };
    match request.method.as_str() {
        "GET" if watching => start_watch(shared, request, target),
        "GET" => read(shared, request, &target),
        "DELETE" if target.name.is_none() => delete_all(shared, request, &target, &user).await,
        _ => {
            let write = write_of(request, target)?;
            let (status, object, warnings) = perform(shared, &write, &user).await?;
            Ok(Reply::Object(status, object, warnings))
        }
    }
}

fn write_of(request: &Request, target: Target) -> Result<Write, ApiError> {
    let patch = (request.method == "PATCH").then(|| PatchKind::of(&request.content_type)).flatten();
    let field_manager = request.param("fieldManager");
    if patch == Some(PatchKind::Apply) && field_manager.is_none() {
        let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(ApiError::BadRequest { message: message.to_owned() });
    }
    let body = request.object()?;
    let dry_in_body = body["dryRun"].as_array().is_some_and(|d| d.iter().any(|v| v == "All"));
    let agent = request.user_agent.split('/').next().unwrap_or_default().to_owned();
    Ok(Write {
        method: request.method.clone(),
        target,
        patch,
        field_manager: field_manager.unwrap_or(agent),
        dry_run: request.param("dryRun").as_deref() == Some("All")
            || request.method == "DELETE" && dry_in_body,
        body,
    })
}

fn read(shared: &Arc<Shared>, request: &Request, target: &Target) -> Result<Reply, ApiError> {
    let state = lock(&shared.state);
    let Some(name) = &target.name else {
        let selector = request.selector();
        let items: Vec<Value> = state.store.list(target, &selector).cloned().collect();
        let list = json!({
            "kind": format!("{}List", target.resource.kind()),
            "apiVersion": target.resource.api_version(),
            "metadata": {"resourceVersion": state.store.version().to_string()},
            "items": items,
        });
        return Ok(Reply::Object(200, list, Vec::new()));
    };
    let not_found = || ApiError::NotFound { resource: target.resource.clone(), name: name.clone() };
    let object = state.store.get(&target.key(name)).ok_or_else(not_found)?;
    let shown = match target.subresource.as_deref() {
        Some("scale") => verbs::scale(object),
        Some(_) | None => object.clone(),
    };
    Ok(Reply::Object(200, shown, Vec::new()))
}

async fn delete_all(
    shared: &Arc<Shared>,
    request: &Request,
    target: &Target,
    user: &User,
) -> Result<Reply, ApiError> {
    let selector = request.selector();
    let names: Vec<String> = {
        let state = lock(&shared.state);
        let listed = state.store.list(target, &selector);
        listed.filter_map(|o| o["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    for name in names {
        let one = Target { name: Some(name), ..target.clone() };
        perform(shared, &write_of(request, one)?, user).await?;
    }
    Ok(Reply::Object(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}), Vec::new()))
}

/// A write with its admission; made anew when someone else was faster.
async fn perform(
    shared: &Arc<Shared>,
    write: &Write,
    user: &User,
) -> Result<(u16, Value, Vec<String>), ApiError> {
    loop {
        let mut draft = Draft::of(&mut lock(&shared.state).store, write, wall_clock())?;
        let warnings = admit(shared, &mut draft, user).await?;
        draft.settle()?;
        let is_scale = draft.target.subresource.as_deref() == Some("scale");
        let committed = {
            let mut state = lock(&shared.state);
            let committed = draft.commit(&mut state.store, wall_clock());
            shared.changed.send_replace(state.store.version());
            committed
        };
        if let Some((status, object)) = committed {
            return Ok((status, if is_scale { verbs::scale(&object) } else { object }, warnings));
        }
    }
}

/// Asks each webhook in turn; each sees what those before it changed. Nobody is asked twice.
async fn admit(shared: &Arc<Shared>, draft: &mut Draft, user: &User) -> Result<Vec<String>, ApiError> {
    // Their own configurations are out of their reach, or nobody could repair one.
    if draft.target.resource.group == "admissionregistration.k8s.io" {
        return Ok(Vec::new());
    }
    let hooks = lock(&shared.state).hooks();
    let mut warnings = Vec::new();
    for hook in hooks {
        let labels = lock(&shared.state).namespace_labels(draft.target.namespace.as_deref());
        if !hook.wants(draft, &labels) {
            continue;
        }
        let uid = lock(&shared.state).store.uid();
        let review = draft.review(&uid, &user.info());
        let judged = match ask(shared, &hook, &review).await {
            Ok(answer) => hook.judge(&uid, &answer),
            Err(error) => Err(Refusal::Broken(format!("failed to call webhook: {error}"))),
        };
        let outcome = match &judged {
            Ok(verdict) => Outcome::Allowed {
                patch: verdict.patch.clone(),
                warnings: verdict.warnings.clone(),
                audit: verdict.audit.clone(),
            },
            Err(Refusal::Denied { error, warnings, audit }) => Outcome::Denied {
                message: error.to_string(),
                warnings: warnings.clone(),
                audit: audit.clone(),
            },
            Err(Refusal::Broken(why)) => Outcome::Failed {
                message: why.clone(),
                ignored: hook.failure_policy() == FailurePolicy::Ignore,
            },
        };
        lock(&shared.state).admissions.push(Admission { webhook: hook.name().to_owned(), review, outcome });
        match judged {
            Ok(verdict) => {
                warnings.extend(verdict.warnings);
                if let Some(patch) = verdict.patch {
                    draft.change(&patch)?;
                }
            }
            Err(Refusal::Denied { error, .. }) => return Err(*error),
            Err(Refusal::Broken(why)) => match hook.failure_policy() {
                FailurePolicy::Ignore => {}
                FailurePolicy::Fail => {
                    let message = format!("failed calling webhook {:?}: {why}", hook.name());
                    return Err(ApiError::Internal { message });
                }
            },
        }
    }
    Ok(warnings)
}

async fn ask(shared: &Arc<Shared>, hook: &Hook, review: &Value) -> Result<Value, CallError> {
    let endpoint: Endpoint = {
        let mut state = lock(&shared.state);
        let address = Address::of(hook, &state.services)?;
        match state.endpoints.get(&address) {
            Some(endpoint) => endpoint.clone(),
            None => {
                let endpoint = address.endpoint()?;
                state.endpoints.insert(address, endpoint.clone());
                endpoint
            }
        }
    };
    endpoint.call(review).await
}

/// What a watch still has to tell, and what it has told.
struct Watch {
    shared: Arc<Shared>,
    target: Target,
    selector: Selector,
    since: u64,
    changed: watch::Receiver<u64>,
    /// Lines for the start: the objects that exist, and a bookmark.
    first: Option<Vec<Value>>,
    deadline: Option<tokio::time::Instant>,
    over: bool,
}

fn start_watch(shared: &Arc<Shared>, request: &Request, target: Target) -> Result<Reply, ApiError> {
    let selector = request.selector();
    let state = lock(&shared.state);
    let given = request.param("resourceVersion").filter(|v| !v.is_empty());
    let since = match given.as_deref().map(str::parse::<u64>) {
        None | Some(Ok(0)) => None,
        Some(Ok(version)) => Some(version),
        Some(Err(_)) => {
            return Err(ApiError::BadRequest { message: format!("invalid resource version {given:?}") });
        }
    };
    let now = state.store.version();
    let wants_list = request.flag("sendInitialEvents");
    let first = (wants_list || since.is_none()).then(|| {
        let listed = state.store.list(&target, &selector);
        let mut lines: Vec<Value> = listed.map(|object| json!({"type": "ADDED", "object": object})).collect();
        if wants_list {
            lines.push(bookmark(&target, now));
        }
        lines
    });
    let seconds = request.param("timeoutSeconds").and_then(|s| s.parse().ok()).map(Duration::from_secs);
    let watch = Watch {
        changed: shared.changed.subscribe(),
        shared: Arc::clone(shared),
        since: if first.is_some() { now } else { since.unwrap_or(now) },
        first,
        target,
        selector,
        deadline: seconds.map(|s| tokio::time::Instant::now() + s),
        over: false,
    };
    let lines = stream::unfold(watch, |mut watch| async move {
        let lines = watch.next().await?;
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), watch))
    });
    Ok(Reply::Stream(BodyExt::boxed_unsync(StreamBody::new(lines))))
}

impl Watch {
    async fn next(&mut self) -> Option<Vec<Value>> {
        if let Some(first) = self.first.take()
            && !first.is_empty()
        {
            return Some(first);
        }
        while !self.over {
            let version = *self.changed.borrow_and_update();
            let told = lock(&self.shared.state).store.changes(&self.target, &self.selector, self.since);
            match told {
                Ok(lines) => {
                    self.since = self.since.max(version);
                    // Something may have been stored after `version` was read; then its own version says so.
                    for line in &lines {
                        let own = line["object"]["metadata"]["resourceVersion"].as_str();
                        self.since = self.since.max(own.and_then(|v| v.parse().ok()).unwrap_or(0));
                    }
                    if !lines.is_empty() {
                        return Some(lines);
                    }
                }
                Err(error) => {
                    self.over = true;
                    return Some(vec![json!({"type": "ERROR", "object": error.status()})]);
                }
            }
            let changed = self.changed.changed();
            let waited = match self.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, changed).await.ok()?,
                None => changed.await,
            };
            waited.ok()?;
        }
        None
    }
}

fn bookmark(target: &Target, version: u64) -> Value {
    json!({"type": "BOOKMARK", "object": {
        "kind": target.resource.kind(),
        "apiVersion": target.resource.api_version(),
        "metadata": {
            "resourceVersion": version.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"},
        },
    }})
}

impl super::server::State {
    fn hooks(&self) -> Vec<Hook> {
        let configurations = self
            .store
            .all()
            .filter(|(key, _)| key.plural == "mutatingwebhookconfigurations")
            .map(|(_, object)| object);
        configurations.flat_map(Hook::all_of).collect()
    }

    fn namespace_labels(&self, namespace: Option<&str>) -> Value {
        let Some(namespace) = namespace else { return Value::Null };
        let key = super::path::Key {
            group: String::new(),
            plural: "namespaces".to_owned(),
            namespace: None,
            name: namespace.to_owned(),
        };
        match self.store.get(&key) {
            Some(object) => object["metadata"]["labels"].clone(),
            None => json!({"kubernetes.io/metadata.name": namespace}),
        }
    }

    fn review_access(&self, user: &User, mut review: Value) -> Value {
        let wanted = review["spec"]["resourceAttributes"].clone();
        let text = |key: &str| wanted[key].as_str().map(str::to_owned);
        let target = Target {
            resource: super::path::Resource {
                group: text("group").unwrap_or_default(),
                version: text("version").unwrap_or_default(),
                plural: text("resource").unwrap_or_default(),
            },
            namespace: text("namespace"),
            name: text("name"),
            subresource: text("subresource"),
        };
        let allowed = self.access.check(user, &text("verb").unwrap_or_default(), &target).is_ok();
        review["status"] = json!({"allowed": allowed});
        review
    }
}
