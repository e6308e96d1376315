//! Fixes that several problems have.

pub(super) const APPLY: &str = "kubectl apply -k manifests/base";
pub(super) const READ_LOG: &str = "kubectl -n couchdiscover logs deployment/couchdiscover-webhook";
/// The fix for a certificate that the caBundle does not verify.
pub(super) const FIX_UNTRUSTED: &str = "the caBundle does not match the served certificate. If the webhook writes it, restart the webhook: kubectl -n \
     couchdiscover rollout restart deployment/couchdiscover-webhook. With cert-manager, check its Certificate and the \
     annotation cert-manager.io/inject-ca-from";
