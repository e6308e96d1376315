//! The periods for which certificates are valid, and the periods of a rotation that follow from them.

use time::Duration;

/// The validity of new certificates.
///
/// | period | rule | by default |
/// |---|---|---|
/// | an authority is valid | [`authority`](Self::authority) | 365 days |
/// | a leaf is valid | [`leaf`](Self::leaf), but never longer than its authority | 7 days |
/// | start of either before it was signed | [`BACKDATE`](Self::BACKDATE), at most a tenth of the validity | 1 hour |
/// | renewal of either | after two thirds of the validity | 243 days, 4.7 days |
/// | publication of an authority before it signs | [`publication`](Self::publication) | 16.8 hours |
/// | publication of an authority after it last signed | the validity of a leaf | 7 days |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// The validity of an authority, from the moment of signing.
    pub authority: Duration,
    /// The validity of a leaf, from the moment of signing.
    pub leaf: Duration,
}

impl Lifetimes {
    /// The time between a certificate's start and the moment of signing, so that a peer with a slow clock accepts it at
    /// once.
    ///
    /// cert-controller uses the same hour, Vault uses a minute.
    pub const BACKDATE: Duration = Duration::hours(1);

    /// The minimum time that an authority must be in the caBundle before it signs: each of several API servers receives
    /// the change at a different time. A tenth of a leaf's validity.
    pub fn publication(self) -> Duration {
        self.leaf / 10
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { authority: Duration::days(365), leaf: Duration::days(7) }
    }
}
