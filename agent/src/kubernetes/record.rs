//! The founding record in the annotations of the Lease. It outlives every volume, and distinguishes a cluster that lost
//! all its data from one that was never formed.

use std::collections::BTreeMap;

use agent_core::facts::KnownRecord;
use contract::moves::CopiesRecord;
use contract::record::{self, FoundingRecord};
use contract::{keys, objects};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api as Objects;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use thiserror::Error;

use super::client::{RequestError, WRITE_TIMEOUT, answer};

/// The record could not be written.
#[derive(Debug, Error)]
pub enum RecordError {
    /// No answer in time.
    #[error(
        "failed to write the founding record into Lease '{name}': the Kubernetes API does not answer in time"
    )]
    NoAnswer {
        /// The Lease.
        name: String,
    },
    /// The API refuses it, or can't be reached.
    #[error("failed to write the founding record into Lease '{name}'")]
    Refused {
        /// The Lease.
        name: String,
        /// The error of the client.
        source: Box<kube::Error>,
    },
}

/// Reads the record from the Lease. A Lease without its annotations contains none.
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

/// Reads the record of copies from the Lease. One that can't be read counts as none: nothing is drained then.
pub(crate) fn copies_of(lease: Option<&Lease>) -> CopiesRecord {
    let annotations = lease.and_then(|lease| lease.metadata.annotations.as_ref());
    let record = annotations.and_then(|annotations| annotations.get(keys::COPIES_RECORD));
    record.and_then(|record| serde_json::from_str(record).ok()).unwrap_or_default()
}

/// The content of a new founding record.
pub(crate) struct Founding<'a> {
    /// The cluster's UUID.
    pub(crate) uuid: String,
    /// The number of founders.
    pub(crate) size: u32,
    /// The UUID of the lost cluster that this one replaces.
    pub(crate) instead_of: Option<&'a String>,
    /// The time of the founding, RFC 3339.
    pub(crate) at: String,
}

/// Writes the record into the Lease of this name, over any record that it contains. Creates the Lease if it is missing.
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
    // By force, because the taking of the Lease is another manager's write to the same object.
    let params = PatchParams::apply(objects::AGENT_CONTAINER).force();
    // An API server that accepts the request and never answers must not stop the rounds.
    let written = answer(WRITE_TIMEOUT, leases.patch(name, &params, &Patch::Apply(&lease))).await;
    let name = name.to_owned();
    written.map_err(|error| match error {
        RequestError::NoAnswer => RecordError::NoAnswer { name },
        RequestError::Failed(source) => RecordError::Refused { name, source: Box::new(source) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: serde_json::Value) -> KnownRecord {
        let lease = json!({ "metadata": { "annotations": annotations }, "spec": {} });
        record_of(Some(&serde_json::from_value(lease).unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_without_an_answer_fails_in_time() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = kube::Config::new(format!("http://{}", silent.local_addr().unwrap()).parse().unwrap());
        let leases = Objects::namespaced(kube::Client::try_from(config).unwrap(), "shop");
        let founding = Founding {
            uuid: "u".to_owned(),
            size: 1,
            instead_of: None,
            at: "2026-01-01T00:00:00Z".to_owned(),
        };
        let written = write(&leases, "db-couchdiscover", founding).await;
        assert!(matches!(written, Err(RecordError::NoAnswer { .. })), "{written:?}");
    }

    #[test]
    fn the_record_is_read_from_the_annotations() {
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
