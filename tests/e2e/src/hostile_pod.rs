//! A pod that is given nothing but the network: it opens connections to a port and holds them.
//!
//! The program `hostile-pod` runs one attack from an address of loopback. Tests use it as a process of its own, so that it
//! has file descriptors of its own, and is still there while they act as other callers.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// An attack on one port.
#[derive(Clone, Debug, Parser)]
pub struct Attack {
    /// Use of each connection
    #[arg(value_enum)]
    pub kind: Kind,
    /// The attacked port
    pub target: SocketAddr,
    /// Number of connections
    #[arg(long)]
    pub count: usize,
    /// Address to connect from
    #[arg(long, default_value = "127.0.0.66")]
    pub from: IpAddr,
    /// CA of the port in PEM; without it, connections are plain TCP
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// Name in the port's certificate
    #[arg(long, default_value = "couchdiscover-webhook.couchdiscover.svc")]
    pub name: String,
    /// Request to send in `review`
    #[arg(long)]
    pub request: Option<PathBuf>,
}

/// Use of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Sends nothing.
    Silent,
    /// Sends one request that is refused, and nothing more.
    Refused,
    /// Sends the head of a request and never its end.
    HalfHead,
    /// Sends one large head without its end.
    LargeHead,
    /// Announces a body of 99 bytes and sends one.
    OneByte,
    /// Sends a body of 7 MiB without its last byte.
    LargeBody,
    /// Sends a review, and does not fetch the answer.
    Review,
}

impl Attack {
    /// Opens the connections, and returns those that could be opened.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub async fn open(&self) -> io::Result<Held> {
        let connector = self.ca.as_deref().map(connector).transpose()?;
        let bytes: Arc<[u8]> = self.bytes()?.into();
        let mut opening = JoinSet::new();
        let mut held = vec![];
        for begun in 0..self.count {
            // As many at a time as any listener's backlog holds.
            if begun >= AT_A_TIME {
                held.extend(opening.join_next().await.and_then(Result::ok).flatten());
            }
            let (attack, connector, bytes) = (self.clone(), connector.clone(), bytes.clone());
            // A connection that the target refuses or closes is its defence, not a failure of the attack.
            opening
                .spawn(async move { timeout(PATIENCE, attack.connect(connector, &bytes)).await.ok()?.ok() });
        }
        held.extend(opening.join_all().await.into_iter().flatten());
        Ok(Held(held))
    }

    async fn connect(&self, connector: Option<TlsConnector>, bytes: &[u8]) -> io::Result<Box<dyn Stream>> {
        let socket = if self.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(self.from, 0))?;
        let stream = socket.connect(self.target).await?;
        let mut stream: Box<dyn Stream> = match connector {
            None => Box::new(stream),
            // A silent caller does not begin a handshake.
            Some(_) if self.kind == Kind::Silent => Box::new(stream),
            Some(connector) => {
                let name = ServerName::try_from(self.name.clone()).map_err(io::Error::other)?;
                Box::new(connector.connect(name, stream).await?)
            }
        };
        stream.write_all(bytes).await?;
        stream.flush().await?;
        Ok(stream)
    }

    /// The bytes that each connection sends.
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let post = |length: usize| {
            format!(
                "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            )
        };
        Ok(match self.kind {
            Kind::Silent => vec![],
            Kind::Refused => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            Kind::HalfHead => b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ".to_vec(),
            Kind::LargeHead => [&b"GET /livez HTTP/1.1\r\nHost: x\r\nX: "[..], &vec![b'x'; 390_000]].concat(),
            Kind::OneByte => [post(99).as_bytes(), b"{"].concat(),
            Kind::LargeBody => [post(LARGE).as_bytes(), &vec![b' '; LARGE - 1]].concat(),
            Kind::Review => {
                let body = match &self.request {
                    Some(file) => std::fs::read(file)?,
                    None => vec![],
                };
                [post(body.len()).as_bytes(), &body].concat()
            }
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl Stream for TcpStream {}
impl Stream for tokio_rustls::client::TlsStream<TcpStream> {}

/// Connections that are open for as long as the target permits. Answers are not read: a caller that reads nothing makes the
/// target hold more.
pub struct Held(Vec<Box<dyn Stream>>);

impl Held {
    /// The number of connections that could be opened.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.count()).finish()
    }
}

fn connector(ca: &Path) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(TlsConnector::from(Arc::new(
        ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
    )))
}

const AT_A_TIME: usize = 32;
/// For one connection to be opened and its bytes to be sent: a target that reads no more of them blocks that.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest body that the webhook reads.
const LARGE: usize = 7 << 20;
