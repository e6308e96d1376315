//! A Kubernetes API server with a store, watches and admission webhooks, over TLS.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox::apiserver::{ADMIN_TOKEN, ApiServer, Forbidden};
//!
//! let server = ApiServer::start()?;
//! server.seed(serde_json::json!({
//!     "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "default", "name": "login"},
//!     "stringData": {"password": "s3cret"},
//! }));
//! let kubeconfig = server.write_kubeconfig(std::path::Path::new("."), ADMIN_TOKEN)?;
//! server.forbid(Forbidden::new(&["get"], &["secrets"]));
//! # Ok(())
//! # }
//! ```

mod access;
mod admission;
mod defaults;
mod handle;
mod hooks;
mod merge;
mod path;
mod proxy;
mod rbac;
mod reply;
mod request;
mod select;
mod server;
mod state;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod verbs;
mod watch;

pub use access::{Forbidden, User};
pub use hooks::{Admission, Outcome};
pub use path::Resource;
pub use server::{ADMIN_TOKEN, ApiServer, StartError};
pub use state::Call;
pub use verbs::Operation;
