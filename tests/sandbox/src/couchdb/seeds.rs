//! `[cluster] seedlist`: the other way into a cluster, seen in `/_up`.

use serde_json::{Map, Value, json};

use super::http::Time;
use super::ini::Ini;
use crate::date::rfc3339_micros;

/// One node of the list, and how pulling from it went.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) last: Option<Pull>,
}

/// The last attempt to pull `_nodes`, `_dbs` and `_users` from a seed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pull {
    /// It was not connected.
    Failed(Time),
    /// Everything came over.
    Done(Time),
}

impl Seed {
    /// The list without the node itself.
    pub(crate) fn list(config: &Ini, own: Option<&str>) -> Vec<Self> {
        let names = config.get("cluster", "seedlist").unwrap_or_default().split(',').map(str::trim);
        names
            .filter(|name| !name.is_empty() && Some(*name) != own)
            .map(|name| Self { name: name.to_owned(), last: None })
            .collect()
    }

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

/// A node is up once it has pulled from one seed, or has none.
pub(crate) fn are_reached(seeds: &[Seed]) -> bool {
    seeds.is_empty() || seeds.iter().any(|seed| matches!(seed.last, Some(Pull::Done(_))))
}

pub(crate) fn json(seeds: &[Seed]) -> Value {
    let list: Map<String, Value> = seeds.iter().rev().map(|seed| (seed.name.clone(), seed.json())).collect();
    Value::Object(list)
}
