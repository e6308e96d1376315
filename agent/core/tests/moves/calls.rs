//! Single decisions about one database: from facts to the next call.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::moves::{
    Action, Change, Document, Facts, FileFacts, FileKey, Hindrance, Move, Pace, Phase, Roster, Waiting, Work,
};
use agent_core::shards::Properties;
use serde_json::json;

const RANGE: &str = "00000000-ffffffff";
const FILL: &str = "couchdiscover-fill-1-to-0@127.0.0.1";
const PACE: Pace = Pace { readers: Duration::from_secs(60), readers_while_raised: Duration::from_secs(60) };

fn roster() -> Roster {
    Roster::new([(0, name(0)), (1, name(1))].into(), [1].into())
}

fn name(ordinal: u32) -> String {
    format!("couchdb@db-{ordinal}.db")
}

/// The map of a database with a single copy on node 1, and with this suffix of its files.
fn document(suffix: u8) -> Document {
    let map = json!({
        "_rev": "1-a", "shard_suffix": [46, suffix], "changelog": [["add", RANGE, name(1)]],
        "by_range": { RANGE: [name(1)] }, "by_node": { name(1): [RANGE] },
    });
    Document::parse("orders", map.as_object().unwrap().clone()).unwrap()
}

fn changed(document: &Document, changes: &[Change]) -> Document {
    Document::parse("orders", document.after(changes).unwrap()).unwrap()
}

/// The same, while the copy is filled on node 0.
fn filling() -> Document {
    changed(&document(49), &[Change::add(RANGE, FILL)])
}

fn planned() -> Work {
    Work::planned(&document(49), vec![Move { range: RANGE.to_owned(), from: Some(1), to: Some(0) }])
}

/// A file with one change, which was replicated to the file `other`.
fn file(uuid: &str, other: &str, revs_limit: u64) -> FileFacts {
    FileFacts {
        uuid: Some(uuid.to_owned()),
        last_change: 1,
        checkpoints: [(other.to_owned(), 1)].into(),
        properties: Some(Properties { security: json!({}), revs_limit }),
        ..FileFacts::default()
    }
}

fn files(files: [(u32, FileFacts); 2]) -> BTreeMap<FileKey, FileFacts> {
    files.map(|(ordinal, file)| ((RANGE.to_owned(), name(ordinal)), file)).into()
}

/// The files while the target has everything. `revs_limit` is the target's.
fn complete(revs_limit: u64) -> BTreeMap<FileKey, FileFacts> {
    files([(0, file("y", "x", revs_limit)), (1, file("x", "y", 33))])
}

fn facts<'a>(document: &'a Document, files: &'a BTreeMap<FileKey, FileFacts>) -> Facts<'a> {
    Facts { document, conflicts: false, spread: true, files, indexing: false }
}

fn next(work: &mut Work, facts: &Facts<'_>) -> Action {
    work.next(facts, &roster(), PACE, Duration::ZERO)
}

#[test]
fn an_old_file_of_the_target_is_deleted_before_the_map_changes() {
    let both = complete(33);
    let delete = Action::Delete((RANGE.to_owned(), name(0)));
    assert_eq!(next(&mut planned(), &facts(&document(49), &both)), delete);
    let without = files([(0, FileFacts::default()), (1, file("x", "y", 33))]);
    let begin = Action::Change(vec![Change::add(RANGE, FILL)]);
    assert_eq!(next(&mut planned(), &facts(&document(49), &without)), begin);
}

#[test]
fn two_leaders_with_one_plan_make_the_same_change_and_a_late_one_follows_the_map() {
    let without = files([(0, FileFacts::default()), (1, file("x", "y", 33))]);
    let (mut first, mut second) = (planned(), planned());
    let begin = next(&mut first, &facts(&document(49), &without));
    assert_eq!(next(&mut second, &facts(&document(49), &without)), begin);
    // The change of the second one is refused (409): it reads the map again.
    assert_eq!(next(&mut second, &facts(&filling(), &without)), Action::Replicate);
    assert_eq!(second.phase(), Phase::Fill);
}

#[test]
fn a_map_with_conflicts_is_not_changed() {
    let files = complete(33);
    let conflicting = document(49);
    let conflicting = Facts { conflicts: true, ..facts(&conflicting, &files) };
    assert_eq!(next(&mut planned(), &conflicting), Action::GiveUp(Hindrance::Conflicts));
}

#[test]
fn the_map_of_a_database_that_was_created_again_is_not_changed() {
    let files = complete(33);
    let mut work = planned();
    assert_eq!(next(&mut work, &facts(&document(50), &files)), Action::GiveUp(Hindrance::Replaced));
}

#[test]
fn nothing_is_changed_while_a_node_has_another_map() {
    let files = complete(33);
    let filling = filling();
    let mut work = Work::begun(&filling, &roster()).unwrap();
    let apart = Facts { spread: false, ..facts(&filling, &files) };
    assert_eq!(next(&mut work, &apart), Action::Wait(Waiting::Map));
}

/// The target enters the map with everything that internal replication leaves out, and with its views.
#[test]
fn a_copy_has_its_properties_and_local_documents_and_views_before_readers_meet_it() {
    let filling = filling();
    let mut work = Work::begun(&filling, &roster()).unwrap();
    let mut calls = vec![];
    let (mut revs_limit, mut indexing) = (1000, true);
    for _ in 0..20 {
        let files = complete(revs_limit);
        let action = next(&mut work, &Facts { indexing, ..facts(&filling, &files) });
        match &action {
            Action::Copy(_) => {
                work.copied();
                revs_limit = 33;
            }
            Action::Wait(Waiting::Views) => indexing = false,
            Action::Change(_)
            | Action::Delete(_)
            | Action::Done
            | Action::GiveUp(_)
            | Action::Replicate
            | Action::Wait(_) => {}
        }
        if calls.last() != Some(&action) {
            calls.push(action.clone());
        }
        if matches!(action, Action::Change(_)) {
            break;
        }
    }
    let order: Vec<&Action> = calls.iter().filter(|call| !matches!(call, Action::Replicate)).collect();
    assert!(
        matches!(order.as_slice(), [Action::Copy(_), Action::Wait(Waiting::Views), Action::Change(_)]),
        "{calls:?}"
    );
}
