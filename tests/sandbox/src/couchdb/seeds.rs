//! `[cluster] seedlist`: the other way into a cluster, seen in `/_up`.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::Time;
use super::ini::Ini;
use crate::date::rfc3339_micros;

const INTERVAL: Duration = Duration::from_secs(1);

/// One node of the list, and how pulling from it went.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) name: String,
    last: Option<Pull>,
}

/// The last attempt to pull `_nodes`, `_dbs` and `_users` from a seed.
#[derive(Debug, Clone, Copy)]
enum Pull {
    /// It was not connected.
    Failed(Time),
    /// Everything came over.
    Done(Time),
}

/// The list without the node itself, and whose turn it is.
#[derive(Debug, Clone)]
pub(crate) struct Seeds {
    list: Vec<Seed>,
    turn: usize,
    next: Time,
}

impl Seeds {
    pub(crate) fn new(config: &Ini, own: Option<&str>, now: Time) -> Self {
        let names = config.get("cluster", "seedlist").unwrap_or_default().split(',').map(str::trim);
        let list = names
            .filter(|name| !name.is_empty() && Some(*name) != own)
            .map(|name| Seed { name: name.to_owned(), last: None })
            .collect();
        Self { list, turn: 0, next: now }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.list.iter().map(|seed| &seed.name)
    }

    /// The seed to pull from now, if one is due.
    pub(crate) fn due(&self, now: Time) -> Option<&str> {
        let waiting = !self.are_reached() && self.next <= now;
        self.list.get(self.turn).filter(|_| waiting).map(|seed| seed.name.as_str())
    }

    /// A seed that failed is followed by the next after a second, round and round.
    pub(crate) fn pulled(&mut self, reached: bool, now: Time) {
        if let Some(seed) = self.list.get_mut(self.turn) {
            seed.last = Some(if reached { Pull::Done(now) } else { Pull::Failed(now) });
        }
        self.turn = (self.turn + 1) % self.list.len().max(1);
        self.next = now + INTERVAL;
    }

    /// A node is up once it has pulled from one seed, or has none.
    pub(crate) fn are_reached(&self) -> bool {
        self.list.is_empty() || self.list.iter().any(|seed| matches!(seed.last, Some(Pull::Done(_))))
    }

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
