//! Which of injecting, keeping, un-injecting, refusing or nothing is right for a request.
//!
//! The rule that decides most: nothing of ours restarts a pod by surprise. Whatever a user does outside the pod
//! template, the template stays as it was, an older version's injection and all.

use contract::keys;
use serde::Deserialize;
use serde_json::Value;

use crate::edit::patch;
use crate::edit::template::{Editor, find, is_rendered};
use crate::outcome::explanation::{Outcome, Reason};
use crate::outcome::problem::Problem;
use crate::outcome::warning::Warning;
use crate::plan::{Plan, plan};
use crate::read::annotations::Settings;
use crate::read::view::{Object, Template, View};
use crate::record::{Item, Place, Record};

/// What is asked about one StatefulSet.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The StatefulSet as it would be stored, as JSON.
    pub object: &'a str,
    /// The StatefulSet as it is stored; `None` when it is created.
    pub old: Option<&'a str>,
    /// The namespace, where the object itself doesn't say it.
    pub namespace: Option<&'a str>,
}

/// What is to be done, and why.
#[derive(Debug)]
pub struct Decision {
    /// What.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// A JSON Patch, or empty when nothing is to be changed.
    pub patch: String,
    /// Why the request is refused; empty unless it is.
    pub problems: Vec<Problem>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

/// Decides what is to be done.
pub fn decide(settings: &Settings, question: &Question<'_>) -> Decision {
    match View::parse(question.object) {
        Ok(view) => decide_seen(settings, &Seen(Object(view)), question.old, question.namespace),
        Err(place) => Decision::deny(vec![Problem::Shape(place)], Vec::new()),
    }
}

/// A StatefulSet that has been read.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Seen<'a>(#[serde(borrow)] Object<View<'a>>);

/// As [`decide`], of an object that has been read.
pub fn decide_seen(
    settings: &Settings,
    Seen(Object(view)): &Seen<'_>,
    old: Option<&str>,
    namespace: Option<&str>,
) -> Decision {
    // An old object that can't be read was never injected; the new one stands for itself.
    let old = old.and_then(|old| View::parse(old).ok());
    Case { settings, view, old: old.as_ref(), namespace }.decide()
}

/// Takes out what the record of a StatefulSet names, whatever its label says.
pub fn uninject(object: &str) -> Decision {
    match View::parse(object) {
        Ok(view) => take_out(&view.spec.template, None, Reason::Disabled),
        Err(place) => Decision::deny(vec![Problem::Shape(place)], Vec::new()),
    }
}

impl Decision {
    fn deny(problems: Vec<Problem>, warnings: Vec<Warning>) -> Self {
        let (outcome, reason) = (Outcome::Deny, Reason::Invalid);
        Self { outcome, reason, patch: String::new(), problems, warnings }
    }

    /// Nothing to do.
    pub fn skipped(reason: Reason) -> Self {
        let (outcome, patch) = (Outcome::Skip, String::new());
        Self { outcome, reason, patch, problems: Vec::new(), warnings: Vec::new() }
    }

    fn keep(patch: String) -> Self {
        let (outcome, reason) = (Outcome::Keep, Reason::TemplateUnchanged);
        Self { outcome, reason, patch, problems: Vec::new(), warnings: Vec::new() }
    }

    fn with(mut self, warnings: Vec<Warning>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

/// What the label asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label<'v> {
    /// To be injected.
    Enabled,
    /// To be left alone.
    Disabled,
    /// Nothing.
    Absent,
    /// Something else than it may.
    Unknown(&'v str),
}

/// One request, read.
#[derive(Clone, Copy)]
struct Case<'c, 'v> {
    settings: &'c Settings,
    view: &'c View<'v>,
    old: Option<&'c View<'v>>,
    namespace: Option<&'c str>,
}

impl Case<'_, '_> {
    fn decide(self) -> Decision {
        if self.view.metadata.deletion_timestamp.is_some() {
            return Decision::skipped(Reason::BeingDeleted);
        }
        match (label(self.view), self.old) {
            (Label::Enabled, None) => self.render(Reason::Created),
            (Label::Enabled, Some(old)) => self.update(old),
            (Label::Disabled, _) => self.opted_out(Reason::Disabled),
            (Label::Absent, _) => self.opted_out(Reason::NotLabelled),
            (Label::Unknown(_), Some(old)) if self.is_like(old) && self.has_template_of(old) => {
                Decision::skipped(Reason::Unchanged)
            }
            (Label::Unknown(value), _) => Decision::deny(vec![Problem::Label(value.to_owned())], Vec::new()),
        }
    }

    fn update(self, old: &View<'_>) -> Decision {
        if label(old) != Label::Enabled {
            return self.render(Reason::OptedIn);
        }
        if self.view.annotation(keys::REFRESH) != old.annotation(keys::REFRESH) {
            return self.render(Reason::RefreshChanged);
        }
        if self.view.spec.template.raw == old.spec.template.raw {
            return self.keep(old, String::new());
        }
        match self.unchanged_by_user(old) {
            Some(patch) => self.keep(old, patch),
            None => self.render(Reason::TemplateChanged),
        }
    }

    /// Whether the user's part of the template is what it was: then the patch that gives it the injection it is to
    /// have, which is the stored one.
    ///
    /// A whole injection that the template brings itself, as after `kubectl rollout undo`, is the user's choice.
    /// Unless it is what would be rendered now: then it was, in this very request, when another webhook had not yet
    /// made the user's part what it was.
    fn unchanged_by_user(self, old: &View<'_>) -> Option<String> {
        let stored = Stored::of(&old.spec.template);
        let brought = read_record(&self.view.spec.template);
        let ours = |item: &Item, value: &Value| is_ours(item, value, Some(&stored));
        let mut users_new = Editor::new(parse(&self.view.spec.template));
        let is_there =
            |item: &Item| find(users_new.template(), &item.place).is_some_and(|(_, value)| ours(item, value));
        let whole = brought.as_ref().filter(|record| record.items.iter().all(is_there));
        let is_choice = whole.is_some_and(|whole| {
            let rendered_now = || self.plan(&mut Vec::new()).is_ok_and(|plan| plan.record == *whole);
            *whole == stored.record || !rendered_now()
        });
        users_new.strip(brought.as_ref().unwrap_or(&stored.record), ours);
        let mut users_old = Editor::new(stored.template.clone());
        users_old.strip(&stored.record, |item, value| is_ours(item, value, None));
        if users_new.template() != users_old.template() {
            return None;
        }
        if is_choice {
            return Some(String::new());
        }
        users_new.restore(users_old);
        Some(users_new.patch())
    }

    /// The user's part of the template is what it was; `patch` puts back what is missing of the injection.
    fn keep(self, old: &View<'_>, patch: String) -> Decision {
        let injected =
            [self.view, old].iter().any(|view| view.spec.template.annotation(keys::INJECTED).is_some());
        let keep = |patch| if injected { Decision::keep(patch) } else { self.not_injected_yet() };
        if self.is_like(old) {
            return keep(patch);
        }
        // Replicas or our keys were changed: what they say must make sense, though nothing is rendered.
        let mut warnings = deferred(self.view, old);
        match self.plan(&mut warnings) {
            Ok(_) => keep(patch).with(warnings),
            Err(problems) => Decision::deny(problems, warnings),
        }
    }

    fn not_injected_yet(self) -> Decision {
        let name = self.view.metadata.name.as_ref().map_or("", |name| name.as_str()).to_owned();
        Decision::skipped(Reason::NotInjectedYet).with(vec![Warning::NotInjectedYet { name }])
    }

    fn opted_out(self, reason: Reason) -> Decision {
        let template = &self.view.spec.template;
        match self.old {
            // It was opted out before, and what is there has been there since.
            Some(old) if label(old) == label(self.view) && template.raw == old.spec.template.raw => {
                Decision::skipped(reason)
            }
            old => take_out(template, old.map(|old| &old.spec.template), reason),
        }
    }

    /// Renders the injection, from the user's part of the template alone.
    fn render(self, reason: Reason) -> Decision {
        let mut warnings = Vec::new();
        let plan = match self.plan(&mut warnings) {
            Ok(plan) => plan,
            Err(problems) => return Decision::deny(problems, warnings),
        };
        if self.old.is_some()
            && self.record().is_none()
            && let Some(name) = plan.names_nodes()
        {
            warnings.push(Warning::Renames { name });
        }
        let patch = match self.record() {
            None => patch::fresh(self.view, &plan),
            Some(record) => {
                let stored = self.old.map(|old| Stored::of(&old.spec.template));
                let mut editor = Editor::new(parse(&self.view.spec.template));
                editor.render(&record, |item, value| is_ours(item, value, stored.as_ref()), &plan);
                editor.patch()
            }
        };
        let (outcome, reason) = match patch.as_str() {
            "" => (Outcome::Keep, Reason::AlreadyInjected),
            _ => (Outcome::Inject, reason),
        };
        Decision { outcome, reason, patch, problems: Vec::new(), warnings }
    }

    /// What is to be added to the user's part of the template.
    fn plan(self, warnings: &mut Vec<Warning>) -> Result<Plan, Vec<Problem>> {
        let namespace = self.namespace.or(self.view.metadata.namespace.as_ref().map(|name| name.as_str()));
        let Some(record) = self.record() else {
            return plan(self.view, namespace, self.settings, warnings);
        };
        let stored = self.old.map(|old| Stored::of(&old.spec.template));
        let mut editor = Editor::new(parse(&self.view.spec.template));
        editor.strip(&record, |item, value| is_ours(item, value, stored.as_ref()));
        let users = editor.template().to_string();
        let template = serde_json::from_str(&users)
            .map_err(|_| vec![Problem::Shape(crate::read::text::place::<Template<'_>>(users.as_bytes()))])?;
        let view = self.view.clone().with_template(template);
        plan(&view, namespace, self.settings, warnings)
    }

    /// What was added to the template before; where the record was lost on the way, what the old one says.
    fn record(self) -> Option<Record> {
        let old = || read_record(&self.old?.spec.template);
        read_record(&self.view.spec.template).or_else(old)
    }

    /// Whether nothing but the template may differ.
    fn is_like(self, old: &View<'_>) -> bool {
        self.view.replicas() == old.replicas()
            && self.view.labels() == old.labels()
            && self.view.annotations() == old.annotations()
    }

    fn has_template_of(self, old: &View<'_>) -> bool {
        let (new, old) = (&self.view.spec.template, &old.spec.template);
        new.raw == old.raw || parse(new) == parse(old)
    }
}

fn label<'v>(view: &'v View<'_>) -> Label<'v> {
    match view.label(keys::INJECT) {
        None => Label::Absent,
        Some(keys::INJECT_ENABLED) => Label::Enabled,
        Some(keys::INJECT_DISABLED) => Label::Disabled,
        Some(unknown) => Label::Unknown(unknown),
    }
}

/// The settings that were changed, and that no pod gets to see yet.
fn deferred(new: &View<'_>, old: &View<'_>) -> Vec<Warning> {
    let is_rendered = |key: &&str| ![keys::REFRESH, keys::FORM_ANEW].contains(key);
    let changed = |key: &&str| new.annotation(key) != old.annotation(key);
    let keys = keys::STATEFULSET_ANNOTATIONS.iter().copied().filter(is_rendered).filter(changed);
    keys.map(|key| Warning::Deferred { key: key.to_owned() }).collect()
}

/// The template that is stored, and what its record says was added to it.
struct Stored {
    template: Value,
    record: Record,
}

impl Stored {
    fn of(template: &Template<'_>) -> Self {
        Self { template: parse(template), record: read_record(template).unwrap_or_default() }
    }

    /// What is stored of an item that was rendered the same way.
    fn find(&self, item: &Item) -> Option<&Value> {
        let same = self.record.items.contains(item);
        find(&self.template, &item.place).map(|(_, value)| value).filter(|_| same)
    }
}

/// Whether an entry that a record names is still what was injected. What a user has changed is the user's.
///
/// A variable is compared with its digest. Containers and volumes are filled in by the API server and by other
/// webhooks (a registry mirror rewrites images), so they are also ours while they are what is stored, or while
/// nothing is stored that could tell.
fn is_ours(item: &Item, value: &Value, stored: Option<&Stored>) -> bool {
    if is_rendered(item, value) {
        return true;
    }
    match &item.place {
        Place::Env { .. } => false,
        Place::Container(_) | Place::InitContainer(_) | Place::Volume(_) => {
            stored.and_then(|stored| stored.find(item)).is_none_or(|stored| stored == value)
        }
    }
}

fn take_out(template: &Template<'_>, old: Option<&Template<'_>>, reason: Reason) -> Decision {
    let Some(text) = template.annotation(keys::INJECTED) else { return Decision::skipped(reason) };
    let Ok(record) = Record::parse(text) else {
        return Decision::skipped(reason).with(vec![Warning::BrokenRecord]);
    };
    let stored = old.map(Stored::of);
    let mut editor = Editor::new(parse(template));
    editor.strip(&record, |item, value| is_ours(item, value, stored.as_ref()));
    let (outcome, reason, patch) = (Outcome::Uninject, Reason::OptedOut, editor.patch());
    Decision { outcome, reason, patch, problems: Vec::new(), warnings: Vec::new() }
}

fn read_record(template: &Template<'_>) -> Option<Record> {
    Record::parse(template.annotation(keys::INJECTED)?).ok()
}

/// The template as a tree. It has been read before, so it is JSON.
fn parse(template: &Template<'_>) -> Value {
    serde_json::from_str(template.raw).unwrap_or_default()
}
