//! The founding record: a Lease that outlives every volume. It is what tells a cluster that lost all its data from one
//! that never began.

use std::collections::BTreeMap;

use agent_core::facts::KnownRecord;
use contract::record::{self, FoundingRecord};
use contract::{keys, objects};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api as Objects;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use thiserror::Error;

/// Why the record could not be written.
#[derive(Debug, Error)]
#[error("failed to write the founding record into Lease '{name}'")]
pub struct RecordError {
    name: String,
    source: kube::Error,
}

/// Reads it from the Lease, if there is one. A Lease without our annotations records nothing.
pub(crate) fn record_of(lease: Option<&Lease>) -> KnownRecord {
    let annotations = lease.and_then(|lease| lease.metadata.annotations.as_ref());
    match FoundingRecord::read(|key| annotations?.get(key).map(String::as_str)) {
        FoundingRecord::Absent => KnownRecord::Absent,
        FoundingRecord::Formed { uuid, instead_of, .. } => {
            KnownRecord::Formed { uuid: uuid.to_owned(), instead_of: instead_of.map(str::to_owned) }
        }
        FoundingRecord::Newer { .. } => KnownRecord::Newer,
    }
}

/// What is written down of a founding.
pub(crate) struct Founding<'a> {
    /// The cluster's uuid.
    pub(crate) uuid: String,
    /// How many nodes founded it.
    pub(crate) size: u32,
    /// The lost cluster that was given up for it.
    pub(crate) instead_of: Option<&'a String>,
    /// When, RFC 3339.
    pub(crate) at: String,
}

/// Writes it into the Lease of this name, whatever was there before.
pub(super) async fn write(
    leases: &Objects<Lease>,
    name: &str,
    founding: Founding<'_>,
) -> Result<Lease, RecordError> {
    let Founding { uuid, size, instead_of, at } = founding;
    let mut annotations: BTreeMap<&str, String> = [
        (keys::FORMED_AT, at),
        (keys::FORMED_SIZE, size.to_string()),
        (keys::FORMED_UUID, uuid),
        (keys::RECORD_SCHEMA, record::SCHEMA.to_owned()),
    ]
    .into();
    annotations.extend(instead_of.map(|lost| (keys::FORM_ANEW, lost.clone())));
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name, "annotations": annotations },
    });
    let params = PatchParams::apply(objects::AGENT_CONTAINER).force();
    let written = leases.patch(name, &params, &Patch::Apply(&lease)).await;
    written.map_err(|source| RecordError { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_tells_what_its_annotations_say() {
        let read = |annotations: serde_json::Value| {
            let lease = json!({ "metadata": { "annotations": annotations }, "spec": {} });
            record_of(Some(&serde_json::from_value(lease).unwrap()))
        };
        assert_eq!(record_of(None), KnownRecord::Absent);
        assert_eq!(read(json!({ "other": "x" })), KnownRecord::Absent);
        let formed = json!({ "couchdiscover.io/uuid": "u", "couchdiscover.io/schema": "1" });
        assert_eq!(read(formed), KnownRecord::Formed { uuid: "u".to_owned(), instead_of: None });
        assert_eq!(
            read(json!({ "couchdiscover.io/uuid": "u", "couchdiscover.io/schema": "2" })),
            KnownRecord::Newer
        );
    }
}
