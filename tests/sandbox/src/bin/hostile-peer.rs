//! Runs a hostile peer, for manual experiments and for containers: `hostile-peer <mode> [address] [Erlang name]`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person at a terminal")]

use std::net::SocketAddr;
use std::process::ExitCode;

use sandbox::hostile::{HostilePeer, Mode};

/// The exit code for wrong arguments: `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().and_then(|mode| mode.parse::<Mode>().ok());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:5984".to_owned()).parse::<SocketAddr>();
    let node = arguments.next().unwrap_or_else(|| "couchdb@couchdb-1.couchdb".to_owned());
    let (Some(mode), Ok(address)) = (mode, address) else {
        let modes = Vec::from(Mode::ALL.map(|mode| mode.to_string())).join("|");
        eprintln!("usage: hostile-peer {modes} [address] [Erlang name]");
        return ExitCode::from(USAGE);
    };
    match HostilePeer::listen(address, mode, &node) {
        Ok(peer) => {
            println!("{mode} at http://{}; press Enter to stop it", peer.address());
            let _ = std::io::stdin().read_line(&mut String::new());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
