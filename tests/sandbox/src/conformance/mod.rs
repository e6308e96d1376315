//! Scripts of requests and the answers that a real CouchDB gave. They hold the stand-in to the recorded behaviour, and
//! can be run against real nodes.
//!
//! ```text
//! # A line that starts with '#' is a comment.
//! nodes 3 secret=topsecret            the number of nodes, and the settings they start with
//! node 1 cookie=other                 settings in which one node differs
//! PUT 0 /_node/_local/_nodes/N1 {}    method, node, path, body; N1 is node 1's name, H1 its host
//! -> 201 {"ok":true,"id":"N1","rev":"<rev>"}
//! GET 1 /_membership (admin:wrong)    other credentials; (none) for none; (cookie 0) for the session of node 0
//! -> 401 {"error":"unauthorized","reason":"Name or password is incorrect."}
//! eventually GET 2 /_membership       sent again until the answer is as expected
//! -> 200 {"all_nodes":["N0","N1","N2"],"cluster_nodes":["N0","N1","N2"]}
//! ! kill 2                            an action on a node; on real nodes a hook performs it
//! ```
//!
//! In an expected answer:
//!
//! - `"<any>"` stands for any value;
//! - `"<name>"` stands for a value that is equal wherever the name occurs (`<name>` in a later request included) and
//!   that differs from the value of every other name; a name that is known may also be a part of a string;
//! - `"...":0` in an object allows further members; `"..."` as the first item of a list allows further items, and any
//!   order;
//! - `(5 s)` at the end is the least time that the answer takes.

mod pattern;
mod run;
mod script;

pub use run::{Difference, Report, RunError, Target, run};
pub use script::{ParseError, Script};
