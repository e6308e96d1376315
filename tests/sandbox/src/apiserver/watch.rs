//! Watches: the changes of objects as a stream of JSON lines.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::path::Target;
use super::reply::Reply;
use super::request::Request;
use super::select::Selector;
use super::state::{Shared, lock};
use super::status::ApiError;

/// The position of a watch in the history of changes.
struct Watch {
    shared: Arc<Shared>,
    target: Target,
    selector: Selector,
    /// The version up to which changes have been sent.
    since: u64,
    changed: watch::Receiver<u64>,
    /// The first lines, until they are sent: the objects that exist, and a bookmark.
    first: Option<Vec<Value>>,
    deadline: Option<tokio::time::Instant>,
    /// `true` after an error, which is the last line of a watch.
    over: bool,
}

/// Starts a watch at the requested version, or with the list of existing objects.
pub(crate) fn start(shared: &Arc<Shared>, request: &Request, target: Target) -> Result<Reply, ApiError> {
    let selector = request.selector();
    let state = lock(&shared.state);
    let given = request.param("resourceVersion").filter(|v| !v.is_empty());
    let since = match given.as_deref().map(str::parse::<u64>) {
        // Version 0 means any version: the watch starts with the current objects.
        None | Some(Ok(0)) => None,
        Some(Ok(version)) => Some(version),
        Some(Err(_)) => {
            return Err(ApiError::BadRequest { message: format!("invalid resource version {given:?}") });
        }
    };
    let now = state.store.version();
    // With this flag the initial list ends with a bookmark. A watch without a version also starts with the list, but
    // without the bookmark.
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
    /// Waits for the next lines; `None` if the watch has ended.
    async fn next(&mut self) -> Option<Vec<Value>> {
        if let Some(first) = self.first.take()
            && !first.is_empty()
        {
            return Some(first);
        }
        while !self.over {
            let version = *self.changed.borrow_and_update();
            let changes = lock(&self.shared.state).store.changes(&self.target, &self.selector, self.since);
            match changes {
                Ok(lines) => {
                    self.since = self.since.max(version);
                    // An object may have been stored after `version` was read; then its own version is newer.
                    for line in &lines {
                        let own = line["object"]["metadata"]["resourceVersion"].as_str();
                        self.since = self.since.max(own.and_then(|v| v.parse().ok()).unwrap_or(0));
                    }
                    if !lines.is_empty() {
                        return Some(lines);
                    }
                }
                // The client must list again: the history no longer reaches back to its version.
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

/// The event that ends the initial list.
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
