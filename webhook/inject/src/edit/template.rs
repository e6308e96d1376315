//! A pod template as JSON that is edited step by step, each step remembered as an operation of the patch.
//!
//! This is the slow way, for templates that carry an injection. What is edited here is what the API server will
//! have after applying the patch, since both are made by the same steps.

use serde_json::{Map, Value};

use crate::edit::patch::{Patch, TEMPLATE, record_pointer};
use crate::json::{Fields, digest};
use crate::plan::Plan;
use crate::record::{Item, Parent, Place, Record};
use crate::render::sidecar;
use crate::render::variables::Addition;

/// A template and what was done to it.
#[derive(Clone, Debug)]
pub(crate) struct Editor {
    template: Value,
    steps: Vec<Step>,
}

/// One change at a path below the template.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Something is put there.
    Add { path: String, value: Value },
    /// What is there is taken away.
    Remove { path: String, value: Value },
}

impl Editor {
    /// Nothing done yet.
    pub(crate) fn new(template: Value) -> Self {
        Self { template, steps: Vec::new() }
    }

    /// The template as it is now.
    pub(crate) fn template(&self) -> &Value {
        &self.template
    }

    /// Takes out what the record names and `ours` confirms, then what was made for it, then the record.
    pub(crate) fn strip(&mut self, record: &Record, ours: impl Fn(&Item, &Value) -> bool) {
        for item in &record.items {
            if let Some((path, value)) = find(&self.template, &item.place)
                && ours(item, value)
            {
                self.remove(&path);
            }
        }
        self.remove(&record_pointer());
        for parent in record.made.iter().rev() {
            if let Some(path) = parent_path(&self.template, parent)
                && self.template.pointer(&path).is_some_and(is_empty)
            {
                self.remove(&path);
            }
        }
    }

    /// Undoes all steps of `other`, which began with a template whose remainder is the same as this one's.
    pub(crate) fn restore(&mut self, other: Self) {
        for step in other.steps.into_iter().rev() {
            let undo = match step {
                Step::Add { path, value } => Step::Remove { path, value },
                Step::Remove { path, value } => Step::Add { path, value },
            };
            // Taking something out only to put the same back at the same place is no change.
            if self.steps.last().is_some_and(|last| undoes(last, &undo)) {
                self.steps.pop();
            } else {
                self.steps.push(undo);
            }
        }
    }

    /// Makes the template, which carries the injection of `record`, into what `plan` says. What is the same in
    /// both stays where it is.
    pub(crate) fn render(&mut self, record: &Record, ours: impl Fn(&Item, &Value) -> bool, plan: &Plan) {
        let keep = self.kept(record, &ours, &plan.record);
        let stays = |item: &Item| keep.contains(item);
        for item in record.items.iter().filter(|item| !stays(item)) {
            if let Some((path, value)) = find(&self.template, &item.place)
                && ours(item, value)
            {
                self.remove(&path);
            }
        }
        for (item, json) in plan.items().filter(|(item, _)| !stays(item)) {
            self.append(&item.place, &json);
        }
        self.annotate(&plan.record.to_json());
    }

    /// The steps as a JSON Patch against the StatefulSet.
    pub(crate) fn patch(self) -> String {
        let mut patch = Patch::new();
        for step in self.steps {
            match step {
                Step::Add { path, value } => patch.add(&format!("{TEMPLATE}{path}"), &value.to_string()),
                Step::Remove { path, value: _ } => patch.remove(&format!("{TEMPLATE}{path}")),
            }
        }
        patch.finish()
    }

    /// The items of the old injection that the new one has as well. Of the variables only the first ones, up to the
    /// first that differs: what follows may refer to it, and must stay behind it.
    fn kept(&self, old: &Record, ours: &impl Fn(&Item, &Value) -> bool, new: &Record) -> Vec<Item> {
        let is_there = |item: &&Item| {
            old.items.contains(item)
                && find(&self.template, &item.place).is_some_and(|(_, value)| ours(item, value))
        };
        let is_env = |item: &&Item| matches!(item.place, Place::Env { .. });
        let env = new.items.iter().filter(is_env).take_while(is_there);
        let rest = new.items.iter().filter(|item| !is_env(item)).filter(is_there);
        env.chain(rest).cloned().collect()
    }

    fn append(&mut self, place: &Place, json: &str) {
        // Rendered by this program a moment ago.
        let Ok(value) = serde_json::from_str::<Value>(json) else { return };
        let Some(path) = list_path(&self.template, place) else { return };
        match self.template.pointer(&path).and_then(Value::as_array) {
            Some(items) => self.add(format!("{path}/{}", items.len()), value),
            None => self.add(path, Value::Array(vec![value])),
        }
    }

    fn annotate(&mut self, record: &str) {
        let path = record_pointer();
        let value = Value::from(record);
        if self.template.pointer(&path) == Some(&value) {
            return;
        }
        for parent in ["/metadata", "/metadata/annotations"] {
            if !self.template.pointer(parent).is_some_and(Value::is_object) {
                self.add(parent.to_owned(), Value::Object(Map::new()));
            }
        }
        self.add(path, value);
    }

    fn add(&mut self, path: String, value: Value) {
        let Some((parent, key)) = self.parent(&path) else { return };
        match parent {
            Value::Array(items) if key == "-" => items.push(value.clone()),
            Value::Array(items) => match key.parse() {
                Ok(index) if index <= items.len() => items.insert(index, value.clone()),
                Ok(_) | Err(_) => return,
            },
            Value::Object(fields) => {
                fields.insert(key, value.clone());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        }
        self.steps.push(Step::Add { path, value });
    }

    fn remove(&mut self, path: &str) {
        let Some((parent, key)) = self.parent(path) else { return };
        let removed = match parent {
            Value::Array(items) => match key.parse::<usize>() {
                Ok(index) if index < items.len() => Some(items.remove(index)),
                Ok(_) | Err(_) => None,
            },
            Value::Object(fields) => fields.shift_remove(&key),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        if let Some(value) = removed {
            self.steps.push(Step::Remove { path: path.to_owned(), value });
        }
    }

    fn parent(&mut self, path: &str) -> Option<(&mut Value, String)> {
        let (parent, key) = path.rsplit_once('/')?;
        Some((self.template.pointer_mut(parent)?, key.replace("~1", "/").replace("~0", "~")))
    }
}

impl Plan {
    /// What is to be added, each with its JSON, in the order of the record.
    fn items(&self) -> impl Iterator<Item = (&Item, String)> {
        let json = |item: &Item| match &item.place {
            Place::Container(_) | Place::InitContainer(_) => self.sidecar.clone(),
            Place::Volume(name) => json_of(&self.volumes, name),
            Place::Env { name, .. } => json_of(&self.env, name),
        };
        self.record.items.iter().filter_map(move |item| Some((item, json(item)?)))
    }
}

fn json_of(additions: &[Addition], name: &str) -> Option<String> {
    additions.iter().find(|addition| addition.name == name).map(|addition| addition.json.clone())
}

/// Applies a patch of this program to the object it was made for, keeping the order of the fields; `false` when it
/// doesn't fit.
///
/// The crate json-patch takes the last field's place for a removed one, so that what was taken out would show in
/// the order of what was not.
pub fn apply(object: &mut Value, patch: &str) -> bool {
    let Ok(operations) = serde_json::from_str::<Vec<Operation>>(patch) else { return false };
    let mut editor = Editor::new(std::mem::take(object));
    let count = operations.len();
    for operation in operations {
        match operation {
            Operation::Add { path, value } => editor.add(path, value),
            Operation::Remove { path } => editor.remove(&path),
        }
    }
    *object = editor.template;
    editor.steps.len() == count
}

#[derive(serde::Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
}

/// Where an item is, and what is there.
pub(crate) fn find<'t>(template: &'t Value, place: &Place) -> Option<(String, &'t Value)> {
    let list = list_path(template, place)?;
    let items = template.pointer(&list)?.as_array()?;
    let is_it = |item: &Value| item.get("name").and_then(Value::as_str) == Some(place.name());
    let index = items.iter().rposition(is_it)?;
    Some((format!("{list}/{index}"), &items[index]))
}

/// Whether what is there is what was rendered.
pub(crate) fn is_rendered(item: &Item, value: &Value) -> bool {
    let fields = match item.place {
        Place::Container(_) | Place::InitContainer(_) => Fields::Only(sidecar::FIELDS),
        Place::Env { .. } | Place::Volume(_) => Fields::All,
    };
    digest(value, fields) == Some(item.digest)
}

fn list_path(template: &Value, place: &Place) -> Option<String> {
    Some(match place {
        Place::Container(_) => "/spec/containers".to_owned(),
        Place::InitContainer(_) => "/spec/initContainers".to_owned(),
        Place::Volume(_) => "/spec/volumes".to_owned(),
        Place::Env { container, .. } => env_path(template, container)?,
    })
}

fn parent_path(template: &Value, parent: &Parent) -> Option<String> {
    Some(match parent {
        Parent::Metadata => "/metadata".to_owned(),
        Parent::Annotations => "/metadata/annotations".to_owned(),
        Parent::InitContainers => "/spec/initContainers".to_owned(),
        Parent::Volumes => "/spec/volumes".to_owned(),
        Parent::Env { container } => env_path(template, container)?,
    })
}

fn env_path(template: &Value, container: &str) -> Option<String> {
    let (path, _) = find(template, &Place::Container(container.to_owned().into()))?;
    Some(format!("{path}/env"))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn undoes(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (Step::Remove { path: a, value: x }, Step::Add { path: b, value: y })
        | (Step::Add { path: a, value: x }, Step::Remove { path: b, value: y }) => a == b && x == y,
        (Step::Add { .. }, Step::Add { .. }) | (Step::Remove { .. }, Step::Remove { .. }) => false,
    }
}
