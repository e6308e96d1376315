//! CouchDB stand-ins on loopback ports, for playing by hand: `couchdb-standin [number of nodes]`.
//!
//! Each node is `couchdb-<n>.couchdb.default.svc.cluster.local`, with admin `admin`, password `s3cret`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person at a terminal")]

use std::process::ExitCode;

use sandbox::couchdb::{Clock, Network, NetworkError, NodeHandle, NodeSettings};

#[tokio::main]
async fn main() -> ExitCode {
    let count = match std::env::args().nth(1).map(|arg| arg.parse::<u16>()) {
        None => 3,
        Some(Ok(count)) => count,
        Some(Err(_)) => {
            eprintln!("usage: couchdb-standin [number of nodes]");
            return ExitCode::from(64);
        }
    };
    let net = Network::start(Clock::real());
    match (0..count).map(|ordinal| start(&net, ordinal)).collect::<Result<Vec<_>, _>>() {
        Ok(nodes) => {
            nodes.iter().for_each(|node| println!("{}  http://admin:s3cret@{}", node.host(), node.addr()))
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    println!("Ctrl-C stops them.");
    match tokio::signal::ctrl_c().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn start(net: &Network, ordinal: u16) -> Result<NodeHandle, NetworkError> {
    let host = format!("couchdb-{ordinal}.couchdb.default.svc.cluster.local");
    net.start_node(NodeSettings::new(host).admin("admin", "s3cret").secret("topsecret").cookie("shared"))
}
