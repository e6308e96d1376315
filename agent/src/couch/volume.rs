//! The agents' own data on a node's volume: the note about its completeness, and the volumes of the other members. Both are
//! documents local to the node's own `_dbs`: they are never replicated, and are lost with the volume.

use std::collections::BTreeMap;

use agent_core::facts::{NamedDatabases, VolumeNote};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::Couch;
use super::error::{CouchError, unless_missing};

/// The note on a volume, with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The completeness of the volume.
    pub state: VolumeNote,
    /// `true` if the volume had no note before.
    pub first: bool,
    /// Databases whose other copies had different properties when the node was filled.
    pub disagreeing: NamedDatabases,
}

#[derive(Default, Deserialize, Serialize)]
struct NoteDocument {
    #[serde(default)]
    state: String,
    #[serde(default)]
    first: bool,
    #[serde(default)]
    disagreeing: NamedDatabases,
}

#[derive(Default, Deserialize, Serialize)]
struct Volumes {
    /// The uuids of other nodes' volumes, by Erlang name.
    #[serde(default)]
    volumes: BTreeMap<String, String>,
}

impl Couch {
    /// The note on the node's volume.
    pub async fn note(&self, base: &str) -> Result<Note, CouchError> {
        // Without a note the volume is new, or was never examined.
        let found = unless_missing(self.transport.get::<NoteDocument>(base, NOTE).await)?.unwrap_or_default();
        let state = match found.state.as_str() {
            FILLING => VolumeNote::Filling,
            COMPLETE => VolumeNote::Complete,
            // An empty note, or a word of another release: the volume is examined as if it had none.
            _ => VolumeNote::None,
        };
        Ok(Note { state, first: found.first, disagreeing: found.disagreeing })
    }

    /// Replaces the note on the node's volume.
    pub async fn write_note(&self, base: &str, note: Note) -> Result<(), CouchError> {
        let state = match note.state {
            VolumeNote::Filling => FILLING,
            VolumeNote::None => "",
            VolumeNote::Complete => COMPLETE,
        };
        let document =
            NoteDocument { state: state.to_owned(), first: note.first, disagreeing: note.disagreeing };
        self.transport.put(base, NOTE, &json!(document)).await
    }

    /// The uuid of the node's volume: that of its `_dbs`, the first file that CouchDB creates.
    pub async fn volume(&self, base: &str) -> Result<Option<String>, CouchError> {
        #[derive(Deserialize)]
        struct Info {
            uuid: Option<String>,
        }
        Ok(self.transport.get::<Info>(base, "/_node/_local/_dbs").await?.uuid)
    }

    /// The volumes of other nodes that this node's agent found there last, by Erlang name.
    pub async fn remembered_volumes(&self, base: &str) -> Result<BTreeMap<String, String>, CouchError> {
        let found = unless_missing(self.transport.get::<Volumes>(base, VOLUMES).await)?;
        Ok(found.unwrap_or_default().volumes)
    }

    /// Adds volumes to those that are remembered on the node's volume, or replaces them.
    pub async fn remember_volumes(
        &self,
        base: &str,
        found: BTreeMap<String, String>,
    ) -> Result<(), CouchError> {
        let before = self.remembered_volumes(base).await?;
        let mut volumes = before.clone();
        volumes.extend(found);
        if volumes == before {
            return Ok(());
        }
        self.transport.put(base, VOLUMES, &json!(Volumes { volumes })).await
    }
}

const NOTE: &str = "/_node/_local/_dbs/_local/couchdiscover";
const VOLUMES: &str = "/_node/_local/_dbs/_local/couchdiscover-volumes";
const FILLING: &str = "filling";
/// The word of the first release, which stays: notes outlive agents.
const COMPLETE: &str = "whole";
