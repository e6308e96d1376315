//! Kubernetes Events, which `kubectl describe` shows: posted when a state begins.
//!
//! Events are posted beside the loop and may get lost; no step waits for one. The first Event of its kind in a process has
//! a name derived from its content, so a restarted agent in the same state gets a 409 and does not repeat it. kube's
//! `Recorder` is not used: it counts repetitions by patching, with memory that a restart loses, and the agent's role allows
//! `create` only.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use agent_core::explain::{About, Announcement, Severity};
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use contract::PodFqdn;
use contract::error::chain;
use contract::text::{MESSAGE_LIMIT, one_line};
use kube::Client;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::client::{RequestError, answer};
use super::role::bind_command;

/// Queues announcements for the [`EventPoster`]'s task.
#[derive(Clone, Debug)]
pub struct EventSender {
    sender: mpsc::Sender<Announcement>,
}

impl EventSender {
    /// Starts the task. Without a client, announcements are discarded. The task ends when the last sender is dropped.
    pub fn start(client: Option<Client>, me: PodFqdn, uid: Option<String>, clock: fn() -> String) -> Self {
        let (sender, mut receiver) = mpsc::channel(QUEUE_LENGTH);
        if let Some(client) = client {
            let mut poster = EventPoster {
                client,
                me,
                pod_uid: uid,
                set_uid: None,
                clock,
                posted: HashMap::new(),
                reported_forbidden: false,
            };
            tokio::spawn(async move {
                while let Some(announcement) = receiver.recv().await {
                    poster.post(announcement).await;
                }
            });
        }
        Self { sender }
    }

    /// Queues the announcement, if there is one. It is discarded if the queue is full.
    pub fn send(&self, announcement: Option<Announcement>) {
        if let Some(announcement) = announcement {
            let _ = self.sender.try_send(announcement);
        }
    }
}

struct EventPoster {
    client: Client,
    me: PodFqdn,
    pod_uid: Option<String>,
    set_uid: Option<String>,
    clock: fn() -> String,
    /// The time of each Event's last post, by the digest of its content.
    posted: HashMap<u64, Instant>,
    reported_forbidden: bool,
}

impl EventPoster {
    async fn post(&mut self, announcement: Announcement) {
        let uid = match announcement.about {
            About::Pod => self.pod_uid().await,
            About::StatefulSet => self.set_uid().await,
        };
        let mut hasher = DefaultHasher::new();
        (&announcement, &uid).hash(&mut hasher);
        let digest = hasher.finish();
        let before = self.posted.get(&digest).copied();
        if before.is_some_and(|before| before.elapsed() < BETWEEN_REPETITIONS) {
            return;
        }
        let now = (self.clock)();
        let name = match before {
            // The first in this process. A former process may have posted it: then the name exists already.
            None => format!("{}.{digest:016x}", self.me.pod()),
            Some(_) => format!("{}.{digest:016x}.{}", self.me.pod(), digits(&now)),
        };
        let event = self.event(&name, &now, &announcement, uid.as_deref());
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.me.namespace());
        let request =
            Request::post(path).header(CONTENT_TYPE, "application/json").body(event.to_string().into());
        let Ok(request) = request else { return };
        let posted = answer(REQUEST_TIMEOUT, self.client.request::<IgnoredAny>(request)).await;
        self.finish(digest, posted.err());
    }

    /// Remembers a posted Event, or logs the error.
    fn finish(&mut self, digest: u64, error: Option<RequestError>) {
        let Some(error) = error else {
            self.posted.insert(digest, Instant::now());
            return;
        };
        match error.status() {
            // A former process posted the same Event.
            Some(409) => {
                self.posted.insert(digest, Instant::now());
            }
            Some(403) => self.report_forbidden(),
            Some(_) | None => debug!(error = chain(&error), "an Event was not posted"),
        }
    }

    fn report_forbidden(&mut self) {
        if !std::mem::replace(&mut self.reported_forbidden, true) {
            warn!(
                "the pod's service account may not create Events, so the agent's Events are missing. Fix: {}",
                bind_command(&self.me)
            );
        }
    }

    fn event(&self, name: &str, now: &str, announcement: &Announcement, uid: Option<&str>) -> Value {
        let Announcement { about, severity, reason, note } = announcement;
        let (api, kind, regarding) = match about {
            About::Pod => ("v1", "Pod", self.me.pod().to_string()),
            About::StatefulSet => ("apps/v1", "StatefulSet", self.me.pod().set().to_string()),
        };
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": self.me.namespace().to_string() },
            // A MicroTime must have six decimals.
            "eventTime": now.replace('Z', ".000000Z"),
            "reportingController": "couchdiscover.io/agent",
            "reportingInstance": self.me.pod().to_string(),
            "action": reason,
            "reason": reason,
            "regarding": {
                "apiVersion": api,
                "kind": kind,
                "name": regarding,
                "namespace": self.me.namespace().to_string(),
                "uid": uid,
            },
            // Names in it come from peers, and the API accepts 1024 bytes.
            "note": one_line(note, MESSAGE_LIMIT),
            "type": match severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            },
        })
    }

    async fn pod_uid(&mut self) -> Option<String> {
        if self.pod_uid.is_none() {
            let path = format!("/api/v1/namespaces/{}/pods/{}", self.me.namespace(), self.me.pod());
            self.pod_uid = self.uid_at(path).await;
        }
        self.pod_uid.clone()
    }

    async fn set_uid(&mut self) -> Option<String> {
        if self.set_uid.is_none() {
            let (namespace, set) = (self.me.namespace(), self.me.pod().set());
            let path = format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{set}");
            self.set_uid = self.uid_at(path).await;
        }
        self.set_uid.clone()
    }

    /// The uid of the object at `path`: `kubectl describe` selects Events by it.
    async fn uid_at(&self, path: String) -> Option<String> {
        let request = Request::get(path).body(vec![]).ok()?;
        let object = answer(REQUEST_TIMEOUT, self.client.request::<Value>(request)).await.ok()?;
        object["metadata"]["uid"].as_str().map(str::to_owned)
    }
}

fn digits(time: &str) -> String {
    time.chars().filter(char::is_ascii_digit).collect()
}

/// The Events that may wait to be posted. Further ones are dropped: 16 at a time describe the state well enough.
const QUEUE_LENGTH: usize = 16;
/// The least time between two Events with the same content.
const BETWEEN_REPETITIONS: Duration = Duration::from_secs(600);
/// An API server answers within about 10 ms; Events queue up in the meantime.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
