//! The links that a node has opened to its peers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::super::settings::Host;
use super::wire::{self, Handshake, Identity, Request};

/// Links by the host of the peer, and the names that could not be reached lately.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: BTreeMap<Host, Link>,
    /// Names that are not tried again before this time.
    failed: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Link {
    name: String,
    stream: TcpStream,
}

/// The time for name resolution, EPMD and handshake of one peer.
const DIAL: Duration = Duration::from_secs(2);
/// The time after which a peer that could not be reached is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// The time after which a peer that does not answer counts as disconnected.
const SILENCE: Duration = Duration::from_secs(10);
/// EPMD's port.
pub(super) const EPMD: u16 = 4369;

impl Links {
    /// The hosts of all peers with a link, in their order.
    pub(super) fn hosts(&self) -> Vec<Host> {
        self.open.keys().cloned().collect()
    }

    /// Forgets links that the peer has closed, and opens links to those of the names that have none.
    pub(super) async fn open(&mut self, names: &BTreeSet<String>, own: &Identity, challenge: &str) {
        self.open.retain(|_, link| link.is_open());
        let now = Instant::now();
        self.failed.retain(|_, until| *until > now);
        let linked: BTreeSet<&str> = self.open.values().map(|link| link.name.as_str()).collect();
        let missing = names.iter().filter(|name| {
            **name != own.name && !linked.contains(name.as_str()) && !self.failed.contains_key(*name)
        });
        let dials: Vec<_> = missing
            .map(|name| {
                let (name, own, challenge) = (name.clone(), own.clone(), challenge.to_owned());
                tokio::spawn(async move {
                    let link = timeout(DIAL, dial(&name, &own, challenge)).await;
                    (name, link.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
                })
            })
            .collect();
        for dial in dials {
            // Fails only if the task panicked.
            let Ok((name, link)) = dial.await else { continue };
            match link {
                Ok((host, link)) => {
                    self.open.insert(host, link);
                }
                Err(_) => {
                    self.failed.insert(name, now + RETRY);
                }
            }
        }
    }

    /// Locks a peer and returns its state. A peer that does not answer loses its link.
    pub(super) async fn lock(&mut self, host: &Host) -> Option<Box<RawValue>> {
        let link = self.open.get_mut(host)?;
        let exchange = async {
            wire::send(&mut link.stream, &Request::Lock).await?;
            wire::receive_any(&mut link.stream).await
        };
        match timeout(SILENCE, exchange).await {
            Ok(Ok(state)) => Some(state),
            Ok(Err(_)) | Err(_) => {
                self.open.remove(host);
                None
            }
        }
    }

    /// Ends the use of a peer, with its new state if that has changed.
    pub(super) async fn unlock(&mut self, host: &Host, state: Option<Box<RawValue>>) {
        let Some(link) = self.open.get_mut(host) else { return };
        // A peer that died meanwhile has lost the change, as it would have lost a message.
        if wire::send(&mut link.stream, &Request::Unlock(state)).await.is_err() {
            self.open.remove(host);
        }
    }
}

impl Link {
    /// `true` unless the peer has closed the connection. Between two calls it sends nothing.
    fn is_open(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Opens a link to the node of this name: asks the EPMD of its host for the port, and proves the cookie.
async fn dial(name: &str, own: &Identity, challenge: String) -> io::Result<(Host, Link)> {
    let (alive, host) = name.split_once('@').ok_or(io::ErrorKind::InvalidInput)?;
    let port = port_of(alive, host).await?;
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    match own.handshake(&mut stream, challenge).await? {
        // Another node than the one that was meant may have taken over the address.
        Handshake::Accepted(peer) if peer.name == name => {
            Ok((peer.host, Link { name: name.to_owned(), stream }))
        }
        Handshake::Accepted(_) | Handshake::OtherCookie(_) => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// `PORT_PLEASE2_REQ` of the EPMD protocol.
async fn port_of(alive: &str, host: &str) -> io::Result<u16> {
    let mut epmd = TcpStream::connect((host, EPMD)).await?;
    let length = u16::try_from(alive.len() + 1).map_err(io::Error::other)?;
    let request: Vec<u8> = length.to_be_bytes().into_iter().chain(*b"z").chain(alive.bytes()).collect();
    epmd.write_all(&request).await?;
    let mut answer = Vec::new();
    epmd.read_to_end(&mut answer).await?;
    match answer.as_slice() {
        [b'w', 0, high, low, ..] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}
