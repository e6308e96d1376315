//! couchdiscover's certificates: an authority that signs, and the leaves it signs.
//!
//! [`Authority`] and [`Leaf`] are different types, so a leaf can't sign. Time is an argument everywhere; nothing
//! here asks the clock, reads a file or logs. Keys never appear in `Debug` or in an error. [`rotation`] replaces an
//! authority while its leaves are being served.
//!
//! ```
//! use time::OffsetDateTime;
//!
//! let now = OffsetDateTime::from_unix_timestamp(1_800_000_000)?;
//! let authority = certs::Authority::new("couchdiscover", now)?;
//! let leaf = authority.leaf(&["webhook.shop.svc".to_owned(), "127.0.0.1".to_owned()], now)?;
//! assert!(leaf.validity().contains(now));
//! assert!(leaf.validity().not_after <= authority.validity().not_after);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod fields;
pub mod rotation;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use fields::{Fields, FieldsError};
pub use rotation::{Bundle, Terms};

/// A certificate authority: an ECDSA P-256 key and the certificate that vouches for it.
#[derive(Clone, Debug)]
pub struct Authority {
    issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    validity: Validity,
}

/// A server certificate with its key, signed by an [`Authority`].
pub struct Leaf {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
    validity: Validity,
}

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub not_before: OffsetDateTime,
    /// The last instant.
    pub not_after: OffsetDateTime,
}

/// Why a certificate could not be made or read.
#[derive(Debug, Error)]
pub enum Error {
    /// The certificate is not one that may sign others.
    #[error("the certificate is not a certificate authority's: it lacks 'CA:TRUE' in its basic constraints")]
    NotAnAuthority,
    /// The text holds no certificate in PEM form.
    #[error("unable to read a certificate: expected PEM that starts with '-----BEGIN CERTIFICATE-----'")]
    Certificate(#[source] rustls_pki_types::pem::Error),
    /// The certificate's DER can't be understood.
    #[error("unable to understand the certificate: it is not X.509")]
    X509(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// The text holds no private key in PEM form.
    #[error(
        "unable to read the private key: expected PKCS #8 in PEM that starts with '-----BEGIN PRIVATE KEY-----'"
    )]
    Key(#[source] rcgen::Error),
    /// Key and certificate don't belong together.
    #[error("the private key does not belong to the certificate: give the two that were made together")]
    Mismatch,
    /// One of the names can't be in a certificate.
    #[error("'{name}' can't be a name in a certificate: expected a DNS name or an IP address")]
    Name {
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        #[source]
        source: rcgen::Error,
    },
    /// A leaf without names would be good for nothing.
    #[error("a server certificate needs at least one name")]
    NoNames,
    /// The authority can't sign at this time.
    #[error("the authority's certificate expired at {not_after}: make a new one")]
    Expired {
        /// When it expired.
        not_after: OffsetDateTime,
    },
    /// The crypto library failed to make a key or a signature.
    #[error("failed to make a key or to sign")]
    Crypto(#[source] rcgen::Error),
}

impl Authority {
    /// How long an authority is good for.
    pub const LIFETIME: Duration = Duration::days(365);

    /// Makes a new key and certificate; `name` becomes the common name, with ` CA` after it.
    pub fn new(name: &str, now: OffsetDateTime) -> Result<Self, Error> {
        Self::lasting(name, now, Self::LIFETIME)
    }

    /// The same, good for `life`.
    pub fn lasting(name: &str, now: OffsetDateTime, life: Duration) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::Crypto)?;
        let mut params = params(&format!("{name} CA"), Validity::from(now, life));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(Error::Crypto)?;
        let validity = Validity { not_before: params.not_before, not_after: params.not_after };
        let certificate_pem = certificate.pem();
        let certificate = certificate.der().clone();
        Ok(Self { issuer: Arc::new(Issuer::new(params, key)), certificate, certificate_pem, validity })
    }

    /// Reads an authority that was made before. Refuses a leaf, and a key that isn't the certificate's.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key).map_err(Error::Key)?;
        let der = first_certificate(certificate)?;
        let validity = {
            let parsed = parse(&der)?;
            if !parsed.is_ca() {
                return Err(Error::NotAnAuthority);
            }
            if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
                return Err(Error::Mismatch);
            }
            Validity::of(&parsed)
        };
        let issuer = Arc::new(Issuer::from_ca_cert_der(&der, key).map_err(Error::Crypto)?);
        Ok(Self { issuer, certificate: der, certificate_pem: certificate.to_owned(), validity })
    }

    /// Signs a server certificate for these DNS names and IP addresses. It never outlives the authority.
    pub fn leaf(&self, names: &[String], now: OffsetDateTime) -> Result<Leaf, Error> {
        self.leaf_lasting(names, now, Leaf::LIFETIME)
    }

    /// The same, good for `life`.
    pub fn leaf_lasting(&self, names: &[String], now: OffsetDateTime, life: Duration) -> Result<Leaf, Error> {
        if names.is_empty() {
            return Err(Error::NoNames);
        }
        if now > self.validity.not_after {
            return Err(Error::Expired { not_after: self.validity.not_after });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::Crypto)?;
        let wanted = Validity::from(now, life);
        let validity = Validity { not_after: wanted.not_after.min(self.validity.not_after), ..wanted };
        let mut params = params("couchdiscover", validity);
        for name in names {
            params.subject_alt_names.extend(alternative(name)?);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(Error::Crypto)?;
        let certificate_pem = certificate.pem();
        Ok(Leaf { certificate: certificate.der().clone(), certificate_pem, key, validity })
    }

    /// The certificate, for a caBundle or `ca.crt`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate as DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key. A secret: whoever has it can be the webhook.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// From when to when it may sign.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

impl Leaf {
    /// How long a leaf is good for.
    pub const LIFETIME: Duration = Duration::days(7);

    /// The certificate, for `tls.crt`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate as DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key, for `tls.key`. A secret.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The private key as PKCS #8. A secret.
    pub fn key_der(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    /// From when to when it is good.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("validity", &self.validity).finish_non_exhaustive()
    }
}

impl Validity {
    /// How far the start lies in the past, so that a peer whose clock is behind accepts the certificate at once; less
    /// where the whole life is less than ten hours.
    ///
    /// cert-controller takes the same hour, Vault a minute.
    pub const BACKDATE: Duration = Duration::hours(1);

    /// Of the first certificate in `pem`.
    pub fn of_pem(pem: &str) -> Result<Self, Error> {
        Ok(Self::of(&parse(&first_certificate(pem)?)?))
    }

    /// Of a certificate as DER.
    pub fn of_der(der: &CertificateDer<'_>) -> Result<Self, Error> {
        Ok(Self::of(&parse(der)?))
    }

    /// Whether `now` lies within.
    pub fn contains(&self, now: OffsetDateTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// When two thirds of the life are over: the time to renew, early enough to try again for days.
    pub fn renewal(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    fn from(now: OffsetDateTime, lifetime: Duration) -> Self {
        // A certificate knows whole seconds only.
        let now = now.replace_nanosecond(0).unwrap_or(now);
        Self { not_before: now - Self::BACKDATE.min(lifetime / 10), not_after: now + lifetime }
    }

    fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self { not_before: validity.not_before.to_datetime(), not_after: validity.not_after.to_datetime() }
    }
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params
}

fn alternative(name: &str) -> Result<Vec<rcgen::SanType>, Error> {
    let failed = |source| Error::Name { name: name.to_owned(), source };
    if name.is_empty() {
        return Err(failed(rcgen::Error::InvalidNameType));
    }
    CertificateParams::new([name.to_owned()]).map(|params| params.subject_alt_names).map_err(failed)
}

fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(Error::Certificate)
}

/// One certificate in PEM form: the same text for the same certificate, whoever wrote it before.
pub(crate) fn encode_pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(Error::X509)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn names() -> Vec<String> {
        vec!["webhook".to_owned(), "webhook.shop.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn an_authority_survives_being_written_and_read() {
        let made = Authority::new("test", now()).unwrap();
        let read = Authority::from_pem(made.certificate_pem(), &made.key_pem()).unwrap();
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.validity(), made.validity());
        let leaf = read.leaf(&names(), now()).unwrap();
        let parsed = parse(leaf.certificate()).unwrap();
        let authority = parse(made.certificate()).unwrap();
        assert_eq!(parsed.issuer(), authority.subject());
        assert!(!parsed.is_ca());
    }

    #[test]
    fn a_leaf_carries_its_names_and_begins_in_the_past() {
        let leaf = Authority::new("test", now()).unwrap().leaf(&names(), now()).unwrap();
        let parsed = parse(leaf.certificate()).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 3, "{names:?}");
        assert!(leaf.validity().not_before < now());
        assert_eq!(leaf.validity().not_after, now() + Leaf::LIFETIME);
        assert_eq!(Validity::of_pem(leaf.certificate_pem()).unwrap(), leaf.validity());
    }

    #[test]
    fn a_leaf_never_outlives_its_authority_and_a_dead_authority_signs_nothing() {
        let authority = Authority::new("test", now()).unwrap();
        let late = now() + Authority::LIFETIME - Duration::days(1);
        let leaf = authority.leaf(&names(), late).unwrap();
        assert_eq!(leaf.validity().not_after, authority.validity().not_after);
        let dead = authority.leaf(&names(), now() + Authority::LIFETIME + Duration::days(1));
        assert!(matches!(dead, Err(Error::Expired { .. })));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_reason() {
        let authority = Authority::new("test", now()).unwrap();
        let other = Authority::new("test", now()).unwrap();
        let leaf = authority.leaf(&names(), now()).unwrap();
        let read =
            |certificate: &str, key: &str| Authority::from_pem(certificate, key).unwrap_err().to_string();
        insta::assert_snapshot!(read(leaf.certificate_pem(), &leaf.key_pem()), @"the certificate is not a certificate authority's: it lacks 'CA:TRUE' in its basic constraints");
        insta::assert_snapshot!(read(authority.certificate_pem(), &other.key_pem()), @"the private key does not belong to the certificate: give the two that were made together");
        insta::assert_snapshot!(read("hello", &other.key_pem()), @"unable to read a certificate: expected PEM that starts with '-----BEGIN CERTIFICATE-----'");
        insta::assert_snapshot!(read(authority.certificate_pem(), "hello"), @"unable to read the private key: expected PKCS #8 in PEM that starts with '-----BEGIN PRIVATE KEY-----'");
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            authority.leaf(&names, now()).unwrap_err().to_string()
        };
        insta::assert_snapshot!(named(&[]), @"a server certificate needs at least one name");
        insta::assert_snapshot!(named(&["bücher.example"]), @"'bücher.example' can't be a name in a certificate: expected a DNS name or an IP address");
        insta::assert_snapshot!(named(&[""]), @"'' can't be a name in a certificate: expected a DNS name or an IP address");
    }

    #[test]
    fn renewal_comes_after_two_thirds() {
        let leaf = Authority::new("test", now()).unwrap().leaf(&names(), now()).unwrap();
        let Validity { not_before, not_after } = leaf.validity();
        let renewal = leaf.validity().renewal();
        assert!((not_after - renewal) * 2 <= renewal - not_before);
        assert!(renewal > now() + Duration::days(4));
    }

    #[test]
    fn no_key_shows_in_debug() {
        let authority = Authority::new("test", now()).unwrap();
        let leaf = authority.leaf(&names(), now()).unwrap();
        for shown in [format!("{authority:?}"), format!("{leaf:?}")] {
            assert!(!shown.contains("PRIVATE") && !shown.contains("serialized_der"), "{shown}");
        }
    }
}
