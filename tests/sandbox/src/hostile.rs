//! A hostile peer: a host that answers HTTP at a pod's name and does harm with its answers. It is no node of any network,
//! has no cookie and accepts every password.
//!
//! Everything is bounded: an answer without an end stops at [`LONGEST_ANSWER`], a connection after [`LONGEST`].

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Brackets that open and never close.
    Deep,
    /// One byte of an answer every 100 ms.
    Drip,
    /// A successful answer without an end.
    Endless,
    /// An error without an end.
    EndlessError,
    /// A head of an answer without an end.
    EndlessHead,
    /// Answers that CouchDB could give, with the largest numbers, hundreds of members, and names that contain line breaks
    /// and escape sequences.
    Lies,
    /// Bytes that are no HTTP.
    Noise,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 7] = [
        Self::Deep,
        Self::Drip,
        Self::Endless,
        Self::EndlessError,
        Self::EndlessHead,
        Self::Lies,
        Self::Noise,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Deep => "deep",
            Self::Drip => "drip",
            Self::Endless => "endless",
            Self::EndlessError => "endless-error",
            Self::EndlessHead => "endless-head",
            Self::Lies => "lies",
            Self::Noise => "noise",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The text is the word of no mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode")]
pub struct UnknownMode;

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|mode| mode.word() == word).ok_or(UnknownMode)
    }
}

/// The pause between two parts of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    None,
    /// As long as a read may take.
    Read,
}

/// One call that a hostile peer received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostileCall {
    /// Method and path.
    pub line: String,
    /// `true` if its head contained credentials, or it was one that sends them in its body.
    pub authorized: bool,
}

/// A hostile peer that serves until it is dropped.
#[derive(Debug)]
pub struct HostilePeer {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    node: String,
    ended: AtomicBool,
    calls: Mutex<Vec<HostileCall>>,
}

impl HostilePeer {
    /// Serves on a loopback port, under the Erlang name `node` where answers contain one.
    ///
    /// # Errors
    ///
    /// If no port can be opened.
    pub fn start(mode: Mode, node: &str) -> std::io::Result<Self> {
        Self::listen((std::net::Ipv4Addr::LOCALHOST, 0).into(), mode, node)
    }

    /// Serves on this address.
    ///
    /// # Errors
    ///
    /// If the port can't be opened.
    pub fn listen(address: SocketAddr, mode: Mode, node: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            mode,
            node: node.to_owned(),
            ended: AtomicBool::new(false),
            calls: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        thread::spawn(move || accept(&listener, &serving));
        Ok(Self { address, state })
    }

    /// The address of its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<HostileCall> {
        self.state.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for HostilePeer {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.ended.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { return };
        let state = Arc::clone(state);
        // A caller that gives up ends the connection, which is what the callers should do.
        thread::spawn(move || state.serve(&stream));
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(LONGEST))?;
        stream.set_write_timeout(Some(LONGEST))?;
        let mut reader = BufReader::new(stream);
        while let Some(call) = read_head(&mut reader)? {
            let path = call.line.split(' ').nth(1).unwrap_or_default().to_owned();
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
            self.answer(stream, &path)?;
        }
        Ok(())
    }

    fn answer(&self, mut stream: &TcpStream, path: &str) -> std::io::Result<()> {
        match self.mode {
            Mode::Deep => stream.write_all(answer(&"[".repeat(50_000)).as_bytes()),
            Mode::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
                // A read that finds nothing takes this long.
                stream.set_read_timeout(Some(Duration::from_millis(100)))?;
                self.repeat(stream, b" ", Pause::Read)
            }
            Mode::Endless => self.endless(stream, "200 OK", br#"{"name":""#),
            Mode::EndlessError => {
                self.endless(stream, "500 Internal Server Error", br#"{"error":"badmatch","reason":""#)
            }
            Mode::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                self.repeat(stream, format!("x: {}\r\n", "a".repeat(8000)).as_bytes(), Pause::None)
            }
            Mode::Lies => stream.write_all(answer(&self.lie(path).to_string()).as_bytes()),
            Mode::Noise => stream.write_all(&[0, 159, 146, 150, b'\r', b'\n', 27, 7].repeat(100)),
        }
    }

    fn endless(&self, mut stream: &TcpStream, status: &str, begin: &[u8]) -> std::io::Result<()> {
        let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", begin.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(begin)?;
        let chunk = format!("\r\n10000\r\n{}", "a".repeat(0x1_0000));
        self.repeat(stream, chunk.as_bytes(), Pause::None)
    }

    /// Writes the bytes again and again, until the caller has gone.
    fn repeat(&self, mut stream: &TcpStream, bytes: &[u8], pause: Pause) -> std::io::Result<()> {
        let (end, mut written) = (Instant::now() + LONGEST, 0);
        while Instant::now() < end && written < LONGEST_ANSWER && !self.ended.load(Ordering::Relaxed) {
            stream.write_all(bytes)?;
            written += bytes.len();
            if pause == Pause::Read {
                // Nothing is expected: the result only shows in the next write.
                let _ = stream.peek(&mut [0]);
            }
        }
        Err(std::io::ErrorKind::TimedOut.into())
    }

    /// The page of an agent, by which the node is the only member of a cluster with many databases.
    fn page(&self) -> Value {
        let host = self.node.split_once('@').map_or(self.node.as_str(), |(_, host)| host);
        let name = pod(&self.node);
        json!({"version": "0.1.0", "pod": host, "node": self.node, "ready": true, "rounds": u64::MAX, "nodes": {name: {
            "members": [name], "connected": [name], "databases": u64::MAX, "release": "65535.65535",
            "strangers": ["couchdb@evil\r\n2026-01-01 ERROR forged\u{1b}[2J"],
            "systemDatabaseCopies": {"_users": u32::MAX, "_replicator": u32::MAX},
        }}})
    }

    /// An answer that CouchDB could give to the call.
    fn lie(&self, path: &str) -> Value {
        let strangers: Vec<String> = (0..200)
            .map(|n| {
                format!("couchdb@evil-{n}\r\n2026-01-01 ERROR forged\u{1b}[2J\u{202e}{}", "x".repeat(200))
            })
            .collect();
        let members: Vec<&String> = std::iter::once(&self.node).chain(&strangers).collect();
        let path = path.split('?').next().unwrap_or_default();
        match path.trim_start_matches("/_node/_local").trim_end_matches('/') {
            "" if path == "/" => json!({"couchdb": "Welcome", "version": "3.5.0", "uuid": "evil"}),
            "" => json!({"name": self.node}),
            "/_membership" => json!({"all_nodes": members, "cluster_nodes": members}),
            "/_dbs/_all_docs" => json!({"total_rows": u64::MAX, "offset": 0, "rows": [
                {"id": "_users", "key": "_users", "value": {}, "doc": {"by_range": {"00000000-ffffffff": members}}},
                {"id": "_replicator", "key": "_replicator", "value": {}, "doc": {"by_range": {"x": members}}},
            ]}),
            "/_system" => json!({"uptime": u64::MAX, "distribution": {}}),
            "/_config/admins" => json!({"admin": "-pbkdf2-e,s,4294967295", "evil": "-pbkdf2-e,s,10"}),
            "/_config/chttpd_auth" => json!({"secret": "EVILSECRET"}),
            "/_config/couchdb" => json!({"uuid": "evil"}),
            "/status" => self.page(),
            "/_cluster_setup" => json!({"state": "cluster_finished"}),
            _ => json!({"doc_count": u64::MAX, "doc_del_count": u64::MAX, "ok": true}),
        }
    }
}

/// The name of the pod in an Erlang name such as `couchdb@couchdb-1.couchdb`.
fn pod(node: &str) -> &str {
    let host = node.split_once('@').map_or(node, |(_, host)| host);
    host.split('.').next().unwrap_or_default()
}

/// Reads a call up to the end of its head; `None` at the end of the connection. Bodies are left unread: the next call
/// of such a connection fails, and the caller opens another.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<HostileCall>> {
    let mut call: Option<HostileCall> = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match (&mut call, line.trim_end()) {
            (Some(_), "") => return Ok(call),
            (None, line) => {
                let authorized = line.starts_with("POST ");
                call = Some(HostileCall { line: line.to_owned(), authorized });
            }
            (Some(call), line) => {
                let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
                call.authorized |= name == "authorization" || name == "cookie";
            }
        }
    }
}

fn answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nserver: CouchDB/3.5.0 (Erlang OTP/25)\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// In bytes: far more than any program of this project may use.
const LONGEST_ANSWER: usize = 512 * 1024 * 1024;
/// The lifetime of an answer.
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_hostile_peer_counts_calls_with_credentials_and_its_modes_have_words() {
        let peer = HostilePeer::start(Mode::Lies, "couchdb@db-1.db").unwrap();
        let mut stream = TcpStream::connect(peer.address()).unwrap();
        stream.write_all(b"GET /_node/_local HTTP/1.1\r\nAuthorization: Basic eA==\r\n\r\n").unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).ends_with(r#"{"name":"couchdb@db-1.db"}"#));
        let call = HostileCall { line: "GET /_node/_local HTTP/1.1".to_owned(), authorized: true };
        assert_eq!(peer.calls(), [call]);
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!("kind".parse::<Mode>(), Err(UnknownMode));
    }
}
