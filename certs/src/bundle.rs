//! The authorities of a webhook in one stage of a rotation.

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::authority::Authority;
use crate::encoding::encode_pem;
use crate::error::Error;
use crate::leaf::Leaf;
use crate::lifetimes::Lifetimes;

/// The authorities that callers must trust; one of them signs.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(crate) current: Authority,
    pub(crate) incoming: Option<Authority>,
    pub(crate) retiring: Option<Retiring>,
}

/// The certificates of authorities that do not sign any more. Their leaves may still be in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retiring {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) until: OffsetDateTime,
}

impl Bundle {
    /// A bundle with one authority.
    pub(crate) fn new(current: Authority) -> Self {
        Self { current, incoming: None, retiring: None }
    }

    /// Makes `authority` the signing one. The current one is trusted until `until`, and nothing is incoming any more.
    pub(crate) fn sign_with(&mut self, authority: Authority, until: OffsetDateTime) {
        self.retiring = Some(Retiring::with(self.retiring.as_ref(), &self.current, until));
        self.current = authority;
        self.incoming = None;
    }

    /// Signs a server certificate for these names with the current authority.
    pub fn leaf(&self, names: &[String], lifetimes: Lifetimes, now: OffsetDateTime) -> Result<Leaf, Error> {
        self.current.leaf_with_lifetime(names, now, lifetimes.leaf)
    }

    /// The authority that signs.
    pub fn current(&self) -> &Authority {
        &self.current
    }

    /// The authority that will sign next.
    pub fn incoming(&self) -> Option<&Authority> {
        self.incoming.as_ref()
    }

    /// The authorities that do not sign any more.
    pub fn retiring(&self) -> Option<&Retiring> {
        self.retiring.as_ref()
    }

    /// Every certificate that callers must trust, sorted by its bytes.
    ///
    /// The order must not depend on the stage: the published text stays the same when the incoming authority becomes the
    /// current one.
    pub fn certificates(&self) -> Vec<&CertificateDer<'static>> {
        let authorities = self.incoming.iter().chain([&self.current]).map(Authority::certificate);
        let retiring = self.retiring.iter().flat_map(|retiring| &retiring.certificates);
        let mut all: Vec<_> = authorities.chain(retiring).collect();
        all.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        all.dedup();
        all
    }

    /// [`certificates`](Self::certificates) as PEM, for a caBundle.
    pub fn pem(&self) -> String {
        self.certificates().into_iter().map(|certificate| encode_pem(certificate)).collect()
    }

    /// `true` if callers must trust the leaves of the authority with this certificate.
    pub fn trusts(&self, authority: &CertificateDer<'_>) -> bool {
        self.certificates().iter().any(|certificate| ***certificate == **authority)
    }
}

impl Retiring {
    /// The maximum number of retiring authorities. More retire at a time only if clocks disagree by months, and each adds
    /// 600 bytes to every caBundle.
    const MAX: usize = 4;

    /// The time from which the certificates are not trusted any more.
    pub fn until(&self) -> OffsetDateTime {
        self.until
    }

    /// Adds `authority` to the certificates of `before`; all are trusted until `until`.
    fn with(before: Option<&Self>, authority: &Authority, until: OffsetDateTime) -> Self {
        let earlier = before.into_iter().flat_map(|before| &before.certificates);
        // The newest first, so that the limit drops the oldest.
        let certificates = [authority.certificate()].into_iter().chain(earlier).cloned();
        Self { certificates: certificates.take(Self::MAX).collect(), until }
    }
}
