//! The validity period of a certificate.

use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::X509Certificate;

use crate::encoding::{first_certificate, parse};
use crate::error::Error;
use crate::lifetimes::Lifetimes;

/// The period in which a certificate is valid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first instant, in whole seconds.
    pub not_before: OffsetDateTime,
    /// The last instant, in whole seconds.
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// The validity of the first certificate in `pem`.
    pub fn of_pem(pem: &str) -> Result<Self, Error> {
        Self::of_der(&first_certificate(pem)?)
    }

    /// The validity of a certificate in DER form.
    pub fn of_der(der: &CertificateDer<'_>) -> Result<Self, Error> {
        Ok(Self::of(&parse(der)?))
    }

    /// `true` if the certificate is valid at `now`.
    pub fn contains(&self, now: OffsetDateTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// The time to renew the certificate: two thirds of the period are over, and the rest leaves days for more attempts.
    pub fn renewal(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    /// The validity of a certificate that is signed at `now` for `lifetime`.
    pub(crate) fn starting(now: OffsetDateTime, lifetime: Duration) -> Self {
        // A certificate contains whole seconds only.
        let now = now.replace_nanosecond(0).unwrap_or(now);
        // The tenth matters below ten hours, which only tests use.
        let backdate = Lifetimes::BACKDATE.min(lifetime / 10);
        Self { not_before: now - backdate, not_after: now + lifetime }
    }

    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self { not_before: validity.not_before.to_datetime(), not_after: validity.not_after.to_datetime() }
    }
}
