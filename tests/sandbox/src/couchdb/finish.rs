//! `finish_cluster`, step by step, and the faults that can be injected between the steps.

use serde_json::{Map, Value};

use super::fabric::{Size, Spread};
use super::http::{Answer, POLL, Response, Time};
use super::node::{FinishFault, Persist};
use super::settings::{Host, Version};
use super::world::World;

impl World {
    /// Breaks the next `finish_cluster` of a node.
    pub fn break_finish(&mut self, host: &Host, fault: FinishFault) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.finish_fault = Some(fault);
        }
    }

    /// Waits until every member is connected, pushes this node's identity to all, and creates the missing databases.
    pub(crate) fn finish_cluster(
        &mut self,
        host: &Host,
        body: &Map<String, Value>,
        since: Time,
        now: Time,
    ) -> Answer {
        if !self.ensure_uuid(host) {
            return setup_error("Cluster setup unable to sync admin passwords");
        }
        let Some(others) = self.connected_members(host, now) else {
            if now < since + self.timings.finish_wait {
                return Answer::Later(now + POLL);
            }
            return setup_error("Cluster setup timed out waiting for nodes to connect");
        };
        let fault = self.nodes.get_mut(host).and_then(|n| n.finish_fault.take());
        self.push_admins(host, &others);
        if fault == Some(FinishFault::DiesAfterAdmins) {
            self.kill(host);
            return Answer::Dropped;
        }
        if !self.push_uuid_and_secret(host, &others) {
            return setup_error("Cluster setup unable to sync admin passwords");
        }
        let dbs = self.wanted_dbs(host, body.get("ensure_dbs_exist"));
        // The identity has been pushed by now: a call that answers 400 repairs a node that differs.
        if dbs.iter().all(|db| self.is_openable(host, db, now)) {
            return Response::error(400, "bad_request", "Cluster is already finished").into();
        }
        self.create_system_dbs(host, &dbs, fault, now)
    }

    /// Creates the databases of `finish_cluster`.
    fn create_system_dbs(
        &mut self,
        host: &Host,
        dbs: &[String],
        fault: Option<FinishFault>,
        now: Time,
    ) -> Answer {
        if fault == Some(FinishFault::CreatesNoDb) {
            return Response::ok(201).into();
        }
        let is_own_node_only = fault == Some(FinishFault::CreatesOnOwnNode);
        let spread = if is_own_node_only { Spread::OwnNode } else { Spread::AllMembers };
        for db in dbs {
            // CouchDB ignores the result, too.
            self.create_db(host, db, Size::default(), spread, now);
            if fault == Some(FinishFault::DiesAfterFirstDb) {
                self.kill(host);
                return Answer::Dropped;
            }
        }
        Response::ok(201).into()
    }

    /// Generates a uuid if the node has none. Returns `false` if the release can't continue without one.
    fn ensure_uuid(&mut self, host: &Host) -> bool {
        let node = &self.nodes[host];
        if node.config("couchdb", "uuid").is_some() {
            return true;
        }
        // Before 3.2 only `GET /` generates the uuid, and finish_cluster fails without it (apache/couchdb#2797).
        if node.settings.version < Version::new(3, 2, 0) && node.members().len() > 1 {
            return false;
        }
        let uuid = self.random.hex32();
        self.configure(host, ("couchdb", "uuid"), &uuid, Persist::OnDisk);
        true
    }

    /// The other members; `None` if one of them does not answer a ping.
    fn connected_members(&mut self, host: &Host, now: Time) -> Option<Vec<Host>> {
        let own = self.nodes[host].name().map(str::to_owned);
        let members: Vec<String> = self.nodes[host].members().into_iter().map(str::to_owned).collect();
        let mut others = Vec::new();
        for member in members.into_iter().filter(|m| Some(m) != own.as_ref()) {
            if !self.dial(host, &member, now) {
                return None;
            }
            others.extend(self.host_of(&member));
        }
        Some(others)
    }

    fn push_admins(&mut self, host: &Host, others: &[Host]) {
        let Some(process) = self.nodes[host].process.as_ref() else { return };
        let admins: Vec<(String, String)> =
            process.config.section("admins").map(|(user, hash)| (user.clone(), hash.clone())).collect();
        for other in others {
            for (user, hash) in &admins {
                self.configure(other, ("admins", user), hash, Persist::OnDisk);
            }
        }
    }

    /// Pushes uuid and session secret. Returns `false` if there is no secret to push, which is noticed only now, or
    /// if a member's ini is read-only.
    fn push_uuid_and_secret(&mut self, host: &Host, others: &[Host]) -> bool {
        let node = &self.nodes[host];
        let uuid = node.config("couchdb", "uuid").unwrap_or_default().to_owned();
        let secret = node.secret().map(str::to_owned);
        let section = node.settings.version.secret_section();
        for other in others {
            self.configure(other, ("couchdb", "uuid"), &uuid, Persist::OnDisk);
            if let Some(secret) = &secret {
                self.configure(other, (section, "secret"), secret, Persist::OnDisk);
            }
        }
        let are_writable = others.iter().all(|other| !self.nodes[other].settings.read_only_ini);
        others.is_empty() || secret.is_some() && are_writable
    }
}

fn setup_error(reason: &str) -> Answer {
    Response::error(500, "setup_error", reason).into()
}
