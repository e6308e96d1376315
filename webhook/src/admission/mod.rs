//! Admission reviews.
//!
//! * [`review`]: the format
//! * `admit`: from a request to its response

mod admit;
pub mod review;

pub use admit::{Answer, admit, admit_body};
pub use review::{Operation, Request, Response};
