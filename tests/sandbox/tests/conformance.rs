//! The stand-in against what real nodes answered; the same scripts against real nodes, when there are any.

use sandbox::conformance::{Script, Target, run};
use sandbox::couchdb::Clock;

/// How much faster the stand-in's time runs here.
const SPEED: f64 = 40.0;

async fn holds(text: &str) {
    let script = Script::parse(text).expect("the script reads");
    let target = Target::stand_ins(&script, Clock::faster(SPEED)).expect("the stand-ins start");
    match run(&script, &target).await {
        Ok(report) => assert!(report.asked > 0),
        Err(mismatch) => panic!("{mismatch}"),
    }
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                holds(include_str!(concat!("../conformance/", stringify!($name), ".txt"))).await;
            }
        )*

        /// Every script that a real, fresh set of nodes can be asked; each file needs nodes that are as new.
        const ALL: &[(&str, &str)] =
            &[$((stringify!($name), include_str!(concat!("../conformance/", stringify!($name), ".txt")))),*];
    };
}

scripts! {
    a_fresh,
    b_wizard,
    c_join_and_finish,
    e_quorum,
    f1_cookies,
    f2_nodes_docs,
    f3_names,
    f5_bound_to_localhost,
    f6_finished_too_early,
    f7_two_clusters_merged,
    f9_single_node,
    f10_seedlist,
    f11_wiped_member,
    f12_lost_ini,
    f13_lockout,
    f14_wiped_alone,
    f15_lockout_by_add_node,
    g_removed_member,
    h_moving_shards,
    i_maintenance,
    j_cut,
    m_require_valid_user,
    r1_removed_itself,
    r2_removed_while_down,
    r3_removed_and_wiped,
    u_other_ways,
}

/// `COUCHDB_SCRIPT` names one of the scripts; without it the first, which changes nothing, is run.
#[tokio::test]
#[ignore = "needs COUCHDB_URLS: fresh nodes, separated by spaces, admin:s3cret"]
async fn real_nodes() {
    #[expect(clippy::disallowed_methods, reason = "the edge of this program: what is to be tested")]
    let (urls, wanted) = (std::env::var("COUCHDB_URLS"), std::env::var("COUCHDB_SCRIPT"));
    let urls = urls.expect("COUCHDB_URLS is set");
    let wanted = wanted.unwrap_or_else(|_| "a_fresh".to_owned());
    let (_, text) = ALL.iter().find(|(name, _)| *name == wanted).expect("COUCHDB_SCRIPT is a script");
    let script = Script::parse(text).expect("the script reads");
    assert!(script.only_asks(), "{wanted} needs nodes that can be killed");
    let urls: Vec<&str> = urls.split_whitespace().collect();
    assert_eq!(urls.len(), script.nodes, "{wanted} is for {} nodes", script.nodes);
    let target = Target::real(&urls).await.expect("the nodes answer");
    if let Err(mismatch) = run(&script, &target).await {
        panic!("{mismatch}");
    }
}
