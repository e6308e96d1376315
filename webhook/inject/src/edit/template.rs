//! Edits of a template that carries an injection.

use serde_json::{Map, Value};

use super::ownership::{Stored, is_ours};
use super::patch::record_pointer;
use super::place::{find, list_path, parent_path};
use super::tree::Tree;
use crate::plan::Plan;
use crate::record::{Item, Parent, Place, Record};

/// Removes the entries that the record names and that are ours, the record, and the empty lists and maps that were created
/// for them.
pub(super) fn strip(tree: &mut Tree, record: &Record, stored: Option<&Stored>) {
    strip_agent(tree, record, stored);
    strip_variables(tree, record, stored);
}

/// The first part of [`strip`]: the agent's container and its volumes.
pub(super) fn strip_agent(tree: &mut Tree, record: &Record, stored: Option<&Stored>) {
    for item in record.items.iter().filter(|item| !item.place.list.is_env()) {
        remove_ours(tree, item, stored);
    }
    let lists = record.made.iter().filter(|parent| matches!(parent, Parent::List(list) if !list.is_env()));
    remove_empty(tree, lists);
}

/// The second part of [`strip`]: the variables and the record.
pub(super) fn strip_variables(tree: &mut Tree, record: &Record, stored: Option<&Stored>) {
    for item in record.variables() {
        remove_ours(tree, item, stored);
    }
    tree.remove(&record_pointer());
    remove_empty(tree, record.made.iter());
}

/// Removes those of the created maps and lists that are empty.
pub(super) fn remove_empty<'p>(tree: &mut Tree, made: impl DoubleEndedIterator<Item = &'p Parent>) {
    // From the inside out, since a map is empty only after the one in it was removed.
    for parent in made.rev() {
        if let Some(path) = parent_path(tree.root(), parent)
            && tree.get(&path).is_some_and(is_empty)
        {
            tree.remove(&path);
        }
    }
}

/// Replaces the injection that the record describes by the planned one. Entries that are in both stay where they are.
pub(super) fn render(tree: &mut Tree, record: &Record, stored: Option<&Stored>, plan: &Plan) {
    let unchanged = unchanged(tree.root(), record, stored, &plan.record);
    for item in record.items.iter().filter(|item| !unchanged.contains(item)) {
        remove_ours(tree, item, stored);
    }
    // Appended at the end: entries before them keep their indices.
    for (item, json) in plan.additions().filter(|(item, _)| !unchanged.contains(item)) {
        append(tree, &item.place, serde_json::from_str(json).unwrap_or_default());
    }
    annotate(tree, &plan.record.to_json());
    // A list that was created for entries of which none is planned any more.
    remove_empty(tree, record.made.iter().filter(|parent| !plan.record.made.contains(parent)));
}

pub(super) fn remove_ours(tree: &mut Tree, item: &Item, stored: Option<&Stored>) {
    if let Some((path, value)) = find(tree.root(), &item.place)
        && is_ours(item, value, stored)
    {
        tree.remove(&path);
    }
}

/// The items of the new injection that the template already has.
///
/// Of the variables only those before the first that differs: later ones may refer to it, and must stay behind it.
fn unchanged<'i>(template: &Value, old: &Record, stored: Option<&Stored>, new: &'i Record) -> Vec<&'i Item> {
    let mut unchanged = Vec::new();
    let mut variables_differ = false;
    for item in &new.items {
        let is_variable = item.place.list.is_env();
        let is_there = old.items.contains(item)
            && find(template, &item.place).is_some_and(|(_, value)| is_ours(item, value, stored));
        variables_differ |= is_variable && !is_there;
        if is_there && !(is_variable && variables_differ) {
            unchanged.push(item);
        }
    }
    unchanged
}

pub(super) fn append(tree: &mut Tree, place: &Place, value: Value) {
    let Some(path) = list_path(tree.root(), &place.list) else { return };
    match tree.get(&path).and_then(Value::as_array) {
        Some(items) => {
            let end = format!("{path}/{}", items.len());
            tree.add(end, value);
        }
        None => tree.add(path, Value::Array(vec![value])),
    }
}

pub(super) fn annotate(tree: &mut Tree, record: &str) {
    let path = record_pointer();
    let value = Value::from(record);
    // Rendered from the same settings by the same version: no change, so the pods do not restart.
    if tree.get(&path) == Some(&value) {
        return;
    }
    for parent in ["/metadata", "/metadata/annotations"] {
        if !tree.get(parent).is_some_and(Value::is_object) {
            tree.add(parent.to_owned(), Value::Object(Map::new()));
        }
    }
    tree.add(path, value);
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
