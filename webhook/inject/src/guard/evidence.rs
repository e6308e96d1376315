//! The records on the Lease, as far as a change of size depends on them.

use contract::keys;
use contract::moves::CopiesRecord;
use contract::record::FoundingRecord;

/// The state of the cluster, as its agents recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// There is no founding record and no record of copies: no cluster was formed.
    NeverFormed,
    /// The agents recorded the copies on their nodes.
    Recorded(CopiesRecord),
    /// A cluster was formed, and its agents have not recorded the copies.
    NotRecorded,
    /// The records cannot be used; the reason, as a sentence without its end.
    Unknown(String),
}

impl Evidence {
    /// Reads the records; `annotation` returns the Lease's annotation of a key, and nothing if there is no Lease.
    pub fn read<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Self {
        let copies = annotation(keys::COPIES_RECORD);
        match FoundingRecord::read(&annotation) {
            FoundingRecord::Newer { schema } => Self::Unknown(format!(
                "a newer release has written the founding record, with schema '{}'",
                schema.unwrap_or_default()
            )),
            // A record of copies is evidence of data, also without the other one.
            FoundingRecord::Absent if copies.is_none() => Self::NeverFormed,
            FoundingRecord::Absent | FoundingRecord::Formed { .. } => {
                let Some(copies) = copies else { return Self::NotRecorded };
                match serde_json::from_str(copies) {
                    Ok(record) => Self::Recorded(record),
                    Err(error) => Self::Unknown(format!("the record of copies cannot be read: {error}")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::record::SCHEMA;

    use super::*;

    fn read(annotations: &[(&str, &'static str)]) -> Evidence {
        Evidence::read(|key| annotations.iter().find(|(found, _)| *found == key).map(|(_, value)| *value))
    }

    #[test]
    fn only_a_lease_without_any_record_shows_that_no_cluster_was_formed() {
        let formed = [(keys::FORMED_UUID, "u"), (keys::RECORD_SCHEMA, SCHEMA)];
        assert_eq!(read(&[]), Evidence::NeverFormed);
        assert_eq!(read(&formed), Evidence::NotRecorded);
        let empty = Evidence::Recorded(CopiesRecord::default());
        assert_eq!(read(&[(keys::COPIES_RECORD, "{}")]), empty);
        assert_eq!(read(&[formed[0], formed[1], (keys::COPIES_RECORD, "{}")]), empty);
    }

    #[test]
    fn what_a_newer_release_wrote_or_nothing_can_parse_is_unknown() {
        let newer = [(keys::FORMED_UUID, "u"), (keys::RECORD_SCHEMA, "2"), (keys::COPIES_RECORD, "{}")];
        assert!(matches!(read(&newer), Evidence::Unknown(reason) if reason.contains("schema '2'")));
        for broken in ["", "[]x", "{\"nodes\":7}", "{\"nodes\":{\"db-1\":{\"databases\":-1}}}"] {
            assert!(matches!(read(&[(keys::COPIES_RECORD, broken)]), Evidence::Unknown(_)), "{broken}");
        }
    }
}
