//! Readiness: would a client that is sent to this pod now get the right answer?

use agent_core::decide::{NotReady, Readiness, Refusal, Step, WaitFor, next_step, readiness};
use agent_core::facts::{
    ApiState, KnownRecord, MaintenanceMode, Node, Observed, PodManagement, Unseen, UpAnswer, VolumeNote,
};

use crate::cluster::{Cluster, cluster, member, with_uuid};

fn reason(observed: &Observed) -> Option<NotReady> {
    match readiness(observed, &next_step(observed), PodManagement::Parallel) {
        Readiness::Ready => None,
        Readiness::NotReady(reason) => Some(reason),
    }
}

fn recorded(uuid: &str, observed: Observed) -> Observed {
    let record = KnownRecord::Formed { uuid: uuid.to_owned(), instead_of: None };
    Observed { api: ApiState::Current, record, ..observed }
}

#[test]
fn a_member_is_ready_only_while_up_serves() {
    let with = |up, maintenance| Observed { up, maintenance, ..cluster(2).members(0..2).observed() };
    assert_eq!(reason(&with(UpAnswer::Serving, MaintenanceMode::Off)), None);
    assert_eq!(reason(&with(UpAnswer::Silent, MaintenanceMode::Off)), Some(NotReady::NotServing));
    // Where every path requires a login, /_up shows no mode.
    for up in [UpAnswer::Closed, UpAnswer::Serving] {
        for mode in [MaintenanceMode::On, MaintenanceMode::NoLb] {
            assert_eq!(reason(&with(up, mode)), Some(NotReady::Closed(mode)));
        }
    }
    let filling = Observed { note: VolumeNote::Filling, ..with(UpAnswer::Closed, MaintenanceMode::On) };
    assert_eq!(reason(&filling), Some(NotReady::Filling), "not closed manually");
}

#[test]
fn a_member_that_refuses_the_agents_login_is_recognized_by_its_peers() {
    for refusal in [Unseen::LockedOut, Unseen::Rejects] {
        let listed = cluster(3).members(0..3).unseen(0, refusal.clone()).observed();
        assert_eq!(reason(&listed), None);
        let closed = Observed { up: UpAnswer::Closed, ..listed };
        assert_eq!(reason(&closed), Some(NotReady::Closed(MaintenanceMode::Off)));
        let removed = cluster(3).members(1..3).unseen(0, refusal.clone()).observed();
        let removed = Observed { welcome_uuid: Some("u".to_owned()), ..recorded("u", removed) };
        assert_eq!(reason(&removed), Some(NotReady::LocalCouchDb), "no member lists it");
        let pristine = cluster(3).joined(0..3).unseen(0, refusal).observed();
        assert_eq!(reason(&pristine), Some(NotReady::LocalCouchDb), "no cluster is formed");
    }
}

/// While a node refuses the login, its peers are asked by reports that any host at a pod's name can make.
#[test]
fn a_single_report_makes_no_member_with_the_recorded_uuid_unready() {
    let with = |uuid: &str| {
        let observed = cluster(3).unseen(0, Unseen::Rejects).members([1]).observed();
        Observed { welcome_uuid: Some(uuid.to_owned()), ..recorded("u", observed) }
    };
    assert_eq!(reason(&with("u")), None);
    assert_eq!(reason(&with("v")), Some(NotReady::LocalCouchDb));
}

#[test]
fn a_member_that_refuses_the_agents_login_is_recognized_by_the_recorded_uuid() {
    let all_reject = (0..3).fold(cluster(3), |cluster, i| cluster.unseen(i, Unseen::Rejects)).observed();
    let with =
        |uuid: &str| Observed { welcome_uuid: Some(uuid.to_owned()), ..recorded("u", all_reject.clone()) };
    assert_eq!(reason(&with("u")), None);
    assert_eq!(reason(&with("v")), Some(NotReady::LocalCouchDb), "the node is of another cluster, or empty");
    assert_eq!(reason(&all_reject), Some(NotReady::LocalCouchDb), "nothing shows that it is a member");
    let displaced = Observed { displaced_by: Some("7c1f".to_owned()), ..with("u") };
    assert!(matches!(reason(&displaced), Some(NotReady::Refused(Refusal::Displaced { .. }))));
}

#[test]
fn of_two_groups_the_one_with_the_recorded_uuid_is_the_cluster() {
    let nodes = |me| {
        let nodes = cluster(3).me(me).node(0, with_uuid("u", 9, member([0])));
        let other = with_uuid("v", 9, member(1..3));
        recorded("u", nodes.all(1..3, &other).observed())
    };
    is_the_cluster(&nodes, [0], [1, 2]);
}

#[test]
fn of_two_groups_the_larger_one_is_the_cluster_even_while_some_of_it_are_silent() {
    let nodes = |me| cluster(3).me(me).node(0, member(0..2)).members([2]).observed();
    is_the_cluster(&nodes, [0], [2]);
}

/// A single node with data, and a newcomer that an image or script gave empty system databases.
#[test]
fn of_two_groups_of_one_size_the_one_that_holds_data_is_the_cluster() {
    let with_data = Node { databases: 3, ..member([1]) };
    let nodes = |me| cluster(2).me(me).members([0]).node(1, with_data.clone()).observed();
    is_the_cluster(&nodes, [1], [0]);
    let both = |me| -> Cluster { cluster(2).me(me).node(0, Node { databases: 4, ..member([0]) }) };
    let undecided = both(0).node(1, with_data.clone()).observed();
    assert!(matches!(next_step(&undecided), Step::Refuse(Refusal::SplitCluster { .. })));
}

/// Members of the cluster stay ready, and the others refuse.
fn is_the_cluster<const N: usize, const M: usize>(
    observed_by: &dyn Fn(u32) -> Observed,
    cluster: [u32; N],
    others: [u32; M],
) {
    for me in cluster {
        let observed = observed_by(me);
        assert_eq!(next_step(&observed), Step::Wait(WaitFor::ForeignPeers(others.into())));
        assert_eq!(reason(&observed), None);
    }
    for me in others {
        let refusal = Refusal::ForeignData { cluster: cluster.into() };
        assert_eq!(next_step(&observed_by(me)), Step::Refuse(refusal));
    }
}
