//! The server's certificate, and the authorities that its callers trust.

mod current;
mod error;
mod identity;
mod trust;

pub(crate) use current::Current;
pub use error::IdentityError;
pub(crate) use identity::{Identity, Refresh};
pub(crate) use trust::Trust;
