//! Replacing an authority without a call that fails: the new one is published before it signs, and the old one stays
//! published until what it signed is gone.
//!
//! ```text
//!  nothing ──Found──► current ──Bring──► current + incoming ──Promote──► current + retiring ──Forget──► current
//!                        │     two thirds      │   published long enough      │   a leaf's life later
//!                        └──────Replace────────┘  (the current one can't sign any more, or not yet)
//! ```
//!
//! [`next`] decides and [`carry_out`] does; both are told the time. Everything that has to be remembered is in the
//! [`Bundle`], so whoever holds it can go on where another one stopped.

use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::{Authority, Error, Leaf, Validity, encode_pem};

/// How long things are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// An authority's life.
    pub authority: Duration,
    /// A leaf's life.
    pub leaf: Duration,
}

/// The authorities that callers trust, and the one that signs.
#[derive(Clone, Debug)]
pub struct Bundle {
    current: Authority,
    incoming: Option<Authority>,
    retiring: Option<Retiring>,
}

/// Certificates that sign no more, but whose leaves may still be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retiring {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) until: OffsetDateTime,
}

/// What is to be done with a bundle now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before `until`, unless the clock jumps.
    Wait {
        /// When to look again.
        until: OffsetDateTime,
    },
    /// Nothing before the incoming authority has been published long enough.
    AwaitPublication,
    /// There is no authority: make the first.
    Found,
    /// The current authority is in its last third: make the one that follows it.
    Bring,
    /// The incoming authority has been published long enough: let it sign.
    Promote,
    /// Nothing that the retiring authorities signed is good any more: trust them no longer.
    Forget,
    /// The current authority can't sign at this time, and there is none to follow it: make one at once.
    Replace,
}

/// What is to be done about the leaf that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafStep {
    /// It is good.
    Keep,
    /// Sign another one with the current authority.
    Mint,
}

/// What one has to know about the leaf that is served.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// From when to when it is good.
    pub validity: Validity,
    /// The certificate of the authority that signed it.
    pub issuer: &'a CertificateDer<'a>,
}

/// What to do with a bundle that has been published, whole, for `published`; `None`: it isn't.
pub fn next(bundle: Option<&Bundle>, published: Option<Duration>, terms: Terms, now: OffsetDateTime) -> Step {
    let Some(Bundle { current, incoming, retiring }) = bundle else { return Step::Found };
    let follower = incoming.as_ref().filter(|authority| authority.validity().contains(now));
    // Before its beginning as well: that is what an authority looks like that was made by a clock that ran ahead.
    if !current.validity().contains(now) {
        return if follower.is_some() { Step::Promote } else { Step::Replace };
    }
    if retiring.as_ref().is_some_and(|retiring| retiring.until <= now) {
        return Step::Forget;
    }
    match (incoming, follower) {
        (Some(_), Some(_)) if published.is_some_and(|published| published >= terms.settle()) => Step::Promote,
        (Some(_), Some(_)) => Step::AwaitPublication,
        // One that can't follow is as good as none.
        (Some(_), None) => Step::Bring,
        (None, _) if current.validity().renewal() <= now => Step::Bring,
        (None, _) => {
            let renewal = current.validity().renewal();
            let until = retiring.as_ref().map_or(renewal, |retiring| retiring.until.min(renewal));
            Step::Wait { until }
        }
    }
}

/// What to do about the leaf that is served, when callers trust the current authority or (`published` is false) don't
/// yet.
///
/// A leaf goes on being served after its authority was retired: nobody has to change it before its time.
pub fn next_leaf(
    bundle: &Bundle,
    served: Option<Served<'_>>,
    published: bool,
    now: OffsetDateTime,
) -> LeafStep {
    let Some(Served { validity, issuer }) = served else { return LeafStep::Mint };
    let useless = !validity.contains(now) || !bundle.trusts(issuer);
    // Callers accept it longer than one that they have never heard of.
    match useless || (validity.renewal() <= now && published) {
        true => LeafStep::Mint,
        false => LeafStep::Keep,
    }
}

/// What `step` makes of a bundle; `None`: it changes nothing. `name` is for authorities that are made.
pub fn carry_out(
    step: Step,
    bundle: Option<&Bundle>,
    name: &str,
    terms: Terms,
    now: OffsetDateTime,
) -> Result<Option<Bundle>, Error> {
    let made = || Authority::lasting(name, now, terms.authority);
    let retired =
        |bundle: &Bundle| Some(Retiring::with(bundle.retiring.as_ref(), &bundle.current, now + terms.leaf));
    let changed = match (step, bundle) {
        (Step::Wait { .. } | Step::AwaitPublication, _) => return Ok(None),
        (_, None) => Bundle { current: made()?, incoming: None, retiring: None },
        (Step::Bring, Some(bundle)) => Bundle { incoming: Some(made()?), ..bundle.clone() },
        (Step::Forget, Some(bundle)) => Bundle { retiring: None, ..bundle.clone() },
        (Step::Promote, Some(bundle)) => {
            let current = bundle.incoming.clone().map_or_else(made, Ok)?;
            Bundle { current, incoming: None, retiring: retired(bundle) }
        }
        // The old one is kept as retiring: should it be this clock that is wrong, others still serve its leaves.
        (Step::Found | Step::Replace, Some(bundle)) => {
            Bundle { current: made()?, incoming: None, retiring: retired(bundle) }
        }
    };
    Ok(Some(changed))
}

impl Terms {
    /// How long a certificate must have stood in the caBundle before it is relied on: there may be several API servers,
    /// and each hears of it in its own time. A tenth of a leaf's life, 17 hours of 7 days.
    pub fn settle(self) -> Duration {
        self.leaf / 10
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self { authority: Authority::LIFETIME, leaf: Leaf::LIFETIME }
    }
}

impl Bundle {
    pub(crate) fn of(current: Authority, incoming: Option<Authority>, retiring: Option<Retiring>) -> Self {
        Self { current, incoming, retiring }
    }

    /// Signs a server certificate for these names with the current authority.
    pub fn leaf(&self, names: &[String], terms: Terms, now: OffsetDateTime) -> Result<Leaf, Error> {
        self.current.leaf_lasting(names, now, terms.leaf)
    }

    /// The authority that signs.
    pub fn current(&self) -> &Authority {
        &self.current
    }

    /// The authority that is to sign next.
    pub fn incoming(&self) -> Option<&Authority> {
        self.incoming.as_ref()
    }

    /// Those that sign no more.
    pub fn retiring(&self) -> Option<&Retiring> {
        self.retiring.as_ref()
    }

    /// Every certificate that callers are to trust, in an order that depends on nothing but the certificates: an
    /// authority that begins to sign changes no byte of what is published.
    pub fn certificates(&self) -> Vec<&CertificateDer<'static>> {
        let authorities = self.incoming.iter().chain([&self.current]).map(Authority::certificate);
        let retiring = self.retiring.iter().flat_map(|retiring| &retiring.certificates);
        let mut all: Vec<_> = authorities.chain(retiring).collect();
        all.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        all.dedup();
        all
    }

    /// The same in PEM, for a caBundle.
    pub fn pem(&self) -> String {
        self.certificates().into_iter().map(|certificate| encode_pem(certificate)).collect()
    }

    /// Whether callers are to trust what this authority signed.
    pub fn trusts(&self, authority: &CertificateDer<'_>) -> bool {
        self.certificates().iter().any(|certificate| ***certificate == **authority)
    }
}

impl Retiring {
    /// More than ever retire at a time, unless clocks disagree by months; each is 600 bytes in every caBundle.
    const MOST: usize = 4;

    /// Until when they are to be trusted.
    pub fn until(&self) -> OffsetDateTime {
        self.until
    }

    fn with(before: Option<&Self>, authority: &Authority, until: OffsetDateTime) -> Self {
        let earlier = before.into_iter().flat_map(|before| &before.certificates);
        let certificates = [authority.certificate()].into_iter().chain(earlier).cloned();
        Self { certificates: certificates.take(Self::MOST).collect(), until }
    }
}
