//! The webhook, its certificates, the net below it, and the roles.

use insta::assert_snapshot;

use super::super::facts::*;
use super::*;

#[test]
fn the_webhook_is_not_asked_or_does_not_answer() {
    assert_snapshot!(said(|facts| facts.admission = Ok(Admission::NotInjected)), @"
    wrong admission of webhook: a labelled StatefulSet is not injected (dry run)
    -> the API server doesn't ask the webhook: apply the manifests again (kubectl apply -k)
    ");
    assert_snapshot!(
        said(|facts| {
            facts.admission = Ok(Admission::NotInjected);
            configuration(facts).fails_open = true;
        }),
        @"
    wrong admission of webhook: a labelled StatefulSet is not injected (dry run)
    -> the webhook fails open and didn't answer, or another one took the agent out again: see what else is wrong here
    "
    );
    assert_snapshot!(said(|facts| facts.configuration = Ok(None)), @"
    wrong configuration of webhook: there is no MutatingWebhookConfiguration: no webhook is asked
    -> apply the manifests (kubectl apply -k)
    ");
    assert_snapshot!(said(|facts| facts.endpoints = Ok(Some(Endpoints { ready: 0, all: 2 }))), @"
    wrong endpoints of webhook: none of 2 webhooks is ready
    -> look at the pods and logs in its namespace (kubectl -n couchdiscover get pods)
    ");
    assert_snapshot!(said(|facts| facts.endpoints = Ok(Some(Endpoints { ready: 1, all: 2 }))), @"
    warning endpoints of webhook: 1 of 2 webhooks are ready
    -> look at the pods and logs in its namespace (kubectl -n couchdiscover get pods)
    ");
    let unanswered =
        |words: &str| said(|facts| facts.admission = Ok(Admission::Unanswered(words.to_owned())));
    assert_snapshot!(
        unanswered("failed to call webhook: Post \"https://couchdiscover-webhook.couchdiscover.svc:443/mutate?timeout=5s\": no endpoints available for service \"couchdiscover-webhook\""),
        @r#"
    wrong admission of webhook: the API server can't ask the webhook: failed to call webhook: Post "https://couchdiscover-webhook.couchdiscover.svc:443/mutate?timeout=5s": no endpoints available for service "couchdiscover-webhook"
    -> no webhook listens: look at the pods and logs in its namespace (kubectl -n couchdiscover get pods)
    "#
    );
    assert_snapshot!(
        unanswered("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        @r#"
    wrong admission of webhook: the API server can't ask the webhook: failed to call webhook: Post "https://w.svc:443/mutate?timeout=5s": tls: failed to verify certificate: x509: certificate signed by unknown authority
    -> the caBundle doesn't belong to the certificate that is served: where the webhook keeps it, restart it; with cert-manager, look at its Certificate and at the annotation cert-manager.io/inject-ca-from
    "#
    );
    assert_snapshot!(
        unanswered("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": context deadline exceeded"),
        @r#"
    wrong admission of webhook: the API server can't ask the webhook: failed to call webhook: Post "https://w.svc:443/mutate?timeout=5s": context deadline exceeded
    -> packets from the control plane don't arrive: open the webhook's port in the firewall, or use the component other-port or host-network
    "#
    );
    assert_snapshot!(
        unanswered("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": service \"w\" not found"),
        @r#"
    wrong admission of webhook: the API server can't ask the webhook: failed to call webhook: Post "https://w.svc:443/mutate?timeout=5s": service "w" not found
    -> the Service is gone: apply the manifests again (kubectl apply -k)
    "#
    );
    assert_snapshot!(unanswered("failed to call webhook: the server is currently unable to handle the request"), @"
    wrong admission of webhook: the API server can't ask the webhook: failed to call webhook: the server is currently unable to handle the request
    -> look at the webhook's logs (kubectl -n couchdiscover logs deployment/couchdiscover-webhook)
    ");
}

#[test]
fn certificates_that_are_not_good_or_not_for_long() {
    let bundle = |bundle: CaBundle| said(|facts| configuration(facts).ca_bundle = bundle);
    assert_snapshot!(bundle(CaBundle::Empty), @"
    wrong caBundle of webhook: it is empty, so the API server trusts no webhook
    -> the webhook writes it as soon as it may, and cert-manager where that is used: look at the log of the one or the other
    ");
    assert_snapshot!(bundle(CaBundle::Garbage), @"
    wrong caBundle of webhook: it holds no certificates in PEM form
    -> the webhook writes it as soon as it may, and cert-manager where that is used: look at the log of the one or the other
    ");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(-40, -1)])), @"
    wrong caBundle of webhook: none of its certificates is valid now
    -> the webhook writes it as soon as it may, and cert-manager where that is used: look at the log of the one or the other
    ");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(1, 40)])), @"
    wrong caBundle of webhook: none of its certificates is valid now
    -> the webhook writes it as soon as it may, and cert-manager where that is used: look at the log of the one or the other
    ");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(-335, 29), valid(-400, -35)])), @"
    warning caBundle of webhook: its last certificate is valid until 2026-06-30, 29 days, and no newer one is there
    -> the webhook writes it as soon as it may, and cert-manager where that is used: look at the log of the one or the other
    ");
    let refused = "invalid peer certificate: UnknownIssuer".to_owned();
    assert_snapshot!(said(|facts| facts.serving = Ok(Serving::Refused(refused))), @"
    wrong certificate of webhook: what the webhook serves is not verified by the caBundle: invalid peer certificate: UnknownIssuer
    -> the caBundle doesn't belong to the certificate that is served: where the webhook keeps it, restart it; with cert-manager, look at its Certificate and at the annotation cert-manager.io/inject-ca-from
    ");

    // The newer one is what counts: an older one leaves the bundle when its leaves are gone.
    let both = CaBundle::Certificates(vec![valid(-360, 5), valid(-1, 364)]);
    assert_eq!(bundle(both), "");
}

#[test]
fn the_net_below_the_webhook() {
    let torn = [(false, false), (true, false), (false, true)];
    for (policy, binding) in torn {
        let said = said(|facts| facts.policy = Ok(Policy { policy, binding }));
        assert!(said.starts_with("warning policy"), "{said}");
    }
    assert_snapshot!(said(|facts| facts.policy = Ok(Policy { policy: false, binding: false })), @"
    warning policy of webhook: no ValidatingAdmissionPolicy denies a labelled StatefulSet that goes without the agent
    -> apply the manifests (kubectl apply -k); ValidatingAdmissionPolicy needs Kubernetes 1.30
    ");
    assert_snapshot!(
        said(|facts| {
            configuration(facts).fails_open = true;
            facts.policy = Ok(Policy { policy: true, binding: false });
        }),
        @"
    wrong policy of webhook: the webhook fails open (failurePolicy: Ignore), and no ValidatingAdmissionPolicy denies what goes without the agent then
    -> apply the manifests (kubectl apply -k); ValidatingAdmissionPolicy needs Kubernetes 1.30
    "
    );
    assert_eq!(said(|facts| configuration(facts).fails_open = true), "", "with the net that is a choice");
}

#[test]
fn roles_that_lack_something() {
    assert_snapshot!(said(|facts| facts.roles[0].lacks = Ok(None)), @"
    wrong role of webhook: there is no ClusterRole 'couchdiscover-agent'
    -> apply the manifests (kubectl apply -k)
    ");
    let lacks = vec!["get leases.coordination.k8s.io".to_owned(), "list pods".to_owned()];
    assert_snapshot!(said(|facts| facts.roles[0].lacks = Ok(Some(lacks))), @"
    wrong role of webhook: ClusterRole 'couchdiscover-agent' lacks: get leases.coordination.k8s.io, list pods
    -> apply the manifests (kubectl apply -k)
    ");
}
