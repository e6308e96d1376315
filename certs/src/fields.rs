//! A bundle as the fields of a Secret.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::rotation::Retiring;
use crate::{Authority, Bundle, encode_pem};

/// The names of a Secret's keys, and what is in them.
pub type Fields = BTreeMap<String, Vec<u8>>;

/// Why a Secret holds no bundle.
#[derive(Debug, Error)]
pub enum FieldsError {
    /// A key is missing.
    #[error("there is no key '{0}'")]
    Missing(&'static str),
    /// A value is not text.
    #[error("the value of '{0}' is not text")]
    NotText(&'static str),
    /// Certificate and key are not an authority's.
    #[error("'{CURRENT}' and '{CURRENT_KEY}' are no certificate authority")]
    Authority(#[source] crate::Error),
}

const CURRENT: &str = "ca.crt";
const CURRENT_KEY: &str = "ca.key";
const INCOMING: &str = "incoming.crt";
const INCOMING_KEY: &str = "incoming.key";
const RETIRING: &str = "retiring.crt";
const RETIRING_UNTIL: &str = "retiring-until";

impl Bundle {
    /// As the fields of a Secret, with the private keys.
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
            // Fails only for years that have five digits.
            put(RETIRING_UNTIL, until.format(&Rfc3339).unwrap_or_default());
        }
        fields
    }

    /// Reads what [`Bundle::to_fields`] wrote, or a person, who needs to give `ca.crt` and `ca.key` only.
    ///
    /// Of what is incoming or retiring the unreadable is left out: without it too the current authority can sign.
    pub fn from_fields(fields: &Fields) -> Result<Self, FieldsError> {
        let current = authority(fields, CURRENT, CURRENT_KEY)?;
        let incoming = authority(fields, INCOMING, INCOMING_KEY).ok();
        Ok(Self::of(current, incoming, retiring(fields)))
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
    let pem = fields.get(RETIRING)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).flatten().collect();
    let until = OffsetDateTime::parse(text(fields, RETIRING_UNTIL).ok()?, &Rfc3339).ok()?;
    (!certificates.is_empty()).then_some(Retiring { certificates, until })
}

fn text<'f>(fields: &'f Fields, name: &'static str) -> Result<&'f str, FieldsError> {
    let value = fields.get(name).ok_or(FieldsError::Missing(name))?;
    std::str::from_utf8(value).map_err(|_| FieldsError::NotText(name))
}
