//! Runs one attack: prints a line once its connections are open, and holds them until stdin is closed.

use std::io::{self, Read as _, Write as _};

use clap::Parser as _;
use e2e::hostile_pod::Attack;

fn main() -> io::Result<()> {
    let attack = Attack::parse();
    // An error only if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let held = runtime.block_on(attack.open())?;
    writeln!(io::stdout(), "{} connections are open", held.count())?;
    io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}
