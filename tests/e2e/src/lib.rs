//! End-to-end tests: the real webhook and real agents between stand-ins for Kubernetes and CouchDB.
//!
//! * [`clients`]: clients that write documents and read them again
//! * [`cluster`]: a stand-in node and a real agent for each pod of an injected StatefulSet
//! * [`control_plane`]: an API server stand-in that calls the real webhook over TLS
//! * [`demo`]: the whole path with printed steps, as the `demo` binary shows it
//! * [`envtest`]: a real API server, for the tests that need one
//! * [`example`]: the example manifest as a cluster
//! * [`hostile_pod`]: an attack on a port by a pod without any rights
//! * [`hostile_user`]: what a user of one namespace submits against the webhook and its readers
//! * [`lossless`]: load on replicas of the webhook while certificates and replicas are replaced
//! * [`manifest`]: manifests of users, and the pods of an injected StatefulSet
//! * [`process`]: the memory of processes
//! * [`until`]: waiting with a deadline

pub mod clients;
pub mod cluster;
pub mod control_plane;
pub mod demo;
pub mod envtest;
pub mod example;
pub mod hostile_pod;
pub mod hostile_user;
pub mod lossless;
pub mod manifest;
pub mod process;
pub mod until;
