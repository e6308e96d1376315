//! The one place where tests write an [`Observed`] out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::facts::{
    ApiState, BrokenMaps, KnownRecord, LeaseState, Login, LostRanges, MaintenanceMode, MoveFacts,
    NamedDatabases, Node, Observed, Publication, Unseen, UpAnswer, VolumeNote, VolumeOrigin, ZoneFacts,
};
use contract::OtherMembers;

/// A round in which the agent of pod `me` observed `nodes`, its own included. Kubernetes is not used, every node of the
/// StatefulSet is among `nodes`, and the local volume is complete.
pub(crate) fn round(me: u32, mut nodes: BTreeMap<u32, Result<Node, Unseen>>) -> Observed {
    let expected: BTreeSet<u32> = nodes.keys().copied().collect();
    let local = nodes.remove(&me).unwrap_or(Err(Unseen::Unreachable));
    Observed {
        me,
        founders: expected.clone(),
        expected,
        api: ApiState::Off,
        record: KnownRecord::Forbidden,
        lease: LeaseState::NotUsed,
        displaced_by: None,
        form_anew: None,
        other_members: OtherMembers::default(),
        zone: ZoneFacts::default(),
        enabled: true,
        finished: local.as_ref().is_ok_and(|node| node.databases > 0),
        local,
        up: UpAnswer::Serving,
        welcome_uuid: None,
        login: Login::Accepted,
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
        compared: true,
        peers: nodes,
        broken_maps: BrokenMaps::default(),
        moves: MoveFacts::default(),
        absent_for: Duration::MAX,
        port_checks: BTreeMap::new(),
        publication: Publication::default(),
    }
}
