//! The Kubernetes Event that belongs to a step, if any.

use super::explanation::Explanation;
use crate::decide::{MoveTask, Step, StepKind};

/// The content of an Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// The object that the Event refers to.
    pub about: About,
    /// The type of the Event.
    pub severity: Severity,
    /// CamelCase, stable.
    pub reason: &'static str,
    /// One or more sentences. Never contains a secret.
    pub note: String,
}

/// The object that an Event refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum About {
    /// This agent's pod.
    Pod,
    /// The StatefulSet.
    StatefulSet,
}

/// The type of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Informs.
    Normal,
    /// A person has to act.
    Warning,
}

/// Returns the announcement of a step that has just become the next one. `joined` is `true` if this node has joined a
/// peer since the agent started.
pub fn when_entered(step: &Step, explanation: &Explanation, joined: bool) -> Option<Announcement> {
    if let Step::Dial { wait, .. } | Step::Wait(wait) = step {
        return wait.needs_a_person().then(|| warning(explanation));
    }
    // Steps that change something are announced when they are done.
    match step.kind() {
        StepKind::Refuse => Some(warning(explanation)),
        StepKind::Act if matches!(step, Step::Move { task: MoveTask::Drain(_), .. }) => {
            Some(normal(About::StatefulSet, "DrainingBegun", explanation.message.clone()))
        }
        // An agent that was restarted beside a member has nothing new to announce.
        StepKind::Settled if joined => {
            Some(normal(About::Pod, "Joined", "this node is a member, and every member confirms it"))
        }
        StepKind::Act | StepKind::Dial | StepKind::Settled | StepKind::Wait => None,
    }
}

/// Returns the announcement of a step that was carried out.
pub fn when_done(step: &Step, explanation: &Explanation) -> Option<Announcement> {
    if *step == Step::Found {
        return Some(normal(About::StatefulSet, "Formed", "the cluster was formed"));
    }
    if let Step::RecordFounding { instead_of: Some(lost), .. } = step {
        let note = format!("a new cluster was formed instead of '{lost}', which was given up");
        return Some(normal(About::StatefulSet, "FormedAnew", note));
    }
    if let Step::Move { task: MoveTask::Drain(_), .. } = step {
        return Some(normal(About::StatefulSet, "Drained", format!("done: {}", explanation.message)));
    }
    if let Step::RemoveMember(_) = step {
        return Some(normal(About::StatefulSet, "MemberRemoved", format!("done: {}", explanation.message)));
    }
    if let Step::Adopt(_) = step {
        return Some(normal(About::Pod, "IdentityHealed", explanation.message.clone()));
    }
    if *step == Step::EnterMaintenance {
        return Some(normal(About::Pod, "FillingBegun", explanation.message.clone()));
    }
    if let Step::Fill { .. } = step {
        let note = "every shard on this node has what the other copies have: it takes part in reads and writes again";
        return Some(normal(About::Pod, "Filled", note));
    }
    None
}

/// Returns the announcement of a condition that was not there before.
pub fn when_condition_begins(explanation: &Explanation) -> Announcement {
    warning(explanation)
}

/// Returns the announcement of a condition's end.
pub fn when_condition_ends(reason: &str) -> Announcement {
    normal(About::Pod, "ConditionOver", format!("{reason} is over"))
}

fn warning(explanation: &Explanation) -> Announcement {
    Announcement {
        about: About::Pod,
        severity: Severity::Warning,
        reason: explanation.reason,
        note: explanation.message.clone(),
    }
}

fn normal(about: About, reason: &'static str, note: impl Into<String>) -> Announcement {
    Announcement { about, severity: Severity::Normal, reason, note: note.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::decide::{Refusal, WaitFor};
    use crate::facts::Unseen;

    fn entered(step: &Step, joined: bool) -> Option<(Severity, &'static str)> {
        let explanation = Explanation { reason: "Reason", message: "message".to_owned(), fix: None };
        when_entered(step, &explanation, joined)
            .map(|announcement| (announcement.severity, announcement.reason))
    }

    #[test]
    fn a_state_that_needs_a_person_is_announced_with_a_warning() {
        let refuse = Step::Refuse(Refusal::FormedBefore { uuid: None });
        assert_eq!(entered(&refuse, false), Some((Severity::Warning, "Reason")));
        let rejected = Step::Wait(WaitFor::LocalCouchDb(Unseen::Rejects));
        assert_eq!(entered(&rejected, false), Some((Severity::Warning, "Reason")));
        let removed = Step::Wait(WaitFor::NotListed(BTreeSet::from([1])));
        assert_eq!(entered(&removed, false), Some((Severity::Warning, "Reason")));
        assert_eq!(entered(&Step::Wait(WaitFor::LocalCouchDb(Unseen::NoAnswer)), false), None);
        assert_eq!(entered(&Step::Join(0), true), None);
    }

    #[test]
    fn a_member_is_announced_once_it_has_joined() {
        assert_eq!(entered(&Step::Settled, true), Some((Severity::Normal, "Joined")));
        assert_eq!(entered(&Step::Settled, false), None, "a restarted agent has nothing new to announce");
    }
}
