//! `[cluster] seedlist`: nodes from which a node pulls `_nodes`, `_dbs` and `_users` after its start. `/_up` reports
//! them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::http::Time;
use super::ini::Ini;
use crate::date::rfc3339_micros;

/// The time between two pulls.
const INTERVAL: Duration = Duration::from_secs(1);

/// One node of the list, and the last pull from it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Seed {
    pub(crate) name: String,
    last: Option<Pull>,
}

/// The result of a pull, and its time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Pull {
    /// The seed was not connected.
    Failed(Time),
    /// Everything was pulled.
    Done(Time),
}

/// The seeds, without the node itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Seeds {
    list: Vec<Seed>,
    /// Index of the seed that is pulled from next.
    next: usize,
    next_at: Time,
}

impl Seeds {
    /// Parses the seed list of a configuration; `own` is the name of the node itself.
    pub(crate) fn new(config: &Ini, own: Option<&str>, now: Time) -> Self {
        let names = config.get("cluster", "seedlist").unwrap_or_default().split(',').map(str::trim);
        let list = names
            .filter(|name| !name.is_empty() && Some(*name) != own)
            .map(|name| Seed { name: name.to_owned(), last: None })
            .collect();
        Self { list, next: 0, next_at: now }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.list.iter().map(|seed| &seed.name)
    }

    /// The seed to pull from now, if one is due.
    pub(crate) fn due(&self, now: Time) -> Option<&str> {
        // One successful pull is enough; the other seeds are not used.
        if self.are_reached() || now < self.next_at {
            return None;
        }
        self.list.get(self.next).map(|seed| seed.name.as_str())
    }

    /// Records a pull. The next seed follows after a second, the first one after the last.
    pub(crate) fn pulled(&mut self, pull: Pull, now: Time) {
        if let Some(seed) = self.list.get_mut(self.next) {
            seed.last = Some(pull);
        }
        self.next = (self.next + 1) % self.list.len().max(1);
        self.next_at = now + INTERVAL;
    }

    /// `true` if the node has pulled from one seed or has none. Until then `/_up` answers 404.
    pub(crate) fn are_reached(&self) -> bool {
        self.list.is_empty() || self.list.iter().any(|seed| matches!(seed.last, Some(Pull::Done(_))))
    }

    /// The seeds in the form of `/_up`, which lists them in reverse.
    pub(crate) fn json(&self) -> Value {
        Value::Object(self.list.iter().rev().map(|seed| (seed.name.clone(), seed.json())).collect())
    }
}

impl Seed {
    fn json(&self) -> Value {
        match self.last {
            None => json!({}),
            Some(Pull::Failed(at)) => {
                json!({"timestamp": rfc3339_micros(at), "last_replication_status": "error"})
            }
            Some(Pull::Done(at)) => json!({
                "timestamp": rfc3339_micros(at),
                "pending_updates": {"_users": 0, "_nodes": 0, "_dbs": 0},
                "last_replication_status": "ok",
            }),
        }
    }
}
