//! The contents of the Secret that all replicas share.

use std::collections::BTreeMap;

use certs::{Bundle, Fields, FieldsError};
use contract::{keys, objects};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

/// The Secret as it was read.
#[derive(Debug)]
pub(crate) enum StoredAuthority {
    Absent,
    /// The current authority, with those before and after it.
    Bundle {
        bundle: Bundle,
        envelope: Envelope,
    },
    /// The data contain no authority.
    Unreadable {
        error: FieldsError,
        envelope: Envelope,
    },
    /// Written by a newer version of the webhook, and left alone.
    NewerSchema {
        schema: String,
    },
}

/// The parts of the object that a write keeps: its version, for optimistic locking, and the labels and annotations
/// that people and tools have added.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    metadata: ObjectMeta,
    secret_type: Option<String>,
}

impl StoredAuthority {
    pub(crate) fn read(secret: Option<Secret>) -> Self {
        let Some(Secret { metadata, data, type_, .. }) = secret else { return Self::Absent };
        // A Secret without a schema was written by a person, as an authority of their own.
        let schema = metadata.annotations.as_ref().and_then(|all| all.get(keys::RECORD_SCHEMA));
        if let Some(schema) = schema.filter(|schema| *schema != SCHEMA) {
            return Self::NewerSchema { schema: schema.clone() };
        }
        let fields: Fields = data.into_iter().flatten().map(|(name, value)| (name, value.0)).collect();
        let envelope = Envelope { metadata, secret_type: type_ };
        match Bundle::from_fields(&fields) {
            Ok(bundle) => Self::Bundle { bundle, envelope },
            Err(error) => Self::Unreadable { error, envelope },
        }
    }

    /// The parts that a write must keep; `None` if a write must create the object.
    pub(crate) fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Bundle { envelope, .. } | Self::Unreadable { envelope, .. } => Some(envelope),
            Self::Absent | Self::NewerSchema { .. } => None,
        }
    }
}

/// Returns the Secret with this bundle as its data. Without an envelope it is a new object.
pub(crate) fn render(bundle: &Bundle, envelope: Option<&Envelope>, namespace: &str) -> Secret {
    let (mut metadata, secret_type) = match envelope {
        Some(Envelope { metadata, secret_type }) => (metadata.clone(), secret_type.clone()),
        None => (new_metadata(namespace), Some("Opaque".to_owned())),
    };
    // The API server maintains them.
    metadata.managed_fields = None;
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(keys::RECORD_SCHEMA.to_owned(), SCHEMA.to_owned());
    let data = bundle.to_fields().into_iter().map(|(name, value)| (name, ByteString(value)));
    Secret { metadata, data: Some(data.collect()), type_: secret_type, ..Secret::default() }
}

fn new_metadata(namespace: &str) -> ObjectMeta {
    let label = ("app.kubernetes.io/name".to_owned(), "couchdiscover".to_owned());
    ObjectMeta {
        name: Some(objects::CA_SECRET.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([label])),
        ..ObjectMeta::default()
    }
}

/// The schema of the Secret's data. A version that does not know a schema leaves the Secret alone.
const SCHEMA: &str = "1";

#[cfg(test)]
mod tests {
    use certs::Lifetimes;
    use certs::rotation::{Step, carry_out};
    use time::OffsetDateTime;

    use super::*;

    fn bundle() -> Bundle {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        carry_out(Step::Found, None, "webhook", Lifetimes::default(), now).unwrap().unwrap()
    }

    #[test]
    fn a_write_keeps_the_labels_and_annotations_of_others() {
        let mut stored = render(&bundle(), None, "shop");
        stored.metadata.resource_version = Some("7".to_owned());
        stored.metadata.labels.get_or_insert_default().insert("team".to_owned(), "a".to_owned());
        let StoredAuthority::Bundle { bundle: read, envelope } = StoredAuthority::read(Some(stored.clone()))
        else {
            panic!()
        };
        assert_eq!(render(&read, Some(&envelope), "shop"), stored);
    }

    #[test]
    fn a_newer_schema_is_left_alone_and_an_authority_without_a_schema_is_used() {
        let mut newer = render(&bundle(), None, "shop");
        let annotations = newer.metadata.annotations.get_or_insert_default();
        annotations.insert(keys::RECORD_SCHEMA.to_owned(), "2".to_owned());
        let read = StoredAuthority::read(Some(newer));
        assert!(matches!(read, StoredAuthority::NewerSchema { schema } if schema == "2"));
        let mut own = render(&bundle(), None, "shop");
        own.metadata.annotations = None;
        assert!(matches!(StoredAuthority::read(Some(own)), StoredAuthority::Bundle { .. }));
    }
}
