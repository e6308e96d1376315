//! The two ports of Erlang's distribution, as far as a probe looks at them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::network::Source;
use super::settings::Host;
use super::world::{Cut, World};

/// What listens on a port of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// CouchDB's API, 5984.
    Http,
    /// Erlang's port mapper, 4369.
    Epmd,
    /// The distribution, 9100.
    Distribution,
}

impl Service {
    /// Whether the port answers this caller, on a node that runs.
    pub(crate) fn listens(self, world: &World, host: &Host, source: &Source) -> bool {
        let from = match source {
            Source::Anybody => None,
            Source::Named(name) => Some(Host::from(name.as_str())),
        };
        let reset = |a: &Host, b: &Host| world.cuts.get(&(a.clone(), b.clone())) == Some(&Cut::Reset);
        match self {
            Self::Http => true,
            Self::Epmd | Self::Distribution => {
                let named = world.node(host.as_str()).and_then(|n| n.name()).is_some();
                named && !from.is_some_and(|from| reset(&from, host) || reset(host, &from))
            }
        }
    }
}

/// One connection to EPMD: a question, an answer, the end.
pub(crate) async fn serve_epmd(mut stream: TcpStream, name: Option<String>) {
    let mut length = [0; 2];
    if stream.read_exact(&mut length).await.is_err() {
        return;
    }
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    if stream.read_exact(&mut question).await.is_err() {
        return;
    }
    // The asker may be gone; that is its affair.
    let _ = stream.write_all(&epmd_answer(&question, name.as_deref())).await;
}

/// `NAMES_REQ` and `PORT_PLEASE2_REQ` of the EPMD protocol; anything else is answered with nothing.
fn epmd_answer(question: &[u8], node: Option<&str>) -> Vec<u8> {
    let alive = node.and_then(|n| n.split_once('@')).map_or("", |(alive, _)| alive);
    match question {
        [b'n'] => {
            let mut answer = 4369_u32.to_be_bytes().to_vec();
            if !alive.is_empty() {
                answer.extend(format!("name {alive} at port 9100\n").bytes());
            }
            answer
        }
        [b'z', wanted @ ..] if wanted == alive.as_bytes() && !alive.is_empty() => {
            let mut answer = vec![b'w', 0];
            answer.extend(9100_u16.to_be_bytes());
            // A normal node, TCP, protocol versions 6 to 5, its name, nothing extra.
            answer.extend([77, 0, 0, 6, 0, 5, 0, alive.len() as u8]);
            answer.extend(alive.bytes());
            answer.extend([0, 0]);
            answer
        }
        [b'z', ..] => vec![b'w', 1],
        _ => Vec::new(),
    }
}

/// One connection to the distribution: the handshake isn't imitated, a caller's first word ends it.
pub(crate) async fn serve_distribution(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 64]).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epmd_speaks() {
        let node = Some("couchdb@a.b.c");
        assert_eq!(epmd_answer(b"n", node), b"\0\0\x11\x11name couchdb at port 9100\n");
        assert_eq!(epmd_answer(b"n", None), b"\0\0\x11\x11");
        assert_eq!(epmd_answer(b"zcouchdb", node), b"w\0\x23\x8c\x4d\0\0\x06\0\x05\0\x07couchdb\0\0");
        assert_eq!(epmd_answer(b"zother", node), b"w\x01");
        assert!(epmd_answer(b"?", node).is_empty());
    }
}
