//! A node's configuration.

use std::collections::HashMap;

use agent_core::facts::MaintenanceMode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Couch;
use super::error::{CouchError, unless_missing};
use super::transport::WRITE_TIMEOUT;

impl Couch {
    /// Sets an option in the node's memory only; a restart of CouchDB forgets it.
    pub(super) async fn set_option(
        &self,
        base: &str,
        section: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), CouchError> {
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        let path = format!("/_node/_local/_config/{section}/{key}");
        // Without the header CouchDB also writes the value into its ini, and it would survive a restart.
        self.transport
            .send(base, Method::PUT, &path, WRITE_TIMEOUT, |request| {
                request.header("X-Couch-Persist", "false").json(value)
            })
            .await
            .map(drop)
    }

    /// Removes an option from the node's memory only.
    pub(super) async fn remove_option(&self, base: &str, section: &str, key: &str) -> Result<(), CouchError> {
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        let path = format!("/_node/_local/_config/{section}/{key}");
        let removed = self
            .transport
            .send(base, Method::DELETE, &path, WRITE_TIMEOUT, |request| {
                request.header("X-Couch-Persist", "false")
            })
            .await;
        unless_missing(removed).map(drop)
    }

    /// All options of a section. Values stay untyped: an error of the parser would print them, and they hold secrets.
    pub(super) async fn section(
        &self,
        base: &str,
        section: &str,
    ) -> Result<HashMap<String, Value>, CouchError> {
        self.transport.get(base, &format!("/_node/_local/_config/{section}")).await
    }

    /// The number of copies that the node makes of a new database: `[cluster] n`, by default 3. One where `placement`
    /// assigns copies to zones: a copy added elsewhere would break the user's rule.
    pub async fn copies(&self, base: &str) -> Result<u32, CouchError> {
        let options = self.section(base, "cluster").await?;
        if options.contains_key("placement") {
            return Ok(1);
        }
        let n = options.get("n").and_then(Value::as_str).and_then(|n| n.parse().ok());
        Ok(n.unwrap_or(DEFAULT_COPIES))
    }

    /// The maintenance mode, and the comparison mark.
    pub async fn standing(&self, base: &str) -> Result<Standing, CouchError> {
        let options = self.section(base, COUCHDB).await?;
        Ok(Standing {
            // CouchDB treats any other value as `false`.
            mode: match options.get(MAINTENANCE_MODE).and_then(Value::as_str) {
                Some("true") => MaintenanceMode::On,
                Some("nolb") => MaintenanceMode::NoLb,
                Some(_) | None => MaintenanceMode::Off,
            },
            compared: options.contains_key(COMPARED),
        })
    }

    /// Records, in the node's memory only, that its shards have been compared with the other copies since its start.
    pub async fn mark_compared(&self, base: &str) -> Result<(), CouchError> {
        self.set_option(base, COUCHDB, COMPARED, &json!("true")).await
    }

    /// Sets the maintenance mode, in memory only: after a restart no agent may be there to open the node.
    pub async fn set_maintenance(&self, base: &str, mode: MaintenanceMode) -> Result<(), CouchError> {
        self.set_option(base, COUCHDB, MAINTENANCE_MODE, &json!(word(mode))).await
    }

    /// Ends any maintenance mode, in the configuration files of the node as well: one that was set manually may be there.
    pub async fn end_maintenance_for_good(&self, base: &str) -> Result<(), CouchError> {
        let path = format!("/_node/_local/_config/{COUCHDB}/{MAINTENANCE_MODE}");
        self.transport.put(base, &path, &json!(word(MaintenanceMode::Off))).await
    }

    /// Ends the maintenance mode that agents set. `nolb` is set manually, and stays.
    pub async fn end_maintenance(&self, base: &str) -> Result<(), CouchError> {
        if self.standing(base).await?.mode != MaintenanceMode::On {
            return Ok(());
        }
        self.set_maintenance(base, MaintenanceMode::Off).await
    }
}

/// The node's part in serving requests, as its own configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The maintenance mode.
    pub mode: MaintenanceMode,
    /// `true` if the node's shards have been compared with the other copies since its start.
    pub compared: bool,
}

/// CouchDB's word for a mode.
fn word(mode: MaintenanceMode) -> &'static str {
    match mode {
        MaintenanceMode::On => "true",
        MaintenanceMode::NoLb => "nolb",
        MaintenanceMode::Off => "false",
    }
}

pub(super) const COUCHDB: &str = "couchdb";
const MAINTENANCE_MODE: &str = "maintenance_mode";
/// An option that CouchDB doesn't know; it disappears when CouchDB ends.
const COMPARED: &str = "couchdiscover_compared";
/// `[cluster] n` where it is not set.
const DEFAULT_COPIES: u32 = 3;
