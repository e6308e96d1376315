//! Reads a StatefulSet: the few fields that injection looks at, and what follows from them.
//!
//! ```text
//! view          the fields, borrowed from the JSON; everything else is skipped
//! annotations   the user's settings, parsed
//! defaults      cluster-wide values of annotations
//! couchdb       the CouchDB container, its ports and its version
//! facts         names and sizes that injected values consist of
//! planning      all of the above for one StatefulSet, the input of rendering and of the warnings
//! requirements  reasons for which no cluster can be formed from the pods
//! erl_flags     the syntax of ERL_FLAGS
//! ini           the syntax of CouchDB's configuration, and the values that it does not keep
//! quantity      Kubernetes quantities
//! object, text  JSON objects and borrowed strings
//! ```

pub(crate) mod annotations;
mod couchdb;
mod defaults;
pub(crate) mod erl_flags;
mod facts;
pub(crate) mod ini;
mod object;
mod planning;
mod quantity;
mod requirements;
mod text;
pub(crate) mod view;

pub use annotations::{OnRemoval, ScaleDownMode, Settings};
pub use defaults::Defaults;
pub use text::{Text, place};

pub(crate) use couchdb::CouchDb;
pub(crate) use facts::{Facts, SizeSource};
pub(crate) use object::Object;
pub(crate) use planning::Planning;
