//! The two ports of Erlang's distribution, as far as a probe needs them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Serves one connection to EPMD: it reads one request, answers it and closes the connection.
pub(crate) async fn serve_epmd(mut stream: TcpStream, name: Option<String>) {
    let mut length = [0; 2];
    if stream.read_exact(&mut length).await.is_err() {
        return;
    }
    let mut request = vec![0; usize::from(u16::from_be_bytes(length))];
    if stream.read_exact(&mut request).await.is_err() {
        return;
    }
    // The client may have closed the connection; then the answer is lost.
    let _ = stream.write_all(&epmd_answer(&request, name.as_deref())).await;
}

/// The answer to `NAMES_REQ` or `PORT_PLEASE2_REQ` of the EPMD protocol; empty for any other request.
fn epmd_answer(request: &[u8], node: Option<&str>) -> Vec<u8> {
    let alive = node.and_then(|n| n.split_once('@')).map_or("", |(alive, _)| alive);
    match request {
        // NAMES_REQ: EPMD's own port, then one line for each node.
        [b'n'] => {
            let mut answer = 4369_u32.to_be_bytes().to_vec();
            if !alive.is_empty() {
                answer.extend(format!("name {alive} at port 9100\n").bytes());
            }
            answer
        }
        // PORT_PLEASE2_REQ for this node.
        [b'z', wanted @ ..] if wanted == alive.as_bytes() && !alive.is_empty() => {
            let mut answer = vec![b'w', 0];
            answer.extend(9100_u16.to_be_bytes());
            // A normal node, TCP, protocol versions 6 to 5, its name, no extra data.
            answer.extend([77, 0, 0, 6, 0, 5, 0, alive.len() as u8]);
            answer.extend(alive.bytes());
            answer.extend([0, 0]);
            answer
        }
        // The result 1: no such node.
        [b'z', ..] => vec![b'w', 1],
        _ => Vec::new(),
    }
}

/// Serves one connection to the distribution. The handshake is not imitated: the first bytes of the client end it.
pub(crate) async fn serve_distribution(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 64]).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epmd_answers_are_those_of_the_protocol() {
        let node = Some("couchdb@a.b.c");
        assert_eq!(epmd_answer(b"n", node), b"\0\0\x11\x11name couchdb at port 9100\n");
        assert_eq!(epmd_answer(b"n", None), b"\0\0\x11\x11");
        assert_eq!(epmd_answer(b"zcouchdb", node), b"w\0\x23\x8c\x4d\0\0\x06\0\x05\0\x07couchdb\0\0");
        assert_eq!(epmd_answer(b"zother", node), b"w\x01");
        assert!(epmd_answer(b"?", node).is_empty());
    }
}
