//! Changes of the authority, for the log and the metrics.

use certs::Bundle;
use certs::rotation::Step;
use contract::objects;
use tracing::{info, warn};

/// A change of the Secret that holds the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The first authority.
    Found,
    /// An authority was added that is to follow the current one.
    Brought,
    /// The authority that was added signs from now on.
    Promoted,
    /// Retired authorities are no longer trusted.
    Forgotten,
    /// The current authority was outside its validity and was replaced at once.
    Replaced,
    /// The Secret was lost or unreadable, and has its last contents again.
    Restored,
}

impl Change {
    /// The change that carrying out `step` makes, if it makes one.
    pub(crate) fn of(step: Step) -> Option<Self> {
        match step {
            Step::Wait { .. } | Step::AwaitPublication => None,
            Step::Found => Some(Self::Found),
            Step::Bring => Some(Self::Brought),
            Step::Promote => Some(Self::Promoted),
            Step::Forget => Some(Self::Forgotten),
            Step::Replace => Some(Self::Replaced),
        }
    }

    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Brought => "bring",
            Self::Promoted => "promote",
            Self::Forgotten => "forget",
            Self::Replaced => "replace",
            Self::Restored => "restore",
        }
    }

    pub(crate) fn log(self, bundle: &Bundle) {
        let until = bundle.current().validity().not_after;
        match self {
            Self::Found => info!(%until, "created the certificate authority"),
            Self::Brought => {
                info!("created the next certificate authority, which is published before it signs")
            }
            Self::Promoted => info!(%until, "the next certificate authority signs from now on"),
            Self::Forgotten => info!("the previous certificate authority is no longer trusted"),
            Self::Replaced => {
                warn!(%until, "replaced the certificate authority, which was outside its validity")
            }
            Self::Restored => {
                warn!(secret = objects::CA_SECRET, "the certificate authority's Secret was lost: restored it")
            }
        }
    }
}
