//! Measures what couchdiscover costs, prints one table, and keeps it as a file with the description of the machine:
//!
//! ```text
//! cargo build --release
//! cargo bench --workspace --bench table                        # all sections, about 12 minutes on an idle machine
//! cargo bench --workspace --bench table -- forming moves       # some of them
//! cargo bench --workspace --bench table -- --output table.md
//! ```
//!
//! Nodes, clients and agents share the machine, and mostly the process: ratios and counts are more meaningful than
//! times. What is compared is measured in turns, so that a busy neighbour affects both sides.

#![allow(missing_docs, reason = "a program, not a library")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool, where a panic is an acceptable error message"
)]

mod admission;
mod decision;
mod forming;
mod losses;
mod machine;
mod moves;
mod planner;
mod programs;
mod row;
mod settled;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, ValueEnum};
use e2e::control_plane::install_crypto;
use row::{Row, Verdict, table};

#[derive(Debug, Parser)]
struct Args {
    /// The sections to measure; all by default.
    sections: Vec<Section>,
    /// The file that the table is written to.
    #[arg(long, default_value_os_t = programs::target().join("bench.md"))]
    output: PathBuf,
    /// Measures one section in this process, and prints its rows as JSON.
    #[arg(long, hide = true)]
    alone: Option<Section>,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Rows that are measured in one process, so that the memory of one section does not count for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// The webhook's decision and patch.
    Decision,
    /// Reviews over HTTPS.
    Admission,
    /// The webhook's memory after a million reviews.
    Memory,
    /// Calls lost while certificates and replicas are replaced.
    Rotation,
    /// Time until a cluster is formed.
    Forming,
    /// Calls of the agents.
    Calls,
    /// Lost volumes.
    Losses,
    /// Databases that are moved to new nodes.
    Moves,
    /// Plans for many databases.
    Planner,
    /// Memory and CPU of a settled agent.
    Settled,
    /// Sizes and starts of the programs.
    Programs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(section) = args.alone {
        install_crypto();
        let rows = runtime().block_on(measure(section));
        println!("{}", serde_json::to_string(&rows).unwrap());
        return ExitCode::SUCCESS;
    }
    let all = Section::value_variants();
    let sections = if args.sections.is_empty() { all } else { &args.sections };
    let mut rows = vec![];
    for section in sections {
        eprintln!("measuring: {section:?}");
        rows.extend(in_a_process(*section));
    }
    let text = format!("{}\n{}", machine::description(), table(&rows));
    println!("{text}");
    std::fs::write(&args.output, &text).unwrap();
    eprintln!("written to {}", args.output.display());
    let failed = rows.iter().any(|row| row.verdict == Verdict::Failed);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Measures a section in a process of its own; a panic becomes a row.
fn in_a_process(section: Section) -> Vec<Row> {
    let name = section.to_possible_value().unwrap().get_name().to_owned();
    let program = std::env::current_exe().unwrap();
    let child = Command::new(program).args(["--alone", &name]).stderr(Stdio::inherit()).output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let rows = output.lines().last().and_then(|line| serde_json::from_str(line).ok());
    rows.unwrap_or_else(|| vec![Row::failed(&name, &format!("ended with {}", child.status))])
}

async fn measure(section: Section) -> Vec<Row> {
    match section {
        Section::Decision => decision::measure(),
        Section::Admission => admission::throughput().await,
        Section::Memory => admission::memory().await,
        Section::Rotation => admission::rotation().await,
        Section::Forming => forming::against_a_script().await,
        Section::Calls => forming::calls().await,
        Section::Losses => losses::measure().await,
        Section::Moves => moves::measure().await,
        Section::Planner => planner::measure(),
        Section::Settled => settled::measure().await,
        Section::Programs => programs::measure().await,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}
