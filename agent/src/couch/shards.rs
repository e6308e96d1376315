//! Single shard files, which CouchDB serves below `/_node/_local/` like databases of their own.

use reqwest::StatusCode;
use serde::Deserialize;

use super::client::Couch;
use super::error::CouchError;
use super::maps::encoded;

impl Couch {
    /// The documents in the node's copy of a shard, deleted ones included. A missing file counts as empty.
    pub async fn documents(&self, base: &str, file: &str) -> Result<u64, CouchError> {
        #[derive(Deserialize)]
        struct Info {
            doc_count: u64,
            doc_del_count: u64,
        }
        match self.transport.get::<Info>(base, &format!("/_node/_local/{}", encoded(file))).await {
            Ok(Info { doc_count, doc_del_count }) => Ok(doc_count.saturating_add(doc_del_count)),
            Err(CouchError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }
}
