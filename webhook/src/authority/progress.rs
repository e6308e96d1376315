//! The result of one step of the keeper.

/// Decides whether the keeper makes another pass at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was due.
    Idle,
    /// Something was written, or read and found to have changed.
    Changed,
}
