//! One StatefulSet, read and interpreted.

use contract::objects;

use super::annotations::{Annotations, CookieWay, Kubernetes, Settings};
use super::couchdb::CouchDb;
use super::facts::{Facts, Size};
use super::requirements;
use super::view::View;
use crate::outcome::{Problem, Warning};

/// One StatefulSet with everything that follows from it: the input of rendering and of the warnings.
#[derive(Debug)]
pub(crate) struct Planning<'p> {
    pub(crate) view: &'p View<'p>,
    pub(crate) couchdb: CouchDb<'p>,
    pub(crate) annotations: Annotations<'p>,
    pub(crate) size: Size<'p>,
    pub(crate) facts: Facts<'p>,
}

impl<'p> Planning<'p> {
    /// Reads a StatefulSet that carries no injection, or returns everything that is wrong with it.
    pub(crate) fn read(
        view: &'p View<'p>,
        namespace: Option<&'p str>,
        settings: &'p Settings,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let annotations = Annotations::parse(view, settings, &mut problems);
        let couchdb = CouchDb::find(view, annotations.container, warnings);
        let couchdb = couchdb.map_err(|problem| problems.push(problem)).ok();
        requirements::check_cookie_containers(view, couchdb, &annotations, &mut problems);
        // The size may come from a variable of the container.
        let size = couchdb.map(|couchdb| Size::of(view, couchdb, &annotations, &mut problems));
        let facts = Facts {
            companion: objects::companion(view.name()),
            service: view.service(),
            namespace,
            domain: &settings.cluster_domain,
            version: &settings.version,
        };
        requirements::check(view, couchdb, &facts, size.as_ref(), &mut problems);
        requirements::check_separate_databases(view, &annotations, &mut problems);
        match (couchdb, size) {
            (Some(couchdb), Some(size)) if problems.is_empty() => {
                Ok(Self { view, couchdb, annotations, size, facts })
            }
            (_, _) => Err(problems),
        }
    }

    /// The way in which CouchDB is given the cookie.
    pub(crate) fn cookie_way(&self) -> CookieWay {
        let cannot_write = || self.couchdb.cannot_write_cookie(self.view.pod().security_context);
        let by_image = || if cannot_write() { CookieWay::Flag } else { CookieWay::Variable };
        self.annotations.cookie_way.unwrap_or_else(by_image)
    }

    /// `true` if the pods have a token of their own for the agent.
    pub(crate) fn needs_token(&self) -> bool {
        self.annotations.kubernetes == Kubernetes::Auto
    }

    /// `true` if the user's template names this Secret for pulling images.
    pub(crate) fn pulls_with(&self, secret: &str) -> bool {
        let users = self.view.pod().image_pull_secrets.iter().flatten();
        users.filter_map(|reference| reference.name.as_ref()).any(|name| name.as_str() == secret)
    }

    /// `true` if the container sets the variable, or the user provides it unseen.
    pub(crate) fn is_set(&self, variable: &str) -> bool {
        self.annotations.keeps(variable) || self.couchdb.container.variable(variable).is_some()
    }
}
