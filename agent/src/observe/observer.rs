//! One round of observation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_core::decide::{Step, displaced_by, expectation};
use agent_core::facts::{
    BrokenMaps, LeaseState, LostRanges, NamedDatabases, Observed, PodInstance, Publication, Stalled, Unseen,
    VolumeOrigin,
};
use tokio::time::Instant;

use super::details::Details;
use super::directory::Directory;
use super::nodes::{LocalFacts, Report, ask_local, ask_peers, greet_peers};
use super::service::Service;
use crate::couch::Couch;
use crate::kubernetes::{Claim, Knowledge};
use crate::settings::{Pod, Size};

/// Observes the cluster once a round.
#[derive(Debug)]
pub struct Observer {
    couch: Arc<Couch>,
    directory: Directory,
    service: Service,
    details: Details,
}

/// The facts that are known before a node is asked.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The injected size.
    pub size: Option<Size>,
    /// The pod's own description.
    pub pod: &'a Pod,
    /// The last known state of Kubernetes.
    pub knowledge: &'a Knowledge,
    /// The StatefulSet's Lease, where Kubernetes is used.
    pub claim: Option<&'a Claim>,
    /// The lack of progress of a comparison.
    pub stalled: Option<Stalled>,
}

impl Inputs<'_> {
    fn lease(&self) -> LeaseState {
        self.claim.map_or(LeaseState::NotUsed, |claim| claim.state(self.knowledge, Instant::now()))
    }

    fn displaced_by(&self) -> Option<String> {
        let me = self.pod.uid.clone().zip(self.pod.ip).map(|(uid, ip)| PodInstance { uid, ip });
        displaced_by(me.as_ref(), self.knowledge.occupant.as_ref())
    }
}

impl Observer {
    /// Observes the nodes in `directory`, and `service` where names are missing.
    pub fn new(couch: Arc<Couch>, directory: Directory, service: Service) -> Self {
        Self { couch, directory, service, details: Details::default() }
    }

    /// Addresses and names, as of the last observation.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Asks all nodes, then reads the details that their answers call for. `before` is the step of the last round.
    pub async fn observe(&mut self, inputs: Inputs<'_>, before: Option<&Step>) -> Observed {
        let observed = self.observe_nodes(inputs).await;
        self.details.complete(&self.couch, &self.directory, &self.service, observed, before).await
    }

    async fn observe_nodes(&mut self, inputs: Inputs<'_>) -> Observed {
        let me = self.directory.me.pod().ordinal();
        let set = inputs.knowledge.set.as_ref();
        let expectation = expectation(inputs.size, set);
        let mut peers: BTreeSet<u32> = &expectation.expected | &expectation.founders;
        peers.remove(&me);
        let base = self.directory.local();
        let ask_local = ask_local(&self.couch, &self.directory);
        let ask_peers = ask_peers(&self.couch, &self.directory, peers.clone());
        let (local, up, reports) = if self.couch.has_logged_in() {
            tokio::join!(ask_local, self.couch.up(&base), ask_peers)
        } else {
            // The first login is at the own node. Meanwhile the peers' own agents log in there.
            let (local, ()) = tokio::join!(ask_local, greet_peers(&self.couch, &self.directory, &peers));
            let (up, reports) = tokio::join!(self.couch.up(&base), ask_peers);
            (local, up, reports)
        };
        let welcome_uuid = match local {
            Err(Unseen::LockedOut | Unseen::Rejects) => self.couch.uuid_without_login(&base).await,
            Ok(_) | Err(_) => None,
        };
        let (local, facts) = match local {
            Ok((report, facts)) => (Ok(report), facts),
            Err(unseen) => (Err(unseen), LocalFacts::default()),
        };
        let namings = reports
            .iter()
            .filter_map(|(ordinal, report)| report.as_ref().ok().map(|report| (*ordinal, report.naming())));
        let local_name = local.as_ref().ok().map(Report::local_name);
        // Clusters that existed before may name their nodes otherwise than the official image.
        let naming = self.directory.agree(local_name, &namings.collect()).await;
        let peers = reports
            .into_iter()
            .map(|(ordinal, report)| (ordinal, report.and_then(|report| report.resolve(&naming))))
            .collect();
        let local = local.and_then(|report| report.resolve(&naming));
        self.directory.naming = naming;
        Observed {
            me,
            expected: expectation.expected,
            founders: expectation.founders,
            api: inputs.knowledge.api,
            record: inputs.knowledge.record.clone(),
            lease: inputs.lease(),
            displaced_by: inputs.displaced_by(),
            form_anew: set.and_then(|set| set.form_anew.clone()),
            local,
            up,
            welcome_uuid,
            finished: facts.finished,
            enabled: facts.enabled,
            session_secret: facts.session_secret,
            wanted_copies: facts.wanted_copies,
            note: facts.note.state,
            first_note: facts.note.first,
            origin: VolumeOrigin::Unknown,
            lost: LostRanges::default(),
            accept_loss: set.and_then(|set| set.accept_loss.clone()),
            disagreeing: facts.note.disagreeing,
            single_copies: NamedDatabases::default(),
            resharding: false,
            stalled: inputs.stalled.clone(),
            maintenance: facts.maintenance,
            compared: facts.compared,
            peers,
            broken_maps: BrokenMaps::default(),
            port_checks: BTreeMap::new(),
            publication: Publication::default(),
        }
    }
}
