//! The templates of one request as trees, and the injection in them.

use contract::keys;
use serde_json::Value;

use super::keep::keep_variables;
use super::ownership::{Stored, is_ours};
use super::place::find;
use super::template::{render, strip, strip_agent, strip_variables};
use super::tree::Tree;
use crate::plan::Plan;
use crate::read::view::Template;
use crate::record::Record;

/// The user's part of the submitted template, and the stored template, as trees. Parsing and stripping them takes longer
/// than all the rest of a review, so this is made once per request, and only if it is needed.
#[derive(Debug)]
pub(crate) struct Injection<'a> {
    submitted: &'a Template<'a>,
    /// The record in the submitted template.
    brought: Option<Record>,
    stored: Option<Stored>,
    /// The submitted template without its injection: the user's part.
    users: Tree,
}

impl<'a> Injection<'a> {
    /// Parses the templates, and separates the user's part of the submitted one.
    pub(crate) fn of(submitted: &'a Template<'a>, stored: Option<&Template<'_>>) -> Self {
        let stored = stored.map(|template| Stored { template: parse(template), record: record(template) });
        let brought = record(submitted);
        let mut users = Tree::new(parse(submitted));
        // Without a readable record, stripping removes at most the unreadable annotation.
        let none = Record::default();
        let record = brought.as_ref().or(stored.as_ref().and_then(|stored| stored.record.as_ref()));
        strip(&mut users, record.unwrap_or(&none), stored.as_ref());
        Self { submitted, brought, stored, users }
    }

    /// The record of the injection in the submitted template; if the record was lost on the way, the stored one.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.brought.as_ref().or_else(|| self.stored_record())
    }

    /// The record in the submitted template, if all the entries that it names are there and ours.
    pub(crate) fn whole(&self) -> Option<&Record> {
        let record = self.brought.as_ref()?;
        let submitted = parse(self.submitted);
        let is_whole = record.items.iter().all(|item| {
            find(&submitted, &item.place).is_some_and(|(_, value)| is_ours(item, value, self.stored.as_ref()))
        });
        is_whole.then_some(record)
    }

    /// The record in the stored template.
    pub(crate) fn stored_record(&self) -> Option<&Record> {
        self.stored.as_ref()?.record.as_ref()
    }

    /// The record in the submitted template.
    pub(crate) fn brought_record(&self) -> Option<&Record> {
        self.brought.as_ref()
    }

    /// The JSON of the user's part of the submitted template.
    pub(crate) fn users_part(&self) -> String {
        self.users.root().to_string()
    }

    /// The patch that removes the injection.
    pub(crate) fn removal(&self) -> String {
        self.users.steps().patch()
    }

    /// The patch that removes the agent and keeps the variables, and the record of these.
    pub(crate) fn agent_removal(&self) -> (String, Record) {
        let none = Record::default();
        let (mut tree, own) = match self.stored_variables() {
            // As for an injection: what the user's own tools brought whole is the user's choice.
            Some(tree) if self.whole().is_none() => (tree, self.stored_record()),
            Some(_) | None => (Tree::new(parse(self.submitted)), self.brought.as_ref()),
        };
        let kept = keep_variables(&mut tree, own.unwrap_or(&none), self.stored.as_ref());
        (tree.steps().patch(), kept)
    }

    /// The submitted template with the stored variables where they are stored; `None` if the user's part changed.
    fn stored_variables(&self) -> Option<Tree> {
        let stored = self.stored.as_ref()?;
        let record = stored.record.as_ref()?;
        let mut without_agent = Tree::new(stored.template.clone());
        strip_agent(&mut without_agent, record, None);
        let mut stripped = Tree::new(without_agent.root().clone());
        strip_variables(&mut stripped, record, None);
        if self.users.root() != stripped.root() {
            return None;
        }
        let steps = self.users.steps().clone().and_undo(stripped.steps());
        Some(Tree::after(steps, without_agent.root().clone()))
    }

    /// The patch that restores the stored injection; `None` if the user's part of the template changed.
    pub(crate) fn restoration(&self) -> Option<String> {
        let stored = self.stored.as_ref()?;
        // Without a comparison: whatever is stored under these names is the stored injection.
        let mut stripped = Tree::new(stored.template.clone());
        strip(&mut stripped, stored.record.as_ref().unwrap_or(&Record::default()), None);
        if self.users.root() != stripped.root() {
            return None;
        }
        // Both have the same value now, so the steps that lead back from the stored one apply to the submitted one.
        Some(self.users.steps().clone().and_undo(stripped.steps()).patch())
    }

    /// The patch that replaces the injection in the submitted template by the planned one.
    pub(crate) fn rendered(&self, record: &Record, plan: &Plan) -> String {
        let mut tree = Tree::new(parse(self.submitted));
        render(&mut tree, record, self.stored.as_ref(), plan);
        tree.steps().patch()
    }
}

fn record(template: &Template<'_>) -> Option<Record> {
    Record::parse(template.annotation(keys::INJECTED)?).ok()
}

/// The template as a tree. It was read before, so it is JSON.
fn parse(template: &Template<'_>) -> Value {
    serde_json::from_str(template.raw).unwrap_or_default()
}
