//! Scripts of requests and the answers that a real CouchDB gave, to hold the stand-in to the truth, and to be run
//! against real nodes.
//!
//! ```text
//! # Anything after '#' at the start of a line is for people.
//! nodes 3 secret=topsecret            what the nodes are started with
//! node 1 cookie=other                 what one of them has differently
//! PUT 0 /_node/_local/_nodes/N1 {}    method, node, path, body; N1 is node 1's name, H1 its host
//! -> 201 {"ok":true,"id":"N1","rev":"<rev>"}
//! GET 1 /_membership (admin:wrong)    other credentials; (none) for none; (cookie 0) for the session of node 0
//! -> 401 {"error":"unauthorized","reason":"Name or password is incorrect."}
//! eventually GET 2 /_membership       asked again until the answer is as expected
//! -> 200 {"all_nodes":["N0","N1","N2"],"cluster_nodes":["N0","N1","N2"]}
//! ! kill 2                            something is done to a node; with real nodes a hook does it
//! ```
//!
//! In an expected answer `"<any>"` is any value, `"<name>"` any value that is the same wherever the name stands (and
//! `<name>` in a later request) and is no other name's, `"...":0` in an object allows further members, and `(5 s)` at the end is how long it
//! takes at least.

mod pattern;
mod run;
mod script;

pub use run::{Broken, Difference, Report, Target, run};
pub use script::{ParseError, Script};
