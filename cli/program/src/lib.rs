//! Start and end of couchdiscover's programs, which must behave alike in a pod.
//!
//! * [`exit`]: exit codes
//! * [`log`]: format, levels and filter of the log
//! * [`shutdown`]: the signals that end a program
//! * [`listen`]: binding a port

pub mod exit;
mod listen;
pub mod log;
mod signals;

pub use listen::listen;
pub use signals::shutdown;
