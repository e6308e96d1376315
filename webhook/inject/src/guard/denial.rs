//! The reasons for which nodes may not be removed, and their messages.

use std::fmt::Write as _;

use contract::keys;
use contract::moves::{CopiesRecord, NodeCopies, NodeState};
use contract::text::{MESSAGE_LIMIT, cut, one_line};
use thiserror::Error;

use super::request::{ScaleDown, Volumes};

/// A denial of a request that removes nodes. The message names the data at risk, and ends with a fix.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{facts}. Fix: {fix}")]
pub struct Denial {
    facts: String,
    fix: String,
}

impl Denial {
    /// The removed nodes hold copies.
    pub(super) fn not_drained(request: &ScaleDown, record: &CopiesRecord) -> Self {
        Self::new(too_early(request, record), drain_first(request))
    }

    /// The removed nodes are not the last ones, so no target size can drain them.
    pub(super) fn other_start(request: &ScaleDown, record: &CopiesRecord) -> Self {
        let fix = format!(
            "keep spec.ordinals.start at {}: only the nodes with the highest ordinals can be drained",
            request.old.start
        );
        Self::new(too_early(request, record), fix)
    }

    /// All pods are removed, and their volumes with them.
    pub(super) fn volumes_deleted(request: &ScaleDown) -> Self {
        let facts = format!(
            "scaling StatefulSet '{}' to 0 would delete the volumes of all nodes with their databases, since \
             persistentVolumeClaimRetentionPolicy.whenScaled is 'Delete'",
            request.name
        );
        let policy = r#"{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}"#;
        let fix =
            format!("kubectl{} patch statefulset {} -p '{policy}'", in_namespace(request), request.name);
        Self::new(facts, fix)
    }

    /// The agents have not recorded the copies on their nodes.
    pub(super) fn not_recorded(request: &ScaleDown) -> Self {
        let facts = format!(
            "{}, and the agents have not recorded which databases are on them (they do so when the cluster is settled; agents of an older release never do)",
            removal(request)
        );
        Self::new(facts, drain_first(request))
    }

    /// The records cannot be used.
    pub(super) fn unknown(request: &ScaleDown, reason: &str) -> Self {
        let facts = format!("{}, and it is unknown which databases are on them: {reason}", removal(request));
        let fix = format!(
            "repeat the request when the reason is gone, or look with: kubectl{} get lease {} -o yaml",
            in_namespace(request),
            contract::objects::companion(&request.name)
        );
        Self::new(facts, fix)
    }

    /// Nodes that are not drained would be drained first, but the webhook may not lower the replicas afterwards.
    pub fn may_not_drain(request: &ScaleDown) -> Self {
        let facts = format!(
            "{}, and '{}: drain' has no effect: the webhook has no permission to change StatefulSets",
            removal(request),
            keys::SCALE_DOWN
        );
        let fix =
            format!("kubectl apply -k manifests/overlays/scale-down-drain, or {}", drain_first(request));
        Self::new(facts, fix)
    }

    /// Nodes that are not drained would be drained first, but the target size could not be set.
    pub fn target_not_set(request: &ScaleDown, reason: &str) -> Self {
        let facts = format!("{}, and {} could not be set: {reason}", removal(request), keys::TARGET_SIZE);
        Self::new(facts, drain_first(request))
    }

    fn new(facts: String, fix: String) -> Self {
        // The names come from CouchDB's users. Only they are cut: the fix is what the reader needs most.
        let room = MESSAGE_LIMIT.saturating_sub(fix.len() + ". Fix: ".len());
        Self { facts: one_line(&facts, room).into_owned(), fix }
    }
}

/// The beginning of each message: the request and the pods that it stops.
fn removal(request: &ScaleDown) -> String {
    let ScaleDown { name, old, new, .. } = request;
    let pods: Vec<String> = request.removed().take(SHOWN).map(|ordinal| request.pod(ordinal)).collect();
    let others = request.old.without(request.new).iter().map(|range| range.end - range.start).sum::<u64>();
    let more = more(others, pods.len());
    let change = if request.is_from_the_end() {
        format!("from {} to {}", old.count, new.count)
    } else {
        format!("from {} to {} beginning with ordinal {}", old.count, new.count, new.start)
    };
    let volumes = match request.volumes {
        Volumes::Kept => "",
        Volumes::Deleted => " and delete the volumes",
    };
    format!("scaling StatefulSet '{name}' {change} would stop {}{more}{volumes}", pods.join(", "))
}

/// The nodes are removed before their data has been moved.
fn too_early(request: &ScaleDown, record: &CopiesRecord) -> String {
    format!("{} before their data has been moved: {}", removal(request), holdings(request, record))
}

/// The copies on the first removed nodes that are not drained, with the time of the record.
fn holdings(request: &ScaleDown, record: &CopiesRecord) -> String {
    let nodes = request.kept(record).take(SHOWN).map(|pod| {
        let holding = record.nodes.get(&pod).map_or_else(|| "is not in the record".to_owned(), holding);
        format!("{pod} {holding}")
    });
    let nodes = nodes.collect::<Vec<_>>().join("; ");
    let time = if record.as_of.is_empty() { "an unknown time" } else { &record.as_of };
    // Before the names, which are cut if they are long.
    format!("as of {}, {nodes}", cut(time, TIME_LENGTH))
}

fn holding(node: &NodeCopies) -> String {
    let NodeCopies { state, databases, only_copies, examples } = node;
    let mut text = match state {
        NodeState::Unknown => return "is in a state that this release does not know".to_owned(),
        // Removable nodes are not shown.
        NodeState::Drained | NodeState::Removed => return "is drained".to_owned(),
        NodeState::Holding | NodeState::Draining if *databases == 0 => {
            return "holds no copies now, but may get some".to_owned();
        }
        NodeState::Holding => format!("has copies of {}", count(*databases)),
        NodeState::Draining => format!("is being drained and still has copies of {}", count(*databases)),
    };
    if *only_copies > 0 {
        let _ = write!(text, " and the only copy of {only_copies} of them");
    }
    if examples.is_empty() {
        return text;
    }
    let shown = examples.iter().take(NodeCopies::EXAMPLES);
    let names: Vec<String> =
        shown.map(|name| format!("'{}'", one_line(name, NodeCopies::EXAMPLE_LENGTH))).collect();
    // The examples are those of the only copies, if there are any.
    let all = if *only_copies > 0 { *only_copies } else { *databases };
    let _ = write!(text, " ({}{})", names.join(", "), more(all, names.len()));
    text
}

fn count(databases: u64) -> String {
    if databases == 1 { "1 database".to_owned() } else { format!("{databases} databases") }
}

fn more(all: u64, shown: usize) -> String {
    match all.saturating_sub(shown as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// The two ways to drain the nodes before they are removed.
fn drain_first(request: &ScaleDown) -> String {
    let ScaleDown { name, new, .. } = request;
    let namespace = in_namespace(request);
    format!(
        "kubectl couchdiscover scale {name}{namespace} --replicas {replicas} (moves the data, then scales down); or \
         kubectl{namespace} annotate statefulset {name} --overwrite {target}={replicas}, and repeat the request once the nodes \
         are drained",
        replicas = new.count,
        target = keys::TARGET_SIZE
    )
}

fn in_namespace(request: &ScaleDown) -> String {
    request.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default()
}

/// The most nodes that a message names.
const SHOWN: usize = 3;
/// Of an RFC 3339 time with nanoseconds.
const TIME_LENGTH: usize = 36;
