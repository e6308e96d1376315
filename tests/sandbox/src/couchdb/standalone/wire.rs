//! The messages between two nodes: a length and JSON each. A handshake comes first, in which both prove the cookie.

use std::collections::BTreeSet;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::crypto::{hex, hmac_sha256};
use super::super::settings::Host;

/// The first message of both sides: name and host of the sender, and a number that the other must sign.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) name: String,
    pub(super) host: Host,
    challenge: String,
}

/// The other side's number, signed with the cookie.
#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    digest: String,
}

/// A message of the side that has opened the link.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Waits until no other call uses the node, and asks for its state.
    Lock,
    /// Ends the use. Contains the new state if it has changed.
    Unlock(Option<Box<RawValue>>),
}

/// The answer to [`Request::Lock`]: a node, and the peers that it is connected to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeState<N> {
    pub(super) node: N,
    pub(super) connections: BTreeSet<Host>,
}

/// The identity that a node has in handshakes.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) host: Host,
    pub(super) cookie: String,
}

/// The result of a handshake.
#[derive(Debug)]
pub(super) enum Handshake {
    /// Both have the same cookie.
    Accepted(Hello),
    /// The other side has another cookie, or closed the connection because it found one.
    OtherCookie(Hello),
}

/// Longer than the state of any test's node.
const LONGEST: usize = 256 << 20;
/// Longer than any message of a handshake.
const LONGEST_UNPROVEN: usize = 4096;

impl Identity {
    /// Introduces both sides to each other. Neither sends its cookie.
    pub(super) async fn handshake(&self, stream: &mut TcpStream, challenge: String) -> io::Result<Handshake> {
        let own = Hello { name: self.name.clone(), host: self.host.clone(), challenge };
        send(stream, &own).await?;
        let other: Hello = receive(stream, LONGEST_UNPROVEN).await?;
        send(stream, &Proof { digest: self.digest(&other.challenge, &self.name) }).await?;
        let proof: io::Result<Proof> = receive(stream, LONGEST_UNPROVEN).await;
        // Signed with the sender's name, so that a proof cannot be sent back to its sender.
        let is_proven = proof.is_ok_and(|proof| proof.digest == self.digest(&own.challenge, &other.name));
        Ok(if is_proven { Handshake::Accepted(other) } else { Handshake::OtherCookie(other) })
    }

    fn digest(&self, challenge: &str, signer: &str) -> String {
        hex(&hmac_sha256(self.cookie.as_bytes(), format!("{challenge} {signer}").as_bytes()))
    }
}

/// Sends one message.
pub(super) async fn send<T: Serialize>(stream: &mut TcpStream, message: &T) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(json);
    stream.write_all(&frame).await
}

/// Receives one message after a successful handshake.
pub(super) async fn receive_any<T: DeserializeOwned>(stream: &mut TcpStream) -> io::Result<T> {
    receive(stream, LONGEST).await
}

async fn receive<T: DeserializeOwned>(stream: &mut TcpStream, longest: usize) -> io::Result<T> {
    let length = stream.read_u32().await? as usize;
    if length > longest {
        return Err(io::Error::other("the message is too long"));
    }
    let mut json = vec![0; length];
    stream.read_exact(&mut json).await?;
    Ok(serde_json::from_slice(&json)?)
}
