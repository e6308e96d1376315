//! The admin credentials of the CouchDB container, copied for the agent.

use contract::{env, expand};
use serde_json::value::RawValue;

use crate::read::SizeSource;
use crate::read::view::{Container, Env};

/// The CouchDB container's variables and sources that provide the admin's name and password.
#[derive(Debug, Default)]
pub(crate) struct Credentials<'v> {
    /// Variables, each behind those that it refers to.
    pub(crate) env: Vec<&'v Env<'v>>,
    /// Sources that may provide what `env` does not.
    pub(crate) env_from: &'v [&'v RawValue],
    /// `true` if name and password are set, or may come from `env_from`.
    pub(crate) complete: bool,
}

impl<'v> Credentials<'v> {
    /// A complete pair of variables, the preferred family first. Without one, all variables of both families, and the
    /// sources that may provide the rest.
    pub(crate) fn of(container: &'v Container<'v>) -> Self {
        let pair = env::CREDENTIALS
            .iter()
            .find_map(|(user, password)| Some([container.variable(user)?, container.variable(password)?]));
        let mut credentials = Self { env: Vec::with_capacity(4), ..Self::default() };
        // One pair is sufficient. Variables of the other family might contradict it.
        if let Some(pair) = pair {
            credentials.complete = true;
            pair.into_iter().for_each(|variable| credentials.copy(container, variable));
            return credentials;
        }
        // `envFrom` may provide the missing part.
        credentials.env_from = container.env_from();
        credentials.complete = !credentials.env_from.is_empty();
        for name in env::CREDENTIALS.into_iter().flat_map(|(user, password)| [user, password]) {
            if let Some(variable) = container.variable(name) {
                credentials.copy(container, variable);
            }
        }
        credentials
    }

    /// Copies the variable of the cluster size as well, if only the pod knows its value.
    pub(crate) fn with_size(mut self, container: &'v Container<'v>, source: SizeSource<'v>) -> Self {
        match source {
            SizeSource::Unseen(variable) => self.copy(container, variable),
            SizeSource::Pinned | SizeSource::Replicas => {}
        }
        self
    }

    /// Copies a variable, the variables that its value refers to, and the sources of those that are not in `env`.
    fn copy(&mut self, container: &'v Container<'v>, variable: &'v Env<'v>) {
        // Two credentials may refer to the same variable.
        if self.env.iter().any(|copied| copied.name == variable.name) {
            return;
        }
        for name in variable.literal().into_iter().flat_map(expand::references) {
            match container.variable(name) {
                // Kubernetes knows only earlier variables. This also excludes circular references.
                Some(other) if container.position(other) < container.position(variable) => {
                    self.copy(container, other);
                }
                Some(_) => {}
                None => self.env_from = container.env_from(),
            }
        }
        self.env.push(variable);
    }
}
