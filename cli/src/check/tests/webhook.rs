//! The webhook, its certificates, the policy behind it, and the ClusterRoles.

use insta::assert_snapshot;

use super::super::facts::*;
use super::*;

#[test]
fn the_webhook_is_not_called_or_does_not_answer() {
    assert_snapshot!(problems(|facts| facts.admission = Ok(DryRun::NotInjected)), @"");
    assert_snapshot!(
        problems(|facts| {
            facts.admission = Ok(DryRun::NotInjected);
            configuration(facts).failure_policy = FailurePolicy::Ignore;
        }),
        @""
    );
    assert_snapshot!(problems(|facts| facts.configuration = Ok(None)), @"");
    assert_snapshot!(problems(|facts| facts.endpoints = Ok(Some(EndpointCounts { ready: 0, all: 2 }))), @"");
    assert_snapshot!(problems(|facts| facts.endpoints = Ok(Some(EndpointCounts { ready: 1, all: 2 }))), @"");
    let failed =
        |message: &str| problems(|facts| facts.admission = Ok(DryRun::CallFailed(message.to_owned())));
    assert_snapshot!(
        failed("failed to call webhook: Post \"https://couchdiscover-webhook.couchdiscover.svc:443/mutate?timeout=5s\": no endpoints available for service \"couchdiscover-webhook\""),
        @r#""#
    );
    assert_snapshot!(
        failed("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        @r#""#
    );
    assert_snapshot!(
        failed("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": context deadline exceeded"),
        @r#""#
    );
    assert_snapshot!(
        failed("failed to call webhook: Post \"https://w.svc:443/mutate?timeout=5s\": service \"w\" not found"),
        @r#""#
    );
    assert_snapshot!(failed("failed to call webhook: the server is currently unable to handle the request"), @"");
}

#[test]
fn certificates_that_are_invalid_or_expire_soon() {
    let bundle = |bundle: CaBundle| problems(|facts| configuration(facts).ca_bundle = bundle);
    assert_snapshot!(bundle(CaBundle::Empty), @"");
    assert_snapshot!(bundle(CaBundle::Invalid), @"");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(-40, -1)])), @"");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(1, 40)])), @"");
    assert_snapshot!(bundle(CaBundle::Certificates(vec![valid(-335, 29), valid(-400, -35)])), @"");
    let rejected = "invalid peer certificate: UnknownIssuer".to_owned();
    assert_snapshot!(problems(|facts| facts.handshake = Ok(Handshake::Rejected(rejected))), @"");

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
    assert_snapshot!(problems(|facts| facts.policy = Ok(PolicyState::Missing)), @"");
    assert_snapshot!(
        problems(|facts| {
            configuration(facts).failure_policy = FailurePolicy::Ignore;
            facts.policy = Ok(PolicyState::NotBound);
        }),
        @""
    );
    let open = problems(|facts| configuration(facts).failure_policy = FailurePolicy::Ignore);
    assert_eq!(open, "", "failing open is a choice where the policy is in force");
}

#[test]
fn cluster_roles_without_a_permission() {
    assert_snapshot!(problems(|facts| facts.roles[0].missing = Ok(None)), @"");
    let missing = vec!["get leases.coordination.k8s.io".to_owned(), "list pods".to_owned()];
    assert_snapshot!(problems(|facts| facts.roles[0].missing = Ok(Some(missing))), @"");
}
