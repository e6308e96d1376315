//! The result of one step of the keeper.

/// Tells the keeper whether another pass is due at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was due.
    Idle,
    /// Something was written, or read and found to have changed.
    Changed,
}
