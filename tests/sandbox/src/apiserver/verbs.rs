//! From a request to a changed object, in two pure halves: the draft, which admission may change, and the commit.

use std::time::Duration;

use serde_json::{Value, json};

use super::defaults;
use super::merge::{self, PatchKind};
use super::path::{Key, Target};
use super::status::ApiError;
use super::store::{Store, remove};
use crate::date::rfc3339;

/// What admission is told that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// PUT or PATCH.
    Update,
    /// DELETE.
    Delete,
}

impl Operation {
    /// As reviews and rules spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A write, as its request says it.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) method: String,
    pub(crate) target: Target,
    pub(crate) body: Value,
    pub(crate) patch: Option<PatchKind>,
    pub(crate) field_manager: String,
    pub(crate) dry_run: bool,
}

/// A write on its way through admission.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) operation: Operation,
    pub(crate) target: Target,
    pub(crate) key: Key,
    /// What is stored now.
    pub(crate) old: Option<Value>,
    /// What is to be stored; the old object at a deletion.
    pub(crate) new: Value,
    pub(crate) field_manager: String,
    pub(crate) dry_run: bool,
}

impl Draft {
    pub(crate) fn of(store: &mut Store, write: &Write, now: Duration) -> Result<Self, ApiError> {
        let mut body = write.body.clone();
        if write.method == "POST" && body["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            let prefix = body["metadata"]["generateName"].as_str().map(str::to_owned);
            if let Some(prefix) = prefix {
                body["metadata"]["name"] = json!(format!("{prefix}{}", store.suffix()));
            }
        }
        let in_body = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let name = write.target.name.clone().unwrap_or(in_body);
        let key = write.target.key(&name);
        let old = store.get(&key).cloned();
        let (operation, new) = wanted(write, &name, old.as_ref(), body)?;
        let mut draft = Self {
            operation,
            target: write.target.clone(),
            key,
            old,
            new,
            field_manager: write.field_manager.clone(),
            dry_run: write.dry_run,
        };
        if operation != Operation::Delete {
            draft.complete(write, &name, now);
        }
        Ok(draft)
    }

    fn complete(&mut self, write: &Write, name: &str, now: Duration) {
        let resource = &self.target.resource;
        let mut object = json!({"kind": resource.kind(), "apiVersion": resource.api_version()});
        for (field, value) in self.new.as_object().into_iter().flatten() {
            object[field] = value.clone();
        }
        object["metadata"]["name"] = json!(name);
        if let Some(namespace) = &self.target.namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        if self.operation == Operation::Create {
            for field in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
                remove(&mut object["metadata"], field);
            }
            if write.target.resource.plural == "statefulsets" {
                remove(&mut object, "status");
            }
        }
        manage(&mut object, write, now);
        defaults::fill(resource, &mut object);
        self.new = object;
    }

    /// After admission: defaults once more, for what it added, and the rules.
    pub(crate) fn settle(&mut self) -> Result<(), ApiError> {
        if self.operation == Operation::Delete || self.target.subresource.is_some() {
            return Ok(());
        }
        defaults::fill(&self.target.resource, &mut self.new);
        defaults::check(&self.target.resource, &self.new, self.old.as_ref())
    }

    /// Stores it. `None`: someone else was faster, and the draft must be made anew.
    pub(crate) fn commit(self, store: &mut Store, now: Duration) -> Option<(u16, Value)> {
        let stored = store.get(&self.key);
        if stored.map(version) != self.old.as_ref().map(version) {
            return None;
        }
        let created = self.operation == Operation::Create;
        if self.dry_run {
            return Some((if created { 201 } else { 200 }, self.new));
        }
        Some(match (self.operation, self.old) {
            (Operation::Create, _) | (Operation::Update, None) => {
                (201, store.create(self.key, self.new, now))
            }
            (Operation::Update, Some(old)) => (200, store.update(self.key, &old, self.new)),
            (Operation::Delete, Some(old)) => {
                let (last, gone) = store.delete(&self.key, old, now);
                (200, if gone { deleted(&self.target, &last) } else { last })
            }
            (Operation::Delete, None) => (200, Value::Null),
        })
    }
}

/// What the method does, and to what object that leads.
fn wanted(
    write: &Write,
    name: &str,
    old: Option<&Value>,
    body: Value,
) -> Result<(Operation, Value), ApiError> {
    let (resource, name_owned) = (write.target.resource.clone(), name.to_owned());
    match (write.method.as_str(), old) {
        ("POST", Some(_)) => Err(ApiError::AlreadyExists { resource, name: name_owned }),
        ("POST", None) => Ok((Operation::Create, body)),
        // Server-side apply makes what isn't there.
        ("PATCH", None) if write.patch == Some(PatchKind::Apply) => Ok((Operation::Create, body)),
        ("PUT" | "PATCH" | "DELETE", None) => Err(ApiError::NotFound { resource, name: name_owned }),
        ("PUT", Some(old)) => Ok((Operation::Update, replaced(write, old, body, name)?)),
        ("PATCH", Some(old)) => Ok((Operation::Update, patched(write, old, &body, name)?)),
        ("DELETE", Some(old)) => {
            preconditions(&write.target, name, old, &body["preconditions"])?;
            Ok((Operation::Delete, old.clone()))
        }
        _ => Err(ApiError::NotAllowed),
    }
}

fn patched(write: &Write, old: &Value, patch: &Value, name: &str) -> Result<Value, ApiError> {
    let kind =
        write.patch.ok_or_else(|| ApiError::BadRequest { message: "unknown patch type".to_owned() })?;
    let changed = merge::apply(kind, part(write, old), patch).map_err(|what| ApiError::Invalid {
        kind: write.target.resource.kind(),
        name: name.to_owned(),
        what,
    })?;
    replaced(write, old, changed, name)
}

fn deleted(target: &Target, last: &Value) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": last["metadata"]["name"],
            "group": target.resource.group,
            "kind": target.resource.plural,
            "uid": last["metadata"]["uid"],
        },
    })
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

/// What of the object a subresource shows.
fn part(write: &Write, old: &Value) -> Value {
    match write.target.subresource.as_deref() {
        Some("scale") => scale(old),
        Some(_) | None => old.clone(),
    }
}

/// The object after a PUT, or after a patch was applied: what the subresource may change, and nothing else.
fn replaced(write: &Write, old: &Value, body: Value, name: &str) -> Result<Value, ApiError> {
    let given = body["metadata"]["name"].as_str();
    if given.is_some_and(|given| given != name) {
        let message = format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            given.unwrap_or_default()
        );
        return Err(ApiError::BadRequest { message });
    }
    if version(&body).as_str().is_some_and(|v| !v.is_empty()) && version(&body) != version(old) {
        return Err(conflict(&write.target, name));
    }
    Ok(match write.target.subresource.as_deref() {
        Some("scale") => {
            let mut scaled = old.clone();
            // Zero replicas come as no replicas.
            scaled["spec"]["replicas"] = json!(body["spec"]["replicas"].as_u64().unwrap_or(0));
            scaled
        }
        Some("status") => {
            let mut with_status = old.clone();
            with_status["status"] = body["status"].clone();
            with_status
        }
        Some(_) => body,
        None => {
            let mut whole = body;
            if matches!(write.target.resource.plural.as_str(), "statefulsets" | "pods") {
                match old.get("status") {
                    Some(status) => whole["status"] = status.clone(),
                    None => remove(&mut whole, "status"),
                }
            }
            whole
        }
    })
}

fn conflict(target: &Target, name: &str) -> ApiError {
    ApiError::Conflict { resource: target.resource.clone(), name: name.to_owned() }
}

fn preconditions(target: &Target, name: &str, old: &Value, wanted: &Value) -> Result<(), ApiError> {
    for field in ["uid", "resourceVersion"] {
        if wanted[field].is_string() && wanted[field] != old["metadata"][field] {
            return Err(conflict(target, name));
        }
    }
    Ok(())
}

/// The `Scale` of a StatefulSet.
pub(crate) fn scale(object: &Value) -> Value {
    let meta = &object["metadata"];
    let labels = object["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
    let selector: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let replicas = object["spec"]["replicas"].as_u64().unwrap_or(1);
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "creationTimestamp": meta["creationTimestamp"],
        },
        // Zero is left out, as a real one does.
        "spec": if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) },
        "status": {"replicas": object["status"]["replicas"].as_u64().unwrap_or(0), "selector": selector.join(",")},
    })
}

/// Writes down who changed what. Who applied owns what it sent; others own what they touched, which isn't imitated.
fn manage(object: &mut Value, write: &Write, now: Duration) {
    if write.field_manager.is_empty() {
        return;
    }
    let applied = write.patch == Some(PatchKind::Apply);
    let operation = if applied { "Apply" } else { "Update" };
    let mut entry = json!({
        "manager": write.field_manager,
        "operation": operation,
        "apiVersion": write.target.resource.api_version(),
        "time": rfc3339(now),
        "fieldsType": "FieldsV1",
        "fieldsV1": if applied { merge::fields_v1(&write.body) } else { json!({}) },
    });
    if let Some(subresource) = &write.target.subresource {
        entry["subresource"] = json!(subresource);
    }
    let mut managed = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    managed.retain(|old| {
        old["manager"] != entry["manager"]
            || old["operation"] != entry["operation"]
            || old["subresource"] != entry["subresource"]
    });
    managed.push(entry);
    object["metadata"]["managedFields"] = Value::Array(managed);
}
