//! A JSON Patch against a StatefulSet, and the one that carries out a plan on a template without injection: `add`
//! operations only, appended to what is there.

use std::collections::BTreeMap;

use contract::{keys, workload};
use serde::Serialize;

use crate::plan::Plan;
use crate::read::annotations::Sidecar;
use crate::read::view::{Template, View};

/// Returns the patch that carries out the plan; empty if there is nothing to add.
pub(crate) fn fresh(view: &View<'_>, plan: &Plan<'_>) -> String {
    if plan.record.items.is_empty() {
        return String::new();
    }
    let pod = view.pod();
    // The CREATE of a usual StatefulSet gets a patch of 5 kB.
    let mut patch = Patch::with_capacity(6144);
    let (list, exists) = match plan.kind {
        Sidecar::Container => ("/spec/containers", true),
        Sidecar::Native => ("/spec/initContainers", pod.init_containers.is_some()),
    };
    patch.append(list, exists, plan.sidecar.as_slice());
    let env = format!("/spec/containers/{}/env", plan.container);
    patch.append(&env, pod.containers[plan.container].env.is_some(), &plan.env);
    patch.append("/spec/volumes", pod.volumes.is_some(), &plan.volumes);
    patch.annotate(&view.spec.template, &plan.record.to_json());
    patch.finish()
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

#[derive(Serialize)]
struct Operation<'o, T> {
    op: &'static str,
    path: Path<'o>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'o T>,
}

/// A path below the template, and what follows it.
struct Path<'o>(&'o str, &'static str);

impl Serialize for Path<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(path, end) = self;
        serializer.collect_str(&format_args!("{}{path}{end}", workload::TEMPLATE))
    }
}

impl Patch {
    fn with_capacity(bytes: usize) -> Self {
        Self { json: Vec::with_capacity(bytes) }
    }

    /// Adds `value` at `path`.
    pub(super) fn add(&mut self, path: &str, value: &impl Serialize) {
        self.push(&Operation { op: "add", path: Path(path, ""), value: Some(value) });
    }

    /// Removes the value at `path`.
    pub(super) fn remove(&mut self, path: &str) {
        self.push(&Operation { op: "remove", path: Path(path, ""), value: None::<&()> });
    }

    /// The patch's JSON, or an empty string without operations: the answer to a review then has no patch.
    pub(super) fn finish(mut self) -> String {
        if !self.json.is_empty() {
            self.json.push(b']');
        }
        String::from_utf8(self.json).unwrap_or_default()
    }

    fn push<T: Serialize>(&mut self, operation: &Operation<'_, T>) {
        self.json.push(if self.json.is_empty() { b'[' } else { b',' });
        // JSON values in memory cannot fail to serialize.
        let _ = serde_json::to_writer(&mut self.json, operation);
    }

    /// Appends to a list. A list that does not exist is created with all items in one operation.
    fn append<T: Serialize>(&mut self, path: &str, exists: bool, items: &[T]) {
        // `/-` is the end of the list, at whatever length it has by then.
        if exists {
            for item in items {
                self.push(&Operation { op: "add", path: Path(path, "/-"), value: Some(item) });
            }
        } else if !items.is_empty() {
            self.add(path, &items);
        }
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

fn annotations(record: &str) -> BTreeMap<&'static str, &str> {
    BTreeMap::from([(keys::INJECTED, record)])
}
