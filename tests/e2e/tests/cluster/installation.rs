//! The installation that the tests share: `kubectl apply -k manifests/base`.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::diagnosis;
use crate::kubectl::Kubectl;
use crate::waiting::{Look, until};

/// `true` once the product is installed. Tests that take the webhook away hold it for writing.
static INSTALLED: RwLock<bool> = RwLock::const_new(false);
/// `true` from the beginning of an installation until it has succeeded.
static FAILED: AtomicBool = AtomicBool::new(false);

/// The namespace of the webhook.
pub(crate) const NAMESPACE: &str = "couchdiscover";
/// The Deployment of the webhook.
pub(crate) const DEPLOYMENT: &str = "deployment/couchdiscover-webhook";
/// The folder that a cluster admin applies.
pub(crate) const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/base");

/// The installed product, which stays as it is while this is held.
pub(crate) async fn shared() -> RwLockReadGuard<'static, bool> {
    drop(exclusive().await);
    INSTALLED.read().await
}

/// The installed product, for a test that changes it and leaves it installed.
pub(crate) async fn exclusive() -> RwLockWriteGuard<'static, bool> {
    let mut installed = INSTALLED.write().await;
    // One test waits for it and reports the reason; the others need not wait as long again.
    assert!(
        !FAILED.load(Ordering::Relaxed),
        "the product could not be installed; see the test that failed first"
    );
    if !*installed {
        FAILED.store(true, Ordering::Relaxed);
        install().await;
        FAILED.store(false, Ordering::Relaxed);
        *installed = true;
    }
    installed
}

/// Installs the product as its documents say, and waits for the rollout.
pub(crate) async fn install() {
    let kubectl = Kubectl::new(NAMESPACE);
    kubectl.run(&["apply", "-k", BASE]).await;
    until_rolled_out(&kubectl).await;
}

/// Waits for what `kubectl rollout status` waits for.
pub(crate) async fn until_rolled_out(kubectl: &Kubectl) {
    until(
        "the webhook's rollout",
        async || {
            let status = ["rollout", "status", DEPLOYMENT, "--watch=false"];
            match kubectl.try_run(&status, "").await {
                Ok(output) if output.results.contains("successfully rolled out") => Look::Done(()),
                Ok(output) => Look::Waiting(output.results),
                Err(error) => Look::Waiting(error),
            }
        },
        async || diagnosis::of(kubectl).await,
    )
    .await;
}
