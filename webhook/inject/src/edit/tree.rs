//! A JSON value that records its changes as operations of a patch.
//!
//! The value equals what the API server has after applying the patch, since both result from the same steps.

use serde_json::Value;

use super::patch::Patch;

/// A JSON value, and the changes to it so far.
#[derive(Debug)]
pub(super) struct Tree {
    root: Value,
    steps: Steps,
}

/// Changes to a JSON value, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Add { path: String, value: Value },
    Remove { path: String, value: Value },
}

impl Tree {
    /// The value, unchanged.
    pub(super) fn new(root: Value) -> Self {
        Self { root, steps: Steps::default() }
    }

    /// The value that resulted from these steps. Further changes are added to them.
    pub(super) fn after(steps: Steps, root: Value) -> Self {
        Self { root, steps }
    }

    /// The value as it is now.
    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// The value at a JSON pointer.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.root.pointer(path)
    }

    /// Adds a value at a JSON pointer. Does nothing if its parent does not exist.
    pub(super) fn add(&mut self, path: String, value: Value) {
        let Some((parent, key)) = self.parent(&path) else { return };
        match parent {
            Value::Array(items) if key == "-" => items.push(value.clone()),
            // Beyond its end, a list cannot be extended.
            Value::Array(items) => match key.parse() {
                Ok(index) if index <= items.len() => items.insert(index, value.clone()),
                Ok(_) | Err(_) => return,
            },
            Value::Object(fields) => {
                fields.insert(key, value.clone());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        }
        self.steps.0.push(Step::Add { path, value });
    }

    /// Removes the value at a JSON pointer, if it exists.
    pub(super) fn remove(&mut self, path: &str) {
        let Some((parent, key)) = self.parent(path) else { return };
        let removed = match parent {
            Value::Array(items) => match key.parse::<usize>() {
                Ok(index) if index < items.len() => Some(items.remove(index)),
                Ok(_) | Err(_) => None,
            },
            // The default removal moves the last field to the place of the removed one.
            Value::Object(fields) => fields.shift_remove(&key),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        if let Some(value) = removed {
            self.steps.0.push(Step::Remove { path: path.to_owned(), value });
        }
    }

    /// The changes so far.
    pub(super) fn steps(&self) -> &Steps {
        &self.steps
    }

    fn parent(&mut self, path: &str) -> Option<(&mut Value, String)> {
        // In a JSON pointer, `~1` is a slash and `~0` is a tilde, decoded in this order.
        let (parent, key) = path.rsplit_once('/')?;
        Some((self.root.pointer_mut(parent)?, key.replace("~1", "/").replace("~0", "~")))
    }
}

impl Steps {
    /// These steps and then those that undo `other`.
    pub(super) fn and_undo(mut self, other: &Self) -> Self {
        for step in other.0.iter().rev() {
            let undo = step.clone().inverse();
            // Removing something and adding the same again at the same place is no change.
            if self.0.last().is_some_and(|last| last.clone().inverse() == undo) {
                self.0.pop();
            } else {
                self.0.push(undo);
            }
        }
        self
    }

    /// The steps as a JSON Patch against the StatefulSet that has the template.
    pub(super) fn patch(&self) -> String {
        let mut patch = Patch::default();
        for step in &self.0 {
            match step {
                Step::Add { path, value } => patch.add(path, value),
                Step::Remove { path, value: _ } => patch.remove(path),
            }
        }
        patch.finish()
    }
}

impl Step {
    fn inverse(self) -> Self {
        match self {
            Self::Add { path, value } => Self::Remove { path, value },
            Self::Remove { path, value } => Self::Add { path, value },
        }
    }
}

/// Applies a patch of this crate to the object it was made for. Returns `false` if it does not fit.
///
/// The order of the fields is kept. The crate json-patch moves the last field to the place of a removed one.
pub fn apply(object: &mut Value, patch: &str) -> bool {
    let Ok(operations) = serde_json::from_str::<Vec<Operation>>(patch) else { return false };
    let mut tree = Tree::new(std::mem::take(object));
    let count = operations.len();
    for operation in operations {
        match operation {
            Operation::Add { path, value } => tree.add(path, value),
            Operation::Remove { path } => tree.remove(&path),
        }
    }
    *object = tree.root;
    // An operation that did not fit left no step.
    tree.steps.0.len() == count
}

#[derive(serde::Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
}
