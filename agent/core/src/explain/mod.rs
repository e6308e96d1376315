//! Steps as reasons for machines and sentences for people.

mod announce;
mod evidence;
mod explainer;
mod waits;

pub use announce::{About, Announcement, Severity, when_done, when_entered};
pub use explainer::{Explainer, Explanation};
