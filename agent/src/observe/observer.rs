//! One round of observation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent_core::decide::{NameRule, Step, displaced_by, expectation};
use agent_core::facts::{
    BrokenMaps, LeaseState, Login, LostRanges, MapDemands, MoveFacts, NamedDatabases, Node, Observed, Pause,
    PodInstance, Publication, Stalled, Unseen, UpAnswer, VolumeOrigin, ZoneFacts,
};
use contract::error::chain;
use contract::moves::NodeCopies;
use tokio::time::Instant;
use tracing::debug;

use super::agents::ask_agents;
use super::details::Details;
use super::directory::Directory;
use super::nodes::{LocalFacts, Report, ask_introduction, ask_local};
use super::peers::{ask_peers, greet_peers};
use super::service::Service;
use super::ways::{Way, Ways};
use crate::couch::{Couch, LoginRefusal, Routes};
use crate::kubernetes::{Claim, Knowledge};
use crate::settings::{Pod, Secret, Size};

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
    /// The standstill of a comparison.
    pub stalled: Option<Stalled>,
    /// The moves that this agent has led.
    pub moves: Moves,
    /// The current time, RFC 3339.
    pub now: String,
}

/// The state of moves that this agent leads.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// The number of tasks that this process has ended.
    pub ended: u64,
    /// The reason why no copy is moved just now.
    pub paused: Option<Pause>,
}

impl Inputs<'_> {
    fn lease(&self) -> LeaseState {
        self.claim.map_or(LeaseState::NotUsed, |claim| claim.state(self.knowledge, Instant::now()))
    }

    /// The copies on each pod by the record.
    fn recorded(&self) -> BTreeMap<u32, NodeCopies> {
        self.knowledge.copies.clone().by_ordinal()
    }

    fn displaced_by(&self) -> Option<String> {
        let me = self.pod.uid.clone().zip(self.pod.ip).map(|(uid, ip)| PodInstance { uid, ip });
        displaced_by(me.as_ref(), self.knowledge.occupant.as_ref())
    }
}

/// The answers of all nodes, with names as the nodes report them.
struct Asked {
    local: Result<Report, Unseen>,
    facts: LocalFacts,
    up: UpAnswer,
    reports: BTreeMap<u32, Result<Report, Unseen>>,
    /// The peers that their agents were asked about.
    reported: BTreeMap<u32, Result<Node, Unseen>>,
    login: Login,
    welcome_uuid: Option<String>,
}

impl Observer {
    /// Observes the nodes in `directory`, and `service` where names are missing.
    pub fn new(couch: Arc<Couch>, directory: Directory, service: Service) -> Self {
        // Before the first round, only the local node gets the password.
        couch.set_routes(Routes { local: directory.local(), ..Routes::default() });
        Self { couch, directory, service, details: Details::default() }
    }

    /// Addresses and names, as of the last observation.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Asks all nodes, then reads the details that their answers call for. `before` is the step of the last round.
    pub async fn observe(&mut self, inputs: Inputs<'_>, before: Option<&Step>) -> Observed {
        self.details.moves_ended(inputs.moves.ended);
        self.details.begin(inputs.now.clone());
        let observed = self.observe_nodes(inputs).await;
        self.details.complete(&self.couch, &self.directory, &self.service, observed, before).await
    }

    /// Notes that the copies of the last round were written into the record.
    pub fn copies_recorded(&mut self) {
        self.details.copies_recorded();
    }

    /// Forgets the copies of the last round: they are recorded when the maps have been read again.
    pub fn forget_copies(&mut self) {
        self.details.forget_copies();
    }

    async fn observe_nodes(&mut self, inputs: Inputs<'_>) -> Observed {
        let me = self.directory.me.pod().ordinal();
        let set = inputs.knowledge.set.as_ref();
        let expectation = expectation(inputs.size, set);
        let mut peers: BTreeSet<u32> = &expectation.expected | &expectation.founders;
        peers.remove(&me);
        let (recorded, others) =
            (inputs.recorded(), set.map(|set| set.other_members.clone()).unwrap_or_default());
        let names = NameRule::new(me, &expectation, &recorded, others);
        let Asked { local, facts, up, reports, reported, login, welcome_uuid } =
            self.ask_nodes(peers, &names).await;
        let (local, mut peers) = self.resolve(local, reports, &names).await;
        peers.extend(reported);
        Observed {
            me,
            expected: expectation.expected,
            founders: expectation.founders,
            api: inputs.knowledge.api,
            record: inputs.knowledge.record.clone(),
            lease: inputs.lease(),
            displaced_by: inputs.displaced_by(),
            form_anew: set.and_then(|set| set.form_anew.clone()),
            other_members: names.others,
            zone: ZoneFacts {
                rule: set.and_then(|set| set.zone.clone()),
                of_pod: inputs.knowledge.zone.clone(),
                own: None,
            },
            local,
            up,
            welcome_uuid,
            login,
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
            holds_nothing: facts.holds_nothing,
            maintenance: facts.maintenance,
            compared: facts.compared,
            peers,
            broken_maps: BrokenMaps::default(),
            moves: MoveFacts {
                leaving: expectation.leaving,
                rebalance: set.map(|set| set.rebalance).unwrap_or_default(),
                copies: set.and_then(|set| set.copies).map(u32::from),
                recorded,
                recorded_for: None,
                counted: None,
                paused: inputs.moves.paused.clone(),
                maps: MapDemands::default(),
            },
            absent_for: Duration::ZERO,
            port_checks: BTreeMap::new(),
            publication: Publication::default(),
        }
    }

    /// Asks the local node, then all peers, each in the way that its membership allows.
    async fn ask_nodes(&mut self, peers: BTreeSet<u32>, names: &NameRule) -> Asked {
        let base = self.directory.local();
        let introduction = ask_introduction(&self.couch, &self.directory);
        // The first login is at the own node. Meanwhile the peers' own agents log in there.
        let introduction = if self.couch.has_logged_in() {
            introduction.await
        } else {
            tokio::join!(introduction, greet_peers(&self.couch, &self.directory, &peers)).0
        };
        let connected = introduction.as_ref().map(|introduction| introduction.members(&peers, names));
        let connected = connected.unwrap_or_default();
        let scheme = self.directory.endpoint.scheme;
        let ways = Ways::choose(scheme, introduction.as_ref().ok(), &connected, &peers);
        self.route(&ways, connected.colleagues);
        let (local, up, mut reports, reported) = tokio::join!(
            ask_local(&self.couch, &self.directory, introduction.as_ref().map_err(Clone::clone)),
            self.couch.up(&base),
            ask_peers(&self.couch, &self.directory, &ways, &peers),
            ask_agents(&self.couch, &self.directory, ways.agents()),
        );
        let login = self.login(&base, &local).await;
        let hash = local.as_ref().ok().and_then(|(report, _)| report.admin_hash.clone());
        self.refuse_other_passwords(&ways, hash.filter(|_| login == Login::Accepted), &mut reports).await;
        let welcome_uuid = match local {
            Err(Unseen::LockedOut | Unseen::LoginIgnored | Unseen::Rejects) => {
                self.couch.uuid_without_login(&base).await
            }
            Ok(_) | Err(_) => None,
        };
        let (local, facts) = match local {
            Ok((report, facts)) => (Ok(report), facts),
            Err(unseen) => (Err(unseen), LocalFacts::default()),
        };
        Asked { local, facts, up, reports, reported, login, welcome_uuid }
    }

    /// The reports with ordinals instead of names, by the naming rule that the nodes agree on.
    async fn resolve(
        &mut self,
        local: Result<Report, Unseen>,
        reports: BTreeMap<u32, Result<Report, Unseen>>,
        names: &NameRule,
    ) -> (Result<Node, Unseen>, BTreeMap<u32, Result<Node, Unseen>>) {
        let namings = reports
            .iter()
            .filter_map(|(ordinal, report)| report.as_ref().ok().map(|report| (*ordinal, report.naming())));
        let local_name = local.as_ref().ok().map(Report::local_name);
        // Clusters that existed before may name their nodes otherwise than the official image.
        let naming = self.directory.agree(local_name, &namings.collect()).await;
        let peers = reports
            .into_iter()
            .map(|(ordinal, report)| (ordinal, report.and_then(|report| report.resolve(&naming, names))))
            .collect();
        let local = local.and_then(|report| report.resolve(&naming, names));
        self.directory.naming = naming;
        (local, peers)
    }

    /// From now on, sends calls about connected members through the local node, and the password to no address but those
    /// that `ways` allows. Tasks of earlier rounds go the same ways.
    fn route(&mut self, ways: &Ways, colleagues: BTreeSet<String>) {
        let base = |peer| Some(self.directory.peer(&self.directory.me.sibling(peer).ok()?));
        let pods = ways.members().filter_map(|(peer, name)| Some((base(peer)?, name.clone())));
        // A name is no address: without the local node, no call about it is sent anywhere.
        let names = pods.chain(colleagues.iter().map(|name| (name.clone(), name.clone()))).collect();
        let addresses = ways.addresses().filter_map(base).collect();
        self.couch.set_routes(Routes { local: self.directory.local(), names, addresses });
        self.directory.colleagues = colleagues;
    }

    /// The local node's answer to the password. Opens a session at an established node, for the time of a lockout.
    async fn login(&self, base: &str, local: &Result<(Report, LocalFacts), Unseen>) -> Login {
        match self.couch.login_refusal(base) {
            Some(LoginRefusal::Ignored) => return Login::Ignored,
            Some(LoginRefusal::Lockout) => return Login::LockedOut,
            Some(LoginRefusal::Rejection) => return Login::Rejected,
            None => {}
        }
        if local.as_ref().is_ok_and(|(report, _)| report.is_established())
            && let Err(error) = self.couch.keep_session(base).await
        {
            debug!(error = chain(&error), "failed to open a session");
        }
        Login::Accepted
    }

    /// Members with another password count as unseen, as if they had refused a login: their hashes must not replace one
    /// of this password. A member with the hash of the local node, which accepts the password, has the same.
    async fn refuse_other_passwords(
        &self,
        ways: &Ways,
        accepted: Option<Secret>,
        reports: &mut BTreeMap<u32, Result<Report, Unseen>>,
    ) {
        for (ordinal, report) in reports {
            if !matches!(ways.to(*ordinal), Way::Member(_)) {
                continue;
            }
            // The hash of a pristine node is replaced when the cluster is formed.
            let Some(member) = report.as_ref().ok().filter(|report| report.is_established()) else {
                continue;
            };
            let accepts = match &member.admin_hash {
                Some(hash) if Some(hash) == accepted.as_ref() => true,
                Some(hash) => self.couch.is_own_password(hash.reveal().to_owned()).await,
                None => false,
            };
            if !accepts {
                *report = Err(Unseen::Rejects);
            }
        }
    }
}
