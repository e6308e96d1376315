//! Replacement of an authority without a failing call: a new authority is published before it signs, and an old one stays
//! published until its last leaf has expired.
//!
//! ```text
//!  nothing ──Found──► current ──Bring──► current + incoming ──Promote──► current + retiring ──Forget──► current
//!                        │     two thirds      │   published long enough      │   a leaf's validity later
//!                        └──────Replace────────┘  (the current one is expired, or not valid yet)
//! ```
//!
//! [`next`] decides, and [`carry_out`] applies the decision to a [`Bundle`]. All state is in the bundle, so any replica can
//! continue where another one stopped. [`next_leaf`] decides about the leaf that one replica serves.

use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::authority::Authority;
use crate::bundle::Bundle;
use crate::error::Error;
use crate::lifetimes::Lifetimes;
use crate::validity::Validity;

/// The next change of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No change before `until`, unless the clock jumps.
    Wait {
        /// When to decide again.
        until: OffsetDateTime,
    },
    /// No change until the incoming authority has been published for [`Lifetimes::publication`].
    AwaitPublication,
    /// There is no authority: generate the first one.
    Found,
    /// The current authority is due for renewal: generate its successor as incoming.
    Bring,
    /// The incoming authority has been published long enough: it becomes the current one.
    Promote,
    /// Every leaf of the retiring authorities has expired: remove them.
    Forget,
    /// The current authority is not valid and has no successor: generate another one, which signs at once.
    Replace,
}

/// The next change of a served leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafStep {
    /// No change.
    Keep,
    /// Sign another leaf with the current authority.
    Mint,
}

/// The leaf that a server presents to its callers.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The leaf's validity.
    pub validity: Validity,
    /// The certificate of the authority that signed it.
    pub issuer: &'a CertificateDer<'a>,
}

/// Returns the next step for a bundle that has been published completely for `published`; `None` if it is not published.
pub fn next(
    bundle: Option<&Bundle>,
    published: Option<Duration>,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Step {
    let Some(Bundle { current, incoming, retiring }) = bundle else { return Step::Found };
    let can_follow = incoming.as_ref().is_some_and(|authority| authority.validity().contains(now));
    // Not valid yet counts too: the authority was generated under a clock that was ahead.
    if !current.validity().contains(now) {
        return if can_follow { Step::Promote } else { Step::Replace };
    }
    if retiring.as_ref().is_some_and(|retiring| retiring.until <= now) {
        return Step::Forget;
    }
    if can_follow {
        let is_settled = published.is_some_and(|published| published >= lifetimes.publication());
        return if is_settled { Step::Promote } else { Step::AwaitPublication };
    }
    let renewal = current.validity().renewal();
    // An incoming authority that is not valid is replaced at once, not only at the renewal.
    if incoming.is_some() || renewal <= now {
        return Step::Bring;
    }
    Step::Wait { until: retiring.as_ref().map_or(renewal, |retiring| retiring.until.min(renewal)) }
}

/// Returns the next step for the served leaf; `published` is `true` if callers trust the current authority already.
///
/// A leaf of a retiring authority is served until its regular renewal.
pub fn next_leaf(
    bundle: &Bundle,
    served: Option<Served<'_>>,
    published: bool,
    now: OffsetDateTime,
) -> LeafStep {
    let Some(Served { validity, issuer }) = served else { return LeafStep::Mint };
    // Callers reject this leaf, so another one can't be worse.
    if !validity.contains(now) || !bundle.trusts(issuer) {
        return LeafStep::Mint;
    }
    // Callers still accept this leaf, but not one of an authority that is not published yet.
    if published && validity.renewal() <= now { LeafStep::Mint } else { LeafStep::Keep }
}

/// Applies `step` and returns the changed bundle, or `None` if the step changes nothing. `name` is the name of generated
/// authorities.
pub fn carry_out(
    step: Step,
    bundle: Option<&Bundle>,
    name: &str,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Result<Option<Bundle>, Error> {
    if matches!(step, Step::Wait { .. } | Step::AwaitPublication) {
        return Ok(None);
    }
    let generate = || Authority::with_lifetime(name, now, lifetimes.authority);
    // Whatever the step, it was decided for a bundle that is gone.
    let Some(bundle) = bundle else { return Ok(Some(Bundle::new(generate()?))) };
    let mut bundle = bundle.clone();
    // The last leaf of the current authority may be signed just now.
    let last_leaf_expires = now + lifetimes.leaf;
    match step {
        Step::Wait { .. } | Step::AwaitPublication => {}
        Step::Bring => bundle.incoming = Some(generate()?),
        Step::Forget => bundle.retiring = None,
        Step::Promote => {
            let successor = bundle.incoming.take().map_or_else(generate, Ok)?;
            bundle.sign_with(successor, last_leaf_expires);
        }
        // The old authority stays trusted: if this replica's clock is wrong, the others still serve its leaves.
        Step::Found | Step::Replace => bundle.sign_with(generate()?, last_leaf_expires),
    }
    Ok(Some(bundle))
}
