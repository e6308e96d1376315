//! No call is lost while certificates, the authority and the replicas are replaced. `--example lossless` runs the same
//! with any number of calls.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use e2e::lossless::{Plan, run};

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_lost_during_rotations_and_rolling_restarts() {
    let report = run(Plan { calls: 1_000, callers: 2, restarts: 4 }).await;
    assert_eq!(report.lost, [""; 0], "of {} and {}", report.kept, report.fresh);
    assert!(report.kept >= 1_000 && report.fresh >= 1_000 && report.restarts >= 4, "{report:?}");
    // Three caBundles: the old authority, both, the new one.
    assert!(report.renewals >= 4 && report.bundles >= 3, "{report:?}");
}
