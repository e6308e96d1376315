//! A JSON Patch against a StatefulSet, and the one that carries out a plan on a template without injection: `add`
//! operations only, appended to what is there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use contract::{keys, workload};
use serde::Serialize;

use crate::plan::Plan;
use crate::read::view::{Template, View};
use crate::record::List;

/// Returns the patch that carries out the plan; empty if there is nothing to add.
pub(crate) fn fresh(view: &View<'_>, plan: &Plan) -> String {
    if plan.record.items.is_empty() {
        return String::new();
    }
    // The CREATE of a usual StatefulSet gets a patch of 5 kB.
    let mut patch = Patch { json: Vec::with_capacity(6144) };
    // The items of one list are adjacent.
    for items in plan.record.items.chunk_by(|one, other| one.place.list == other.place.list) {
        let list = &items[0].place.list;
        let texts = plan.additions().filter(|(item, _)| item.place.list == *list).map(|(_, json)| json);
        patch.append(&path(view, list), exists(view, list), texts);
    }
    patch.annotate(&view.spec.template, &plan.record.to_json());
    patch.finish()
}

fn path(view: &View<'_>, list: &List) -> Cow<'static, str> {
    match list {
        List::Containers => "/spec/containers".into(),
        List::InitContainers => "/spec/initContainers".into(),
        List::Env(container) => format!("/spec/containers/{}/env", index(view, container)).into(),
        List::Volumes => "/spec/volumes".into(),
        List::PullSecrets => "/spec/imagePullSecrets".into(),
    }
}

/// The index of a container that variables were planned for, so it exists.
fn index(view: &View<'_>, container: &str) -> usize {
    view.pod().containers.iter().rposition(|it| it.name.as_str() == container).unwrap_or(0)
}

fn exists(view: &View<'_>, list: &List) -> bool {
    let pod = view.pod();
    match list {
        List::Containers => true,
        List::InitContainers => pod.init_containers.is_some(),
        List::Env(container) => pod.containers[index(view, container)].env.is_some(),
        List::Volumes => pod.volumes.is_some(),
        List::PullSecrets => pod.image_pull_secrets.is_some(),
    }
}

/// Path of the record below the template. JSON pointers escape the key's slash.
pub(super) fn record_pointer() -> String {
    format!("/metadata/annotations/{}", keys::INJECTED.replace('/', "~1"))
}

/// A JSON Patch that is being written. All paths are below the template.
#[derive(Debug, Default)]
pub(super) struct Patch {
    json: Vec<u8>,
}

/// An operation without its value.
#[derive(Serialize)]
struct Operation<'o> {
    op: &'static str,
    path: &'o str,
}

impl Patch {
    /// Adds `value` at `path`.
    pub(super) fn add(&mut self, path: &str, value: &impl Serialize) {
        self.add_with(&below_template(path, ""), |json| write(json, value));
    }

    /// Removes the value at `path`.
    pub(super) fn remove(&mut self, path: &str) {
        self.begin(&Operation { op: "remove", path: &below_template(path, "") });
    }

    /// The patch's JSON, or an empty string without operations: the answer to a review then has no patch.
    pub(super) fn finish(mut self) -> String {
        if !self.json.is_empty() {
            self.json.push(b']');
        }
        String::from_utf8(self.json).unwrap_or_default()
    }

    fn begin(&mut self, operation: &Operation<'_>) {
        self.json.push(if self.json.is_empty() { b'[' } else { b',' });
        write(&mut self.json, operation);
    }

    /// Adds the value that `value` writes. The additions of a plan are serialized already, and are only copied here.
    fn add_with(&mut self, path: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.begin(&Operation { op: "add", path });
        // Reopens the operation for its last field.
        self.json.pop();
        self.json.extend_from_slice(b",\"value\":");
        value(&mut self.json);
        self.json.push(b'}');
    }

    /// Appends JSON texts to a list. A list that does not exist is created with all of them in one operation.
    fn append<'i>(&mut self, path: &str, exists: bool, mut texts: impl Iterator<Item = &'i str>) {
        if exists {
            // `/-` is the end of the list, at whatever length it has by then.
            let end = below_template(path, "/-");
            texts.for_each(|text| self.add_with(&end, |json| json.extend_from_slice(text.as_bytes())));
            return;
        }
        self.add_with(&below_template(path, ""), |json| {
            json.push(b'[');
            json.extend_from_slice(texts.next().unwrap_or_default().as_bytes());
            for text in texts {
                json.push(b',');
                json.extend_from_slice(text.as_bytes());
            }
            json.push(b']');
        });
    }

    fn annotate(&mut self, template: &Template<'_>, record: &str) {
        // An operation on a child fails if its parent does not exist.
        match &template.metadata {
            None => self.add("/metadata", &BTreeMap::from([("annotations", annotations(record))])),
            Some(metadata) if metadata.annotations.is_none() => {
                self.add("/metadata/annotations", &annotations(record));
            }
            Some(_) => self.add(&record_pointer(), &record),
        }
    }
}

/// The path in the StatefulSet of a path below its template, and the last part of the path.
fn below_template(path: &str, last: &str) -> String {
    [workload::TEMPLATE, path, last].concat()
}

fn annotations(record: &str) -> BTreeMap<&'static str, &str> {
    BTreeMap::from([(keys::INJECTED, record)])
}

fn write(json: &mut Vec<u8>, value: &impl Serialize) {
    // JSON values in memory cannot fail to serialize.
    let _ = serde_json::to_writer(json, value);
}
