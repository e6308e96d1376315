//! Kubernetes Events: what a person should find in `kubectl describe`, said when it begins.
//!
//! An Event is posted beside the loop and may get lost; nothing waits for it. The first one of a kind in a process has a
//! name that is made of what it says, so an agent that was restarted in the same state finds it there already.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use agent_core::explain::{About, Announcement, Severity};
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use contract::{PodFqdn, objects};
use kube::Client;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

/// Posts announcements, one after another, beside whoever makes them.
#[derive(Clone, Debug)]
pub struct Herald {
    sender: mpsc::Sender<Announcement>,
}

impl Herald {
    /// Without a client it is mute. It ends when the last copy is dropped.
    pub fn start(client: Option<Client>, me: PodFqdn, uid: Option<String>, clock: fn() -> String) -> Self {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        if let Some(client) = client {
            let mut desk =
                Desk { client, me, pod_uid: uid, set_uid: None, clock, told: HashMap::new(), silent: false };
            tokio::spawn(async move {
                while let Some(announcement) = receiver.recv().await {
                    desk.post(announcement).await;
                }
            });
        }
        Self { sender }
    }

    /// Tells, if anybody listens and hasn't enough to do.
    pub fn tell(&self, announcement: Option<Announcement>) {
        if let Some(announcement) = announcement {
            let _ = self.sender.try_send(announcement);
        }
    }
}

struct Desk {
    client: Client,
    me: PodFqdn,
    pod_uid: Option<String>,
    set_uid: Option<String>,
    clock: fn() -> String,
    /// What was told when, by its digest.
    told: HashMap<u64, Instant>,
    /// Events are forbidden, and that was said.
    silent: bool,
}

impl Desk {
    async fn post(&mut self, announcement: Announcement) {
        let uid = match announcement.about {
            About::Pod => self.pod_uid().await,
            About::StatefulSet => self.set_uid().await,
        };
        let mut hasher = DefaultHasher::new();
        (&announcement, &uid).hash(&mut hasher);
        let digest = hasher.finish();
        let before = self.told.get(&digest).copied();
        if before.is_some_and(|before| before.elapsed() < AGAIN) {
            return;
        }
        let now = (self.clock)();
        // Told for the first time by this process, maybe not by the one before it.
        let name = match before {
            None => format!("{}.{digest:016x}", self.me.pod()),
            Some(_) => format!("{}.{digest:016x}.{}", self.me.pod(), digits(&now)),
        };
        let event = self.event(&name, &now, &announcement, uid.as_deref());
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.me.namespace());
        let request =
            Request::post(path).header(CONTENT_TYPE, "application/json").body(event.to_string().into());
        let Ok(request) = request else { return };
        match timeout(PATIENCE, self.client.request::<IgnoredAny>(request)).await {
            Ok(Ok(_)) => {
                self.told.insert(digest, Instant::now());
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                self.told.insert(digest, Instant::now());
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => self.forbidden(),
            Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "an Event got lost"),
            Err(_) => debug!("an Event got lost: no answer in time"),
        }
    }

    fn forbidden(&mut self) {
        if !std::mem::replace(&mut self.silent, true) {
            warn!(
                "may not create Events, so none will be seen: bind ClusterRole '{}' to the pod's service account",
                objects::AGENT_CLUSTER_ROLE
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
            // The type wants microseconds.
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
            "note": cut(note),
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
            self.set_uid =
                self.uid_at(format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{set}")).await;
        }
        self.set_uid.clone()
    }

    /// `kubectl describe` looks for Events by the object's uid.
    async fn uid_at(&self, path: String) -> Option<String> {
        let request = Request::get(path).body(vec![]).ok()?;
        let object = timeout(PATIENCE, self.client.request::<Value>(request)).await.ok()?.ok()?;
        object["metadata"]["uid"].as_str().map(str::to_owned)
    }
}

/// At most 1024 bytes, which is what the API takes.
fn cut(note: &str) -> &str {
    let end = (0..=note.len().min(LONGEST_NOTE)).rev().find(|end| note.is_char_boundary(*end));
    &note[..end.unwrap_or_default()]
}

fn digits(time: &str) -> String {
    time.chars().filter(char::is_ascii_digit).collect()
}

/// The Events that may wait to be posted. The next one is dropped: an agent that says so much has said enough.
const WAITING: usize = 16;
/// Between two Events that say the same.
const AGAIN: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_NOTE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"ü".repeat(600)).len(), 1024);
        assert_eq!(cut(&format!("x{}", "ü".repeat(600))).len(), 1023);
    }
}
