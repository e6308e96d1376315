//! Why Erlang doesn't connect to a node whose CouchDB answers: looks at the two ports that it needs.

use std::time::Duration;

use agent_core::facts::PortCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Asks the port mapper at `epmd` for the node called `alive`, and tries the port that it names at `distribution`.
/// Takes 4 s at most. No cookie is sent, so nothing is logged over there.
pub(crate) async fn probe(epmd: &str, alive: &str, distribution: impl Fn(u16) -> String) -> PortCheck {
    let Ok(Ok(names)) = timeout(PATIENCE, names(epmd)).await else {
        return PortCheck::Blocked(contract::ports::EPMD);
    };
    let Some(port) = port_of(&names, alive) else { return PortCheck::Unregistered };
    match timeout(PATIENCE, TcpStream::connect(distribution(port))).await {
        Ok(Ok(_)) => PortCheck::Open,
        Ok(Err(_)) | Err(_) => PortCheck::Blocked(port),
    }
}

/// EPMD's `NAMES_REQ`: one byte, with its length before it. Answered with the mapper's own port and a line for each node.
async fn names(epmd: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(epmd).await?;
    stream.write_all(&[0, 1, b'n']).await?;
    let mut answer = vec![];
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(answer.get(4..).unwrap_or_default()).into_owned())
}

/// From lines such as `name couchdb at port 9100`.
fn port_of(names: &str, alive: &str) -> Option<u16> {
    names.lines().find_map(|line| {
        let (name, port) = line.strip_prefix("name ")?.split_once(" at port ")?;
        port.trim().parse().ok().filter(|_| name == alive)
    })
}

/// On one network either port answers in milliseconds; a packet that is dropped is never answered.
const PATIENCE: Duration = Duration::from_secs(2);
/// In bytes: more names than any pod has.
const LONGEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_the_node_by_its_whole_name() {
        let names = "name couchdb2 at port 9200\nname couchdb at port 9100\n";
        assert_eq!(port_of(names, "couchdb"), Some(9100));
        assert_eq!(port_of(names, "couch"), None);
        assert_eq!(port_of("", "couchdb"), None);
        assert_eq!(port_of("name couchdb at port x", "couchdb"), None);
    }
}
