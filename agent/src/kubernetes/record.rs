//! The founding record: a Lease that outlives every volume. It is what tells a cluster that lost all its data from one
//! that never began.

use std::collections::BTreeMap;

use contract::record::{self, FoundingRecord};
use contract::{keys, objects};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api as Objects;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use thiserror::Error;

/// What the founding record says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// No cluster was ever founded here, as far as Kubernetes knows.
    Absent,
    /// The role to read it is missing, or Kubernetes is not asked. Nothing can be known of the past.
    Forbidden,
    /// This cluster was.
    Formed {
        /// Its uuid.
        uuid: String,
        /// The lost cluster that had been given up for it. A person who gives the same uuid up again (where the uuid is
        /// configured, the next cluster has it too) has to delete the Lease.
        instead_of: Option<String>,
    },
    /// A newer agent wrote it in words that this one doesn't know.
    Newer,
    /// It has not been read yet.
    Unread,
}

/// Why the record could not be written.
#[derive(Debug, Error)]
#[error("failed to write the founding record into Lease '{name}'")]
pub struct RecordError {
    name: String,
    source: kube::Error,
}

impl Record {
    /// Whether `form_anew` gives the recorded cluster up, and no other was founded on these words yet.
    pub(crate) fn is_given_up(&self, form_anew: Option<&String>) -> bool {
        match self {
            Self::Formed { uuid, instead_of } => form_anew == Some(uuid) && instead_of.as_ref() != Some(uuid),
            Self::Absent | Self::Forbidden | Self::Newer | Self::Unread => false,
        }
    }

    /// Reads it from the Lease, if there is one. A Lease without our annotations records nothing.
    pub(crate) fn from_lease(lease: Option<&Lease>) -> Self {
        let annotations = lease.and_then(|lease| lease.metadata.annotations.as_ref());
        match FoundingRecord::read(|key| annotations?.get(key).map(String::as_str)) {
            FoundingRecord::Absent => Self::Absent,
            FoundingRecord::Formed { uuid, instead_of, .. } => {
                Self::Formed { uuid: uuid.to_owned(), instead_of: instead_of.map(str::to_owned) }
            }
            FoundingRecord::Newer { .. } => Self::Newer,
        }
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
            Record::from_lease(Some(&serde_json::from_value(lease).unwrap()))
        };
        assert_eq!(Record::from_lease(None), Record::Absent);
        assert_eq!(read(json!({ "other": "x" })), Record::Absent);
        let formed = json!({ "couchdiscover.io/uuid": "u", "couchdiscover.io/schema": "1" });
        assert_eq!(read(formed), Record::Formed { uuid: "u".to_owned(), instead_of: None });
        assert_eq!(
            read(json!({ "couchdiscover.io/uuid": "u", "couchdiscover.io/schema": "2" })),
            Record::Newer
        );
    }

    #[test]
    fn a_cluster_is_given_up_by_its_uuid_and_once() {
        let (u, v) = ("u".to_owned(), "v".to_owned());
        let formed = |instead_of| Record::Formed { uuid: "u".to_owned(), instead_of };
        assert!(formed(None).is_given_up(Some(&u)));
        assert!(formed(Some("v".to_owned())).is_given_up(Some(&u)));
        assert!(!formed(None).is_given_up(Some(&v)));
        assert!(!formed(None).is_given_up(None));
        assert!(!formed(Some("u".to_owned())).is_given_up(Some(&u)), "these words were used up");
    }
}
