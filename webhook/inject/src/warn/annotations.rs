//! Annotations that have no effect.

use contract::{env, keys};

use crate::outcome::Warning;
use crate::read::Planning;
use crate::read::view::View;

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
