//! One request, from authentication to the answer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::access::{self, User};
use super::admission::{FailurePolicy, Hook, Refusal, Verdict};
use super::hooks::{Address, Admission, CallError, Endpoint, Outcome};
use super::merge::PatchKind;
use super::path::Target;
use super::reply::{Body, Reply};
use super::request::Request;
use super::state::{Call, Shared, lock};
use super::status::ApiError;
use super::verbs::{self, Draft, Write};
use super::{proxy, watch};
use crate::date::wall_clock;
use crate::json::strings;

/// Answers a request, and records it.
pub(crate) async fn answer(shared: &Arc<Shared>, request: Request) -> hyper::Response<Body> {
    let delay = lock(&shared.state).delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let reply = route(shared, &request).await;
    let reply = reply.unwrap_or_else(|error| Reply::Object(error.code(), error.status(), Vec::new()));
    lock(&shared.state).calls.push(Call {
        method: request.method,
        path: request.path,
        query: request.query,
        user_agent: request.user_agent,
        status: reply.status(),
    });
    reply.into_response()
}

async fn route(shared: &Arc<Shared>, request: &Request) -> Result<Reply, ApiError> {
    // Health and version are readable without a token.
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
    let user = authorized(shared, request, &target)?;
    if target.resource.plural == "selfsubjectaccessreviews" {
        let review = lock(&shared.state).review_access(&user, request.object()?);
        return Ok(Reply::Object(201, review, Vec::new()));
    }
    match request.method.as_str() {
        "GET" if proxy::is_for_pod(&target) => proxy::answer(shared, request, &target).await.map(Reply::Page),
        "GET" if request.flag("watch") => watch::start(shared, request, target),
        "GET" => read(shared, request, &target),
        "DELETE" if target.name.is_none() => delete_all(shared, request, &target, &user).await,
        _ => {
            let write = write_of(request, target)?;
            let (status, object, warnings) = perform(shared, &write, &user).await?;
            Ok(Reply::Object(status, object, warnings))
        }
    }
}

/// The user of a request that is allowed, and that no injected failure hits.
fn authorized(shared: &Shared, request: &Request, target: &Target) -> Result<User, ApiError> {
    let mut state = lock(&shared.state);
    let user = state.access.user(request.authorization.as_deref())?;
    let verb = access::verb(&request.method, target, request.flag("watch")).ok_or(ApiError::NotAllowed)?;
    if let Some(error) = state.injected(verb, target) {
        return Err(error);
    }
    // Every user may ask for its own permissions.
    if target.resource.plural == "selfsubjectaccessreviews" {
        return Ok(user);
    }
    // A list or watch of one name counts as access to that object.
    let selected = request.param("fieldSelector");
    let selected = selected.and_then(|selector| selector.strip_prefix("metadata.name=").map(str::to_owned));
    let accessed = Target { name: target.name.clone().or(selected), ..target.clone() };
    state.authorize(&user, verb, &accessed)?;
    if matches!(verb, "create" | "update" | "patch") {
        state.authorize_grant(&user, target, request)?;
    }
    Ok(user)
}

fn write_of(request: &Request, target: Target) -> Result<Write, ApiError> {
    let patch = (request.method == "PATCH").then(|| PatchKind::of(&request.content_type)).flatten();
    let field_manager = request.param("fieldManager");
    if patch == Some(PatchKind::Apply) && field_manager.is_none() {
        let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(ApiError::BadRequest { message: message.to_owned() });
    }
    let body = request.object()?;
    // A deletion has its options in the body, all other methods have them in the query.
    let dry_in_body = request.method == "DELETE" && strings(&body["dryRun"]).any(|word| word == "All");
    let agent = request.user_agent.split('/').next().unwrap_or_default().to_owned();
    Ok(Write {
        method: request.method.clone(),
        target,
        patch,
        // Without a field manager, the server uses the program's name from the user agent.
        field_manager: field_manager.unwrap_or(agent),
        dry_run: dry_in_body || request.param("dryRun").as_deref() == Some("All"),
        body,
    })
}

fn read(shared: &Shared, request: &Request, target: &Target) -> Result<Reply, ApiError> {
    let state = lock(&shared.state);
    let Some(name) = &target.name else {
        let selector = request.selector();
        let items: Vec<Value> = state.store.list(target, &selector).cloned().collect();
        // A client starts its watch at the version of the list, so that it misses no change.
        let list = json!({
            "kind": format!("{}List", target.resource.kind()),
            "apiVersion": target.resource.api_version(),
            "metadata": {"resourceVersion": state.store.version().to_string()},
            "items": items,
        });
        return Ok(Reply::Object(200, list, Vec::new()));
    };
    let object = state.store.get(&target.key(name)).ok_or_else(|| ApiError::not_found(target, name))?;
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
        listed.filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    for name in names {
        let one = Target { name: Some(name), ..target.clone() };
        perform(shared, &write_of(request, one)?, user).await?;
    }
    Ok(Reply::Object(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}), Vec::new()))
}

/// A write with its admission; starts again if another write changed the object in between.
async fn perform(
    shared: &Arc<Shared>,
    write: &Write,
    user: &User,
) -> Result<(u16, Value, Vec<String>), ApiError> {
    loop {
        let mut draft = Draft::of(&mut lock(&shared.state).store, write, wall_clock())?;
        // The state is not locked meanwhile, since webhooks may call the API server.
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

/// Calls each webhook in turn, with the changes of those before it, and returns the warnings. Each is called once.
async fn admit(shared: &Shared, draft: &mut Draft, user: &User) -> Result<Vec<String>, ApiError> {
    // Webhook configurations are exempt from admission, or a broken webhook could block its own repair.
    if draft.target.resource.group == "admissionregistration.k8s.io" {
        return Ok(Vec::new());
    }
    let hooks = lock(&shared.state).hooks();
    let mut warnings = Vec::new();
    for hook in hooks {
        let labels = lock(&shared.state).namespace_labels(draft.target.namespace.as_deref());
        if !hook.applies_to(draft, &labels) {
            continue;
        }
        match review(shared, &hook, draft, user).await {
            Ok(verdict) => {
                warnings.extend(verdict.warnings);
                if let Some(patch) = verdict.patch {
                    draft.change(&patch)?;
                }
            }
            // A denial is final: the failure policy covers only webhooks that fail.
            Err(Refusal::Denied { error, .. }) => return Err(*error),
            Err(Refusal::Broken(reason)) if hook.failure_policy() == FailurePolicy::Fail => {
                let message = format!("failed calling webhook {:?}: {reason}", hook.name());
                return Err(ApiError::Internal { message });
            }
            Err(Refusal::Broken(_)) => {}
        }
    }
    Ok(warnings)
}

/// Sends one review to a webhook, and records it with its outcome.
async fn review(shared: &Shared, hook: &Hook, draft: &Draft, user: &User) -> Result<Verdict, Refusal> {
    let uid = lock(&shared.state).store.uid();
    let review = draft.review(&uid, &user.info());
    let verdict = match call(shared, hook, &review).await {
        Ok(answer) => hook.judge(&uid, &answer),
        Err(error) => Err(Refusal::Broken(format!("failed to call webhook: {error}"))),
    };
    let outcome = outcome(hook, &verdict);
    lock(&shared.state).admissions.push(Admission { webhook: hook.name().to_owned(), review, outcome });
    verdict
}

fn outcome(hook: &Hook, verdict: &Result<Verdict, Refusal>) -> Outcome {
    match verdict {
        Ok(verdict) => Outcome::Allowed {
            patch: verdict.patch.clone(),
            warnings: verdict.warnings.clone(),
            audit: verdict.audit.clone(),
        },
        Err(Refusal::Denied { error, warnings, audit }) => {
            Outcome::Denied { message: error.to_string(), warnings: warnings.clone(), audit: audit.clone() }
        }
        Err(Refusal::Broken(reason)) => Outcome::Failed {
            message: reason.clone(),
            ignored: hook.failure_policy() == FailurePolicy::Ignore,
        },
    }
}

async fn call(shared: &Shared, hook: &Hook, review: &Value) -> Result<Value, CallError> {
    let endpoint: Endpoint = {
        let mut state = lock(&shared.state);
        let address = Address::of(hook, &state.services)?;
        // One client for each address, bundle and timeout: a changed configuration opens new connections.
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
