//! Exit codes, those above 1 from sysexits.h.

/// The program failed, or `check` found a problem.
pub const FAILURE: u8 = 1;
/// The command line or a setting is wrong (`EX_USAGE`). A restart does not help.
pub const USAGE: u8 = 64;
/// No cluster can be reached (`EX_UNAVAILABLE`). Differs from the exit code for a cluster with problems.
pub const UNAVAILABLE: u8 = 69;
/// A part could not be read.
pub const INCOMPLETE: u8 = 2;
