//! The webhook, its certificates, the policy behind it, and the ClusterRoles.

use insta::assert_snapshot;

use super::super::facts::*;
use super::*;

#[test]
fn the_webhook_is_not_called_or_does_not_answer() {
    assert_snapshot!(problems(|facts| facts.admission = Ok(DryRun::NotInjected)), @"
    wrong admission of webhook: a labelled StatefulSet is not injected (dry run)
    Fix: the API server does not call the webhook. Apply the manifests again: kubectl apply -k manifests/base
    ");
    assert_snapshot!(
        problems(|facts| {
            facts.admission = Ok(DryRun::NotInjected);
            configuration(facts).failure_policy = FailurePolicy::Ignore;
        }),
        @"
    wrong admission of webhook: a labelled StatefulSet is not injected (dry run)
    Fix: the webhook fails open and did not answer, or another webhook removed the agent: see the other findings
    "
    );
    assert_snapshot!(problems(|facts| facts.configuration = Ok(None)), @"
    wrong configuration of webhook: MutatingWebhookConfiguration 'couchdiscover' does not exist: the API server calls no webhook
    Fix: kubectl apply -k manifests/base
    ");
    assert_snapshot!(problems(|facts| facts.endpoints = Ok(Some(EndpointCounts { ready: 0, all: 2 }))), @"
    wrong endpoints of webhook: none of 2 webhook pods is ready
    Fix: kubectl -n couchdiscover get pods, and read the log of those that are not ready
    ");
    assert_snapshot!(problems(|facts| facts.endpoints = Ok(Some(EndpointCounts { ready: 1, all: 2 }))), @"
    warning endpoints of webhook: 1 of 2 webhook pods are ready
    Fix: kubectl -n couchdiscover get pods, and read the log of those that are not ready
    ");
    let failed =
        |message: &str| problems(|facts| facts.admission = Ok(DryRun::CallFailed(message.to_owned())));
    assert_snapshot!(
        failed("failed to call webhook: Post \"https://couchdiscover-webhook.couchdiscover.svc:443/mutate?timeout=5s\": no endpoints available for service \"couchdiscover-webhook\""),
        @r#"
    wrong admission of webhook: the API server cannot call the webhook: failed to call webhook: Post "https://couchdiscover-webhook.couchdiscover.svc:443/mutate?timeout=5s": no endpoints available for service "couchdiscover-webhook"
    Fix: no webhook pod listens: kubectl -n couchdiscover get pods
    "#
    );
    assert_snapshot!(
        failed("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        @r#"
    wrong admission of webhook: the API server cannot call the webhook: failed to call webhook: Post "https://w.svc:443/mutate?timeout=5s": tls: failed to verify certificate: x509: certificate signed by unknown authority
    Fix: the caBundle does not match the served certificate. If the webhook writes it, restart the webhook: kubectl -n couchdiscover rollout restart deployment/couchdiscover-webhook. With cert-manager, check its Certificate and the annotation cert-manager.io/inject-ca-from
    "#
    );
    assert_snapshot!(
        failed("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": context deadline exceeded"),
        @r#"
    wrong admission of webhook: the API server cannot call the webhook: failed to call webhook: Post "https://w.svc:443/mutate?timeout=5s": context deadline exceeded
    Fix: packets of the control plane do not arrive: open the webhook's port in the firewall, or use the component other-port or host-network
    "#
    );
    assert_snapshot!(
        failed("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": service \"w\" not found"),
        @r#"
    wrong admission of webhook: the API server cannot call the webhook: failed to call webhook: Post "https://w.svc:443/mutate?timeout=5s": service "w" not found
    Fix: the Service does not exist. Apply the manifests again: kubectl apply -k manifests/base
    "#
    );
    assert_snapshot!(failed("failed to call webhook: the server is currently unable to handle the request"), @"
    wrong admission of webhook: the API server cannot call the webhook: failed to call webhook: the server is currently unable to handle the request
    Fix: kubectl -n couchdiscover logs deployment/couchdiscover-webhook
    ");
}

#[test]
fn certificates_that_are_invalid_or_expire_soon() {
    let bundle = |bundle: CaBundle| problems(|facts| configuration(facts).ca_bundle = bundle);
    assert_snapshot!(bundle(CaBundle::Empty), @"
    wrong caBundle of webhook: the caBundle is empty: the API server trusts no webhook
    Fix: the webhook writes the caBundle, or cert-manager where it is used. Read the log of the writer: kubectl -n couchdiscover logs deployment/couchdiscover-webhook
    ");
    assert_snapshot!(bundle(CaBundle::Invalid), @"
    wrong caBundle of webhook: the caBundle contains no certificates in PEM form
    Fix: the webhook writes the caBundle, or cert-manager where it is used. Read the log of the writer: kubectl -n couchdiscover logs deployment/couchdiscover-webhook
    ");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(-40, -1)])), @"
    wrong caBundle of webhook: no certificate of the caBundle is valid now
    Fix: the webhook writes the caBundle, or cert-manager where it is used. Read the log of the writer: kubectl -n couchdiscover logs deployment/couchdiscover-webhook
    ");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(1, 40)])), @"
    wrong caBundle of webhook: no certificate of the caBundle is valid now
    Fix: the webhook writes the caBundle, or cert-manager where it is used. Read the log of the writer: kubectl -n couchdiscover logs deployment/couchdiscover-webhook
    ");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(-335, 29), valid(-400, -35)])), @"
    warning caBundle of webhook: the newest certificate of the caBundle is valid until 2026-06-30, 29 days, and it has not been renewed
    Fix: the webhook writes the caBundle, or cert-manager where it is used. Read the log of the writer: kubectl -n couchdiscover logs deployment/couchdiscover-webhook
    ");
    let rejected = "invalid peer certificate: UnknownIssuer".to_owned();
    assert_snapshot!(problems(|facts| facts.handshake = Ok(Handshake::Rejected(rejected))), @"
    wrong certificate of webhook: the webhook's certificate is not verified by the caBundle: invalid peer certificate: UnknownIssuer
    Fix: the caBundle does not match the served certificate. If the webhook writes it, restart the webhook: kubectl -n couchdiscover rollout restart deployment/couchdiscover-webhook. With cert-manager, check its Certificate and the annotation cert-manager.io/inject-ca-from
    ");

    // The newest one counts: an older one leaves the bundle when its leaves are gone.
    let both = CaBundle::Certificates(vec![valid(-360, 5), valid(-1, 364)]);
    assert_eq!(bundle(both), "");
}

#[test]
fn the_policy_behind_the_webhook() {
    for policy in [PolicyState::Missing, PolicyState::NotBound] {
        let problems = problems(|facts| facts.policy = Ok(policy));
        assert!(problems.starts_with("warning policy"), "{problems}");
    }
    assert_snapshot!(problems(|facts| facts.policy = Ok(PolicyState::Missing)), @"
    warning policy of webhook: no ValidatingAdmissionPolicy denies labelled StatefulSets without the agent
    Fix: kubectl apply -k manifests/base (a ValidatingAdmissionPolicy needs Kubernetes 1.30 or later)
    ");
    assert_snapshot!(
        problems(|facts| {
            configuration(facts).failure_policy = FailurePolicy::Ignore;
            facts.policy = Ok(PolicyState::NotBound);
        }),
        @"
    wrong policy of webhook: the webhook fails open (failurePolicy: Ignore), and no ValidatingAdmissionPolicy denies labelled StatefulSets without the agent
    Fix: kubectl apply -k manifests/base (a ValidatingAdmissionPolicy needs Kubernetes 1.30 or later)
    "
    );
    let open = problems(|facts| configuration(facts).failure_policy = FailurePolicy::Ignore);
    assert_eq!(open, "", "failing open is a choice where the policy is in force");
}

#[test]
fn cluster_roles_without_a_permission() {
    assert_snapshot!(problems(|facts| facts.roles[0].missing = Ok(None)), @"
    wrong role of webhook: ClusterRole 'couchdiscover-agent' does not exist
    Fix: kubectl apply -k manifests/base
    ");
    let missing = vec!["get leases.coordination.k8s.io".to_owned(), "list pods".to_owned()];
    assert_snapshot!(problems(|facts| facts.roles[0].missing = Ok(Some(missing))), @"
    wrong role of webhook: ClusterRole 'couchdiscover-agent' does not grant: get leases.coordination.k8s.io, list pods
    Fix: kubectl apply -k manifests/base
    ");
    assert_snapshot!(problems(|facts| {
        facts.roles[0].removed_by = Some("provide-off");
        facts.roles[0].missing = Ok(None);
    }), @"unknown role of webhook: ClusterRole 'couchdiscover-agent' does not exist, as with the component 'provide-off'. Without it: kubectl apply -k manifests/base");
}

#[test]
fn nodes_are_removed_without_a_check() {
    let guard = |entry: GuardEntry| problems(|facts| configuration(facts).guard = entry);
    assert_snapshot!(guard(GuardEntry::Missing), @"
    warning guard of webhook: 'kubectl scale' and autoscalers remove nodes without a check: the configuration has no entry 'scale.couchdiscover.io'
    Fix: kubectl apply -k manifests/base
    ");
    assert_snapshot!(guard(GuardEntry::OtherCaBundle), @"
    warning guard of webhook: 'kubectl scale' and autoscalers remove nodes without a check: the caBundle of the entry 'scale.couchdiscover.io' differs from that of the other entry
    Fix: the webhook writes the caBundle, or cert-manager where it is used. Read the log of the writer: kubectl -n couchdiscover logs deployment/couchdiscover-webhook
    ");
}

#[test]
fn policies_for_the_own_accounts_that_are_not_in_force() {
    assert_snapshot!(problems(|facts| facts.account_policies[0].1 = Ok(PolicyState::Missing)), @"
    warning accounts of webhook: ValidatingAdmissionPolicy 'couchdiscover-agent' is not in force: a stolen token of that account can write more objects than it needs
    Fix: kubectl apply -k manifests/base (a ValidatingAdmissionPolicy needs Kubernetes 1.30 or later)
    ");
}

#[test]
fn labels_that_have_no_effect_where_they_are() {
    let found = |kind: &'static str, place| {
        let misplaced = Misplaced { namespace: "shop".to_owned(), name: "db".to_owned(), kind, place };
        problems(|facts| facts.misplaced = Ok(vec![misplaced])) + "\n"
    };
    let all = found("deployment", Place::OtherKind)
        + &found("statefulset", Place::Annotation)
        + &found("statefulset", Place::Pods)
        + &found("statefulset", Place::ExcludedNamespace);
    assert_snapshot!(all, @"
    wrong label of shop/db: the label couchdiscover.io/inject is on a deployment, where it has no effect: only StatefulSets are injected
    Fix: run CouchDB as a StatefulSet, or remove the label: kubectl -n shop label deployment/db couchdiscover.io/inject-
    wrong label of shop/db: 'couchdiscover.io/inject' is an annotation, which has no effect: it is a label
    Fix: kubectl -n shop label statefulset/db couchdiscover.io/inject=enabled; kubectl -n shop annotate statefulset/db couchdiscover.io/inject-
    wrong label of shop/db: the label couchdiscover.io/inject is on the pods, where it has no effect: it is the StatefulSet's
    Fix: kubectl -n shop label statefulset/db couchdiscover.io/inject=enabled, and remove it from spec.template.metadata.labels
    wrong label of shop/db: the webhook is not called for namespace 'shop', so the label couchdiscover.io/inject has no effect
    Fix: move the StatefulSet to another namespace
    ");
}
