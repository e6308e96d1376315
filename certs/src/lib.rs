//! couchdiscover's certificates: a certificate authority, and the server certificates ("leaves") that it signs.
//!
//! [`Authority`] and [`Leaf`] are different types, so a leaf can't sign. Time is always an argument: nothing here reads
//! the clock or a file, or logs. `Debug` output and errors contain no keys.
//!
//! * [`Authority`], [`Leaf`], [`Validity`]: one certificate each, generated or read
//! * [`Lifetimes`]: how long they are valid, with a table of the periods that follow from it
//! * [`Bundle`]: the authorities that callers trust, and its form as the fields of a Secret
//! * [`rotation`]: replaces an authority while its leaves are in use
//!
//! ```
//! use time::OffsetDateTime;
//!
//! let now = OffsetDateTime::from_unix_timestamp(1_800_000_000)?;
//! let authority = certs::Authority::new("couchdiscover", now)?;
//! let leaf = authority.leaf(&["webhook.shop.svc".to_owned(), "127.0.0.1".to_owned()], now)?;
//! assert!(leaf.validity().contains(now));
//! assert!(leaf.validity().not_after <= authority.validity().not_after);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authority;
mod bundle;
mod encoding;
mod error;
mod fields;
mod leaf;
mod lifetimes;
pub mod rotation;
mod validity;

pub use authority::Authority;
pub use bundle::{Bundle, Retiring};
pub use error::Error;
pub use fields::{Fields, FieldsError};
pub use leaf::Leaf;
pub use lifetimes::Lifetimes;
pub use validity::Validity;
