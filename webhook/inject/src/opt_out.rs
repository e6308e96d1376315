//! Opting out: the parts of the injection that are removed, those that stay, and the warnings about both.
//!
//! CouchDB files each database under the names of its nodes. Without the injected name a node does not find its databases,
//! and without the injected cookie it does not connect to the others. So these stay, unless the user asks for the removal
//! of everything.

use contract::keys;

use crate::decision::Decision;
use crate::edit::Injection;
use crate::outcome::{Outcome, Problem, Reason, RemovalRequest, Warning};
use crate::read::view::View;
use crate::read::{CouchDb, OnRemoval};
use crate::record::Record;

/// One StatefulSet that is not, or no longer, to be injected.
pub(crate) struct OptOut<'o> {
    pub(crate) view: &'o View<'o>,
    pub(crate) old: Option<&'o View<'o>>,
    pub(crate) way: Way,
}

/// The way in which the user opts out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// By the label, in a review.
    Review {
        /// `true` if the stored object requests the injection.
        was_enabled: bool,
        /// `true` if the stored object has the label and the new one does not.
        label_removed: bool,
    },
    /// By the command `uninject` on a file, with the command's choice.
    File(Option<OnRemoval>),
}

impl OptOut<'_> {
    /// Decides; `reason` is for a template that has no injection.
    pub(crate) fn decide(&self, reason: Reason) -> Decision {
        let is_brought = self.view.has_record();
        if !is_brought && !self.old.is_some_and(|old| old.has_record()) {
            return Decision::skipped(reason);
        }
        let removal = match self.removal() {
            Ok(removal) => removal,
            Err(problem) => return Decision::deny(vec![problem], Vec::new()),
        };
        let injection = Injection::of(&self.view.spec.template, self.old.map(|old| &old.spec.template));
        let ignored = injection.brought_record().and_then(|record| Warning::ignored(&record.ignored));
        let decision = match removal {
            OnRemoval::Agent if injection.record().is_some() => self.remove_agent(&injection, reason),
            OnRemoval::Everything if injection.brought_record().is_some() => {
                self.remove_everything(&injection, reason)
            }
            // Without the record it is unknown which entries are ours.
            OnRemoval::Agent | OnRemoval::Everything if is_brought => {
                Decision::skipped(reason).with(vec![Warning::BrokenRecord])
            }
            // A manifest without injection replaces the stored one: nothing of it is left.
            OnRemoval::Agent | OnRemoval::Everything => {
                Decision::skipped(reason).with(self.removal_warnings(&injection))
            }
        };
        decision.with(ignored.into_iter().collect())
    }

    /// The choice of the command, else that of the annotation.
    fn removal(&self) -> Result<OnRemoval, Problem> {
        match self.way {
            Way::File(Some(removal)) => Ok(removal),
            Way::File(None) | Way::Review { .. } => OnRemoval::of(self.view),
        }
    }

    fn remove_agent(&self, injection: &Injection<'_>, reason: Reason) -> Decision {
        let (patch, kept) = injection.agent_removal();
        // Opted out before, the user changes the template or replaces it: only variables can be put back then.
        let was_injected = match self.way {
            Way::Review { was_enabled: true, .. } => true,
            Way::Review { .. } | Way::File(_) => records(injection).any(Record::has_agent),
        };
        let decision = match (patch.is_empty(), was_injected) {
            (true, _) => Decision::skipped(reason),
            (false, true) => Decision::new(Outcome::Uninject, Reason::OptedOut, patch),
            (false, false) => Decision::new(Outcome::Keep, Reason::OptedOut, patch),
        };
        if was_injected {
            return decision.with(self.agent_warnings(&kept));
        }
        decision.with(self.label_removed(&kept).into_iter().collect())
    }

    fn remove_everything(&self, injection: &Injection<'_>, reason: Reason) -> Decision {
        let patch = injection.removal();
        let decision = if patch.is_empty() {
            Decision::skipped(reason)
        } else {
            Decision::new(Outcome::Uninject, Reason::OptedOut, patch)
        };
        decision.with(self.removal_warnings(injection))
    }

    /// Warnings about a cluster that loses its agents and keeps its variables.
    fn agent_warnings(&self, kept: &Record) -> Vec<Warning> {
        let names = names(std::iter::once(kept));
        let mut warnings = Vec::new();
        if !names.is_empty() {
            warnings.push(Warning::VariablesStay { names });
        }
        warnings.push(Warning::NoAgent);
        warnings.extend(self.missing_readiness());
        if kept.items.is_empty() {
            return warnings;
        }
        warnings.extend(self.label_removed(kept));
        warnings.push(Warning::RemoveVariables(self.request()));
        warnings
    }

    /// The API server calls the webhook only for labelled objects, so it cannot put back the kept variables later.
    fn label_removed(&self, kept: &Record) -> Option<Warning> {
        match self.way {
            Way::Review { label_removed: true, .. } if !kept.items.is_empty() => Some(Warning::LabelRemoved),
            Way::Review { .. } | Way::File(_) => None,
        }
    }

    fn removal_warnings(&self, injection: &Injection<'_>) -> Vec<Warning> {
        let names = names(records(injection));
        if names.is_empty() {
            return Vec::new();
        }
        vec![Warning::VariablesRemoved { names, request: self.request() }]
    }

    /// The agent's readiness probe was the pod's only one if CouchDB's container has none.
    fn missing_readiness(&self) -> Option<Warning> {
        let wanted = self.view.annotation(keys::CONTAINER);
        let couchdb = CouchDb::find(self.view, wanted, &mut Vec::new()).ok()?;
        if couchdb.container.readiness_probe.is_some() {
            return None;
        }
        let port = couchdb.port();
        Some(Warning::NoReadinessProbe { container: couchdb.name().to_owned(), port })
    }

    fn request(&self) -> RemovalRequest {
        match self.way {
            Way::Review { .. } => RemovalRequest::Annotation,
            Way::File(_) => RemovalRequest::Command,
        }
    }
}

/// The records of the submitted and of the stored template.
fn records<'r>(injection: &'r Injection<'_>) -> impl Iterator<Item = &'r Record> {
    injection.brought_record().into_iter().chain(injection.stored_record())
}

/// The names of the variables in the records, separated by commas.
fn names<'r>(records: impl Iterator<Item = &'r Record>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for item in records.flat_map(Record::variables) {
        if !names.contains(&&*item.place.name) {
            names.push(&item.place.name);
        }
    }
    names.join(", ")
}
