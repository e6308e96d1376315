//! Start and end of couchdiscover's programs, which must behave alike in a pod.
//!
//! * [`exit`]: exit codes
//! * [`log`]: format, levels and filter of the log
//! * [`shutdown`]: the signals that end a program

pub mod exit;
pub mod log;
mod signals;

pub use signals::shutdown;
