//! The rule that decides whether an entry belongs to the injection or to the user.

use serde_json::Value;

use super::place::find;
use crate::digest::Digest;
use crate::plan::digested_fields;
use crate::record::{Item, List, Record};

/// The stored template and its record.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) template: Value,
    pub(super) record: Option<Record>,
}

impl Stored {
    /// The stored entry of an item that was rendered identically.
    fn find(&self, item: &Item) -> Option<&Value> {
        // An entry with another digest was rendered from other settings and proves nothing.
        let is_same = self.record.as_ref().is_some_and(|record| record.items.contains(item));
        if !is_same {
            return None;
        }
        find(&self.template, &item.place).map(|(_, value)| value)
    }
}

/// `true` if an entry that a record names is still what was injected. An entry that the user changed belongs to the user.
///
/// A variable is compared with its digest. The API server adds defaults to containers and volumes, and other webhooks
/// change them: a registry mirror rewrites images. So these are also ours while they equal the stored ones, or while
/// nothing is stored to compare with.
pub(super) fn is_ours(item: &Item, value: &Value, stored: Option<&Stored>) -> bool {
    if is_rendered(item, value) {
        return true;
    }
    match &item.place.list {
        List::Env(_) | List::PullSecrets => false,
        List::Containers | List::InitContainers | List::Volumes => {
            stored.and_then(|stored| stored.find(item)).is_none_or(|stored| stored == value)
        }
    }
}

/// `true` if the entry is exactly what was rendered.
fn is_rendered(item: &Item, value: &Value) -> bool {
    Digest::of(value, digested_fields(&item.place.list)) == Some(item.digest)
}
