//! The names, environment and DNS records that Kubernetes gives a StatefulSet's pod before its processes start, as pure
//! functions over the JSON of the API server; and volumes that are updated while a process runs.
//!
//! ```
//! use sandbox::kubelet::{Cluster, PodPlacement};
//! use serde_json::json;
//!
//! let statefulset = json!({
//!     "metadata": {"name": "couchdb", "namespace": "default"},
//!     "spec": {"serviceName": "couchdb", "replicas": 3, "template": {"spec": {"containers": [
//!         {"name": "couchdb", "env": [{"name": "WHERE", "value": "$(HOME_DIR)/$$x"}]},
//!     ]}}},
//! });
//! let pod = Cluster::default().pod(&statefulset, 0, &PodPlacement::at("10.42.0.10")).unwrap();
//! assert_eq!(pod.fqdn.as_deref(), Some("couchdb-0.couchdb.default.svc.cluster.local"));
//! assert_eq!(pod.containers[0].env["WHERE"], "$(HOME_DIR)/$x");
//! assert_eq!(pod.containers[0].env["HOSTNAME"], "couchdb-0");
//! ```

mod dns;
mod env;
mod expand;
mod facts;
mod pod;
mod volume;

pub use dns::{PodState, names};
pub use env::EnvError;
pub use expand::expand;
pub use facts::{Cluster, PodPlacement};
pub use pod::{Container, Pod, Role, ordinals};
pub use volume::Volume;
