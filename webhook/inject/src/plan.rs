//! The additions to one StatefulSet.

use std::sync::Arc;

use contract::objects;
use serde::Serialize;

use crate::digest::{Digest, Fields};
use crate::outcome::Warning;
use crate::read::Planning;
use crate::read::annotations::Sidecar;
use crate::record::{Item, List, Parent, Place, Record};
use crate::render::{self, AgentContainer, Credentials, FIELDS, Variable, Volume};
use crate::warn::warn;

/// The additions to one StatefulSet.
#[derive(Debug)]
pub(crate) struct Plan<'p> {
    /// Index of the CouchDB container.
    pub(crate) container: usize,
    /// Variables for the CouchDB container.
    pub(crate) env: Vec<Variable<'p>>,
    /// The agent's container; `None` if the user has a container of its name.
    pub(crate) sidecar: Option<AgentContainer<'p>>,
    /// The list that the agent's container belongs to.
    pub(crate) kind: Sidecar,
    pub(crate) volumes: Vec<Volume>,
    /// The record of all these, for the template's annotations.
    pub(crate) record: Record,
}

impl<'p> Plan<'p> {
    /// Makes the plan for a StatefulSet without injection.
    pub(crate) fn of(planning: &'p Planning<'p>, warnings: &mut Vec<Warning>) -> Self {
        let container = planning.couchdb.container;
        // The size variable may refer to variables that the agent needs as well.
        let credentials = Credentials::of(container).with_size(container, planning.size.source);
        let env = render::variables(planning);
        warn(planning, &credentials, &env, warnings);
        let mut plan = Self {
            container: planning.couchdb.index,
            env,
            sidecar: None,
            kind: planning.annotations.sidecar,
            volumes: Vec::new(),
            record: Record::default(),
        };
        if has_agent(planning) {
            warnings.push(Warning::SidecarNotOurs);
        } else {
            plan.sidecar = Some(render::sidecar(planning, &credentials));
            plan.volumes = render::volumes(planning);
            // A volume that exists already stays, and the agent mounts that one.
            let users = planning.view.pod().volumes.as_deref().unwrap_or(&[]);
            plan.volumes.retain(|volume| !users.iter().any(|users| users.name.as_str() == volume.name));
        }
        plan.record = record(planning, &plan);
        plan
    }

    /// The added variable that gives CouchDB's nodes their names.
    pub(crate) fn naming_variable(&self) -> Option<&'static str> {
        self.env.iter().find(|variable| variable.names_the_node()).map(|variable| variable.name)
    }
}

/// `true` if a container has the agent's name. It belongs to the user, since the view carries no injection.
fn has_agent(planning: &Planning<'_>) -> bool {
    let pod = planning.view.pod();
    let containers = pod.containers.iter().map(|container| &container.name);
    let init_containers = pod.init_containers.iter().flatten().map(|container| &container.name);
    containers.chain(init_containers).any(|name| name.as_str() == objects::AGENT_CONTAINER)
}

fn record(planning: &Planning<'_>, plan: &Plan<'_>) -> Record {
    let container: Arc<str> = planning.couchdb.name().into();
    let mut recorder = Recorder {
        items: Vec::with_capacity(1 + plan.env.len() + plan.volumes.len()),
        json: Vec::with_capacity(3072),
    };
    if let Some(sidecar) = &plan.sidecar {
        let list = match plan.kind {
            Sidecar::Container => List::Containers,
            Sidecar::Native => List::InitContainers,
        };
        recorder.add(list, objects::AGENT_CONTAINER, sidecar, Fields::Only(FIELDS));
    }
    for variable in &plan.env {
        recorder.add(List::Env(container.clone()), variable.name, variable, Fields::All);
    }
    for volume in &plan.volumes {
        recorder.add(List::Volumes, volume.name, volume, Fields::All);
    }
    let made = made(planning, plan, container);
    Record { version: planning.facts.version.to_owned(), items: recorder.items, made }
}

struct Recorder {
    items: Vec<Item>,
    /// The JSON of the current item; one buffer for all of them.
    json: Vec<u8>,
}

impl Recorder {
    fn add(&mut self, list: List, name: &'static str, rendered: &impl Serialize, fields: Fields) {
        self.json.clear();
        // Values in memory cannot fail to serialize. If they did, every test that applies a patch would fail.
        let _ = serde_json::to_writer(&mut self.json, rendered);
        let digest = Digest::of(&mut serde_json::Deserializer::from_slice(&self.json), fields);
        let place = Place { list, name: name.into() };
        self.items.push(Item { place, digest: digest.unwrap_or_default() });
    }
}

/// The maps and lists that the template does not have and the additions need.
fn made(planning: &Planning<'_>, plan: &Plan<'_>, container: Arc<str>) -> Vec<Parent> {
    let template = &planning.view.spec.template;
    let mut made = Vec::new();
    // Listed from the outside in. Removal goes through the list in reverse.
    match &template.metadata {
        None => made.extend([Parent::Metadata, Parent::Annotations]),
        Some(metadata) if metadata.annotations.is_none() => made.push(Parent::Annotations),
        Some(_) => {}
    }
    if !plan.env.is_empty() && planning.couchdb.container.env.is_none() {
        made.push(Parent::List(List::Env(container)));
    }
    if plan.sidecar.is_some() && plan.kind == Sidecar::Native && template.spec.init_containers.is_none() {
        made.push(Parent::List(List::InitContainers));
    }
    if !plan.volumes.is_empty() && template.spec.volumes.is_none() {
        made.push(Parent::List(List::Volumes));
    }
    made
}
