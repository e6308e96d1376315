//! The Secret that all replicas share.

use std::collections::BTreeMap;

use certs::{Bundle, Fields};
use contract::{keys, objects};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

/// What the Secret was when it was last looked at.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    /// There is none.
    Absent,
    /// Authorities.
    Bundle {
        /// What it holds.
        bundle: Bundle,
        /// What a write must keep.
        around: Around,
    },
    /// Something that can't be read.
    Garbage {
        /// What is wrong with it.
        why: String,
        /// What a write must keep.
        around: Around,
    },
    /// Something that a newer version of the webhook wrote.
    Newer {
        /// Which schema.
        schema: String,
    },
}

/// What is kept of the object when its data are written: its version, so that nobody else's write is lost, and what
/// people and tools put on it.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    metadata: ObjectMeta,
    kind: Option<String>,
}

impl Stored {
    pub(crate) fn read(secret: Option<Secret>) -> Self {
        let Some(Secret { metadata, data, type_, .. }) = secret else { return Self::Absent };
        let schema = metadata.annotations.as_ref().and_then(|all| all.get(keys::RECORD_SCHEMA));
        if let Some(schema) = schema.filter(|schema| *schema != SCHEMA) {
            return Self::Newer { schema: schema.clone() };
        }
        let fields: Fields = data.into_iter().flatten().map(|(name, value)| (name, value.0)).collect();
        let around = Around { metadata, kind: type_ };
        match Bundle::from_fields(&fields) {
            Ok(bundle) => Self::Bundle { bundle, around },
            Err(error) => Self::Garbage { why: crate::error::chain(&error), around },
        }
    }

    /// What a write must keep; `None`: the object has to be created.
    pub(crate) fn around(&self) -> Option<&Around> {
        match self {
            Self::Bundle { around, .. } | Self::Garbage { around, .. } => Some(around),
            Self::Absent | Self::Newer { .. } => None,
        }
    }
}

/// The Secret with this bundle in it.
pub(crate) fn with(bundle: &Bundle, around: Option<&Around>, namespace: &str) -> Secret {
    let (mut metadata, kind) = match around {
        Some(Around { metadata, kind }) => (metadata.clone(), kind.clone()),
        None => (fresh(namespace), Some("Opaque".to_owned())),
    };
    metadata.managed_fields = None;
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(keys::RECORD_SCHEMA.to_owned(), SCHEMA.to_owned());
    let data = bundle.to_fields().into_iter().map(|(name, value)| (name, ByteString(value)));
    Secret { metadata, data: Some(data.collect()), type_: kind, ..Secret::default() }
}

fn fresh(namespace: &str) -> ObjectMeta {
    let label = ("app.kubernetes.io/name".to_owned(), "couchdiscover".to_owned());
    ObjectMeta {
        name: Some(objects::CA_SECRET.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([label])),
        ..ObjectMeta::default()
    }
}

/// Of what is in the Secret. A version that doesn't know a schema leaves it alone.
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
    fn what_others_put_on_the_object_stays() {
        let mut stored = with(&bundle(), None, "shop");
        stored.metadata.resource_version = Some("7".to_owned());
        stored.metadata.labels.get_or_insert_default().insert("team".to_owned(), "a".to_owned());
        let Stored::Bundle { bundle: read, around } = Stored::read(Some(stored.clone())) else { panic!() };
        let again = with(&read, Some(&around), "shop");
        assert_eq!(again, stored);
    }

    #[test]
    fn a_newer_schema_is_left_alone_and_a_persons_own_authority_is_taken() {
        let mut newer = with(&bundle(), None, "shop");
        newer
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(keys::RECORD_SCHEMA.to_owned(), "2".to_owned());
        assert!(matches!(Stored::read(Some(newer)), Stored::Newer { schema } if schema == "2"));
        let mut own = with(&bundle(), None, "shop");
        own.metadata.annotations = None;
        assert!(matches!(Stored::read(Some(own)), Stored::Bundle { .. }));
    }
}
