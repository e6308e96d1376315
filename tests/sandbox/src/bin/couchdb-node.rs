//! One CouchDB stand-in in the form of the official image: reads the image's variables, keeps its data below
//! `/opt/couchdb/data`, and forms a cluster with other such processes over the network.
//!
//! `couchdb-node [DIRECTORY ADDRESS]`: another directory than `/opt/couchdb`, and another address than all.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the log of a container")]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use sandbox::couchdb::{Home, NodeSettings, Standalone};
use tokio::signal::unix::{SignalKind, signal};

/// The user of the official image.
const COUCHDB: u32 = 5984;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ERROR: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let home = match arguments.as_slice() {
        [] => Home { directory: PathBuf::from("/opt/couchdb"), address: Ipv6Addr::UNSPECIFIED.into() },
        [directory, address] => {
            Home { directory: PathBuf::from(directory), address: address.parse::<IpAddr>()? }
        }
        _ => return Err("usage: couchdb-node [DIRECTORY ADDRESS]".into()),
    };
    let env: BTreeMap<String, String> = std::env::vars().collect();
    // The entrypoint of the image starts as root, so that it can take over a volume that belongs to root.
    if arguments.is_empty() && std::fs::metadata("/proc/self")?.uid() == 0 {
        take_over(&home.directory)?;
        return Err(Command::new("/proc/self/exe").uid(COUCHDB).gid(COUCHDB).exec().into());
    }
    let settings = NodeSettings::from_image_env(hostname(&env)?, &env)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let node = Standalone::start(settings, home, seed()?)?;
        println!(
            "[notice] Apache CouchDB stand-in has started as {}",
            node.name().unwrap_or("nonode@nohost".into())
        );
        let mut end = signal(SignalKind::terminate())?;
        tokio::select! {
            served = node.serve() => served?,
            _ = end.recv() => println!("[notice] SIGTERM received, shutting down"),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Gives a directory and everything below it to the image's user.
fn take_over(path: &Path) -> std::io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    if metadata.uid() != COUCHDB {
        // Fails for files that are mounted read-only, which the entrypoint skips as well.
        let _ = std::os::unix::fs::lchown(path, Some(COUCHDB), Some(COUCHDB));
    }
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            take_over(&entry?.path())?;
        }
    }
    Ok(())
}

/// The output of `hostname -f`: the first name on the line of `/etc/hosts` that contains the host name.
fn hostname(env: &BTreeMap<String, String>) -> Result<String, Box<dyn Error>> {
    let short = match env.get("HOSTNAME") {
        Some(name) => name.clone(),
        None => std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned(),
    };
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names =
        hosts.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace().skip(1));
    let full =
        names.filter(|names| names.clone().any(|name| name == short)).find_map(|mut names| names.next());
    Ok(full.map_or(short.clone(), str::to_owned))
}

/// A random number.
fn seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
