//! The requirements of the cluster and its data beyond the CouchDB container: volumes, number and names of the pods, admin
//! credentials, no other sidecar that forms clusters.

use std::borrow::Cow;

use contract::container::image_name;
use contract::{env, name};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::outcome::Warning;
use crate::read::Planning;
use crate::render::Credentials;

/// Warns if the agent cannot log in. Names another container that has credentials, if there is one.
pub(super) fn credentials(
    planning: &Planning<'_>,
    credentials: &Credentials<'_>,
    warnings: &mut Vec<Warning>,
) {
    if credentials.complete {
        return;
    }
    let container = planning.couchdb.name().to_owned();
    for other in &planning.view.pod().containers {
        // Another container of the pod, such as a manager of the cluster, may have them.
        let pair = env::CREDENTIALS
            .into_iter()
            .find(|(user, password)| other.variable(user).is_some() && other.variable(password).is_some());
        if let Some((user, password)) = pair {
            let other = other.name.as_str().to_owned();
            return warnings.push(Warning::CredentialsElsewhere { container, other, user, password });
        }
    }
    warnings.push(Warning::NoCredentials { container });
}

/// Warns if the data is not on volumes of each pod's own, or does not stay there.
pub(super) fn volumes(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let view = planning.view;
    let mounts = planning.couchdb.container.volume_mounts.map_or("[]", RawValue::get);
    let mounts: Vec<Mount<'_>> = serde_json::from_str(mounts).unwrap_or_default();
    covered_local_d(planning, &mounts, warnings);
    retention(planning, warnings);
    // With a claim template, each pod has a volume of its own.
    let claims = view.spec.volume_claim_templates.as_deref().unwrap_or(&[]);
    if let Some(claim) = claims.first() {
        return elsewhere(planning, &mounts, claim, warnings);
    }
    let Some(shared) = mounts.iter().find_map(|mount| SharedClaim::of(planning, mount)) else {
        return warnings.push(Warning::NoVolumeClaims);
    };
    // With `subPathExpr`, each pod can have a directory of its own.
    if view.replicas() > 1 && !shared.has_sub_path_expr {
        let path = format!("spec.template.spec.volumes[{}].persistentVolumeClaim", shared.volume);
        warnings.push(Warning::SharedClaim { path, claim: shared.claim });
    }
}

/// Warns if no volume is where the official image writes. Other images may write elsewhere.
fn elsewhere(planning: &Planning<'_>, mounts: &[Mount<'_>], claim: &RawValue, warnings: &mut Vec<Warning>) {
    const DATA: &str = "/opt/couchdb/data";
    if image_name(planning.couchdb.container.image()) != name::COUCHDB || planning.couchdb.is_version_1() {
        return;
    }
    let covers = |mount: &Mount<'_>| {
        let path = mount.mount_path.trim_end_matches('/');
        DATA == path || DATA.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    };
    // Without any mount in the template another webhook or tool adds it, or it is a sketch.
    if !mounts.is_empty() && !mounts.iter().any(covers) {
        let claim: Option<Claimed<'_>> = serde_json::from_str(claim.get()).ok();
        let claim = claim.map_or_else(String::new, |claim| claim.metadata.name.into_owned());
        let path = planning.couchdb.path("volumeMounts");
        warnings.push(Warning::DataElsewhere { path, claim });
    }
}

/// Warns if a ConfigMap or a Secret, which are read-only, covers the folder that the entrypoint writes to.
fn covered_local_d(planning: &Planning<'_>, mounts: &[Mount<'_>], warnings: &mut Vec<Warning>) {
    let volumes = planning.view.pod().volumes.as_deref().unwrap_or(&[]);
    let own = planning.couchdb.container.security_context;
    let covers = |mount: &Mount<'_>| {
        let path = mount.mount_path.trim_end_matches('/');
        matches!(path, "/opt/couchdb/etc/local.d" | "/opt/couchdb/etc")
    };
    if own.is_some_and(|own| own.read_only_root_filesystem == Some(true)) && !mounts.iter().any(covers) {
        let path = planning.couchdb.path("securityContext.readOnlyRootFilesystem");
        warnings.push(Warning::LocalDReadOnly { path });
    }
    for (index, mount) in mounts.iter().enumerate() {
        // A single file leaves the folder writable.
        if mount.sub_path.is_some() || mount.sub_path_expr.is_some() {
            continue;
        }
        let volume = volumes.iter().find(|volume| volume.name.as_str() == mount.name);
        let is_read_only = volume.is_some_and(|volume| {
            volume.config_map.is_some() || volume.secret.is_some() || volume.projected.is_some()
        });
        if covers(mount) && (is_read_only || mount.read_only == Some(true)) {
            let path = planning.couchdb.path(&format!("volumeMounts[{index}]"));
            warnings.push(Warning::CoversLocalD { path, mount: mount.mount_path.clone().into_owned() });
        }
    }
}

/// Warns if Kubernetes deletes the claims by itself.
fn retention(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let Some(policy) = planning.view.spec.persistent_volume_claim_retention_policy else { return };
    let Retention { when_scaled, when_deleted } = serde_json::from_str(policy.get()).unwrap_or_default();
    for (field, value, when) in [
        ("whenScaled", when_scaled, "of pods that are scaled away"),
        ("whenDeleted", when_deleted, "with the StatefulSet"),
    ] {
        if value.as_deref() == Some("Delete") {
            warnings.push(Warning::ClaimsDeleted { field, when });
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Retention<'a> {
    #[serde(borrow)]
    when_scaled: Option<Cow<'a, str>>,
    #[serde(borrow)]
    when_deleted: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Claimed<'a> {
    #[serde(borrow)]
    metadata: ClaimedMetadata<'a>,
}

#[derive(Deserialize)]
struct ClaimedMetadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// A claim that all pods mount.
struct SharedClaim {
    /// Index of the volume in the template.
    volume: usize,
    claim: String,
    has_sub_path_expr: bool,
}

impl SharedClaim {
    fn of(planning: &Planning<'_>, mount: &Mount<'_>) -> Option<Self> {
        let volumes = planning.view.pod().volumes.as_deref().unwrap_or(&[]);
        let volume = volumes.iter().position(|volume| volume.name.as_str() == mount.name)?;
        let claim = volumes[volume].persistent_volume_claim?;
        let Claim { claim_name } = serde_json::from_str(claim.get()).ok()?;
        let has_sub_path_expr = mount.sub_path_expr.is_some();
        Some(Self { volume, claim: claim_name.into_owned(), has_sub_path_expr })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    mount_path: Cow<'a, str>,
    read_only: Option<bool>,
    #[serde(borrow)]
    sub_path: Option<&'a RawValue>,
    #[serde(borrow)]
    sub_path_expr: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim<'a> {
    #[serde(borrow)]
    claim_name: Cow<'a, str>,
}

/// Warns of a name that is too long for a pod's labels, of two nodes, and of a size beyond the number of pods.
pub(super) fn size(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let set = planning.view.name();
    if set.len() > name::SET_MAX {
        warnings.push(Warning::LongName { name: set.to_owned() });
    }
    let replicas = planning.view.replicas();
    // A majority of 2 is 2.
    if replicas == 2 {
        warnings.push(Warning::TwoReplicas);
    }
    let size = planning.size.nodes;
    // A size that follows `spec.replicas` cannot exceed it.
    if planning.size.is_pinned() && i64::from(size) > replicas {
        warnings.push(Warning::SizeOverReplicas { size, replicas });
    }
}

/// Warns of other sidecars that form clusters: the ancestors of this project, and one from another author.
pub(super) fn other_operators(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    const IMAGES: [&str; 2] = ["couchdiscover", "couchdb-statefulset-assembler"];
    for other in &planning.view.pod().containers {
        let is_couchdb = other.name == planning.couchdb.container.name;
        if !is_couchdb && IMAGES.contains(&image_name(other.image())) {
            let (container, image) = (other.name.as_str().to_owned(), other.image().to_owned());
            warnings.push(Warning::OtherOperator { container, image });
        }
    }
}
