//! A labelled StatefulSet through the real webhook, real agents, a formed cluster, told as a story.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use contract::error::chain;
use e2e::manifest::EXAMPLE;
use e2e::story::{Play, tell};

/// Shows a labelled StatefulSet become a CouchDB cluster, on this machine, in some seconds.
#[derive(Debug, Parser)]
struct Flags {
    /// So many nodes instead of the manifest's
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: Option<u16>,
    /// Afterwards, wipe this node and see it taken back
    #[arg(long, value_name = "ORDINAL")]
    wipe: Option<u16>,
    /// Apply this file instead of manifests/examples/couchdb.yaml
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match play(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            #[expect(clippy::print_stderr, reason = "the demo speaks to a person")]
            let () = eprintln!("\ndemo: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn play(flags: Flags) -> Result<(), String> {
    let (manifest, title) = match &flags.manifest {
        None => (EXAMPLE.to_owned(), "manifests/examples/couchdb.yaml".to_owned()),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("'{}': {error}", path.display()))?;
            (text, path.display().to_string())
        }
    };
    let play =
        Play { manifest, title, nodes: flags.nodes.map(usize::from), wipe: flags.wipe.map(usize::from) };
    tell(&play, &mut io::stdout()).await.map_err(|error| chain(&error))
}
