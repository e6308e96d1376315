//! couchdiscover on a stage: the real webhook and real agents between stand-ins for Kubernetes and CouchDB.
//!
//! * [`control_plane`]: an API server stand-in that asks the real webhook over TLS
//! * [`envtest`]: a real API server, for the tests that are given one
//! * [`example`]: the example manifest, ready to be played
//! * [`lossless`]: load on replicas of the webhook while certificates and replicas are replaced
//! * [`manifest`]: what a user applies, and what injection makes of it
//! * [`stage`]: for each pod of an injected StatefulSet a stand-in node and a real agent, from the environments that
//!   its template describes
//! * [`story`]: the same, told to a person; the demo is nothing else
//! * [`until`]: waiting with a deadline

pub mod control_plane;
pub mod envtest;
pub mod example;
pub mod lossless;
pub mod manifest;
pub mod stage;
pub mod story;
pub mod until;
