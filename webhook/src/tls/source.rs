//! The sources of the server's certificate: memory, files, or the Secret that the replicas share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::error::CertificateError;
use super::served::{ServedCertificate, certified_key, expiry, provider};
use crate::settings::{Args, CertMode};

/// A source of certificates, and the certificate in use.
#[derive(Debug)]
pub(crate) struct CertificateSource {
    kind: Kind,
    served: Arc<ServedCertificate>,
}

#[derive(Debug)]
enum Kind {
    /// An authority of this process, which is never published.
    Memory {
        issuer: Box<Issuer>,
        renewal: OffsetDateTime,
    },
    Files {
        files: Files,
        digest: [u8; 32],
    },
    /// The authority that the replicas share. Its keeper replaces the certificate in use.
    Secret,
}

#[derive(Debug)]
struct Issuer {
    authority: Authority,
    names: Vec<String>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The result of [`CertificateSource::refresh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    Unchanged,
    /// Another certificate is in use.
    Renewed,
}

impl CertificateSource {
    /// Issues or reads the first certificate, so that a bad one stops the program before it listens.
    pub(crate) fn new(args: &Args, now: OffsetDateTime) -> Result<Self, CertificateError> {
        let (kind, key) = match (args.cert_mode, &args.tls_cert, &args.tls_key) {
            (CertMode::Files, Some(certificate), Some(key)) => {
                let files = Files { certificate: certificate.clone(), key: key.clone() };
                let (key, digest) = files.read()?;
                (Kind::Files { files, digest }, Some(key))
            }
            (CertMode::Memory, _, _) => {
                let authority = Authority::new(&args.service, now)?;
                let issuer = Issuer { authority, names: args.names() };
                let (key, renewal) = issuer.issue(now)?;
                (Kind::Memory { issuer: Box::new(issuer), renewal }, Some(key))
            }
            // clap requires both paths in mode `files`, so this is mode `self`.
            (CertMode::SelfSigned | CertMode::Files, _, _) => (Kind::Secret, None),
        };
        Ok(Self { kind, served: Arc::new(ServedCertificate::new(key)) })
    }

    /// The authority's certificate in PEM form, if the authority is this process's own.
    pub(crate) fn ca_bundle(&self) -> Option<String> {
        match &self.kind {
            Kind::Memory { issuer, .. } => Some(issuer.authority.certificate_pem().to_owned()),
            Kind::Files { .. } | Kind::Secret => None,
        }
    }

    /// The certificate in use.
    pub(crate) fn served(&self) -> &Arc<ServedCertificate> {
        &self.served
    }

    /// Replaces the certificate in use if the source has, or should have, another one. After an error it stays.
    pub(crate) fn refresh(&mut self, now: OffsetDateTime) -> Result<Refresh, CertificateError> {
        let key = match &mut self.kind {
            Kind::Secret => return Ok(Refresh::Unchanged),
            Kind::Memory { renewal, .. } if now < *renewal => return Ok(Refresh::Unchanged),
            Kind::Memory { issuer, renewal } => {
                let (key, next) = issuer.issue(now)?;
                *renewal = next;
                key
            }
            Kind::Files { files, digest } => {
                if files.digest()? == *digest {
                    return Ok(Refresh::Unchanged);
                }
                let (key, seen) = files.read()?;
                *digest = seen;
                key
            }
        };
        // A certificate of unreadable dates is not served: its expiry could be neither exported nor watched.
        expiry(&key)?;
        self.served.replace(key);
        Ok(Refresh::Renewed)
    }

    /// The TLS configuration of the server. It outlives every certificate, which is looked up at each handshake.
    pub(crate) fn config(&self, client_ca: Option<&Path>) -> Result<ServerConfig, CertificateError> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(client_verifier(path)?),
        };
        let resolver: Arc<dyn ResolvesServerCert> = self.served.clone();
        let mut config = builder.with_cert_resolver(resolver);
        // API servers use only HTTP/1.1 for webhooks: with HTTP/2 all their calls stuck to one replica
        // (kubernetes#75791).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Issuer {
    /// Issues a certificate, and returns it with the time of its renewal.
    fn issue(&self, now: OffsetDateTime) -> Result<(CertifiedKey, OffsetDateTime), CertificateError> {
        let leaf = self.authority.leaf(&self.names, now)?;
        Ok((certified_key(&leaf)?, leaf.validity().renewal()))
    }
}

impl Files {
    /// A digest of the contents: the kubelet swaps a symlink above the files, which no watch on the files notices.
    fn digest(&self) -> Result<[u8; 32], CertificateError> {
        let mut hash = Sha256::new();
        hash.update(read(&self.certificate)?);
        hash.update(read(&self.key)?);
        Ok(hash.finalize().into())
    }

    fn read(&self) -> Result<(CertifiedKey, [u8; 32]), CertificateError> {
        // Before the contents: should they change in between, the next refresh reads them again.
        let digest = self.digest()?;
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|source| {
            CertificateError::Pem { path: self.key.clone(), expected: "private key", source }
        })?;
        let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| {
            CertificateError::Pair { certificate: self.certificate.clone(), key: self.key.clone(), source }
        })?;
        Ok((pair, digest))
    }
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|source| CertificateError::ClientCa { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let failed = |source| CertificateError::Pem { path: path.to_owned(), expected: "certificate", source };
    let text = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(failed)?;
    if chain.is_empty() {
        return Err(failed(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}
