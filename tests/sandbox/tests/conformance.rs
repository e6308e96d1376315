//! The stand-in against what real nodes answered; the same scripts against real nodes, when there are any.

use std::error::Error;

use sandbox::conformance::{Report, Script, Target, run};
use sandbox::couchdb::Clock;

/// How much faster the stand-in's time runs here.
const SPEED: f64 = 40.0;

async fn holds(text: &str) {
    let script = Script::parse(text).expect("the script reads");
    let target = Target::stand_ins(&script, Clock::faster(SPEED)).expect("the stand-ins start");
    as_expected(&script, &target).await;
}

async fn as_expected(script: &Script, target: &Target) {
    let Report { asked, differences } = run(script, target).await.unwrap_or_else(|error| panic!("{error}"));
    let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(asked > 0, "the script asks nothing");
    assert!(list.is_empty(), "{} of {asked} answers differ:\n{}", list.len(), list.join("\n"));
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
    k_asking_a_peer,
    l_node_local,
    m_require_valid_user,
    n_uuid,
    p_minority,
    r1_removed_itself,
    r2_removed_while_down,
    r3_removed_and_wiped,
    u_other_ways,
}

const USAGE: &str = "It needs
    COUCHDB_URLS    the nodes, for example http://10.0.0.10:5984,http://10.0.0.11:5984; admin:s3cret, as new
    COUCHDB_SCRIPT  a file of conformance/ without .txt
    COUCHDB_HOOK    optional: a program that makes the nodes new, and does to them what the script says. It is called
                    with the words after `!` in the scripts: `kill 2`, `wipe 2`, `set 2 secret=x chttpd/port=5984`,
                    `start 2` (returns when the node answers), `heal`, .. Without it only scripts that do nothing
                    but ask can be run.
";

/// One script against real nodes.
#[tokio::test]
#[ignore = "needs real nodes: set COUCHDB_URLS and COUCHDB_SCRIPT; run it alone to read how"]
async fn real_nodes() {
    let urls = setting("COUCHDB_URLS").unwrap_or_else(|| panic!("COUCHDB_URLS is not set\n{USAGE}"));
    let wanted = setting("COUCHDB_SCRIPT").unwrap_or_else(|| panic!("COUCHDB_SCRIPT is not set\n{USAGE}"));
    let (_, text) = ALL
        .iter()
        .find(|(name, _)| *name == wanted)
        .unwrap_or_else(|| panic!("there is no script {wanted}\n{USAGE}"));
    let script = Script::parse(text).expect("the script reads");
    let urls: Vec<&str> = urls.split([',', ' ']).filter(|url| !url.is_empty()).collect();
    assert!(urls.len() >= script.nodes, "{wanted} is for {} nodes, {} are given", script.nodes, urls.len());
    let target = match setting("COUCHDB_HOOK") {
        Some(hook) => Target::hooked(&script, &urls, &hook).await,
        None if script.only_asks() => Target::real(&urls[..script.nodes]).await,
        None => panic!("{wanted} does things to its nodes, and COUCHDB_HOOK is not set\n{USAGE}"),
    };
    as_expected(&script, &target.unwrap_or_else(|error| panic!("{error}: {:?}", error.source()))).await;
}

#[expect(clippy::disallowed_methods, reason = "the edge of this program: what is to be tested")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
