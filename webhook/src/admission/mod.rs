//! Admission reviews.
//!
//! * [`review`]: the format
//! * `admit`: from a request to its response
//! * `scale`: the same for the subresource `scale`

mod admit;
pub mod review;
mod scale;

pub use admit::{Answer, admit, admit_body};
pub use review::{Denial, DenialKind, Operation, Request, Response};
pub use scale::{ScaleRequest, scale_request};
