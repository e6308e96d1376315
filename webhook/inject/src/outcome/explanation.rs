//! What came of a review, and why: the same words in answers, logs, metrics and the audit log.

use std::fmt;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The injection was rendered, for the first time or anew.
    Inject,
    /// The injection that is there stays, or was put back, as it was.
    Keep,
    /// The injection was taken out.
    Uninject,
    /// There was nothing to do.
    Skip,
    /// The request was refused.
    Deny,
}

/// Why it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The StatefulSet is new and labelled.
    Created,
    /// The label was set on a StatefulSet that had none, or that was opted out.
    OptedIn,
    /// The user changed the pod template, so the pods restart anyway.
    TemplateChanged,
    /// The user asked for it with the refresh annotation.
    RefreshChanged,
    /// What there is to inject is there.
    AlreadyInjected,
    /// The user's part of the pod template is what it was: no pod restarts for our sake.
    TemplateUnchanged,
    /// Nothing that matters here was changed.
    Unchanged,
    /// The label was removed, or set to `disabled`.
    OptedOut,
    /// There is no label.
    NotLabelled,
    /// The label says `disabled`, and there is no injection.
    Disabled,
    /// The label was set before there was a webhook, and nothing has changed the template since.
    NotInjectedYet,
    /// The object is being deleted; its finalizers must go through.
    BeingDeleted,
    /// The operation leaves nothing to inject into.
    OtherOperation,
    /// It is not an apps/v1 StatefulSet, or only a part of one, such as its scale.
    OtherResource,
    /// The StatefulSet can't be made into a cluster as it is.
    Invalid,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Inject, Self::Keep, Self::Uninject, Self::Skip, Self::Deny];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "injected",
            Self::Keep => "kept",
            Self::Uninject => "uninjected",
            Self::Skip => "skipped",
            Self::Deny => "denied",
        }
    }
}

impl Reason {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::OptedIn => "opted-in",
            Self::TemplateChanged => "template-changed",
            Self::RefreshChanged => "refresh-changed",
            Self::AlreadyInjected => "already-injected",
            Self::TemplateUnchanged => "template-unchanged",
            Self::Unchanged => "unchanged",
            Self::OptedOut => "opted-out",
            Self::NotLabelled => "not-labelled",
            Self::Disabled => "disabled",
            Self::NotInjectedYet => "not-injected-yet",
            Self::BeingDeleted => "being-deleted",
            Self::OtherOperation => "other-operation",
            Self::OtherResource => "other-resource",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
