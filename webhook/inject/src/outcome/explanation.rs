//! The outcome of a review and its reason. Answers, logs, metrics and the audit log use the same names for them.

use std::fmt;

/// The effect of a decision on the pod template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The injection is rendered, for the first time or again.
    Inject,
    /// The stored injection stays, or its missing parts are put back unchanged.
    Keep,
    /// The injection is removed.
    Uninject,
    /// The request is allowed unchanged.
    Skip,
    /// The request is denied.
    Deny,
    /// The replicas stay, and the nodes that the request removes are drained.
    Drain,
}

/// The rule that led to an [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The StatefulSet is new and labelled.
    Created,
    /// The label was set on a StatefulSet that had none or was opted out.
    OptedIn,
    /// The user changed the pod template, so the pods restart anyway.
    TemplateChanged,
    /// The user changed the refresh annotation.
    RefreshChanged,
    /// The template contains everything that would be injected.
    AlreadyInjected,
    /// The user's part of the pod template did not change, so the pods must not restart.
    TemplateUnchanged,
    /// Neither the template nor any of our keys changed.
    Unchanged,
    /// The label was removed, or set to `disabled`.
    OptedOut,
    /// The StatefulSet has no label of ours.
    NotLabelled,
    /// The label is `disabled`, and the template has no injection.
    Disabled,
    /// The label is older than the webhook, and the template has not changed since.
    NotInjectedYet,
    /// The object is being deleted. Removing its finalizers must not be prevented.
    BeingDeleted,
    /// The operation leaves no object to inject into, as DELETE and CONNECT.
    OtherOperation,
    /// The object is not an apps/v1 StatefulSet, or the request concerns a subresource such as `scale`.
    OtherResource,
    /// No cluster can be formed from the StatefulSet as it is.
    Invalid,
    /// A Scale removes no pods.
    NoNodesRemoved,
    /// A Scale removes pods, and their nodes are drained, or need not be.
    NodesRemovable,
    /// The request removes pods whose nodes are not drained, as far as is known.
    NodesNotDrained,
    /// The StatefulSet of a Scale cannot be read, so nothing is known about it.
    SetUnread,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 6] =
        [Self::Inject, Self::Keep, Self::Uninject, Self::Skip, Self::Deny, Self::Drain];

    /// The name in logs, metrics and audit annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "injected",
            Self::Keep => "kept",
            Self::Uninject => "uninjected",
            Self::Skip => "skipped",
            Self::Deny => "denied",
            Self::Drain => "drained-first",
        }
    }
}

impl Reason {
    /// The name in logs, metrics and audit annotations.
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
            Self::NoNodesRemoved => "no-nodes-removed",
            Self::NodesRemovable => "nodes-removable",
            Self::NodesNotDrained => "nodes-not-drained",
            Self::SetUnread => "statefulset-unread",
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
