//! One node: the state that outlives its process (the data volume, the container's own files) and the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::http::Time;
use super::ini::Ini;
use super::password;
use super::resharding::Resharding;
use super::revs::{Docs, Edit};
use super::seeds::Seeds;
use super::settings::{NodeSettings, SettingsError};
use super::shard_file::{ShardFile, admins_only};
use super::shards::Shard;
use crate::random::Random;

/// `/opt/couchdb/data`, which a PersistentVolumeClaim keeps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Volume {
    /// The node-local database `_nodes`: one document per member.
    pub nodes: Docs,
    /// The node-local database `_dbs`: one shard map per clustered database.
    pub dbs: Docs,
    /// The node's own `_users` file, which the first call for a node-local database creates. Not the clustered
    /// `_users`.
    pub users: Option<Docs>,
    /// Shard files, including those that no map lists any more.
    pub shards: BTreeMap<Shard, ShardFile>,
    /// The resharding of the node. CouchDB keeps it in `_local` documents of `_dbs`.
    #[serde(default)]
    pub(crate) resharding: Resharding,
}

/// A fault in a node's next `finish_cluster`; it happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishFault {
    /// The node dies after it has pushed the admins' hashes: uuid and secret still differ, no database is created.
    DiesAfterAdmins,
    /// The node dies after it has created the first of the databases.
    DiesAfterFirstDb,
    /// No database is created. The answer is 201 all the same, because CouchDB ignores the results.
    CreatesNoDb,
    /// The databases are created on this node only, and the others get them by replication. A `finish_cluster` on
    /// another node before that creates a second set, which conflicts with the first.
    CreatesOnOwnNode,
}

/// The storage of a changed configuration value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    /// In the running configuration and in the ini file.
    OnDisk,
    /// In the running configuration only; lost at the next start.
    InMemory,
}

/// The Erlang VM while it runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    /// `None` is `nonode@nohost`.
    pub(crate) name: Option<String>,
    /// From the cookie file, or from `receive_cookie` since the start.
    pub(crate) cookie: String,
    /// The values of all ini files and those that were set since the start.
    pub(crate) config: Ini,
    pub(crate) started: Time,
    pub(crate) next_reconnect: Time,
    /// Wrong passwords by user and source: their number, and the time of the first.
    #[serde(with = "crate::json::pairs")]
    pub(crate) failures: BTreeMap<(String, String), (u32, Time)>,
    /// The basic credentials of logins that have ended. Their next login costs nothing.
    pub(crate) logins: BTreeSet<String>,
    /// The number of password hashes that logins have cost since the start.
    pub(crate) hashes: usize,
    /// The core that computes password hashes.
    #[serde(skip)]
    pub(crate) core: Arc<tokio::sync::Mutex<()>>,
    pub(crate) seeds: Seeds,
    /// Node names that its Erlang knows; it keeps them until it exits.
    pub(crate) known_names: BTreeSet<String>,
    /// The time at which [`Volume::users`] is complete.
    pub(crate) auth_file_complete: Time,
}

/// The CouchDB of one pod.
#[derive(Debug, Serialize, Deserialize)]
pub struct Node {
    pub(crate) settings: NodeSettings,
    /// The data volume, which outlives process and container.
    pub volume: Volume,
    /// `local.d/docker.ini`, written by the entrypoint and by `_config`. The image has no volume for it.
    pub(crate) etc: Ini,
    /// `/opt/couchdb/.erlang.cookie`, in the container's own file system like `etc`.
    pub(crate) cookie_file: Option<String>,
    pub(crate) process: Option<Process>,
    /// The number of starts.
    pub(crate) boots: u64,
    pub(crate) paused: bool,
    pub(crate) is_disk_full: bool,
    /// The additional delay of each answer.
    pub(crate) delay: Duration,
    #[serde(skip)]
    pub(crate) finish_fault: Option<FinishFault>,
    pub(crate) restart: Option<Restart>,
}

/// A restart that `_restart` has scheduled.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Restart {
    pub(crate) down_at: Time,
    pub(crate) up_at: Time,
}

impl Node {
    /// The number of password hashes that logins have cost CouchDB since its start, where
    /// [`NodeSettings::first_login`] gives them a cost.
    pub fn hashes(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.hashes)
    }

    pub(crate) fn new(settings: NodeSettings) -> Self {
        Self {
            settings,
            volume: Volume::default(),
            etc: Ini::default(),
            cookie_file: None,
            process: None,
            boots: 0,
            paused: false,
            is_disk_full: false,
            delay: Duration::ZERO,
            finish_fault: None,
            restart: None,
        }
    }

    /// Runs the entrypoint and starts CouchDB.
    pub(crate) fn boot(&mut self, random: &mut Random, now: Time) -> Result<(), SettingsError> {
        self.settings.check_start()?;
        self.run_entrypoint(random);
        let config = self.load_config(random);
        let seeds = Seeds::new(&config, self.settings.name.as_deref(), now);
        // A node lists itself and its seeds as members.
        for member in self.settings.name.iter().chain(seeds.names()) {
            // A conflict means that the member is listed already.
            let _ = self.volume.nodes.edit(member, Edit::create(Map::new()));
        }
        // CouchDB creates these files at the first start on a volume.
        for docs in [&mut self.volume.nodes, &mut self.volume.dbs] {
            if docs.salt.is_empty() {
                docs.salt = format!("{}-{}-{}-", self.settings.host, now.as_nanos(), self.boots);
            }
        }
        self.process = Some(Process {
            name: self.settings.name.clone(),
            cookie: self.cookie_file.clone().unwrap_or_default(),
            config,
            started: now,
            next_reconnect: now,
            failures: BTreeMap::new(),
            logins: BTreeSet::new(),
            hashes: 0,
            core: Arc::default(),
            seeds,
            known_names: BTreeSet::new(),
            auth_file_complete: now,
        });
        self.boots += 1;
        self.restart = None;
        Ok(())
    }

    /// The configuration from all ini files. Passwords in clear text are hashed, as CouchDB does at its start.
    fn load_config(&mut self, random: &mut Random) -> Ini {
        let mut config = self.settings.ini.overlaid(&self.etc);
        let plain: Vec<(String, String)> = config
            .section("admins")
            .filter(|(_, value)| !password::is_hash(self.settings.version, value))
            .map(|(user, value)| (user.clone(), value.clone()))
            .collect();
        // The hash goes to the container's ini, also for an admin of a read-only file, which it then overrides.
        for (user, value) in plain {
            let hashed = password::hash(self.settings.version, &value, &random.hex32());
            config.set("admins", &user, &hashed);
            self.etc.set("admins", &user, hashed);
        }
        config
    }

    /// Writes the environment into `docker.ini`, as docker-entrypoint.sh does.
    fn run_entrypoint(&mut self, random: &mut Random) {
        // Values of an earlier start of this container stay: the entrypoint only adds missing ones.
        for (user, value) in &self.settings.admins {
            if self.etc.get("admins", user).is_none() {
                self.etc.set("admins", user, value);
            }
        }
        let section = self.settings.version.secret_section();
        if let Some(secret) = &self.settings.secret
            && self.etc.get(section, "secret").is_none()
        {
            self.etc.set(section, "secret", secret);
        }
        // Without a configured cookie, Erlang generates one for this container.
        if self.cookie_file.is_none() {
            self.cookie_file = Some(self.settings.cookie.clone().unwrap_or_else(|| random.hex32()));
        }
    }

    /// Replaces the container: everything except the data volume is as in the image.
    pub(crate) fn lose_ini(&mut self) {
        self.etc = Ini::default();
        self.cookie_file = None;
    }

    /// `true` from a start until the process is killed, also while it is paused.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The Erlang node name; `None` if the node is down or its distribution is off.
    pub fn name(&self) -> Option<&str> {
        self.process.as_ref()?.name.as_deref()
    }

    /// The members that this node lists in `_nodes`.
    pub fn members(&self) -> Vec<&str> {
        self.volume.nodes.live().map(|(id, _, _)| id.as_str()).collect()
    }

    /// A value of the running configuration; `None` if the node is down or the key is not set.
    pub fn config(&self, section: &str, key: &str) -> Option<&str> {
        self.process.as_ref()?.config.get(section, key)
    }

    pub(crate) fn config_number(&self, section: &str, key: &str) -> Option<usize> {
        self.config(section, key).and_then(|value| value.parse().ok())
    }

    pub(crate) fn set_config(
        &mut self,
        section: &str,
        key: &str,
        value: &str,
        persist: Persist,
    ) -> Option<String> {
        if persist == Persist::OnDisk && !self.settings.read_only_ini {
            self.etc.set(section, key, value);
        }
        self.process.as_mut().and_then(|p| p.config.set(section, key, value))
    }

    pub(crate) fn delete_config(&mut self, section: &str, key: &str, persist: Persist) -> Option<String> {
        if persist == Persist::OnDisk && !self.settings.read_only_ini {
            self.etc.remove(section, key);
        }
        self.process.as_mut().and_then(|p| p.config.remove(section, key))
    }

    /// `true` in maintenance mode, in which the node's shards are not read or written.
    pub(crate) fn in_maintenance(&self) -> bool {
        self.config("couchdb", "maintenance_mode") == Some("true")
    }

    /// `_security` of a new shard file.
    pub(crate) fn default_security(&self) -> Value {
        let is_open =
            self.settings.version.major < 3 || self.config("couchdb", "default_security") == Some("everyone");
        if is_open { json!({}) } else { admins_only() }
    }

    /// The `Server` header: without versions where `[chttpd] server_header_versions` is `false`.
    pub(crate) fn server(&self) -> String {
        if self.config("chttpd", "server_header_versions") == Some("false") {
            return "CouchDB".to_owned();
        }
        format!("CouchDB/{} (Erlang OTP/25)", self.settings.version)
    }

    pub(crate) fn secret(&self) -> Option<&str> {
        self.config(self.settings.version.secret_section(), "secret")
    }

    pub(crate) fn has_admins(&self) -> bool {
        self.process.as_ref().is_some_and(|p| p.config.section("admins").next().is_some())
    }

    /// `true` if other pods can reach the HTTP port.
    pub(crate) fn listens_on_all(&self) -> bool {
        !matches!(self.config("chttpd", "bind_address"), None | Some("127.0.0.1" | "::1"))
    }
}
