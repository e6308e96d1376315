//! Everything that an agent derives from the answers of a peer, without a network: for fuzzing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use agent_core::decide::{NameRule, decide};
use agent_core::explain::Explainer;
use agent_core::facts::{
    ApiState, BrokenMaps, KnownRecord, LeaseState, Login, LostRanges, MaintenanceMode, MoveFacts,
    NamedDatabases, Observed, PodManagement, Publication, UpAnswer, VolumeNote, VolumeOrigin, ZoneFacts,
};
use contract::status::{Admin, Page};
use contract::{Naming, OtherMembers, PodFqdn};
use serde::Deserialize;

use crate::couch::{Databases, IdentityReport, Listed, MapPage, Membership, Pulse, Welcome, is_hash_of};
use crate::observe::Directory;
use crate::observe::nodes::{Report, naming_of};
use crate::publish::page::{self, History, Round};

/// The answers of one peer, each as bytes that may be anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers<'a> {
    /// To `GET /_node/_local`.
    pub name: &'a [u8],
    /// To `GET /`.
    pub welcome: &'a [u8],
    /// To `GET /_membership`.
    pub membership: &'a [u8],
    /// To `GET /_node/_local/_nodes/_all_docs`.
    pub listed: &'a [u8],
    /// To the list of system databases.
    pub databases: &'a [u8],
    /// To `GET /_node/_local/_system`.
    pub system: &'a [u8],
    /// To the sections `admins`, `chttpd_auth` and `couchdb` of the configuration.
    pub config: [&'a [u8]; 3],
    /// A page of shard maps.
    pub maps: &'a [u8],
}

/// Returns the status page of a member after a round in which the peer gave these answers, or `None` if they are not those
/// of a CouchDB. Whoever wrote them must not be able to make the agent panic.
pub fn understand(answers: &Answers<'_>) -> Option<Page> {
    let me: PodFqdn = "db-0.db.shop.svc.cluster.local".parse().ok()?;
    let naming = Naming::usual(&me);
    let mut broken_maps = BrokenMaps::default();
    if let Ok(page) = MapPage::parse(answers.maps) {
        let members = BTreeSet::from([naming.node(0).to_string(), naming.node(1).to_string()]);
        for row in &page.rows {
            if let Some(problem) = row.map().and_then(|map| map.problem(&members)) {
                broken_maps.add(&row.id, problem);
            }
        }
    }
    let names = NameRule::default();
    let peer = report(answers, me.sibling(1).ok()?.pod())?.resolve(&naming, &names);
    let own = member_answers();
    let mut local = report(&own.answers(), me.pod())?.resolve(&naming, &names);
    if let (Ok(local), Ok(peer)) = (&mut local, &peer) {
        // The agent has compared its maps before, and the record may be that of either.
        local.identity.uptime = peer.identity.uptime / 2;
    }
    let observed = Observed {
        me: 0,
        expected: [0, 1].into(),
        founders: [0, 1].into(),
        api: ApiState::Current,
        record: KnownRecord::Absent,
        lease: LeaseState::Free,
        displaced_by: None,
        form_anew: None,
        other_members: OtherMembers::default(),
        zone: ZoneFacts::default(),
        local,
        up: UpAnswer::Serving,
        welcome_uuid: None,
        login: Login::Accepted,
        enabled: true,
        finished: true,
        session_secret: true,
        wanted_copies: 3,
        holds_nothing: false,
        note: VolumeNote::Complete,
        first_note: false,
        origin: VolumeOrigin::Unknown,
        lost: LostRanges::default(),
        accept_loss: None,
        disagreeing: NamedDatabases::default(),
        single_copies: NamedDatabases::default(),
        resharding: false,
        stalled: None,
        maintenance: MaintenanceMode::Off,
        compared: false,
        peers: [(1, peer)].into(),
        broken_maps,
        moves: MoveFacts::default(),
        absent_for: Duration::ZERO,
        port_checks: BTreeMap::new(),
        publication: Publication::Unknown,
    };
    let decision = decide(&observed, PodManagement::Parallel);
    let endpoint = "http://[::1]:5984".parse().ok()?;
    let directory = Directory { me, endpoint, naming, colleagues: BTreeSet::new(), known: HashMap::new() };
    let explainer = Explainer {
        me: &directory.me,
        naming: &directory.naming,
        user: "admin",
        credentials_source: "COUCHDB_USER and COUCHDB_PASSWORD",
        lost_part: None,
        couchdb_url: directory.local(),
    };
    let explained = explainer.decision(&observed, &decision);
    let round = Round { observed: &observed, decision: &decision, explained: &explained };
    let history = History { since: String::new(), rounds: 1, last_error: None, progress: None, moves: None };
    Some(page::after(&directory, round, Admin::default(), history))
}

fn report(answers: &Answers<'_>, pod: &contract::PodName) -> Option<Report> {
    #[derive(Deserialize)]
    struct Name {
        name: String,
    }
    let Name { name } = serde_json::from_slice(answers.name).ok()?;
    let naming = naming_of(&name, pod).ok()?;
    let mut membership: Membership = serde_json::from_slice(answers.membership).ok()?;
    if let Ok(listed) = serde_json::from_slice::<Listed>(answers.listed) {
        membership.cluster_nodes = listed.names();
    }
    let databases = Databases::parse(answers.databases).ok()?;
    let welcome = serde_json::from_slice::<Welcome>(answers.welcome).ok()?;
    let Pulse { uptime, connected } = serde_json::from_slice(answers.system).ok()?;
    let before = Pulse { uptime: Duration::from_secs(60), connected: connected.clone() };
    let now = Pulse { uptime, connected };
    let _ = (before.is_another_than(&now, uptime), now.began_within(uptime));
    let mut identity = IdentityReport::new(uptime);
    for (section, options) in ["admins", "chttpd_auth", "couchdb"].into_iter().zip(answers.config) {
        if let Ok(options) = serde_json::from_slice(options) {
            identity.add(section, options, "admin");
        }
    }
    if let Some(hash) = &identity.admin_hash {
        // Few rounds only: the number is the peer's, and a fuzzer tries many.
        let _ = hash.reveal().ends_with(",1") && is_hash_of(hash.reveal(), "s3cret");
    }
    Some(Report::new((name, naming), welcome.release(), membership, databases, identity))
}

/// Answers of a member, as text.
pub struct MemberAnswers([String; 6]);

/// The answers of the local node.
fn member_answers() -> MemberAnswers {
    MemberAnswers::of(0)
}

impl MemberAnswers {
    /// The answers of the node with this ordinal in a settled cluster of two.
    pub fn of(ordinal: u32) -> Self {
        let [zero, one] = [0, 1].map(|n| format!("couchdb@db-{n}.db.shop.svc.cluster.local"));
        let map = format!(r#"{{"by_range":{{"00000000-ffffffff":["{zero}","{one}"]}}}}"#);
        let rows = ["_replicator", "_users"]
            .map(|name| format!(r#"{{"id":"{name}","key":"{name}","value":{{}},"doc":{map}}}"#));
        Self([
            format!(r#"{{"name":"{}"}}"#, if ordinal == 0 { &zero } else { &one }),
            r#"{"couchdb":"Welcome","uuid":"u","version":"3.5.0"}"#.to_owned(),
            format!(r#"{{"all_nodes":["{zero}","{one}"],"cluster_nodes":["{zero}","{one}"]}}"#),
            format!(r#"{{"total_rows":2,"offset":0,"rows":[{}]}}"#, rows.join(",")),
            format!(r#"{{"uptime":900,"distribution":{{"{zero}":{{}},"{one}":{{}}}}}}"#),
            r#"{"admin":"-pbkdf2-ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957,salt,1"}"#.to_owned(),
        ])
    }

    /// The answers as bytes.
    pub fn answers(&self) -> Answers<'_> {
        let [name, welcome, membership, databases, system, admins] = self.0.each_ref().map(String::as_bytes);
        Answers {
            name,
            welcome,
            membership,
            databases,
            system,
            config: [admins, br#"{"secret":"s"}"#, br#"{"uuid":"u"}"#],
            maps: databases,
            ..Answers::default()
        }
    }
}

impl std::fmt::Debug for MemberAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MemberAnswers").field(&self.0[0]).finish()
    }
}
