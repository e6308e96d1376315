//! `finish_cluster`, step by step, and what may go wrong in between.

use serde_json::{Map, Value};

use super::fabric::{Reach, Size};
use super::http::{Answer, Response, Time};
use super::settings::{Host, Version};
use super::setup::POLL;
use super::world::World;

/// What goes wrong in a node's next `finish_cluster`, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishFault {
    /// The node dies when the admins' hashes are pushed: uuid and secret still differ, no database is made.
    DiesAfterAdmins,
    /// The node dies when the first of the databases is made.
    DiesAfterFirstDb,
    /// No database is made; the answer is 201 all the same, because the results of making them are dropped.
    MakesNothing,
    /// The databases are made on this node alone, and the others hear of them by replication. Whoever finishes on
    /// another node before that makes a second set, and a conflict.
    SpreadsLate,
}

impl World {
    /// Breaks the next `finish_cluster` of a node.
    pub fn break_finish(&mut self, host: &Host, fault: FinishFault) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.finish_fault = Some(fault);
        }
    }

    /// Everybody must be connected, then this node's identity is pushed to all, then what databases lack are made.
    pub(crate) fn finish_cluster(
        &mut self,
        host: &Host,
        body: &Map<String, Value>,
        since: Time,
        now: Time,
    ) -> Answer {
        let setup_error = |reason| Answer::from(Response::error(500, "setup_error", reason));
        if !self.ensure_uuid(host) {
            return setup_error("Cluster setup unable to sync admin passwords");
        }
        let others = match self.others(host, now) {
            Some(others) => others,
            None if now < since + self.timings.finish_wait => return Answer::Later(now + POLL),
            None => return setup_error("Cluster setup timed out waiting for nodes to connect"),
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
        if dbs.iter().all(|db| self.is_openable(host, db, now)) {
            return Response::error(400, "bad_request", "Cluster is already finished").into();
        }
        if fault == Some(FinishFault::MakesNothing) {
            return Response::ok(201).into();
        }
        for db in dbs {
            // Whether it was made isn't looked at in the real thing, too.
            let reach = if fault == Some(FinishFault::SpreadsLate) { Reach::Own } else { Reach::Members };
            self.create_db(host, &db, Size::default(), reach, now);
            if fault == Some(FinishFault::DiesAfterFirstDb) {
                self.kill(host);
                return Answer::Dropped;
            }
        }
        Response::ok(201).into()
    }

    /// Before 3.2 there is a uuid only when somebody asked for `GET /`: #2797.
    fn ensure_uuid(&mut self, host: &Host) -> bool {
        let node = &self.nodes[host];
        if node.config("couchdb", "uuid").is_some() {
            return true;
        }
        if node.settings.version < Version::new(3, 2, 0) && node.members().len() > 1 {
            return false;
        }
        let uuid = self.random.hex32();
        self.configure(host, "couchdb", "uuid", &uuid, true);
        true
    }

    /// The other members, if each of them answers a ping.
    fn others(&mut self, host: &Host, now: Time) -> Option<Vec<Host>> {
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
                self.configure(other, "admins", user, hash, true);
            }
        }
    }

    /// False when there is no secret to push, which is noticed only now, or when a member's ini is read-only.
    fn push_uuid_and_secret(&mut self, host: &Host, others: &[Host]) -> bool {
        let node = &self.nodes[host];
        let uuid = node.config("couchdb", "uuid").unwrap_or_default().to_owned();
        let secret = node.secret().map(str::to_owned);
        let section = node.settings.version.secret_section();
        for other in others {
            self.configure(other, "couchdb", "uuid", &uuid, true);
            if let Some(secret) = &secret {
                self.configure(other, section, "secret", secret, true);
            }
        }
        let writable = others.iter().all(|other| !self.nodes[other].settings.read_only_ini);
        others.is_empty() || secret.is_some() && writable
    }
}
