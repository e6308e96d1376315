//! Kubernetes Events: what a person should find in `kubectl describe`, said when it begins.
//!
//! An Event is posted beside the loop and may get lost; nothing waits for it. The first one of a kind in a process has a
//! name that is made of what it says, so an agent that was restarted in the same state finds it there already.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use contract::{PodFqdn, objects};
use kube::Client;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::step::{Sort, Step, Unseen, WaitFor};
use crate::words::Words;

/// What is told, and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// The object that a person will look at.
    pub about: About,
    /// Whether somebody has to do something.
    pub severity: Severity,
    /// CamelCase.
    pub reason: &'static str,
    /// A sentence. Never a secret.
    pub note: String,
}

/// The object that an Event concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum About {
    /// This agent's pod.
    Pod,
    /// All of them.
    StatefulSet,
}

/// An Event's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Good to know.
    Normal,
    /// A person has to look.
    Warning,
}

/// What is announced when `step` becomes the next one. `joined`: this node has joined a peer since the agent started.
pub fn when_entered(step: &Step, words: &Words, joined: bool) -> Option<Announcement> {
    let note = || words.message.clone();
    let warning = || Announcement {
        about: About::Pod,
        severity: Severity::Warning,
        reason: words.reason,
        note: note(),
    };
    if let Step::Settled = step {
        let note = "this node is a member, and every member confirms it".to_owned();
        let joined = joined.then_some(note);
        return joined.map(|note| Announcement {
            about: About::Pod,
            severity: Severity::Normal,
            reason: "Joined",
            note,
        });
    }
    let needs_a_person = |wait: &WaitFor| {
        matches!(
            wait,
            WaitFor::CookieMismatch(_)
                | WaitFor::LocalCouchDb(Unseen::LockedOut | Unseen::Rejects)
                | WaitFor::MapsAiling(_)
                | WaitFor::NotListed(_)
                | WaitFor::NotPublished(_)
                | WaitFor::Outsized(_)
                | WaitFor::PortsBlocked(_)
                | WaitFor::Service(_)
        )
    };
    let needs_a_person = matches!(step, Step::Dial { wait, .. } | Step::Wait(wait) if needs_a_person(wait));
    (step.sort() == Sort::Refuse || needs_a_person).then(warning)
}

/// What is announced when `step` was carried out.
pub fn when_done(step: &Step, words: &Words) -> Option<Announcement> {
    let normal =
        |about, reason, note: String| Some(Announcement { about, severity: Severity::Normal, reason, note });
    if let Step::Found = step {
        return normal(About::StatefulSet, "Formed", "the cluster was founded".to_owned());
    }
    if let Step::RecordFounding { instead_of: Some(lost), .. } = step {
        let note = format!("a new cluster was founded instead of '{lost}', which was given up");
        return normal(About::StatefulSet, "FormedAnew", note);
    }
    if let Step::Adopt(_) = step {
        return normal(About::Pod, "IdentityHealed", words.message.clone());
    }
    if let Step::EnterMaintenance = step {
        return normal(About::Pod, "FillingBegun", words.message.clone());
    }
    if let Step::Fill { .. } = step {
        let note = "every shard here has what the other copies have: taking part again".to_owned();
        return normal(About::Pod, "Filled", note);
    }
    None
}

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
    use std::collections::BTreeSet;

    use super::*;
    use crate::step::Refusal;

    fn entered(step: &Step, joined: bool) -> Option<(Severity, &'static str)> {
        let words = Words { reason: "Reason", message: "message".to_owned(), cure: None };
        when_entered(step, &words, joined).map(|said| (said.severity, said.reason))
    }

    #[test]
    fn what_needs_a_person_is_a_warning_and_what_comes_by_itself_is_none() {
        let refuse = Step::Refuse(Refusal::FormedBefore { uuid: None });
        assert_eq!(entered(&refuse, false), Some((Severity::Warning, "Reason")));
        let rejected = Step::Wait(WaitFor::LocalCouchDb(Unseen::Rejects));
        assert_eq!(entered(&rejected, false), Some((Severity::Warning, "Reason")));
        let removed = Step::Wait(WaitFor::NotListed(BTreeSet::from([1])));
        assert_eq!(entered(&removed, false), Some((Severity::Warning, "Reason")));
        assert_eq!(entered(&Step::Wait(WaitFor::LocalCouchDb(Unseen::NoAnswer)), false), None);
        assert_eq!(entered(&Step::Settled, true), Some((Severity::Normal, "Joined")));
        assert_eq!(entered(&Step::Settled, false), None, "a restarted agent has nothing new to tell");
        assert_eq!(entered(&Step::Join(0), true), None);
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"ü".repeat(600)).len(), 1024);
        assert_eq!(cut(&format!("x{}", "ü".repeat(600))).len(), 1023);
    }
}
