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

/// Warns if the data is not on volumes of each pod's own.
pub(super) fn volumes(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let view = planning.view;
    // With a claim template, each pod has a volume of its own.
    if view.spec.volume_claim_templates.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return;
    }
    let mounts = planning.couchdb.container.volume_mounts.map_or("[]", RawValue::get);
    let mounts: Vec<Mount<'_>> = serde_json::from_str(mounts).unwrap_or_default();
    let Some(shared) = mounts.iter().find_map(|mount| SharedClaim::of(planning, mount)) else {
        return warnings.push(Warning::NoVolumeClaims);
    };
    // With `subPathExpr`, each pod can have a directory of its own.
    if view.replicas() > 1 && !shared.has_sub_path_expr {
        let path = format!("spec.template.spec.volumes[{}].persistentVolumeClaim", shared.volume);
        warnings.push(Warning::SharedClaim { path, claim: shared.claim });
    }
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
