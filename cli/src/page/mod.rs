//! `page`: the page of an agent in a browser, through the API server.
//!
//! A listener on a loopback address passes a few paths on to the proxy of the API server, with the user's rights. Nothing
//! else of the API server can be reached through it.

mod error;
mod serve;

pub use error::PageError;
pub use serve::{Args, PageServer, bind};
