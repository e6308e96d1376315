//! Removal of the agent alone: the injected variables stay in the template, and the record describes them.

use serde_json::Value;

use super::ownership::{Stored, is_ours};
use super::place::{find, list_path, parent_path};
use super::template::{annotate, append, remove_empty, remove_ours, strip_agent, strip_variables};
use super::tree::Tree;
use crate::record::{Item, Parent, Record};

/// A variable that stays.
struct Kept {
    item: Item,
    value: Value,
    /// `false` if the template does not have it, and it must be put back.
    is_there: bool,
}

/// Removes the agent, and puts back the stored variables that the template does not set. `own` is the template's record.
///
/// Returns the record of what is left, which is also written into the template. It is empty if no variable is left.
pub(super) fn keep_variables(tree: &mut Tree, own: &Record, stored: Option<&Stored>) -> Record {
    let stored_record = stored.and_then(|stored| stored.record.as_ref());
    let kept = kept(tree.root(), own, stored);
    strip_agent(tree, own, stored);
    // A template whose record was lost on the way may still have the agent.
    if let Some(record) = stored_record {
        strip_agent(tree, record, stored);
    }
    if kept.is_empty() {
        strip_variables(tree, own, stored);
        return Record::default();
    }
    let made = made(tree.root(), own, &kept);
    put_back(tree, &kept, stored);
    let version = match (own.version.as_str(), stored_record) {
        ("", Some(record)) => record.version.clone(),
        (version, _) => version.to_owned(),
    };
    let items = kept.into_iter().map(|kept| kept.item).collect();
    let record = Record { version, items, made, ignored: Vec::new() };
    annotate(tree, &record.to_json());
    // The list of a container whose variables were all taken over or removed by the user.
    remove_empty(tree, own.made.iter().filter(|parent| !record.made.contains(parent)));
    record
}

/// The variables that stay, in the order of the injection.
fn kept(template: &Value, own: &Record, stored: Option<&Stored>) -> Vec<Kept> {
    let mut kept: Vec<Kept> = Vec::new();
    let stored_items = stored.into_iter().flat_map(|stored| stored.record.iter().map(move |it| (stored, it)));
    for (stored, record) in stored_items {
        for item in record.variables() {
            kept.extend(stored_variable(template, own, stored, item));
        }
    }
    for item in own.variables() {
        if kept.iter().all(|kept| kept.item.place != item.place) {
            kept.extend(ours(template, item));
        }
    }
    kept
}

/// A variable of the stored injection: as the template has it, or as it is stored if the template does not have it.
fn stored_variable(template: &Value, own: &Record, stored: &Stored, item: &Item) -> Option<Kept> {
    // Without its container, a variable has no place.
    list_path(template, &item.place.list)?;
    if find(template, &item.place).is_some() {
        // A `rollout undo` brings an older value with its own record. Any other value is the user's.
        let owns = own.items.iter().find(|own| own.place == item.place);
        return owns.and_then(|own| ours(template, own)).or_else(|| ours(template, item));
    }
    let Kept { item, value, .. } = ours(&stored.template, item)?;
    Some(Kept { item, value, is_there: false })
}

fn ours(template: &Value, item: &Item) -> Option<Kept> {
    let (_, value) = find(template, &item.place)?;
    // Variables are compared with their digests alone.
    is_ours(item, value, None).then(|| Kept { item: item.clone(), value: value.clone(), is_there: true })
}

/// The maps and lists that exist for the kept variables and their record, from the outside in.
fn made(template: &Value, own: &Record, kept: &[Kept]) -> Vec<Parent> {
    let mut parents = vec![Parent::Metadata, Parent::Annotations];
    for Kept { item, .. } in kept {
        let parent = Parent::List(item.place.list.clone());
        if !parents.contains(&parent) {
            parents.push(parent);
        }
    }
    parents.retain(|parent| own.made.contains(parent) || is_missing(template, parent));
    parents
}

fn is_missing(template: &Value, parent: &Parent) -> bool {
    let path = parent_path(template, parent);
    path.is_none_or(|path| template.pointer(&path).is_none_or(Value::is_null))
}

/// Appends the missing variables. Those behind the first missing one are moved behind it, since they may refer to it.
fn put_back(tree: &mut Tree, kept: &[Kept], stored: Option<&Stored>) {
    let first = kept.iter().position(|kept| !kept.is_there).unwrap_or(kept.len());
    for Kept { item, .. } in kept[first..].iter().filter(|kept| kept.is_there) {
        remove_ours(tree, item, stored);
    }
    for Kept { item, value, .. } in &kept[first..] {
        append(tree, &item.place, value.clone());
    }
}
