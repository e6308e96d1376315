//! The pause between two rounds, and what ends it early.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_core::decide::{GLANCE, Step, StepKind, WaitFor};
use agent_core::facts::{SystemDatabase, Unseen, UpAnswer};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::couch::{Couch, LoginRefusal, Pulse};
use crate::kubernetes::Knowledge;
use crate::observe::Directory;
use crate::observe::restart::{RestartWatch, until_it_listens};
use crate::settings::Scheme;

/// The end of a round.
pub(super) struct Resting<'a> {
    /// The step that was decided.
    pub(super) step: &'a Step,
    /// The local node, as the round observed it.
    pub(super) seen: Seen,
    /// The longest pause.
    pub(super) pause: Duration,
}

/// The parts of the local node that a settled agent looks at.
pub(super) struct Seen {
    /// Its answer to `/_up`.
    pub(super) up: UpAnswer,
    /// The names in its `_nodes`.
    pub(super) members: BTreeSet<String>,
    /// The names that it is connected to, its own included.
    pub(super) connected: BTreeSet<String>,
    /// The system databases in its `_dbs`.
    pub(super) databases: BTreeSet<SystemDatabase>,
}

/// Pauses after a round, but not past a change of the StatefulSet, of the Lease or of the local node.
pub(super) async fn rest(
    couch: &Couch,
    directory: &Directory,
    Resting { step, seen, pause }: Resting<'_>,
    knowledge: &mut watch::Receiver<Knowledge>,
) {
    let enough = async {
        if *step == Step::Wait(WaitFor::LocalCouchDb(Unseen::Unreachable)) {
            let _ = timeout(pause, until_it_listens(&directory.endpoint)).await;
        } else if step.kind() == StepKind::Settled {
            // Either way a full round follows.
            let _ = timeout(pause, until_local_node_changes(couch, directory, seen)).await;
        } else {
            sleep(pause).await;
        }
    };
    tokio::select! {
        () = changed(knowledge) => {}
        () = enough => {}
    }
}

/// Returns when Kubernetes reports a change; never where Kubernetes is not used.
async fn changed(knowledge: &mut watch::Receiver<Knowledge>) {
    if knowledge.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One look at the local node, which costs at most one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glance {
    /// A system database that was deleted or created. The call extends the agent's session.
    Databases,
    /// A name that is written into `_nodes` manually, or removed from it, a lost or new connection, and a lockout: the call
    /// has the password.
    Membership,
    /// A restart, where no connection shows it.
    Pulse,
    /// Maintenance mode that is set manually.
    Up,
}

/// The looks, one after the other.
fn glances(scheme: Scheme) -> &'static [Glance] {
    match scheme {
        Scheme::Http => &[Glance::Membership, Glance::Up, Glance::Databases],
        Scheme::Https => &[Glance::Membership, Glance::Up, Glance::Databases, Glance::Pulse],
    }
}

/// The state of the local node that the glances are compared with.
struct Known<'a> {
    couch: &'a Couch,
    local: String,
    up: UpAnswer,
    members: BTreeSet<String>,
    databases: BTreeSet<SystemDatabase>,
    login: Option<LoginRefusal>,
    connected: BTreeSet<String>,
    pulse: (Pulse, Instant),
}

/// Returns when the local CouchDB does not answer, restarted, lost or gained a connection, or differs from what the round
/// observed. Costs one call every [`GLANCE`].
async fn until_local_node_changes(couch: &Couch, directory: &Directory, seen: Seen) {
    let Seen { up, members, connected, databases } = seen;
    let local = directory.local();
    let login = couch.login_refusal(&local);
    let mut watch = RestartWatch::open(&directory.endpoint).await;
    let Ok(pulse) = couch.pulse(&local).await else { return };
    let pulse = (pulse, Instant::now());
    let mut known = Known { couch, local, up, members, databases, login, connected, pulse };
    for glance in glances(directory.endpoint.scheme).iter().cycle() {
        // The connection ends with CouchDB's process: a restart is noticed at once and not at the next glance.
        if let Ok(lasted) = timeout(GLANCE, watch.ended()).await {
            if known.restarted(Some(lasted)).await {
                return;
            }
            watch.reopen(&directory.endpoint, lasted).await;
        } else if known.differs(*glance).await {
            return;
        }
    }
}

impl Known<'_> {
    /// Returns `true` if the node differs, or does not answer.
    async fn differs(&mut self, glance: Glance) -> bool {
        match glance {
            // It ends with a restart of CouchDB, and with another session secret.
            Glance::Databases if self.login.is_none() && !self.couch.has_session(&self.local) => {
                let _ = self.couch.keep_session(&self.local).await;
                false
            }
            Glance::Databases => {
                let databases = self.couch.databases(&self.local).await;
                databases
                    .map_or(true, |now| now.system.into_keys().collect::<BTreeSet<_>>() != self.databases)
            }
            Glance::Membership => self.membership_differs().await,
            Glance::Pulse => self.restarted(None).await,
            Glance::Up => self.couch.up(&self.local).await != self.up,
        }
    }

    async fn membership_differs(&self) -> bool {
        let Ok(membership) = self.couch.membership(&self.local).await else { return true };
        BTreeSet::from_iter(membership.all_nodes) != self.connected
            || BTreeSet::from_iter(membership.cluster_nodes) != self.members
            || self.couch.login_refusal(&self.local) != self.login
    }

    /// Returns `true` if the node restarted, lost or gained a connection, or does not answer. `lasted` is the lifetime of a
    /// connection that has ended.
    async fn restarted(&mut self, lasted: Option<Duration>) -> bool {
        let Ok(pulse) = self.couch.pulse(&self.local).await else { return true };
        let (before, at) = &self.pulse;
        let restarted = before.is_another_than(&pulse, at.elapsed())
            || lasted.is_some_and(|lasted| pulse.began_within(lasted));
        self.pulse = (pulse, Instant::now());
        restarted
    }
}
