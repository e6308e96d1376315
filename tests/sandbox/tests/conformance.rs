//! The stand-in held to the answers of real nodes. The same scripts can be run against real nodes, if there are any.

use std::error::Error;

use sandbox::conformance::{Report, Script, Target, run};
use sandbox::couchdb::Clock;

/// The factor by which the stand-in's clock is faster than the real one.
const SPEED: f64 = 40.0;

async fn check_stand_ins(text: &str) {
    let script = Script::parse(text).expect("the script is parsed");
    let target = Target::stand_ins(&script, Clock::faster(SPEED)).expect("the stand-ins start");
    check(&script, &target).await;
}

async fn check(script: &Script, target: &Target) {
    let Report { requests, differences } =
        run(script, target).await.unwrap_or_else(|error| panic!("{error}"));
    let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(requests > 0, "the script contains no request");
    assert!(list.is_empty(), "{} of {requests} answers differ:\n{}", list.len(), list.join("\n"));
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                check_stand_ins(include_str!(concat!("../conformance/", stringify!($name), ".txt"))).await;
            }
        )*

        /// Every script by its name. Each of them needs freshly started nodes.
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
    k_asking_a_peer,
    l_node_local,
    m_require_valid_user,
    n_uuid,
    p_minority,
    q_authentication_handlers,
    q_shard_files,
    r1_removed_itself,
    r2_removed_while_down,
    r3_removed_and_wiped,
    s_internal_replication,
    t_properties_of_three_copies,
    t_properties_of_two_copies,
    s_reading_a_member,
    u_other_ways,
    v_split_shards,
    w_quorum_of_all_ranges,
    x_maps_in_bulk,
    x_old_file,
    x_placeholder,
    x_views,
    y_created_again,
    y_decommissioned_member,
    y_removed_members_list,
    y_two_edits_of_a_map,
    y_zones,
    z_resharding_stopped,
}

const USAGE: &str = "Environment variables of this test:
    COUCHDB_URLS    required: the nodes, for example http://10.0.0.10:5984,http://10.0.0.11:5984; freshly started,
                    with admin 'admin' and password 's3cret'
    COUCHDB_SCRIPT  required: the name of a file of conformance/, without .txt
    COUCHDB_HOOK    optional: a program that creates the nodes and performs the actions of the script. It is called
                    with the words after `!` in the scripts: `kill 2`, `wipe 2`, `set 2 secret=x chttpd/port=5984`,
                    `start 2` (returns when the node answers), `heal`, .. Without it only scripts that consist of
                    requests can be run.
";

/// Runs one script against real nodes.
#[tokio::test]
#[ignore = "needs real nodes: set COUCHDB_URLS and COUCHDB_SCRIPT; run it without them to print the usage"]
async fn real_nodes() {
    let urls = setting("COUCHDB_URLS").unwrap_or_else(|| panic!("COUCHDB_URLS is not set\n{USAGE}"));
    let wanted = setting("COUCHDB_SCRIPT").unwrap_or_else(|| panic!("COUCHDB_SCRIPT is not set\n{USAGE}"));
    let (_, text) = ALL
        .iter()
        .find(|(name, _)| *name == wanted)
        .unwrap_or_else(|| panic!("COUCHDB_SCRIPT: there is no script '{wanted}'\n{USAGE}"));
    let script = Script::parse(text).expect("the script is parsed");
    let urls: Vec<&str> = urls.split([',', ' ']).filter(|url| !url.is_empty()).collect();
    let (needed, given) = (script.nodes, urls.len());
    assert!(given >= needed, "{wanted} needs {needed} nodes, COUCHDB_URLS contains {given}");
    let target = match setting("COUCHDB_HOOK") {
        Some(hook) => Target::hooked(&script, &urls, &hook).await,
        None if script.has_only_requests() => Target::real(&urls[..needed]).await,
        None => panic!("{wanted} performs actions on its nodes, but COUCHDB_HOOK is not set\n{USAGE}"),
    };
    check(&script, &target.unwrap_or_else(|error| panic!("{error}: {:?}", error.source()))).await;
}

#[expect(clippy::disallowed_methods, reason = "settings of a test come from the environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
