//! JSON pointers, below the template, of the lists and entries that a record names.

use serde_json::Value;

use crate::record::{List, Parent, Place};

/// The pointer of an entry, and its value. Of several entries of one name, the last counts, as for Kubernetes.
pub(super) fn find<'t>(template: &'t Value, place: &Place) -> Option<(String, &'t Value)> {
    let list = list_path(template, &place.list)?;
    let (index, item) = last_named(template.pointer(&list)?, &place.name)?;
    Some((format!("{list}/{index}"), item))
}

/// The pointer of a list. For a list of variables, its container must exist.
pub(super) fn list_path(template: &Value, list: &List) -> Option<String> {
    Some(match list {
        List::Containers => "/spec/containers".to_owned(),
        List::InitContainers => "/spec/initContainers".to_owned(),
        List::Volumes => "/spec/volumes".to_owned(),
        List::PullSecrets => "/spec/imagePullSecrets".to_owned(),
        List::Env(container) => {
            let (index, _) = last_named(template.pointer("/spec/containers")?, container)?;
            format!("/spec/containers/{index}/env")
        }
    })
}

/// The pointer of a map or list that was created.
pub(super) fn parent_path(template: &Value, parent: &Parent) -> Option<String> {
    match parent {
        Parent::Metadata => Some("/metadata".to_owned()),
        Parent::Annotations => Some("/metadata/annotations".to_owned()),
        Parent::List(list) => list_path(template, list),
    }
}

fn last_named<'t>(list: &'t Value, name: &str) -> Option<(usize, &'t Value)> {
    let items = list.as_array()?;
    let index = items.iter().rposition(|item| item.get("name").and_then(Value::as_str) == Some(name))?;
    Some((index, &items[index]))
}
