//! One request, from its bytes to its answer.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use serde_json::{Value, json};

use super::access::{self, Access, User};
use super::admission::{FailurePolicy, Hook, Refusal};
use super::hooks::{Address, Admission, CallError, Endpoint, Outcome, warning_header};
use super::merge::PatchKind;
use super::path::Target;
use super::select::Selector;
use super::server::{Call, Shared, lock};
use super::status::ApiError;
use super::verbs::{self, Draft, Write};
use super::{proxy, rbac, watch};
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
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        param(&self.query, name)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.param(name).as_deref(), Some("true" | "1"))
    }

    pub(crate) fn selector(&self) -> Selector {
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
    /// What a pod answered.
    Page(proxy::Page),
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
        Reply::Page(page) => page.status,
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
    let json = HeaderValue::from_static("application/json");
    let (status, content_type, body, warnings) = match reply {
        Reply::Object(status, value, warnings) => (status, json, full(value.to_string()), warnings),
        Reply::Text(text) => (200, HeaderValue::from_static("text/plain"), full(text), Vec::new()),
        Reply::Stream(body) => (200, json, body, Vec::new()),
        Reply::Page(page) => {
            let content_type = HeaderValue::from_str(&page.content_type).unwrap_or(json);
            (page.status, content_type, full(page.body), Vec::new())
        }
    };
    let mut response = hyper::Response::new(body);
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", content_type);
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-cache, private"));
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&warning_header(&warning)) {
            response.headers_mut().append("warning", value);
        }
    }
    response
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
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
        // A list or watch of one name counts as access to that object.
        let one =
            request.param("fieldSelector").and_then(|f| f.strip_prefix("metadata.name=").map(str::to_owned));
        let asked = Target { name: target.name.clone().or(one), ..target.clone() };
        state.may(&user, verb, &asked)?;
        if matches!(verb, "create" | "update" | "patch") {
            state.may_grant(&user, &target, request)?;
        }
        user
    };
    match request.method.as_str() {
        "GET" if proxy::is_for_pod(&target) => proxy::answer(shared, request, &target).await.map(Reply::Page),
        "GET" if watching => watch::start(shared, request, target),
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

    fn may(&self, user: &User, verb: &str, target: &Target) -> Result<(), ApiError> {
        self.access.check(user, verb, target)?;
        if self.access.rbac && !rbac::allows(&self.store, user, verb, target) {
            return Err(Access::refusal(user, verb, target));
        }
        Ok(())
    }

    /// Who makes a binding must have the role's permissions, or the verb `bind` on it. Only the latter is looked at.
    fn may_grant(&self, user: &User, target: &Target, request: &Request) -> Result<(), ApiError> {
        if !self.access.rbac
            || !matches!(target.resource.plural.as_str(), "rolebindings" | "clusterrolebindings")
        {
            return Ok(());
        }
        let binding = request.object()?;
        let Some(role) = rbac::role_of(&binding, target) else { return Ok(()) };
        if rbac::allows(&self.store, user, "bind", &role) {
            return Ok(());
        }
        let name = binding["metadata"]["name"].as_str().unwrap_or_default();
        Err(ApiError::Forbidden {
            message: format!(
                "{} {name:?} is forbidden: user {:?} (groups={:?}) is attempting to grant RBAC permissions not \
                 currently held",
                target.resource, user.name, user.groups
            ),
        })
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
        let allowed = self.may(user, &text("verb").unwrap_or_default(), &target).is_ok();
        review["status"] = json!({"allowed": allowed});
        review
    }
}
