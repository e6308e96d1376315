//! couchdiscover on a stage: real agents beside stand-in CouchDBs.
//!
//! [`stage`] is the stage of the tests; the demo plays on the same one.

pub mod stage;
pub mod until;
