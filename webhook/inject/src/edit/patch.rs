//! A plan as a JSON Patch against a StatefulSet without injection: `add` operations only, appended to what is there.

use contract::keys;

use crate::json::{self, comma};
use crate::plan::Plan;
use crate::read::annotations::Sidecar;
use crate::read::view::View;

/// The patch that carries out the plan; empty when there is nothing to add.
pub(crate) fn fresh(view: &View<'_>, plan: &Plan) -> String {
    if plan.record.items.is_empty() {
        return String::new();
    }
    let mut patch = Patch(String::with_capacity(6144));
    let spec = &view.spec.template.spec;
    let sidecar = plan.sidecar.as_slice();
    match plan.kind {
        Sidecar::Container => patch.append(CONTAINERS, true, sidecar.iter().map(String::as_str)),
        Sidecar::Native => {
            patch.append(INIT_CONTAINERS, spec.init_containers.is_some(), sidecar.iter().map(String::as_str));
        }
    }
    let path = format!("{CONTAINERS}/{}/env", plan.container);
    let present = spec.containers[plan.container].env.is_some();
    patch.append(&path, present, plan.env.iter().map(|addition| addition.json.as_str()));
    patch.append(VOLUMES, spec.volumes.is_some(), plan.volumes.iter().map(|addition| addition.json.as_str()));
    patch.annotate(view, &plan.record.to_json());
    patch.finish()
}

/// The path of the template; the paths of [`crate::edit::template`] start below it.
pub(crate) const TEMPLATE: &str = "/spec/template";
/// The record's key, with its slash escaped as JSON pointers ask.
pub(crate) fn record_pointer() -> String {
    format!("/metadata/annotations/{}", keys::INJECTED.replace('/', "~1"))
}

const CONTAINERS: &str = "/spec/template/spec/containers";
const INIT_CONTAINERS: &str = "/spec/template/spec/initContainers";
const VOLUMES: &str = "/spec/template/spec/volumes";

/// A JSON Patch in the making.
#[derive(Debug)]
pub(crate) struct Patch(String);

impl Patch {
    /// Without operations.
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    /// Adds `value`, which is JSON, at `path`.
    pub(crate) fn add(&mut self, path: &str, value: &str) {
        self.begin("add", path);
        self.0.push_str(",\"value\":");
        self.0.push_str(value);
        self.0.push('}');
    }

    /// Removes what is at `path`.
    pub(crate) fn remove(&mut self, path: &str) {
        self.begin("remove", path);
        self.0.push('}');
    }

    /// The patch's JSON, or nothing when it has no operations: an empty patch is no patch.
    pub(crate) fn finish(mut self) -> String {
        if !self.0.is_empty() {
            self.0.push(']');
        }
        self.0
    }

    fn begin(&mut self, op: &str, path: &str) {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        self.0.push('{');
        json::field(&mut self.0, "op", op);
        self.0.push(',');
        json::field(&mut self.0, "path", path);
    }

    /// Appends to a list, which is made first where there is none.
    fn append<'i>(&mut self, path: &str, present: bool, items: impl Iterator<Item = &'i str>) {
        let mut items = items.peekable();
        if present {
            let end = format!("{path}/-");
            items.for_each(|item| self.add(&end, item));
        } else if items.peek().is_some() {
            self.begin("add", path);
            self.0.push_str(",\"value\":[");
            for item in items {
                comma(&mut self.0);
                self.0.push_str(item);
            }
            self.0.push_str("]}");
        }
    }

    fn annotate(&mut self, view: &View<'_>, record: &str) {
        let mut value = String::with_capacity(record.len() * 2);
        let map = |value: &mut String| {
            value.push('{');
            json::field(value, keys::INJECTED, record);
            value.push('}');
        };
        match &view.spec.template.metadata {
            None => {
                value.push_str("{\"annotations\":");
                map(&mut value);
                value.push('}');
                self.add("/spec/template/metadata", &value);
            }
            Some(metadata) if metadata.annotations.is_none() => {
                map(&mut value);
                self.add("/spec/template/metadata/annotations", &value);
            }
            Some(_) => {
                json::string(&mut value, record);
                self.add(&format!("{TEMPLATE}{}", record_pointer()), &value);
            }
        }
    }
}
