//! Checks of the two ports that Erlang needs, for a node that is not connected although its CouchDB answers.

use std::time::Duration;

use agent_core::facts::PortCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Asks the port mapper at `epmd` for the port of the node called `alive`, and connects to it at `distribution`. Takes at
/// most 4 s. No cookie is sent, so the peer logs nothing.
pub(crate) async fn probe(epmd: &str, alive: &str, distribution: impl Fn(u16) -> String) -> PortCheck {
    let Ok(Ok(names)) = timeout(TIMEOUT, names(epmd)).await else {
        return PortCheck::Blocked(contract::ports::EPMD);
    };
    let Some(port) = port_of(&names, alive) else { return PortCheck::Unregistered };
    match timeout(TIMEOUT, TcpStream::connect(distribution(port))).await {
        Ok(Ok(_)) => PortCheck::Open,
        Ok(Err(_)) | Err(_) => PortCheck::Blocked(port),
    }
}

/// Sends EPMD's `NAMES_REQ`. The answer is the mapper's own port and a line for each node.
async fn names(epmd: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(epmd).await?;
    // The length of the request in two bytes, then its only byte.
    stream.write_all(&[0, 1, b'n']).await?;
    let mut answer = vec![];
    stream.take(MAX_ANSWER_LENGTH).read_to_end(&mut answer).await?;
    // The first four bytes are the mapper's port.
    Ok(String::from_utf8_lossy(answer.get(4..).unwrap_or_default()).into_owned())
}

/// The node's port from lines such as `name couchdb at port 9100`.
fn port_of(names: &str, alive: &str) -> Option<u16> {
    names.lines().find_map(|line| {
        let (name, port) = line.strip_prefix("name ")?.split_once(" at port ")?;
        port.trim().parse().ok().filter(|_| name == alive)
    })
}

/// On one network an open or closed port answers within milliseconds; a dropped packet is never answered.
const TIMEOUT: Duration = Duration::from_secs(2);
/// In bytes, about 100 names; a pod has a few.
const MAX_ANSWER_LENGTH: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_the_nodes_full_name() {
        let names = "name couchdb2 at port 9200\nname couchdb at port 9100\n";
        assert_eq!(port_of(names, "couchdb"), Some(9100));
        assert_eq!(port_of(names, "couch"), None);
        assert_eq!(port_of("", "couchdb"), None);
        assert_eq!(port_of("name couchdb at port x", "couchdb"), None);
    }
}
