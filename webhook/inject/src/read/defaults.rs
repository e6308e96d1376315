//! Cluster-wide defaults: values of annotations for StatefulSets without them.

use contract::keys;

use super::annotations::{Annotations, Settings};
use super::view::View;
use crate::outcome::Problem;

/// Values of annotations for StatefulSets without them. An annotation takes precedence.
#[derive(Clone, Debug, Default)]
pub struct Defaults(Vec<(&'static str, String)>);

impl Defaults {
    /// The annotations that can have a default: those about the agent, and the way of the cookie.
    pub const KEYS: [&str; 11] = [
        keys::AGENT_IMAGE_PULL_POLICY,
        keys::AGENT_IMAGE_PULL_SECRETS,
        keys::AGENT_CPU_REQUEST,
        keys::AGENT_MEMORY_REQUEST,
        keys::AGENT_CPU_LIMIT,
        keys::AGENT_MEMORY_LIMIT,
        keys::AGENT_LOG_LEVEL,
        keys::AGENT_LOG_FORMAT,
        keys::SIDECAR,
        keys::READINESS,
        keys::ERLANG_COOKIE,
    ];

    /// The given values, by the keys of their annotations.
    pub fn new(values: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        Self(values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// The problems that every StatefulSet without annotations of its own would have; empty if the values are valid.
    pub fn problems(&self) -> Vec<Problem> {
        const OBJECT: &str = r#"{"spec":{"template":{"spec":{"containers":[]}}}}"#;
        let settings = Settings {
            agent_image: "agent".to_owned(),
            cluster_domain: String::new(),
            version: String::new(),
            defaults: self.clone(),
        };
        let mut problems = Vec::new();
        if let Ok(view) = View::parse(OBJECT) {
            Annotations::parse(&view, &settings, &mut problems);
        }
        problems
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| *name == key)?;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_default_is_a_problem_before_any_statefulset_is_denied_for_it() {
        let problems = |values: &[(&'static str, &str)]| {
            Defaults::new(values.iter().map(|(key, value)| (*key, Some((*value).to_owned()))))
                .problems()
                .len()
        };
        assert_eq!(problems(&[]), 0);
        assert_eq!(problems(&[(keys::SIDECAR, "native"), (keys::AGENT_LOG_LEVEL, "WARN")]), 0);
        assert_eq!(problems(&[(keys::AGENT_MEMORY_REQUEST, "128Mi")]), 0, "the limit follows");
        assert_eq!(problems(&[(keys::AGENT_MEMORY_REQUEST, "32Mi"), (keys::AGENT_MEMORY_LIMIT, "16Mi")]), 1);
        for (key, value) in [
            (keys::AGENT_IMAGE_PULL_SECRETS, "Not_A_Name"),
            (keys::AGENT_CPU_REQUEST, "much"),
            (keys::READINESS, "perhaps"),
            (keys::ERLANG_COOKIE, "file"),
        ] {
            assert_eq!(problems(&[(key, value)]), 1, "{key}");
        }
    }
}
