//! A bundle as the fields of a Secret.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authority::Authority;
use crate::bundle::{Bundle, Retiring};
use crate::encoding::encode_pem;

/// The data of a Secret: values by key.
pub type Fields = BTreeMap<String, Vec<u8>>;

/// The fields of a Secret are not a bundle.
#[derive(Debug, Error)]
pub enum FieldsError {
    /// A required key is missing.
    #[error("key '{0}' is missing")]
    Missing(&'static str),
    /// A value is not UTF-8.
    #[error("the value of '{0}' is not text")]
    NotText(&'static str),
    /// Certificate and key are not an authority's.
    #[error("'{CURRENT}' and '{CURRENT_KEY}' are not a certificate authority")]
    Authority(#[source] crate::error::Error),
}

const CURRENT: &str = "ca.crt";
const CURRENT_KEY: &str = "ca.key";
const INCOMING: &str = "incoming.crt";
const INCOMING_KEY: &str = "incoming.key";
const RETIRING: &str = "retiring.crt";
const RETIRING_UNTIL: &str = "retiring-until";

impl Bundle {
    /// The bundle as the fields of a Secret, private keys included.
    pub fn to_fields(&self) -> Fields {
        let mut fields = Fields::new();
        let mut put = |name: &str, text: String| fields.insert(name.to_owned(), text.into_bytes());
        put(CURRENT, encode_pem(self.current().certificate()));
        put(CURRENT_KEY, self.current().key_pem());
        if let Some(incoming) = self.incoming() {
            put(INCOMING, encode_pem(incoming.certificate()));
            put(INCOMING_KEY, incoming.key_pem());
        }
        if let Some(Retiring { certificates, until }) = self.retiring() {
            put(RETIRING, certificates.iter().map(|certificate| encode_pem(certificate)).collect());
            // Formatting fails only for years with five digits.
            put(RETIRING_UNTIL, until.format(&Rfc3339).unwrap_or_default());
        }
        fields
    }

    /// Reads the result of [`Bundle::to_fields`], or a Secret written manually, which needs only `ca.crt` and `ca.key`.
    ///
    /// Unreadable incoming or retiring authorities are left out: the current authority can sign without them.
    pub fn from_fields(fields: &Fields) -> Result<Self, FieldsError> {
        let current = authority(fields, CURRENT, CURRENT_KEY)?;
        let incoming = authority(fields, INCOMING, INCOMING_KEY).ok();
        Ok(Self { current, incoming, retiring: retiring(fields) })
    }
}

fn authority(
    fields: &Fields,
    certificate: &'static str,
    key: &'static str,
) -> Result<Authority, FieldsError> {
    Authority::from_pem(text(fields, certificate)?, text(fields, key)?).map_err(FieldsError::Authority)
}

fn retiring(fields: &Fields) -> Option<Retiring> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(fields.get(RETIRING)?).flatten().collect();
    let until = OffsetDateTime::parse(text(fields, RETIRING_UNTIL).ok()?, &Rfc3339).ok()?;
    (!certificates.is_empty()).then_some(Retiring { certificates, until })
}

fn text<'f>(fields: &'f Fields, name: &'static str) -> Result<&'f str, FieldsError> {
    let value = fields.get(name).ok_or(FieldsError::Missing(name))?;
    std::str::from_utf8(value).map_err(|_| FieldsError::NotText(name))
}
