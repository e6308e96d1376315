//! The text of every kind of finding.

mod stateful_set;
mod webhook;

use certs::Validity;
use insta::assert_snapshot;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::facts::*;
use super::{Report, judge};
use crate::cluster::{LookupError, PodFacts};

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

#[test]
fn a_cluster_without_problems() {
    let report = report(&good());
    assert!(report.has_no_problem());
    assert_snapshot!(report.to_table(), @"
    webhook
      ok       admission      a labelled StatefulSet is injected by version 0.1.0 (dry run)
      ok       failurePolicy  labelled StatefulSets are denied while the webhook does not answer (failurePolicy: Fail)
      ok       policy         labelled StatefulSets without the agent are denied
      ok       caBundle       valid until 2027-02-21, 265 days
      ok       guard          the webhook is asked before nodes are removed
      ok       certificate    the webhook's certificate is verified by the caBundle and valid until 2026-06-07, 6 days
      ok       endpoints      2 ready
      ok       role           ClusterRole 'couchdiscover-agent' is complete
      ok       accounts       ValidatingAdmissionPolicy 'couchdiscover-agent' is in force

    shop/couchdb
      ok       injection      injected by version 0.1.0
      ok       service        Service 'couchdb' is headless and publishes pods that are not ready
      ok       binding        service account 'default' has the role of the agents
      ok       secrets        all 2 that the containers read exist
      ok       record         formed with 3 nodes at 2026-05-01T12:00:00Z, uuid 4f7c8e2a9b1d4c6e8f0a2b4c6d8e0f1a
      ok       next-pod       a pod of the template would be created (dry run)
      ok       pods           3 of 3 pods are ready

    no problem found: 16 ok
    ");
}

#[test]
fn json_contains_the_same_findings() {
    let mut facts = good();
    facts.roles[0].missing = Ok(None);
    facts.stateful_sets = Ok(vec![]);
    let report = report(&facts);
    assert!(!report.has_no_problem());
    assert_snapshot!(report.to_json(), @r#"
    {
      "summary": {
        "ok": 9,
        "unknown": 0,
        "warning": 0,
        "wrong": 1
      },
      "findings": [
        {
          "level": "ok",
          "subject": "webhook",
          "check": "admission",
          "message": "a labelled StatefulSet is injected by version 0.1.0 (dry run)"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "failurePolicy",
          "message": "labelled StatefulSets are denied while the webhook does not answer (failurePolicy: Fail)"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "policy",
          "message": "labelled StatefulSets without the agent are denied"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "caBundle",
          "message": "valid until 2027-02-21, 265 days"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "guard",
          "message": "the webhook is asked before nodes are removed"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "certificate",
          "message": "the webhook's certificate is verified by the caBundle and valid until 2026-06-07, 6 days"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "endpoints",
          "message": "2 ready"
        },
        {
          "level": "wrong",
          "subject": "webhook",
          "check": "role",
          "message": "ClusterRole 'couchdiscover-agent' does not exist",
          "cure": "kubectl apply -k manifests/base"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "accounts",
          "message": "ValidatingAdmissionPolicy 'couchdiscover-agent' is in force"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "statefulsets",
          "message": "no StatefulSet in any namespace has the label couchdiscover.io/inject"
        }
      ]
    }
    "#);
}

#[test]
fn a_state_that_cannot_be_read_is_unknown_and_not_a_problem() {
    let mut facts = ClusterFacts {
        admission: Err(forbidden()),
        configuration_name: "couchdiscover".to_owned(),
        configuration: Err(forbidden()),
        handshake: Err(forbidden()),
        endpoints: Err(forbidden()),
        policy: Err(forbidden()),
        account_policies: vec![("couchdiscover-agent", Err(forbidden()))],
        misplaced: Err(forbidden()),
        roles: vec![ClusterRoleFacts {
            name: "couchdiscover-agent".to_owned(),
            removed_by: None,
            missing: Err(forbidden()),
        }],
        scope: Scope::Fallback { namespace: "shop".to_owned(), error: forbidden() },
        stateful_sets: Err(forbidden()),
    };
    let nothing = report(&facts);
    assert!(nothing.has_no_problem() && nothing.saw_nothing());
    assert_snapshot!(nothing.to_table(), @"
    webhook
      unknown  admission      no dry run: it is forbidden
      unknown  configuration  it is forbidden
      unknown  endpoints      it is forbidden
      unknown  role           it is forbidden
      unknown  accounts       it is forbidden
      unknown  statefulsets   only namespace 'shop' was checked: it is forbidden
      unknown  statefulsets   it is forbidden

    nothing could be read, 7 unknown
    ");
    let mut set = good_stateful_set();
    set.service.found = Err(forbidden());
    set.binding = Err(forbidden());
    set.secrets.iter_mut().for_each(|reference| reference.found = Err(forbidden()));
    set.record = Err(forbidden());
    set.pods = Err(forbidden());
    set.next_pod = Err(forbidden());
    facts.stateful_sets = Ok(vec![set]);
    let less = report(&facts);
    assert!(less.has_no_problem() && !less.saw_nothing());
    assert_snapshot!(less.to_table(), @"
    webhook
      unknown  admission      no dry run: it is forbidden
      unknown  configuration  it is forbidden
      unknown  endpoints      it is forbidden
      unknown  role           it is forbidden
      unknown  accounts       it is forbidden
      unknown  statefulsets   only namespace 'shop' was checked: it is forbidden

    shop/couchdb
      ok       injection      injected by version 0.1.0
      unknown  service        it is forbidden
      unknown  binding        it is forbidden
      unknown  secrets        Secret 'couchdb-couchdiscover': it is forbidden
      unknown  secrets        Secret 'couchdb-admin': it is forbidden
      unknown  record         it is forbidden
      unknown  next-pod       no dry run of a pod: it is forbidden
      unknown  pods           it is forbidden

    no problem found: 1 ok, 13 unknown
    ");
}

#[test]
fn a_namespace_without_labelled_stateful_sets() {
    let mut facts = good();
    facts.stateful_sets = Ok(vec![]);
    facts.scope = Scope::Namespace("shop".to_owned());
    let table = report(&facts).to_table();
    assert!(
        table.contains("no StatefulSet in namespace 'shop' has the label couchdiscover.io/inject"),
        "{table}"
    );
}

/// The findings that are not ok after a change to a cluster without problems.
fn problems(change: impl FnOnce(&mut ClusterFacts)) -> String {
    let mut facts = good();
    change(&mut facts);
    let findings = report(&facts).findings.into_iter().filter(|finding| finding.level != super::Level::Ok);
    let lines = findings.map(|finding| {
        let level = format!("{:?}", finding.level).to_lowercase();
        let fix = finding.fix.map(|fix| format!("\nFix: {fix}")).unwrap_or_default();
        format!("{level} {} of {}: {}{fix}", finding.check, finding.subject, finding.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The findings that are not ok after a change to the cluster's StatefulSet.
fn problems_of_set(change: impl FnOnce(&mut StatefulSetFacts)) -> String {
    problems(|facts| {
        let mut set = good_stateful_set();
        change(&mut set);
        facts.stateful_sets = Ok(vec![set]);
    })
}

fn report(facts: &ClusterFacts) -> Report {
    Report::new(judge::judge(facts, NOW))
}

fn configuration(facts: &mut ClusterFacts) -> &mut WebhookConfiguration {
    facts.configuration.as_mut().unwrap().as_mut().unwrap()
}

fn forbidden() -> LookupError {
    LookupError::Refused("it is forbidden".to_owned())
}

fn good() -> ClusterFacts {
    ClusterFacts {
        admission: Ok(DryRun::Injected { version: Some("0.1.0".to_owned()) }),
        configuration_name: "couchdiscover".to_owned(),
        configuration: Ok(Some(WebhookConfiguration {
            failure_policy: FailurePolicy::Fail,
            guard: GuardEntry::Called,
            ca_bundle: CaBundle::Certificates(vec![valid(-100, 265)]),
        })),
        handshake: Ok(Handshake::Verified(valid(-1, 6))),
        endpoints: Ok(Some(EndpointCounts { ready: 2, all: 2 })),
        policy: Ok(PolicyState::InForce),
        account_policies: vec![("couchdiscover-agent", Ok(PolicyState::InForce))],
        misplaced: Ok(vec![]),
        roles: vec![ClusterRoleFacts {
            name: "couchdiscover-agent".to_owned(),
            removed_by: None,
            missing: Ok(Some(vec![])),
        }],
        scope: Scope::All,
        stateful_sets: Ok(vec![good_stateful_set()]),
    }
}

fn good_stateful_set() -> StatefulSetFacts {
    StatefulSetFacts {
        namespace: "shop".to_owned(),
        name: "couchdb".to_owned(),
        label: "enabled".to_owned(),
        replicas: 3,
        agent: Some(InjectedAgent { version: Some("0.1.0".to_owned()) }),
        variables: vec!["COUCHDB_ERLANG_COOKIE".to_owned(), "ERL_FLAGS".to_owned()],
        service: GoverningService {
            name: "couchdb".to_owned(),
            found: Ok(Some(ServiceFacts { headless: true, publishes_not_ready: true, selects_pods: true })),
        },
        account: "default".to_owned(),
        binding: Ok(Some(RoleBindingFacts {
            role: "ClusterRole/couchdiscover-agent".to_owned(),
            names_account: true,
        })),
        secrets: vec![
            good_secret("couchdb-couchdiscover", "erlang-cookie"),
            good_secret("couchdb-admin", "password"),
        ],
        record: Ok(RecordFacts::Formed {
            at: "2026-05-01T12:00:00Z".to_owned(),
            uuid: "4f7c8e2a9b1d4c6e8f0a2b4c6d8e0f1a".to_owned(),
            size: "3".to_owned(),
        }),
        pods: Ok((0..3).map(good_pod).collect()),
        rollout: RolloutFacts { in_order: true, on_delete: false, revision: "couchdb-2".to_owned() },
        next_pod: Ok(None),
    }
}

fn good_secret(secret: &str, key: &str) -> SecretReference {
    SecretReference { secret: secret.to_owned(), key: Some(key.to_owned()), found: Ok(SecretState::Present) }
}

fn good_pod(ordinal: u32) -> PodFacts {
    PodFacts {
        name: format!("couchdb-{ordinal}"),
        ready: true,
        has_agent: true,
        revision: "couchdb-2".to_owned(),
        problem: None,
        page: None,
    }
}

/// Valid between these days, counted from now.
fn valid(from: i64, to: i64) -> Validity {
    Validity { not_before: NOW + Duration::days(from), not_after: NOW + Duration::days(to) }
}
