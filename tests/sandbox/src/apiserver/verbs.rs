//! Writes of objects, in two pure steps: a draft, which admission may change, and its commit to the store.

use std::time::Duration;

use serde_json::{Value, json};

use super::defaults;
use super::merge::{self, PatchKind};
use super::path::{Key, Target};
use super::status::ApiError;
use super::store::Store;
use crate::date::rfc3339;
use crate::json::{remove, text};

/// The kind of a write, as admission distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// POST, or server-side apply of an object that does not exist.
    Create,
    /// PUT or PATCH of an existing object.
    Update,
    /// DELETE.
    Delete,
}

impl Operation {
    /// The spelling in admission reviews and webhook rules.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    /// The kind of the options in an admission review.
    pub(crate) fn options_kind(self) -> &'static str {
        match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Delete => "DeleteOptions",
        }
    }
}

/// A write as it was requested.
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
    /// The object as it is stored now.
    pub(crate) old: Option<Value>,
    /// The object to store; for a deletion, the old object.
    pub(crate) new: Value,
    pub(crate) field_manager: String,
    pub(crate) dry_run: bool,
}

impl Draft {
    /// Applies a write to the stored object, without storing the result.
    pub(crate) fn of(store: &mut Store, write: &Write, now: Duration) -> Result<Self, ApiError> {
        let mut body = write.body.clone();
        if write.method == "POST"
            && text(&body["metadata"]["name"]).is_empty()
            && let Some(prefix) = body["metadata"]["generateName"].as_str()
        {
            body["metadata"]["name"] = json!(format!("{prefix}{}", store.suffix()));
        }
        // A POST has the name only in its body; all other methods have it in the URL.
        let name = write.target.name.clone().unwrap_or_else(|| text(&body["metadata"]["name"]).to_owned());
        let key = write.target.key(&name);
        let old = store.get(&key).cloned();
        let (operation, new) = requested(write, &name, old.as_ref(), body)?;
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

    /// Fills in the fields that the server owns, the managed fields and the defaults.
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
        // A client that copies an existing object cannot set these for the new one.
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

    /// Completes the draft after admission: defaults for the parts that webhooks added, then validation.
    pub(crate) fn settle(&mut self) -> Result<(), ApiError> {
        if self.operation == Operation::Delete || self.target.subresource.is_some() {
            return Ok(());
        }
        // A container that a webhook added has no defaults yet.
        defaults::fill(&self.target.resource, &mut self.new);
        defaults::check(&self.target.resource, &self.new, self.old.as_ref())
    }

    /// Stores the draft, and returns the status and body of the answer. `None` if the object has changed since the draft
    /// was created, so that the write must start again.
    pub(crate) fn commit(self, store: &mut Store, now: Duration) -> Option<(u16, Value)> {
        let stored = store.get(&self.key);
        if stored.map(version) != self.old.as_ref().map(version) {
            return None;
        }
        let created = self.operation == Operation::Create;
        // The answer of a dry run is that of the write, but nothing is stored.
        if self.dry_run {
            return Some((if created { 201 } else { 200 }, self.new));
        }
        // Only a creation has no old object: see `requested`.
        let Some(old) = self.old else { return Some((201, store.create(self.key, self.new, now))) };
        if self.operation != Operation::Delete {
            return Some((200, store.update(self.key, &old, self.new)));
        }
        let (last, gone) = store.delete(&self.key, old, now);
        Some((200, if gone { deleted(&self.target, &last) } else { last }))
    }
}

/// The operation that the method stands for, and the object that it results in.
fn requested(
    write: &Write,
    name: &str,
    old: Option<&Value>,
    body: Value,
) -> Result<(Operation, Value), ApiError> {
    let method = write.method.as_str();
    let Some(old) = old else {
        return match method {
            "POST" => Ok((Operation::Create, body)),
            // Server-side apply creates an object that does not exist.
            "PATCH" if write.patch == Some(PatchKind::Apply) => Ok((Operation::Create, body)),
            "PUT" | "PATCH" | "DELETE" => Err(ApiError::not_found(&write.target, name)),
            _ => Err(ApiError::NotAllowed),
        };
    };
    match method {
        "POST" => {
            Err(ApiError::AlreadyExists { resource: write.target.resource.clone(), name: name.to_owned() })
        }
        "PUT" => Ok((Operation::Update, replaced(write, old, body, name)?)),
        "PATCH" => Ok((Operation::Update, patched(write, old, &body, name)?)),
        "DELETE" => {
            preconditions(&write.target, name, old, &body["preconditions"])?;
            Ok((Operation::Delete, old.clone()))
        }
        _ => Err(ApiError::NotAllowed),
    }
}

fn patched(write: &Write, old: &Value, patch: &Value, name: &str) -> Result<Value, ApiError> {
    let kind =
        write.patch.ok_or_else(|| ApiError::BadRequest { message: "unknown patch type".to_owned() })?;
    let changed = merge::apply(kind, part(write, old), patch).map_err(|reason| ApiError::Invalid {
        kind: write.target.resource.kind(),
        name: name.to_owned(),
        reason,
    })?;
    replaced(write, old, changed, name)
}

/// The `Status` that answers a completed deletion.
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

/// The representation of the object in the requested subresource.
fn part(write: &Write, old: &Value) -> Value {
    match write.target.subresource.as_deref() {
        Some("scale") => scale(old),
        Some(_) | None => old.clone(),
    }
}

/// The object after a PUT or a patch. A subresource changes only its own part of the object.
fn replaced(write: &Write, old: &Value, body: Value, name: &str) -> Result<Value, ApiError> {
    let given = body["metadata"]["name"].as_str();
    if given.is_some_and(|given| given != name) {
        let message = format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            given.unwrap_or_default()
        );
        return Err(ApiError::BadRequest { message });
    }
    // An update without a version overwrites whatever is stored.
    if version(&body).as_str().is_some_and(|v| !v.is_empty()) && version(&body) != version(old) {
        return Err(ApiError::conflict(&write.target, name));
    }
    Ok(match write.target.subresource.as_deref() {
        Some("scale") => {
            let mut scaled = old.clone();
            // The JSON form of a Scale omits zero replicas.
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
            // Resources with a status subresource ignore changes of the status elsewhere.
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

fn preconditions(target: &Target, name: &str, old: &Value, wanted: &Value) -> Result<(), ApiError> {
    for field in ["uid", "resourceVersion"] {
        if wanted[field].is_string() && wanted[field] != old["metadata"][field] {
            return Err(ApiError::conflict(target, name));
        }
    }
    Ok(())
}

/// The `Scale` representation of a StatefulSet.
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
        // Zero replicas are omitted, as in a real server's answers.
        "spec": if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) },
        "status": {"replicas": object["status"]["replicas"].as_u64().unwrap_or(0), "selector": selector.join(",")},
    })
}

/// Records the field manager in `managedFields`. An applier owns the fields that it sent; the ownership of other writers,
/// which is the fields that they changed, isn't imitated.
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
    // There is one entry for each manager, operation and subresource.
    managed.retain(|old| {
        old["manager"] != entry["manager"]
            || old["operation"] != entry["operation"]
            || old["subresource"] != entry["subresource"]
    });
    managed.push(entry);
    object["metadata"]["managedFields"] = Value::Array(managed);
}
