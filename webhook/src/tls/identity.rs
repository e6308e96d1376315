//! The server's certificate: minted in memory or read from files, and swapped under a running server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::current::{Current, pair, provider};
use super::error::IdentityError;
use crate::settings::{Args, CertMode};

/// Where certificates come from, and the one that is served now.
#[derive(Debug)]
pub(crate) struct Identity {
    source: Source,
    current: Arc<Current>,
}

/// What a look at the source came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// What is served is still good.
    Same,
    /// A new certificate is served from now on.
    Renewed,
}

impl Identity {
    /// Makes or reads the first certificate, so that a bad one stops the program before it listens.
    pub(crate) fn new(args: &Args, now: OffsetDateTime) -> Result<Self, IdentityError> {
        let (source, key) = match (args.cert_mode, &args.tls_cert, &args.tls_key) {
            (CertMode::Files, Some(certificate), Some(key)) => {
                let files = Files { certificate: certificate.clone(), key: key.clone() };
                let (pair, digest) = files.read()?;
                (Source::Files { files, digest }, Some(pair))
            }
            (CertMode::Memory, _, _) => {
                let authority = Authority::new(&args.service, now)?;
                let minted = Minted { authority, names: args.names() };
                let (pair, renewal) = minted.leaf(now)?;
                (Source::Minted { minted: Box::new(minted), renewal }, Some(pair))
            }
            (CertMode::SelfSigned | CertMode::Files, _, _) => (Source::Secret, None),
        };
        Ok(Self { source, current: Arc::new(Current(key.map(Arc::new).into())) })
    }

    /// The CA certificate that callers need, when it is this process's own.
    pub(crate) fn ca_bundle(&self) -> Option<String> {
        match &self.source {
            Source::Minted { minted, .. } => Some(minted.authority.certificate_pem().to_owned()),
            Source::Files { .. } | Source::Secret => None,
        }
    }

    /// What is served.
    pub(crate) fn current(&self) -> &Arc<Current> {
        &self.current
    }

    /// Until when the certificate that is served is good; `None`: there is none yet.
    pub(crate) fn expiry(&self) -> Result<Option<OffsetDateTime>, IdentityError> {
        self.current.0.load().as_deref().map(expiry).transpose()
    }

    /// Looks whether there is, or should be, a new certificate, and serves it. After an error the old one stays.
    pub(crate) fn refresh(&mut self, now: OffsetDateTime) -> Result<Refresh, IdentityError> {
        let key = match &mut self.source {
            Source::Secret => return Ok(Refresh::Same),
            Source::Minted { renewal, .. } if now < *renewal => return Ok(Refresh::Same),
            Source::Minted { minted, renewal } => {
                let (key, next) = minted.leaf(now)?;
                *renewal = next;
                key
            }
            Source::Files { files, digest } => {
                let (key, seen) = match files.digest()? {
                    same if same == *digest => return Ok(Refresh::Same),
                    _ => files.read()?,
                };
                *digest = seen;
                key
            }
        };
        // One whose dates can't be told is not served.
        expiry(&key)?;
        self.current.0.store(Some(Arc::new(key)));
        Ok(Refresh::Renewed)
    }

    /// TLS for the server. The certificate is looked up at each handshake, so one configuration lasts.
    pub(crate) fn config(&self, client_ca: Option<&Path>) -> Result<ServerConfig, IdentityError> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(callers(path)?),
        };
        let resolver: Arc<dyn ResolvesServerCert> = self.current.clone();
        let mut config = builder.with_cert_resolver(resolver);
        // API servers speak only HTTP/1.1 to webhooks: with HTTP/2 all their calls stuck to one replica
        // (kubernetes#75791).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

#[derive(Debug)]
enum Source {
    /// An authority that nobody else knows.
    Minted {
        minted: Box<Minted>,
        renewal: OffsetDateTime,
    },
    Files {
        files: Files,
        digest: [u8; 32],
    },
    /// The authority that all replicas share; its keeper serves what it signs.
    Secret,
}

#[derive(Debug)]
struct Minted {
    authority: Authority,
    names: Vec<String>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Minted {
    fn leaf(&self, now: OffsetDateTime) -> Result<(CertifiedKey, OffsetDateTime), IdentityError> {
        let leaf = self.authority.leaf(&self.names, now)?;
        Ok((pair(&leaf)?, leaf.validity().renewal()))
    }
}

impl Files {
    /// Of the contents: kubelet swaps a symlink above the files, which no watch on the files sees.
    fn digest(&self) -> Result<[u8; 32], IdentityError> {
        let mut hash = Sha256::new();
        hash.update(read(&self.certificate)?);
        hash.update(read(&self.key)?);
        Ok(hash.finalize().into())
    }

    fn read(&self) -> Result<(CertifiedKey, [u8; 32]), IdentityError> {
        let digest = self.digest()?;
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|source| IdentityError::Pem {
            path: self.key.clone(),
            expected: "private key",
            source,
        })?;
        let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| IdentityError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })?;
        Ok((pair, digest))
    }
}

/// Of the server's own certificate, the first of its chain.
fn expiry(pair: &CertifiedKey) -> Result<OffsetDateTime, IdentityError> {
    let own = pair.end_entity_cert()?;
    Ok(certs::Validity::of_der(own)?.not_after)
}

fn callers(path: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|source| IdentityError::ClientCa { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let failed = |source| IdentityError::Pem { path: path.to_owned(), expected: "certificate", source };
    let text = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(failed)?;
    match chain.is_empty() {
        true => Err(failed(rustls::pki_types::pem::Error::NoItemsFound)),
        false => Ok(chain),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    fs::read(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })
}
