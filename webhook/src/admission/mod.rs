//! Admission reviews: the request as it arrives, and its answer.

mod admit;
pub mod review;

pub use admit::{Answer, admit, admit_body};
pub use review::{Operation, Request, Response};
