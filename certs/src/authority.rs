//! A certificate authority, and the certificates that it signs.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::encoding::{first_certificate, parse};
use crate::error::Error;
use crate::leaf::Leaf;
use crate::lifetimes::Lifetimes;
use crate::validity::Validity;

/// A certificate authority: an ECDSA P-256 key and its self-signed certificate.
#[derive(Clone, Debug)]
pub struct Authority {
    issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    validity: Validity,
}

impl Authority {
    /// Generates a key and a certificate with the common name `<name> CA`, valid for the default [lifetime](Lifetimes).
    pub fn new(name: &str, now: OffsetDateTime) -> Result<Self, Error> {
        Self::with_lifetime(name, now, Lifetimes::default().authority)
    }

    /// Generates an authority that is valid for `lifetime`.
    pub fn with_lifetime(name: &str, now: OffsetDateTime, lifetime: Duration) -> Result<Self, Error> {
        let key = generate_key()?;
        let validity = Validity::starting(now, lifetime);
        let mut params = params(&format!("{name} CA"), validity);
        // It signs leaves, but no further authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(Error::Crypto)?;
        let certificate_pem = certificate.pem();
        let certificate = certificate.der().clone();
        Ok(Self { issuer: Arc::new(Issuer::new(params, key)), certificate, certificate_pem, validity })
    }

    /// Reads an authority from its certificate and its PKCS #8 key.
    ///
    /// # Errors
    ///
    /// The certificate is a leaf, or the key is another certificate's.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key).map_err(Error::Key)?;
        let der = first_certificate(certificate)?;
        let parsed = parse(&der)?;
        if !parsed.is_ca() {
            return Err(Error::NotAnAuthority);
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(Error::Mismatch);
        }
        let validity = Validity::of(&parsed);
        let issuer = Arc::new(Issuer::from_ca_cert_der(&der, key).map_err(Error::Crypto)?);
        Ok(Self { issuer, certificate: der, certificate_pem: certificate.to_owned(), validity })
    }

    /// Signs a server certificate for these DNS names and IP addresses, valid for the default [lifetime](Lifetimes) but
    /// not longer than the authority.
    pub fn leaf(&self, names: &[String], now: OffsetDateTime) -> Result<Leaf, Error> {
        self.leaf_with_lifetime(names, now, Lifetimes::default().leaf)
    }

    /// Signs a leaf that is valid for `lifetime`, but not longer than the authority.
    pub fn leaf_with_lifetime(
        &self,
        names: &[String],
        now: OffsetDateTime,
        lifetime: Duration,
    ) -> Result<Leaf, Error> {
        // Clients ignore the common name, so no client would accept the leaf.
        if names.is_empty() {
            return Err(Error::NoNames);
        }
        if now > self.validity.not_after {
            return Err(Error::Expired { not_after: self.validity.not_after });
        }
        let key = generate_key()?;
        let mut validity = Validity::starting(now, lifetime);
        validity.not_after = validity.not_after.min(self.validity.not_after);
        let mut params = params("couchdiscover", validity);
        for name in names {
            params.subject_alt_names.extend(subject_alternative_names(name)?);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // OpenSSL's `-x509_strict` rejects a leaf without it.
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(Error::Crypto)?;
        Ok(Leaf::new(&certificate, key, validity))
    }

    /// The certificate as PEM, for a caBundle or `ca.crt`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate as DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key as PKCS #8 in PEM. Secret: its owner can impersonate the webhook.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The period in which the authority may sign.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

fn generate_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::Crypto)
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params
}

fn subject_alternative_names(name: &str) -> Result<Vec<SanType>, Error> {
    let error = |source| Error::Name { name: name.to_owned(), source };
    // rcgen accepts the empty name.
    if name.is_empty() {
        return Err(error(rcgen::Error::InvalidNameType));
    }
    CertificateParams::new([name.to_owned()]).map(|params| params.subject_alt_names).map_err(error)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::encoding::encode_pem;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn authority() -> Authority {
        Authority::new("test", now()).unwrap()
    }

    fn names() -> Vec<String> {
        vec!["webhook".to_owned(), "webhook.shop.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn an_authority_can_be_written_and_read() {
        let written = authority();
        let read = Authority::from_pem(written.certificate_pem(), &written.key_pem()).unwrap();
        assert_eq!(read.certificate(), written.certificate());
        assert_eq!(read.validity(), written.validity());
        let leaf = read.leaf(&names(), now()).unwrap();
        let leaf = parse(leaf.certificate()).unwrap();
        assert_eq!(leaf.issuer(), parse(written.certificate()).unwrap().subject());
        assert!(!leaf.is_ca());
    }

    #[test]
    fn a_certificate_has_one_pem_text() {
        let authority = authority();
        assert_eq!(encode_pem(authority.certificate()), authority.certificate_pem());
        let with_other_breaks = authority.certificate_pem().replace('\n', "\r\n");
        let read = first_certificate(&with_other_breaks).unwrap();
        assert_eq!(encode_pem(&read), authority.certificate_pem());
    }

    #[test]
    fn a_leaf_contains_its_names_and_starts_in_the_past() {
        let leaf = authority().leaf(&names(), now()).unwrap();
        let parsed = parse(leaf.certificate()).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 3, "{names:?}");
        assert_eq!(leaf.validity().not_before, now() - Lifetimes::BACKDATE);
        assert_eq!(leaf.validity().not_after, now() + Lifetimes::default().leaf);
        assert_eq!(Validity::of_pem(leaf.certificate_pem()).unwrap(), leaf.validity());
    }

    #[test]
    fn a_leaf_expires_with_its_authority_and_an_expired_authority_signs_nothing() {
        let authority = authority();
        let end = now() + Lifetimes::default().authority;
        let leaf = authority.leaf(&names(), end - Duration::days(1)).unwrap();
        assert_eq!(leaf.validity().not_after, authority.validity().not_after);
        let late = authority.leaf(&names(), end + Duration::days(1));
        assert!(matches!(late, Err(Error::Expired { .. })));
    }

    #[test]
    fn a_pair_that_is_not_an_authority_is_rejected_with_a_reason() {
        let authority = authority();
        let other = Authority::new("test", now()).unwrap();
        let leaf = authority.leaf(&names(), now()).unwrap();
        let error =
            |certificate: &str, key: &str| Authority::from_pem(certificate, key).unwrap_err().to_string();
        assert_snapshot!(error(leaf.certificate_pem(), &leaf.key_pem()), @"the certificate is not a certificate authority's: 'CA:TRUE' is missing in its basic constraints");
        assert_snapshot!(error(authority.certificate_pem(), &other.key_pem()), @"the private key does not belong to the certificate: use a pair that was generated together");
        assert_snapshot!(error("hello", &other.key_pem()), @"unable to read a certificate: expected PEM that starts with '-----BEGIN CERTIFICATE-----'");
        assert_snapshot!(error(authority.certificate_pem(), "hello"), @"unable to read the private key: expected PKCS #8 in PEM that starts with '-----BEGIN PRIVATE KEY-----'");
    }

    #[test]
    fn a_name_that_no_certificate_can_have_is_rejected_with_a_reason() {
        let error = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            authority().leaf(&names, now()).unwrap_err().to_string()
        };
        assert_snapshot!(error(&[]), @"a server certificate needs at least one name");
        assert_snapshot!(error(&["bücher.example"]), @"'bücher.example' can't be a name in a certificate: expected a DNS name or an IP address");
        assert_snapshot!(error(&[""]), @"'' can't be a name in a certificate: expected a DNS name or an IP address");
    }

    #[test]
    fn a_leaf_is_renewed_after_two_thirds() {
        let leaf = authority().leaf(&names(), now()).unwrap();
        let Validity { not_before, not_after } = leaf.validity();
        let renewal = leaf.validity().renewal();
        assert!((not_after - renewal) * 2 <= renewal - not_before);
        assert!(renewal > now() + Duration::days(4));
    }

    #[test]
    fn debug_output_contains_no_key() {
        let authority = authority();
        let leaf = authority.leaf(&names(), now()).unwrap();
        for output in [format!("{authority:?}"), format!("{leaf:?}")] {
            assert!(!output.contains("PRIVATE") && !output.contains("serialized_der"), "{output}");
        }
    }
}
