//! The release programs beside this one: sizes and starts.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::row::{Goal, Row};

/// A program of the release build.
pub(crate) enum Program {
    At(PathBuf),
    /// It is not built. Contains the fix.
    Missing(String),
}

/// Bytes in mebibytes.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

pub(crate) async fn measure() -> Vec<Row> {
    let mut rows = vec![];
    for name in ["couchdiscover", "couchdiscover-webhook", "couchdiscover-agent"] {
        let what = format!("size of {name}");
        rows.push(match program(name) {
            Program::At(path) => {
                let bytes = std::fs::metadata(path).unwrap().len();
                Row::number(&what, bytes as f64 / 1e6, " MB", Goal::AtMost(12.0))
            }
            Program::Missing(fix) => Row::not_measured(&what, &fix),
        });
    }
    let what = "the webhook: from its start until it is ready, median of 20";
    rows.push(match program("couchdiscover-webhook") {
        Program::At(path) => {
            let mut times = vec![];
            for _ in 0..20 {
                times.push(start(&path).await);
            }
            times.sort_unstable();
            Row::number(what, times[times.len() / 2].as_secs_f64() * 1e3, " ms", Goal::AtMost(50.0))
        }
        Program::Missing(fix) => Row::not_measured(what, &fix),
    });
    rows
}

/// Starts the webhook without an API server, and stops it when it is ready.
async fn start(program: &std::path::Path) -> Duration {
    let probes = free_address();
    let begun = Instant::now();
    let child = Command::new(program)
        .args(["serve", "--cert-mode", "memory", "--listen", "127.0.0.1:0", "--probe-listen", &probes])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut webhook = Running(child);
    let url = format!("http://{probes}{}", contract::ports::READYZ);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(webhook.0.try_wait().unwrap().is_none(), "the webhook ended");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    begun.elapsed()
}

/// A program that ends with this value, also if the measurement panics.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The folder of the builds: two above the folder of this program.
pub(crate) fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().to_owned()
}

pub(crate) fn program(name: &str) -> Program {
    let path = target().join("release").join(name);
    if path.exists() {
        Program::At(path)
    } else {
        Program::Missing(format!("{name} is not built. Fix: cargo build --release"))
    }
}

/// An address whose port was free a moment ago.
pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The time that a process has spent on processors, in steps of 10 ms.
pub(crate) fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name is in parentheses and may contain spaces. Behind it, the 12th and 13th fields are user and system time.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
