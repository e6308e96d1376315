//! Decides whether to inject, keep, remove, deny or do nothing.
//!
//! The rule that decides most: an injection never restarts a pod by itself. Whatever a user changes outside the pod
//! template, the template stays as it was, even if an older version injected it.

use std::cell::OnceCell;

use contract::{env, keys};
use serde::Deserialize;

use crate::decision::Decision;
use crate::edit::{self, Injection};
use crate::guard::{ScaleDown, without_target};
use crate::opt_out::{OptOut, Way};
use crate::outcome::{Outcome, Problem, Reason, Warning};
use crate::plan::Plan;
use crate::read::view::{Template, View};
use crate::read::{Object, OnRemoval, Planning, Settings, place};
use crate::record::Record;
use crate::warn::{StaleTarget, raised_over_target};

/// A StatefulSet for which a decision is requested.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The StatefulSet as submitted, as JSON.
    pub object: &'a str,
    /// The stored StatefulSet as JSON; `None` if it is created.
    pub old: Option<&'a str>,
    /// The namespace, for an object that does not specify it.
    pub namespace: Option<&'a str>,
}

/// A StatefulSet that has been read from JSON.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct StatefulSet<'a>(#[serde(borrow)] Object<View<'a>>);

/// Decides for a StatefulSet in JSON.
pub fn decide(settings: &Settings, question: &Question<'_>) -> Decision {
    match View::parse(question.object) {
        Ok(view) => decide_view(settings, &view, question.old, question.namespace),
        Err(problem) => Decision::deny(vec![problem], Vec::new()),
    }
}

/// Decides for a StatefulSet that has been read.
pub fn decide_read(
    settings: &Settings,
    StatefulSet(Object(view)): &StatefulSet<'_>,
    old: Option<&str>,
    namespace: Option<&str>,
) -> Decision {
    decide_view(settings, view, old, namespace)
}

fn decide_view(settings: &Settings, view: &View<'_>, old: Option<&str>, namespace: Option<&str>) -> Decision {
    // A stored object that cannot be read was never injected. The new one is judged alone.
    let old = old.and_then(|old| View::parse(old).ok());
    let namespace = namespace.or(view.metadata.namespace.as_ref().map(|namespace| namespace.as_str()));
    let case = Case { settings, view, old: old.as_ref(), namespace, injection: OnceCell::new() };
    let mut decision = case.decide();
    decision.scale_down = case.scale_down(&decision);
    decision
}

/// Removes the injection that the StatefulSet's record describes, whatever its label is. The annotation decides which parts,
/// unless `removal` does.
pub fn uninject(object: &str, removal: Option<OnRemoval>) -> Decision {
    match View::parse(object) {
        Ok(view) => OptOut { view: &view, old: None, way: Way::File(removal) }.decide(Reason::Disabled),
        Err(problem) => Decision::deny(vec![problem], Vec::new()),
    }
}

/// The value of the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label<'v> {
    Enabled,
    Disabled,
    Absent,
    Unknown(&'v str),
}

impl<'v> Label<'v> {
    fn of(view: &'v View<'_>) -> Self {
        match view.label(keys::INJECT) {
            None => Self::Absent,
            Some(keys::INJECT_ENABLED) => Self::Enabled,
            Some(keys::INJECT_DISABLED) => Self::Disabled,
            Some(unknown) => Self::Unknown(unknown),
        }
    }
}

/// One request.
struct Case<'c> {
    settings: &'c Settings,
    view: &'c View<'c>,
    old: Option<&'c View<'c>>,
    namespace: Option<&'c str>,
    injection: OnceCell<Injection<'c>>,
}

impl<'c> Case<'c> {
    fn decide(&self) -> Decision {
        // Updates of a deleted object remove its finalizers. A denial would block the deletion.
        if self.view.metadata.deletion_timestamp.is_some() {
            return Decision::skipped(Reason::BeingDeleted);
        }
        match Label::of(self.view) {
            Label::Enabled => match self.old {
                None => self.render(Reason::Created),
                Some(old) => self.raise(old, self.update(old)),
            },
            Label::Disabled => self.opted_out(Reason::Disabled),
            Label::Absent => self.opted_out(Reason::NotLabelled),
            Label::Unknown(value) => {
                // Stored before the webhook was installed. Updates that change nothing of ours must go through.
                if self.old.is_some_and(|old| self.is_like(old) && self.has_template_of(old)) {
                    return Decision::skipped(Reason::Unchanged);
                }
                Decision::deny(vec![Problem::Label(value.to_owned())], Vec::new())
            }
        }
    }

    fn update(&self, old: &View<'_>) -> Decision {
        // The user asks for the injection, and accepts that the pods restart.
        if Label::of(old) != Label::Enabled {
            return self.render(Reason::OptedIn);
        }
        if self.view.annotation(keys::REFRESH) != old.annotation(keys::REFRESH) {
            return self.render(Reason::RefreshChanged);
        }
        // The usual update, for example one that scales, sends the stored template. Nothing is parsed for it.
        if self.view.spec.template.raw == old.spec.template.raw {
            return self.keep(old, String::new());
        }
        match self.unchanged_by_user() {
            Some(patch) => self.keep(old, patch),
            None => self.render(Reason::TemplateChanged),
        }
    }

    /// The pods that an allowed update removes.
    fn scale_down(&self, decision: &Decision) -> Option<Box<ScaleDown>> {
        if decision.outcome == Outcome::Deny || decision.reason == Reason::BeingDeleted {
            return None;
        }
        ScaleDown::of_update(self.view, self.old?, self.namespace).map(Box::new)
    }

    /// Adds to the decision about an update that adds nodes beyond the target size, which would drain them.
    fn raise(&self, old: &View<'_>, mut decision: Decision) -> Decision {
        let Some((warning, target)) = raised_over_target(self.view, old) else { return decision };
        if target == StaleTarget::Removed && decision.outcome != Outcome::Deny {
            decision.patch = without_target(&decision.patch);
        }
        decision.with(vec![warning])
    }

    /// If the user's part of the template did not change, returns the patch that restores the stored injection.
    fn unchanged_by_user(&self) -> Option<String> {
        let injection = self.injection();
        let patch = injection.restoration()?;
        let Some(submitted) = injection.whole() else { return Some(patch) };
        // A complete injection in the template, as after `kubectl rollout undo`, is the user's choice. Unless it is what
        // would be rendered now: then this webhook added it earlier in the same request, before another webhook gave the
        // user's part its stored form.
        let is_choice = injection.stored_record() == Some(submitted) || !self.would_render_as(submitted);
        Some(if is_choice { String::new() } else { patch })
    }

    fn would_render_as(&self, record: &Record) -> bool {
        self.plan(&mut Vec::new()).is_ok_and(|plan| plan.record == *record)
    }

    /// Keeps the stored injection; `patch` restores what is missing of it.
    fn keep(&self, old: &View<'_>, patch: String) -> Decision {
        // A manifest without the injection may replace the stored one: then only the old template has it. After opting out,
        // the record describes variables alone.
        let is_injected = [self.view, old].iter().any(|view| {
            let template = &view.spec.template;
            template.annotation(keys::INJECTED).is_some() && template.has_agent()
        });
        let decision = if is_injected || !patch.is_empty() {
            Decision::new(Outcome::Keep, Reason::TemplateUnchanged, patch)
        } else {
            self.not_injected_yet()
        };
        if self.is_like(old) {
            return decision;
        }
        // The number of replicas or a key of ours changed. The result must be valid although nothing is rendered yet.
        let mut warnings = deferred(self.view, old);
        match self.plan(&mut warnings) {
            Ok(_) => decision.with(warnings),
            Err(problems) => Decision::deny(problems, warnings),
        }
    }

    fn not_injected_yet(&self) -> Decision {
        let namespace = self.namespace.map(str::to_owned);
        let warning = Warning::NotInjectedYet { namespace, name: self.view.name().to_owned() };
        Decision::skipped(Reason::NotInjectedYet).with(vec![warning])
    }

    fn opted_out(&self, reason: Reason) -> Decision {
        if let Some(old) = self.old
            && Label::of(old) == Label::of(self.view)
            && self.view.spec.template.raw == old.spec.template.raw
            && self.view.annotation(keys::ON_REMOVAL) == old.annotation(keys::ON_REMOVAL)
        {
            // Opted out before this request: whatever the template contains was accepted then.
            return Decision::skipped(reason);
        }
        let was_enabled = self.old.is_some_and(|old| Label::of(old) == Label::Enabled);
        let was_labelled = self.old.is_some_and(|old| Label::of(old) != Label::Absent);
        let label_removed = was_labelled && Label::of(self.view) == Label::Absent;
        let way = Way::Review { was_enabled, label_removed };
        OptOut { view: self.view, old: self.old, way }.decide(reason)
    }

    /// Renders the injection from the user's part of the template alone.
    fn render(&self, reason: Reason) -> Decision {
        let mut warnings = Vec::new();
        let plan = match self.plan(&mut warnings) {
            Ok(plan) => plan,
            Err(problems) => return Decision::deny(problems, warnings),
        };
        let injection = self.carries_injection();
        let brought = injection.and_then(|(injection, _)| injection.brought_record());
        warnings.extend(brought.and_then(|record| Warning::ignored(&record.ignored)));
        // Only nodes that run without an injected name have one that the injection can change.
        let is_named = match injection {
            Some((_, record)) => reason != Reason::OptedIn || names_the_node(record),
            None => false,
        };
        if self.old.is_some()
            && !is_named
            && let Some(name) = plan.naming_variable
        {
            warnings.push(Warning::Renames { name });
        }
        let patch = match injection {
            Some((injection, record)) => injection.rendered(record, &plan),
            None => edit::fresh(self.view, &plan),
        };
        // The API server calls the webhook again if another one changes the object: the second patch is empty.
        let decision = if patch.is_empty() {
            Decision::new(Outcome::Keep, Reason::AlreadyInjected, patch)
        } else {
            Decision::new(Outcome::Inject, reason, patch)
        };
        decision.with(warnings)
    }

    /// Plans the additions to the user's part of the template.
    fn plan(&self, warnings: &mut Vec<Warning>) -> Result<Plan, Vec<Problem>> {
        let Some((injection, _)) = self.carries_injection() else {
            let planning = Planning::read(self.view, self.namespace, self.settings, warnings)?;
            return Ok(Plan::of(&planning, warnings));
        };
        // What was injected before must not count as the user's, or it would be kept forever.
        let users = injection.users_part();
        let template = serde_json::from_str(&users)
            .map_err(|_| vec![Problem::Malformed(place::<Template<'_>>(users.as_bytes()))])?;
        let view = self.view.with_template(template);
        let planning = Planning::read(&view, self.namespace, self.settings, warnings)?;
        Ok(Plan::of(&planning, warnings))
    }

    /// The injection and its record, if the submitted or the stored template has a record.
    fn carries_injection(&self) -> Option<(&Injection<'c>, &Record)> {
        // Most requests create a StatefulSet without injection: nothing needs to be parsed for them.
        if !self.view.has_record() && !self.old.is_some_and(|old| old.has_record()) {
            return None;
        }
        let injection = self.injection();
        Some((injection, injection.record()?))
    }

    fn injection(&self) -> &Injection<'c> {
        self.injection
            .get_or_init(|| Injection::of(&self.view.spec.template, self.old.map(|old| &old.spec.template)))
    }

    /// `true` if at most the pod template differs.
    fn is_like(&self, old: &View<'_>) -> bool {
        self.view.replicas() == old.replicas()
            && self.view.labels() == old.labels()
            && self.view.annotations() == old.annotations()
    }

    fn has_template_of(&self, old: &View<'_>) -> bool {
        let (new, old) = (self.view.spec.template.raw, old.spec.template.raw);
        // Another client may write the same template with other whitespace.
        new == old || serde_json::from_str::<serde_json::Value>(new).ok() == serde_json::from_str(old).ok()
    }
}

/// A warning for each changed annotation that takes effect only when the injection is rendered.
fn deferred(new: &View<'_>, old: &View<'_>) -> Vec<Warning> {
    // These take effect at once, or when the user opts out.
    const IMMEDIATE: [&str; 10] = [
        keys::REFRESH,
        keys::FORM_ANEW,
        keys::ACCEPT_LOSS,
        keys::OTHER_MEMBERS,
        keys::ZONE,
        keys::ON_REMOVAL,
        keys::TARGET_SIZE,
        keys::SCALE_DOWN,
        keys::REBALANCE,
        keys::COPIES,
    ];
    keys::STATEFULSET_ANNOTATIONS
        .iter()
        .filter(|key| !IMMEDIATE.contains(key) && new.annotation(key) != old.annotation(key))
        .map(|key| Warning::Deferred { key: (*key).to_owned() })
        .collect()
}

/// `true` if the record contains a variable that gives CouchDB's nodes their names.
fn names_the_node(record: &Record) -> bool {
    record.variables().any(|item| [env::NODENAME, env::ERL_FLAGS].contains(&&*item.place.name))
}
