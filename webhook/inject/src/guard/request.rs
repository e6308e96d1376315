//! A request that removes pods, and the facts of its StatefulSet.

use contract::keys;

use super::ordinals::Ordinals;
use crate::read::ScaleDownMode;
use crate::read::annotations::SizeChange;
use crate::read::view::View;

/// The `spec.replicas` before and after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// The stored number.
    pub old: u32,
    /// The submitted number.
    pub new: u32,
}

/// A request that removes pods of a labelled StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleDown {
    /// The StatefulSet's name.
    pub name: String,
    /// The StatefulSet's namespace, if it is known.
    pub namespace: Option<String>,
    pub(super) old: Ordinals,
    pub(super) new: Ordinals,
    pub(super) mode: ScaleDownMode,
    pub(super) volumes: Volumes,
    /// The value of `target-size` after the request.
    pub(super) target: Option<u32>,
    pub(super) annotations: Annotations,
}

/// The fate of the volumes of removed pods, `persistentVolumeClaimRetentionPolicy.whenScaled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Volumes {
    Kept,
    Deleted,
}

/// The field `metadata.annotations` of the submitted object, to which a patch adds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Annotations {
    Present,
    Missing,
}

impl ScaleDown {
    /// The pods that an update removes; `None` if it removes none, or the StatefulSet is not one of couchdiscover's.
    pub(crate) fn of_update(view: &View<'_>, old: &View<'_>, namespace: Option<&str>) -> Option<Self> {
        // The stored label counts as well: an update that removes both label and pods removes the same data.
        if !is_enabled(view) && !is_enabled(old) {
            return None;
        }
        Self::of(view, ordinals(old), ordinals(view), namespace)
    }

    /// The pods that a request for the subresource `scale` removes from a stored StatefulSet; `None` if it removes none, or
    /// the StatefulSet is not one of couchdiscover's.
    pub fn of_scale(stored: &str, replicas: Replicas, namespace: Option<&str>) -> Option<Self> {
        let view = View::parse(stored).ok()?;
        if !is_enabled(&view) || view.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let start = view.first_ordinal();
        let [old, new] = [replicas.old, replicas.new].map(|count| Ordinals { start, count });
        Self::of(&view, old, new, namespace)
    }

    fn of(view: &View<'_>, old: Ordinals, new: Ordinals, namespace: Option<&str>) -> Option<Self> {
        if old.without(new).iter().all(std::ops::Range::is_empty) {
            return None;
        }
        let SizeChange { target, scale_down: mode } = SizeChange::of(view);
        Some(Self {
            name: view.name().to_owned(),
            namespace: namespace.map(str::to_owned),
            old,
            new,
            mode,
            volumes: if view.deletes_volumes() { Volumes::Deleted } else { Volumes::Kept },
            target,
            annotations: if view.has_annotations() { Annotations::Present } else { Annotations::Missing },
        })
    }

    /// The number of replicas before the request.
    pub fn replicas(&self) -> u32 {
        self.old.count
    }

    /// The value of the annotation `target-size` after the request.
    pub fn target(&self) -> Option<u32> {
        self.target
    }

    /// `true` if the request may become one to drain, which needs the right to change StatefulSets.
    pub fn may_drain(&self) -> bool {
        self.mode == ScaleDownMode::Drain && self.is_from_the_end() && self.new.count > 0
    }

    /// `true` if the verdict depends on the [`Evidence`](super::Evidence).
    pub fn needs_evidence(&self) -> bool {
        // All pods stop and keep their volumes: scaled up again, the cluster is the same.
        self.new.count > 0 || self.volumes == Volumes::Deleted
    }

    /// The name of the pod with this ordinal.
    pub(super) fn pod(&self, ordinal: u64) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// The ordinals of all removed pods, the highest first: that is the order in which they are drained.
    pub(super) fn removed(&self) -> impl Iterator<Item = u64> {
        let [below, above] = self.old.without(self.new);
        above.rev().chain(below.rev())
    }

    /// `true` if only the highest ordinals are removed, which is what a target size can express.
    pub(super) fn is_from_the_end(&self) -> bool {
        self.old.start == self.new.start
    }
}

fn is_enabled(view: &View<'_>) -> bool {
    view.label(keys::INJECT) == Some(keys::INJECT_ENABLED)
}

fn ordinals(view: &View<'_>) -> Ordinals {
    // Kubernetes stores no number outside of 0 to i32::MAX.
    Ordinals { start: view.first_ordinal(), count: u32::try_from(view.replicas()).unwrap_or(0) }
}
