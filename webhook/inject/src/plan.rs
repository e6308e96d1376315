//! What is to be added to one StatefulSet, or everything that stands in the way.

use std::sync::Arc;

use contract::name::Domain;
use contract::{Label, NameError, PodFqdn, PodName, env, objects};

use crate::json::{Digest, Fields, digest};
use crate::outcome::problem::Problem;
use crate::outcome::warning::Warning;
use crate::read::annotations::{self, Settings, Sidecar, Wishes};
use crate::read::couchdb::{self, CouchDb};
use crate::read::erl_flags;
use crate::read::view::View;
use crate::record::{Item, Parent, Place, Record};
use crate::render::sidecar::{self, Agent, Credentials};
use crate::render::variables::{self, Addition, Facts};

/// What is to be added.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The CouchDB container's place among the containers.
    pub(crate) container: usize,
    /// To the CouchDB container's variables.
    pub(crate) env: Vec<Addition>,
    /// To the containers, or the init containers; `None` when the user has one of that name.
    pub(crate) sidecar: Option<String>,
    pub(crate) kind: Sidecar,
    /// To the volumes.
    pub(crate) volumes: Vec<Addition>,
    /// To the template's annotations.
    pub(crate) record: Record,
}

impl Plan {
    /// The variable that is added and gives CouchDB's nodes their names.
    pub(crate) fn names_nodes(&self) -> Option<&'static str> {
        let names = |addition: &&Addition| match addition.name {
            env::NODENAME => true,
            name => name == env::ERL_FLAGS && addition.json.contains("-name "),
        };
        self.env.iter().find(names).map(|addition| addition.name)
    }
}

/// Makes the plan for a StatefulSet without injection.
pub(crate) fn plan(
    view: &View<'_>,
    namespace: Option<&str>,
    settings: &Settings,
    warnings: &mut Vec<Warning>,
) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let wishes = Wishes::parse(view, settings, &mut problems);
    let couchdb = couchdb::find(view, wishes.container, warnings);
    let couchdb = couchdb.map_err(|problem| problems.push(problem)).ok();
    let size = couchdb.map(|couchdb| Size::of(view, couchdb, &wishes, &mut problems));
    refuse(view, namespace, settings, couchdb, size.as_ref(), &mut problems);
    match (couchdb, size) {
        (Some(couchdb), Some(size)) if problems.is_empty() => {
            Ok(render(view, namespace, settings, &wishes, couchdb, &size, warnings))
        }
        (_, _) => Err(problems),
    }
}

/// At how many nodes the cluster is founded, and who says so.
#[derive(Debug)]
struct Size<'v> {
    founding: u32,
    pinned: bool,
    /// The user's variable, when its value can't be seen here.
    unseen: Option<&'v crate::read::view::Env<'v>>,
}

impl<'v> Size<'v> {
    fn of(view: &View<'_>, couchdb: CouchDb<'v>, wishes: &Wishes<'_>, problems: &mut Vec<Problem>) -> Self {
        let variable = couchdb.container.variable(env::COUCHDB_CLUSTER_SIZE);
        let seen = variable.and_then(|variable| Some((variable, variable.seen()?)));
        let literal = seen.and_then(|(variable, value)| {
            let size = annotations::parse_size(value);
            if size.is_none() {
                let path = value_path(couchdb, variable);
                problems.push(Problem::Size { path, value: value.to_owned() });
            }
            size
        });
        if let (Some(annotated), Some(variable)) = (wishes.size, literal)
            && annotated != variable
        {
            problems.push(Problem::TwoSizes { annotated, variable });
        }
        // Nobody can found a cluster of no nodes; a StatefulSet that is scaled to 0 founds with its first pod.
        let replicas = u32::try_from(view.replicas().max(1)).unwrap_or(u32::MAX);
        Self {
            founding: wishes.size.or(literal).unwrap_or(replicas),
            pinned: wishes.size.is_some() || variable.is_some(),
            unseen: variable.filter(|variable| variable.seen().is_none()),
        }
    }
}

fn render(
    view: &View<'_>,
    namespace: Option<&str>,
    settings: &Settings,
    wishes: &Wishes<'_>,
    couchdb: CouchDb<'_>,
    size: &Size<'_>,
    warnings: &mut Vec<Warning>,
) -> Plan {
    let companion = objects::companion(text(view.metadata.name.as_ref()));
    let size_text = size.founding.to_string();
    let facts = Facts {
        companion: &companion,
        service: text(view.spec.service_name.as_ref()),
        namespace,
        domain: &settings.cluster_domain,
        size_text: &size_text,
    };
    let mut credentials = Credentials::of(couchdb.container);
    if let Some(variable) = size.unseen {
        credentials.copy(couchdb.container, variable);
    }
    let env = variables::additions(couchdb, wishes, &facts);
    crate::warn::concerns::warn(
        view,
        couchdb,
        wishes,
        &credentials,
        &env,
        (size.founding, size.pinned),
        warnings,
    );
    crate::warn::node_names::warn(view, couchdb, wishes, &facts, warnings);
    let token = view.spec.template.spec.automount_service_account_token == Some(false);
    let agent = Agent {
        couchdb,
        wishes,
        credentials,
        unseen_size: size.unseen,
        size_pinned: size.pinned,
        ordinals_start: view.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start),
        pod_management_policy: view
            .spec
            .pod_management_policy
            .as_ref()
            .map_or("OrderedReady", |it| it.as_str()),
        token,
    };
    let spec = &view.spec.template.spec;
    let mut containers = spec.containers.iter().map(|container| container.name.as_str());
    let mut inits = spec.init_containers.iter().flatten().map(|container| container.name.as_str());
    let taken = containers.any(is_agent) || inits.any(is_agent);
    if taken {
        warnings.push(Warning::SidecarIsYours);
    }
    let sidecar = (!taken).then(|| sidecar::render(&agent, &facts));
    let is_there = |name| spec.volumes.iter().flatten().any(|volume| volume.name.as_str() == name);
    let mut volumes = if taken { vec![] } else { sidecar::volumes(&agent) };
    volumes.retain(|volume| !is_there(volume.name));
    let record = record(view, settings, couchdb, wishes.sidecar, &env, sidecar.as_deref(), &volumes);
    Plan { container: couchdb.index, env, sidecar, kind: wishes.sidecar, volumes, record }
}

fn record(
    view: &View<'_>,
    settings: &Settings,
    couchdb: CouchDb<'_>,
    kind: Sidecar,
    env: &[Addition],
    sidecar: Option<&str>,
    volumes: &[Addition],
) -> Record {
    let container: Arc<str> = couchdb.container.name.as_str().into();
    let agent = objects::AGENT_CONTAINER.into();
    let sidecar_place = match kind {
        Sidecar::Container => Place::Container(agent),
        Sidecar::Native => Place::InitContainer(agent),
    };
    let item = |place, json: &str, fields| Item { place, digest: digest_of(json, fields) };
    let mut items = Vec::with_capacity(1 + env.len() + volumes.len());
    items.extend(sidecar.map(|json| item(sidecar_place, json, Fields::Only(sidecar::FIELDS))));
    items.extend(env.iter().map(|Addition { name, json }| {
        let place = Place::Env { container: container.clone(), name: (*name).into() };
        item(place, json, Fields::All)
    }));
    let volume = |volume: &Addition| item(Place::Volume(volume.name.into()), &volume.json, Fields::All);
    items.extend(volumes.iter().map(volume));
    let template = &view.spec.template;
    let mut made = Vec::new();
    match &template.metadata {
        None => made.extend([Parent::Metadata, Parent::Annotations]),
        Some(metadata) if metadata.annotations.is_none() => made.push(Parent::Annotations),
        Some(_) => {}
    }
    if !env.is_empty() && couchdb.container.env.is_none() {
        made.push(Parent::Env { container });
    }
    if sidecar.is_some() && kind == Sidecar::Native && template.spec.init_containers.is_none() {
        made.push(Parent::InitContainers);
    }
    if !volumes.is_empty() && template.spec.volumes.is_none() {
        made.push(Parent::Volumes);
    }
    Record { version: settings.version.clone(), items, made }
}

/// What makes a cluster of these pods impossible.
fn refuse(
    view: &View<'_>,
    namespace: Option<&str>,
    settings: &Settings,
    couchdb: Option<CouchDb<'_>>,
    size: Option<&Size<'_>>,
    problems: &mut Vec<Problem>,
) {
    if text(view.metadata.name.as_ref()).is_empty() {
        problems.push(Problem::NoName);
    }
    if text(view.spec.service_name.as_ref()).is_empty() {
        problems.push(Problem::NoService);
    }
    let spec = &view.spec.template.spec;
    for (field, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        let value = text(value.as_ref());
        if !value.is_empty() {
            problems.push(Problem::PodDns { field, value: value.to_owned() });
        }
    }
    let size = size.map_or(1, |size| size.founding);
    problems.extend(bad_name(view, namespace, settings, size));
    if let Some(couchdb) = couchdb {
        monsters(couchdb, problems);
    }
}

/// The last pod has the longest name; if that one is good, all are.
fn bad_name(view: &View<'_>, namespace: Option<&str>, settings: &Settings, size: u32) -> Option<Problem> {
    let set = text(view.metadata.name.as_ref());
    if set.is_empty() {
        return None;
    }
    let start = view.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start);
    let pods = u32::try_from(view.replicas().max(1)).unwrap_or(u32::MAX).max(size);
    let last = start.saturating_add(pods - 1);
    let of = |field| move |why: NameError| Problem::PodName { field, why };
    let check = || {
        let pod = set.parse().and_then(|set: Label| PodName::new(set, last)).map_err(of("metadata.name"))?;
        let service = text(view.spec.service_name.as_ref());
        if service.is_empty() {
            return Ok(());
        }
        let service: Label = service.parse().map_err(of("spec.serviceName"))?;
        let namespace: Label = namespace.unwrap_or("default").parse().map_err(of("metadata.namespace"))?;
        let domain: Domain = settings.cluster_domain.parse().map_err(of("--cluster-domain"))?;
        PodFqdn::new(pod, service, namespace, domain).map(drop).map_err(of("metadata.name"))
    };
    check().err()
}

fn monsters(couchdb: CouchDb<'_>, problems: &mut Vec<Problem>) {
    for variable in couchdb.container.env() {
        let is_cookie = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE].contains(&variable.name.as_str());
        let value = variable.literal().unwrap_or("");
        let in_flags =
            variable.name.as_str() == env::ERL_FLAGS && erl_flags::cookie(value).as_deref() == Some(MONSTER);
        if is_cookie && value.trim() == MONSTER || in_flags {
            problems.push(Problem::Monster { path: value_path(couchdb, variable) });
        }
    }
}

/// CouchDB 3.2.1 and later refuse to start with the cookie that its own `vm.args` used to hold.
const MONSTER: &str = "monster";

fn is_agent(name: &str) -> bool {
    name == objects::AGENT_CONTAINER
}

/// The field path of a variable's value.
pub(crate) fn value_path(couchdb: CouchDb<'_>, variable: &crate::read::view::Env<'_>) -> String {
    let index = couchdb.container.env().iter().position(|env| std::ptr::eq(env.raw, variable.raw));
    let field = if variable.value_from.is_some() { "valueFrom" } else { "value" };
    format!("spec.template.spec.containers[{}].env[{}].{field}", couchdb.index, index.unwrap_or(0))
}

fn digest_of(json: &str, fields: Fields) -> Digest {
    // What was rendered here is JSON; were it not, every test that applies a patch would fail.
    digest(&mut serde_json::Deserializer::from_str(json), fields).unwrap_or_default()
}

fn text<'v>(text: Option<&'v crate::read::text::Text<'_>>) -> &'v str {
    text.map_or("", |text| text.as_str())
}
