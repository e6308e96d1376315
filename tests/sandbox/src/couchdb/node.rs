//! One node: what outlives its process (the data volume, the container's own files) and what doesn't.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Map;

use super::finish::FinishFault;
use super::http::Time;
use super::ini::Ini;
use super::password;
use super::revs::Docs;
use super::seeds::Seeds;
use super::settings::{NodeSettings, SettingsError};
use super::shards::Shard;
use crate::random::Random;

/// `/opt/couchdb/data`: what a PersistentVolumeClaim keeps.
#[derive(Debug, Clone, Default)]
pub struct Volume {
    /// The node-local database `_nodes`.
    pub nodes: Docs,
    /// The node-local database `_dbs`.
    pub dbs: Docs,
    /// The node's own `_users` file, once somebody asked for a node-local database. Not the clustered `_users`.
    pub users: Option<Docs>,
    /// Shard files, those included that no map names any more.
    pub shards: BTreeMap<Shard, Docs>,
}

/// The Erlang VM while it runs.
#[derive(Debug)]
pub(crate) struct Process {
    /// `None` is `nonode@nohost`.
    pub(crate) name: Option<String>,
    /// Set by `receive_cookie`, too; lost with the process.
    pub(crate) cookie: String,
    /// Every ini file and what was set since, persisted or not.
    pub(crate) config: Ini,
    pub(crate) started: Time,
    pub(crate) next_reconnect: Time,
    /// Wrong passwords by (user, source): how many, and since when.
    pub(crate) failures: BTreeMap<(String, String), (u32, Time)>,
    pub(crate) seeds: Seeds,
    pub(crate) reshard_stopped: bool,
    /// Names of nodes that it met.
    pub(crate) heard: BTreeSet<String>,
    /// Since when [`Volume::users`] is as it should be.
    pub(crate) auth_file_made: Time,
}

/// A pod's CouchDB.
#[derive(Debug)]
pub struct Node {
    pub(crate) settings: NodeSettings,
    /// The data volume.
    pub volume: Volume,
    /// `local.d/docker.ini`: written by the entrypoint and by `_config`. Not on a volume in the image.
    pub(crate) etc: Ini,
    /// `/opt/couchdb/.erlang.cookie`: in the container's own file system, as `etc`.
    pub(crate) cookie_file: Option<String>,
    pub(crate) process: Option<Process>,
    /// How often it was started.
    pub(crate) boots: u64,
    pub(crate) paused: bool,
    pub(crate) slow: Duration,
    pub(crate) finish_fault: Option<FinishFault>,
    /// `_restart` takes the process down at the first moment and back at the second.
    pub(crate) restart: Option<(Time, Time)>,
}

impl Node {
    pub(crate) fn new(settings: NodeSettings) -> Self {
        Self {
            settings,
            volume: Volume::default(),
            etc: Ini::default(),
            cookie_file: None,
            process: None,
            boots: 0,
            paused: false,
            slow: Duration::ZERO,
            finish_fault: None,
            restart: None,
        }
    }

    /// The entrypoint and CouchDB's own start.
    pub(crate) fn boot(&mut self, random: &mut Random, now: Time) -> Result<(), SettingsError> {
        self.settings.refuse_as_the_container_would()?;
        self.run_entrypoint(random);
        let mut config = self.settings.ini.overlaid(&self.etc);
        let plain: Vec<(String, String)> = config
            .section("admins")
            .filter(|(_, value)| !password::is_hash(self.settings.version, value))
            .map(|(user, value)| (user.clone(), value.clone()))
            .collect();
        for (user, value) in plain {
            let hashed = password::hash(self.settings.version, &value, &random.hex32());
            config.set("admins", &user, &hashed);
            self.etc.set("admins", &user, hashed);
        }
        let seeds = Seeds::new(&config, self.settings.name.as_deref(), now);
        let members = self.settings.name.iter().chain(seeds.names());
        for member in members {
            // A conflict says that it is there already, which is what we want.
            let _ = self.volume.nodes.edit(member, None, false, Map::new());
        }
        self.process = Some(Process {
            name: self.settings.name.clone(),
            cookie: self.cookie_file.clone().unwrap_or_default(),
            config,
            started: now,
            next_reconnect: now,
            failures: BTreeMap::new(),
            seeds,
            reshard_stopped: false,
            heard: BTreeSet::new(),
            auth_file_made: now,
        });
        self.boots += 1;
        self.restart = None;
        Ok(())
    }

    /// docker-entrypoint.sh: the environment goes into `docker.ini`, unless it is there from an earlier start.
    fn run_entrypoint(&mut self, random: &mut Random) {
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
        if self.cookie_file.is_none() {
            self.cookie_file = Some(self.settings.cookie.clone().unwrap_or_else(|| random.hex32()));
        }
    }

    /// A new container from the same image: everything but the data volume is as the image has it.
    pub(crate) fn lose_ini(&mut self) {
        self.etc = Ini::default();
        self.cookie_file = None;
    }

    /// True while it would answer.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The Erlang node name, while it runs with the distribution on.
    pub fn name(&self) -> Option<&str> {
        self.process.as_ref()?.name.as_deref()
    }

    /// What this node believes its cluster's members are.
    pub fn members(&self) -> Vec<&str> {
        self.volume.nodes.live().map(|(id, _, _)| id.as_str()).collect()
    }

    /// A value of the running configuration.
    pub fn config(&self, section: &str, key: &str) -> Option<&str> {
        self.process.as_ref()?.config.get(section, key)
    }

    pub(crate) fn set_config(
        &mut self,
        section: &str,
        key: &str,
        value: &str,
        persist: bool,
    ) -> Option<String> {
        if persist && !self.settings.read_only_ini {
            self.etc.set(section, key, value);
        }
        self.process.as_mut().and_then(|p| p.config.set(section, key, value))
    }

    pub(crate) fn delete_config(&mut self, section: &str, key: &str, persist: bool) -> Option<String> {
        if persist && !self.settings.read_only_ini {
            self.etc.remove(section, key);
        }
        self.process.as_mut().and_then(|p| p.config.remove(section, key))
    }

    /// Its shards don't count.
    pub(crate) fn in_maintenance(&self) -> bool {
        self.config("couchdb", "maintenance_mode") == Some("true")
    }

    pub(crate) fn secret(&self) -> Option<&str> {
        self.config(self.settings.version.secret_section(), "secret")
    }

    pub(crate) fn has_admins(&self) -> bool {
        self.process.as_ref().is_some_and(|p| p.config.section("admins").next().is_some())
    }

    pub(crate) fn listens_on_all(&self) -> bool {
        !matches!(self.config("chttpd", "bind_address"), None | Some("127.0.0.1" | "::1"))
    }
}
