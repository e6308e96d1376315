//! A labelled StatefulSet becomes a CouchDB cluster: the real webhook and real agents between stand-ins, with each step
//! printed.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use contract::error::chain;
use e2e::demo::{Options, run, run_on_cluster};
use e2e::manifest::EXAMPLE;

/// Shows how a labelled StatefulSet becomes a CouchDB cluster, on this machine, in a few seconds.
#[derive(Debug, Parser)]
struct Flags {
    /// Number of nodes, instead of the manifest's replicas
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: Option<u16>,
    /// After the cluster is formed, delete this node's volume and show its recovery
    #[arg(long, value_name = "ORDINAL")]
    wipe: Option<u16>,
    /// Manifest to apply instead of manifests/examples/couchdb.yaml
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Use the cluster that KUBECONFIG names, and kubectl, instead of stand-ins; everything is removed afterwards
    #[arg(long)]
    cluster: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match demo(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            #[expect(clippy::print_stderr, reason = "the demo prints to a terminal")]
            let () = eprintln!("\ndemo: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(flags: Flags) -> Result<(), String> {
    let (manifest, title) = match &flags.manifest {
        None => (EXAMPLE.to_owned(), "manifests/examples/couchdb.yaml".to_owned()),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("failed to read '{}': {error}", path.display()))?;
            (text, path.display().to_string())
        }
    };
    let options =
        Options { manifest, title, nodes: flags.nodes.map(usize::from), wipe: flags.wipe.map(usize::from) };
    if flags.cluster {
        return run_on_cluster(&options, &mut io::stdout()).await.map_err(|error| chain(&error));
    }
    run(&options, &mut io::stdout()).await.map_err(|error| chain(&error))
}
