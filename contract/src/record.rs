//! The founding record: annotations on the agents' Lease, written when a cluster is formed.
//!
//! The Lease outlives every volume, so the record distinguishes a cluster that lost all its data from one that was never formed.

use crate::keys;

/// The schema that this release writes and reads, the value of [`keys::RECORD_SCHEMA`].
///
/// A change in the meaning of an annotation gets the next number. A release reads all earlier schemas; there is none
/// before this one. Any other value, and a record without a schema, counts as written by a newer release.
pub const SCHEMA: &str = "1";

/// A founding record, read from the annotations of a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundingRecord<'a> {
    /// The Lease has no [`keys::FORMED_UUID`]: no cluster was formed.
    Absent,
    /// A cluster was formed.
    Formed {
        /// The cluster's uuid, from [`keys::FORMED_UUID`].
        uuid: &'a str,
        /// When it was formed, RFC 3339, from [`keys::FORMED_AT`].
        at: Option<&'a str>,
        /// The number of founders, from [`keys::FORMED_SIZE`].
        size: Option<&'a str>,
        /// The uuid of the lost cluster that was given up for this one, from [`keys::FORM_ANEW`].
        instead_of: Option<&'a str>,
    },
    /// The schema is unknown to this release, so the other annotations must not be interpreted.
    Newer {
        /// The value of [`keys::RECORD_SCHEMA`], if the annotation exists.
        schema: Option<&'a str>,
    },
}

impl<'a> FoundingRecord<'a> {
    /// Reads the record; `annotation` returns the Lease's annotation of a key.
    pub fn read(annotation: impl Fn(&str) -> Option<&'a str>) -> Self {
        let Some(uuid) = annotation(keys::FORMED_UUID) else { return Self::Absent };
        let schema = annotation(keys::RECORD_SCHEMA);
        // The uuid may have another meaning in another schema, so nothing else is read.
        if schema != Some(SCHEMA) {
            return Self::Newer { schema };
        }
        Self::Formed {
            uuid,
            at: annotation(keys::FORMED_AT),
            size: annotation(keys::FORMED_SIZE),
            instead_of: annotation(keys::FORM_ANEW),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: &[(&str, &'static str)]) -> FoundingRecord<'static> {
        FoundingRecord::read(|key| {
            annotations.iter().find(|(found, _)| *found == key).map(|(_, value)| *value)
        })
    }

    #[test]
    fn a_lease_without_a_uuid_records_nothing() {
        assert_eq!(read(&[]), FoundingRecord::Absent);
        assert_eq!(read(&[(keys::RECORD_SCHEMA, "2"), ("other", "x")]), FoundingRecord::Absent);
    }

    #[test]
    fn a_record_of_this_schema_is_read_even_if_only_the_uuid_is_there() {
        assert_eq!(
            read(&[(keys::FORMED_UUID, "u"), (keys::RECORD_SCHEMA, SCHEMA)]),
            FoundingRecord::Formed { uuid: "u", at: None, size: None, instead_of: None }
        );
        let all = [
            (keys::FORMED_AT, "2026-11-21T01:54:00Z"),
            (keys::FORMED_SIZE, "3"),
            (keys::FORMED_UUID, "u"),
            (keys::FORM_ANEW, "lost"),
            (keys::RECORD_SCHEMA, SCHEMA),
        ];
        let formed = FoundingRecord::Formed {
            uuid: "u",
            at: Some("2026-11-21T01:54:00Z"),
            size: Some("3"),
            instead_of: Some("lost"),
        };
        assert_eq!(read(&all), formed);
    }

    #[test]
    fn a_record_of_an_unknown_schema_counts_as_newer() {
        for schema in ["2", "0", ""] {
            let record = read(&[(keys::FORMED_UUID, "u"), (keys::RECORD_SCHEMA, schema)]);
            assert_eq!(record, FoundingRecord::Newer { schema: Some(schema) });
        }
        assert_eq!(read(&[(keys::FORMED_UUID, "u")]), FoundingRecord::Newer { schema: None });
    }
}
