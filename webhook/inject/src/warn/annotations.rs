//! Annotations that have no effect, and those about changes of size.

use contract::{OtherMembers, env, keys};

use crate::outcome::Warning;
use crate::read::annotations::{Kubernetes, SizeChange};
use crate::read::view::View;
use crate::read::{Planning, ScaleDownMode};

/// Warns of unknown annotations, each with the known one that it resembles, and of annotations on the pods.
pub(super) fn unknown(view: &View<'_>, warnings: &mut Vec<Warning>) {
    for (key, _) in view.annotations() {
        let key = key.as_str();
        if !keys::STATEFULSET_ANNOTATIONS.contains(&key) {
            warnings.push(Warning::UnknownAnnotation { key: key.to_owned(), nearest: nearest(key) });
        }
    }
    for (key, _) in view.spec.template.annotations() {
        // Annotations are read from the StatefulSet, so that changing one does not restart the pods.
        if key.as_str() != keys::INJECTED {
            warnings.push(Warning::Misplaced { key: key.as_str().to_owned() });
        }
    }
}

/// The known annotation with the smallest edit distance, if it is near enough to be meant.
fn nearest(key: &str) -> Option<&'static str> {
    let known = keys::STATEFULSET_ANNOTATIONS.iter().map(|known| (strsim::levenshtein(key, known), *known));
    let (edits, nearest) = known.min()?;
    // All keys share the domain and its slash, so only the part behind them counts.
    let length = nearest.len() - keys::DOMAIN.len() - 1;
    (edits <= length / 2).then_some(nearest)
}

/// Warns if the annotation names a cookie and the container sets another one.
pub(super) fn cookie_secret(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let cookies = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE];
    if planning.annotations.cookie.is_some()
        && let Some(name) = cookies.into_iter().find(|name| planning.is_set(name))
    {
        warnings.push(Warning::CookieSecretUnused { name });
    }
}

/// Warns of members outside of the StatefulSet that agents will not know.
pub(super) fn other_members(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let Some(value) = planning.view.annotation(keys::OTHER_MEMBERS) else { return };
    let (others, invalid) = OtherMembers::parse(value);
    warnings.extend(invalid.into_iter().map(|name| Warning::OtherMemberInvalid { name: name.to_owned() }));
    if !others.is_empty() && planning.annotations.kubernetes == Kubernetes::Off {
        warnings.push(Warning::OtherMembersUnread);
    }
}

/// Warns of a target size that drains nothing, or that drains nodes which nothing protects meanwhile.
pub(super) fn size_change(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let SizeChange { target, scale_down } = planning.annotations.size_change;
    let Some(target) = target else { return };
    let replicas = planning.view.replicas();
    // Scaled to 0 there is nothing to drain, and the target counts again afterwards.
    if replicas > 0 && i64::from(target) > replicas {
        warnings.push(Warning::TargetOverReplicas { target, replicas });
    }
    if scale_down == ScaleDownMode::Allow && i64::from(target) < replicas {
        warnings.push(Warning::DrainUnguarded { target, replicas });
    }
}

/// The fate of a target size below the number of nodes that an update asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StaleTarget {
    /// It stays, and drains the new nodes.
    Kept,
    /// It is removed: under `scale-down: drain` the replicas are the user's wish, and the webhook set the target.
    Removed,
}

/// The warning about an update that adds nodes beyond a target size that it does not change.
pub(crate) fn raised_over_target(view: &View<'_>, old: &View<'_>) -> Option<(Warning, StaleTarget)> {
    let SizeChange { target, scale_down } = SizeChange::of(view);
    let (target, replicas) = (target?, view.replicas());
    let is_raised = replicas > old.replicas() && i64::from(target) < replicas;
    if !is_raised || SizeChange::of(old).target != Some(target) {
        return None;
    }
    // From 0 the same nodes come back, and a drain goes on.
    if scale_down == ScaleDownMode::Drain && old.replicas() > 0 {
        return Some((Warning::TargetRemoved { target, replicas }, StaleTarget::Removed));
    }
    Some((Warning::RaisedOverTarget { target, replicas }, StaleTarget::Kept))
}
