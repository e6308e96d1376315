//! The additions to one StatefulSet.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use contract::objects;
use serde::Serialize;
use serde_json::json;

use crate::digest::{Digest, Fields};
use crate::outcome::Warning;
use crate::read::Planning;
use crate::read::annotations::Sidecar;
use crate::record::{Item, List, Parent, Place, Record};
use crate::render::{self, Credentials, FIELDS};
use crate::warn::warn;

/// The additions to one StatefulSet.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The added variable that gives CouchDB's nodes their names.
    pub(crate) naming_variable: Option<&'static str>,
    /// The record of all additions, for the template's annotations.
    pub(crate) record: Record,
    /// The JSON of all additions, each at one of `ranges`, in the order of the record.
    json: String,
    ranges: Vec<Range<usize>>,
}

impl Plan {
    /// Makes the plan for a StatefulSet without injection.
    pub(crate) fn of(planning: &Planning<'_>, warnings: &mut Vec<Warning>) -> Self {
        let container = planning.couchdb.container;
        // The size variable may refer to variables that the agent needs as well.
        let credentials = Credentials::of(container).with_size(container, planning.size.source);
        let env = render::variables(planning);
        let others = render::cookie_variables(planning);
        warn(planning, &credentials, &env, warnings);
        let mut additions = Additions::with_capacity(1 + env.len());
        // The agent is the user's, since the view carries no injection.
        let has_agent = planning.view.spec.template.has_agent();
        if has_agent {
            warnings.push(Warning::SidecarNotOurs);
        } else {
            let list = match planning.annotations.sidecar {
                Sidecar::Container => List::Containers,
                Sidecar::Native => List::InitContainers,
            };
            let sidecar = render::sidecar(planning, &credentials);
            additions.add(list, objects::AGENT_CONTAINER, &sidecar);
        }
        let container: Arc<str> = planning.couchdb.name().into();
        for variable in &env {
            additions.add(List::Env(container.clone()), variable.name, variable);
        }
        for (container, variables) in &others {
            let container: Arc<str> = (*container).into();
            for variable in variables {
                additions.add(List::Env(container.clone()), variable.name, variable);
            }
        }
        if !has_agent {
            add_volumes(planning, &mut additions);
            add_pull_secrets(planning, &mut additions);
        }
        let naming = env.iter().find(|variable| variable.names_the_node());
        additions.finish(planning, naming.map(|variable| variable.name))
    }

    /// The items of the record, each with its JSON.
    pub(crate) fn additions(&self) -> impl Iterator<Item = (&Item, &str)> {
        self.record.items.iter().zip(self.ranges.iter().map(|range| &self.json[range.clone()]))
    }
}

fn add_volumes(planning: &Planning<'_>, additions: &mut Additions) {
    let users = planning.view.pod().volumes.as_deref().unwrap_or(&[]);
    for volume in render::volumes(planning) {
        // A volume of this name that exists already stays, and the agent mounts that one.
        if !users.iter().any(|users| users.name.as_str() == volume.name) {
            additions.add(List::Volumes, volume.name, &volume);
        }
    }
}

fn add_pull_secrets(planning: &Planning<'_>, additions: &mut Additions) {
    for name in &planning.annotations.pull_secrets {
        if !planning.pulls_with(name) {
            additions.add(List::PullSecrets, (*name).to_owned(), &json!({"name": name}));
        }
    }
}

/// The additions so far. All of them are serialized into one buffer, once: for their digests and for the patch.
struct Additions {
    json: Vec<u8>,
    entries: Vec<(Place, Range<usize>)>,
}

impl Additions {
    fn with_capacity(entries: usize) -> Self {
        // The agent of a usual StatefulSet has 2 kB, and its variables about 600 bytes.
        Self { json: Vec::with_capacity(4096), entries: Vec::with_capacity(entries) }
    }

    fn add(&mut self, list: List, name: impl Into<Cow<'static, str>>, rendered: &impl Serialize) {
        let start = self.json.len();
        // Values in memory cannot fail to serialize. If they did, every test that applies a patch would fail.
        let _ = serde_json::to_writer(&mut self.json, rendered);
        self.entries.push((Place { list, name: name.into() }, start..self.json.len()));
    }

    fn finish(self, planning: &Planning<'_>, naming_variable: Option<&'static str>) -> Plan {
        let json = String::from_utf8(self.json).unwrap_or_default();
        let mut items = Vec::with_capacity(self.entries.len());
        let mut ranges = Vec::with_capacity(self.entries.len());
        for (place, range) in self.entries {
            let digest = Digest::of_text(&json[range.clone()], digested_fields(&place.list));
            items.push(Item { place, digest: digest.unwrap_or_default() });
            ranges.push(range);
        }
        let made = made(planning, &items);
        let record = Record { version: planning.facts.version.to_owned(), items, made, ignored: Vec::new() };
        Plan { naming_variable, record, json, ranges }
    }
}

/// The fields of an entry that its digest covers.
pub(crate) fn digested_fields(list: &List) -> Fields {
    match list {
        List::Containers | List::InitContainers => Fields::Only(FIELDS),
        List::Env(_) | List::Volumes | List::PullSecrets => Fields::All,
    }
}

/// The maps and lists that the template does not have and the additions need.
fn made(planning: &Planning<'_>, items: &[Item]) -> Vec<Parent> {
    let template = &planning.view.spec.template;
    let mut made = Vec::new();
    // Listed from the outside in. Removal goes through the list in reverse.
    match &template.metadata {
        None => made.extend([Parent::Metadata, Parent::Annotations]),
        Some(metadata) if metadata.annotations.is_none() => made.push(Parent::Annotations),
        Some(_) => {}
    }
    let pod = &template.spec;
    let has = |list: &List| match list {
        List::Containers => true,
        List::InitContainers => pod.init_containers.is_some(),
        List::Volumes => pod.volumes.is_some(),
        List::PullSecrets => pod.image_pull_secrets.is_some(),
        List::Env(container) => {
            let container = pod.containers.iter().rfind(|it| it.name.as_str() == &**container);
            container.is_some_and(|container| container.env.is_some())
        }
    };
    let lists = || items.iter().map(|item| &item.place.list);
    // The variables first, as in every record so far.
    for list in lists().filter(|list| list.is_env()).chain(lists().filter(|list| !list.is_env())) {
        if has(list) {
            continue;
        }
        let parent = Parent::List(list.clone());
        if !made.contains(&parent) {
            made.push(parent);
        }
    }
    made
}
