//! The pause between two rounds, and what ends it early.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_core::decide::{GLANCE, Step, StepKind, WaitFor};
use agent_core::facts::{Unseen, UpAnswer};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::couch::{Couch, Pulse};
use crate::kubernetes::Knowledge;
use crate::observe::Directory;
use crate::observe::restart::{RestartWatch, until_it_listens};

/// The end of a round.
pub(super) struct Resting<'a> {
    /// The step that was decided.
    pub(super) step: &'a Step,
    /// The local node's answer to `/_up`.
    pub(super) up: UpAnswer,
    /// The names in the local node's `_nodes`.
    pub(super) members: BTreeSet<String>,
    /// The longest pause.
    pub(super) pause: Duration,
}

/// Pauses after a round, but not past a change of the StatefulSet, of the Lease or of the local node.
pub(super) async fn rest(
    couch: &Couch,
    directory: &Directory,
    Resting { step, up, members, pause }: Resting<'_>,
    knowledge: &mut watch::Receiver<Knowledge>,
) {
    let enough = async {
        if *step == Step::Wait(WaitFor::LocalCouchDb(Unseen::Unreachable)) {
            let _ = timeout(pause, until_it_listens(&directory.endpoint)).await;
        } else if step.kind() == StepKind::Settled {
            // Either way a full round follows.
            let _ = timeout(pause, until_local_node_changes(couch, directory, up, members)).await;
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

/// Returns when the local CouchDB does not answer, restarted, lost or gained a connection, answers `/_up` differently than
/// `up`, or lists other names than `members`. Costs one call every [`GLANCE`], for one of these after the other.
async fn until_local_node_changes(
    couch: &Couch,
    directory: &Directory,
    up: UpAnswer,
    members: BTreeSet<String>,
) {
    let local = directory.local();
    let mut watch = RestartWatch::open(&directory.endpoint).await;
    let mut before: Option<(Pulse, Instant)> = None;
    // The lifetime of the watched connection, in the round after it ended.
    let mut lasted: Option<Duration> = None;
    loop {
        let Ok(pulse) = couch.pulse(&local).await else { return };
        let at = Instant::now();
        let differs =
            before.as_ref().is_some_and(|(before, then)| before.is_another_than(&pulse, at - *then));
        if differs || lasted.is_some_and(|lasted| pulse.began_within(lasted)) {
            return;
        }
        if let Some(lasted) = lasted.take() {
            watch.reopen(&directory.endpoint, lasted).await;
        }
        before = Some((pulse, at));
        // The connection ends with CouchDB's process: a restart is noticed at once and not at the next glance.
        lasted = timeout_at(at + GLANCE, watch.ended()).await.ok();
        if lasted.is_some() {
            continue;
        }
        // Maintenance mode that is set manually shows here only.
        if couch.up(&local).await != up {
            return;
        }
        lasted = timeout(GLANCE, watch.ended()).await.ok();
        if lasted.is_some() {
            continue;
        }
        // A name that is written into `_nodes` manually, or removed from it, shows here only.
        let Ok(membership) = couch.membership(&local).await else { return };
        if BTreeSet::from_iter(membership.cluster_nodes) != members {
            return;
        }
        lasted = timeout(GLANCE, watch.ended()).await.ok();
    }
}
