//! A cluster of CouchDB nodes: a pure core ([`World`]) behind real ports ([`Network`]).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox::couchdb::{Clock, Network, NodeSettings};
//!
//! let net = Network::start(Clock::faster(20.0));
//! let settings = NodeSettings::new("couchdb-0.couchdb.default.svc.cluster.local").admin("admin", "s3cret");
//! let node = net.start_node(settings)?;
//! assert!(std::net::TcpStream::connect(node.addr()).is_ok());
//! node.kill();
//! assert!(std::net::TcpStream::connect(node.addr()).is_err());
//! # Ok(())
//! # }
//! ```

mod auth;
mod calls;
mod clock;
mod config_api;
mod crypto;
mod databases;
mod distribution;
mod erlang_ports;
mod fabric;
mod finish;
mod handle;
mod http;
mod indexing;
mod ini;
mod local_db;
mod network;
mod node;
mod node_api;
mod password;
mod pushes;
mod replication;
mod resharding;
mod revs;
mod route;
mod seeds;
mod serve;
mod service;
mod settings;
mod setup;
mod shard_api;
mod shard_file;
mod shards;
mod shared;
mod standalone;
mod world;

pub use calls::{Call, CallFilter, CallLogin, Moment, StoppedCaller};
pub use clock::Clock;
pub use handle::NodeHandle;
pub use http::{Answer, Request, Response, Time};
pub use ini::Ini;
pub use network::{Network, NetworkError};
pub use node::{FinishFault, Node, Volume};
pub use revs::{Doc, Docs, Rev};
pub use service::Service;
pub use settings::{Host, NodeSettings, SettingsError, Version};
pub use shard_file::ShardFile;
pub use shards::{Shard, ShardMap};
pub use standalone::{Home, Standalone, StandaloneError};
pub use world::{Cut, Timings, World};
