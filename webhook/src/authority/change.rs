//! Why the Secret was changed, for the log and the metrics.

use certs::Bundle;
use certs::rotation::Step;
use contract::objects;
use tracing::{info, warn};

/// What was done to the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There was none.
    Found,
    /// The one that is to follow was made.
    Brought,
    /// The one that followed signs.
    Promoted,
    /// The old ones are trusted no longer.
    Forgotten,
    /// It was not good at this time.
    Replaced,
    /// The Secret was lost, and is what it was.
    Restored,
}

impl Why {
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

    /// As metrics spell it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Brought => "bring",
            Self::Promoted => "promote",
            Self::Forgotten => "forget",
            Self::Replaced => "replace",
            Self::Restored => "restore",
        }
    }

    pub(crate) fn tell(self, bundle: &Bundle) {
        let until = bundle.current().validity().not_after;
        match self {
            Self::Found => info!(%until, "made a certificate authority"),
            Self::Brought => info!("made the certificate authority that is to follow: publishing it first"),
            Self::Promoted => info!(%until, "another certificate authority signs from now on"),
            Self::Forgotten => info!("the old certificate authority is trusted no longer"),
            Self::Replaced => {
                warn!(%until, "the certificate authority was not good at this time: made another one")
            }
            Self::Restored => {
                warn!("the Secret '{}' was lost: wrote back what it was", objects::CA_SECRET)
            }
        }
    }
}
