//! What a person reads, for every kind of finding.

mod sets;
mod webhook;

use certs::Validity;
use insta::assert_snapshot;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::facts::*;
use super::{Report, findings};

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

#[test]
fn when_all_is_well() {
    let report = report(&well());
    assert!(report.is_well());
    assert_snapshot!(report.to_table(), @"
    webhook
      ok       admission      a labelled StatefulSet is injected by 0.1.0 (dry run)
      ok       failurePolicy  labelled StatefulSets wait for the webhook (failurePolicy: Fail)
      ok       policy         what is labelled and would be stored without the agent is denied
      ok       caBundle       valid until 2027-02-21, 265 days
      ok       certificate    what the webhook serves is verified by the caBundle, and valid until 2026-06-07, 6 days
      ok       endpoints      2 ready
      ok       role           ClusterRole 'couchdiscover-agent' is complete

    shop/couchdb
      ok       injection      injected by 0.1.0
      ok       service        Service 'couchdb' is headless and names the pods at once
      ok       binding        service account 'default' has the agents' role
      ok       secrets        all 2 that its containers need are there
      ok       record         founded with 3 at 2026-05-01T12:00:00Z, uuid 4f7c8e2a9b1d4c6e8f0a2b4c6d8e0f1a
      ok       pods           3 of 3 are ready

    nothing is wrong: 13 ok
    ");
}

#[test]
fn a_program_reads_the_same() {
    let mut facts = well();
    facts.roles[0].lacks = Ok(None);
    facts.sets = Ok(vec![]);
    let report = report(&facts);
    assert!(!report.is_well());
    assert_snapshot!(report.to_json(), @r#"
    {
      "summary": {
        "ok": 7,
        "unknown": 0,
        "warning": 0,
        "wrong": 1
      },
      "findings": [
        {
          "level": "ok",
          "subject": "webhook",
          "check": "admission",
          "message": "a labelled StatefulSet is injected by 0.1.0 (dry run)"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "failurePolicy",
          "message": "labelled StatefulSets wait for the webhook (failurePolicy: Fail)"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "policy",
          "message": "what is labelled and would be stored without the agent is denied"
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
          "check": "certificate",
          "message": "what the webhook serves is verified by the caBundle, and valid until 2026-06-07, 6 days"
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
          "message": "there is no ClusterRole 'couchdiscover-agent'",
          "cure": "apply the manifests (kubectl apply -k)"
        },
        {
          "level": "ok",
          "subject": "webhook",
          "check": "statefulsets",
          "message": "none in any namespace carries the label"
        }
      ]
    }
    "#);
}

#[test]
fn what_may_not_be_seen_is_unknown_and_nothing_is_wrong() {
    let no = || Unseen("it is forbidden".to_owned());
    let mut facts = Facts {
        admission: Err(no()),
        configuration: Err(no()),
        serving: Err(no()),
        endpoints: Err(no()),
        policy: Err(no()),
        roles: vec![Role { name: "couchdiscover-agent".to_owned(), lacks: Err(no()) }],
        scope: Scope::Only { namespace: "shop".to_owned(), why: no() },
        sets: Err(no()),
    };
    let nothing = report(&facts);
    assert!(nothing.is_well());
    assert_snapshot!(nothing.to_table(), @"
    webhook
      unknown  admission      no dry run: it is forbidden
      unknown  configuration  it is forbidden
      unknown  endpoints      it is forbidden
      unknown  role           it is forbidden
      unknown  statefulsets   only those in namespace 'shop' were looked at: it is forbidden
      unknown  statefulsets   it is forbidden

    nothing is wrong: 0 ok, 6 unknown
    ");
    let mut set = well_set();
    set.service.seen = Err(no());
    set.binding = Err(no());
    set.references.iter_mut().for_each(|reference| reference.found = Err(no()));
    set.record = Err(no());
    set.pods = Err(no());
    facts.sets = Ok(vec![set]);
    let less = report(&facts);
    assert!(less.is_well());
    assert_snapshot!(less.to_table(), @"
    webhook
      unknown  admission      no dry run: it is forbidden
      unknown  configuration  it is forbidden
      unknown  endpoints      it is forbidden
      unknown  role           it is forbidden
      unknown  statefulsets   only those in namespace 'shop' were looked at: it is forbidden

    shop/couchdb
      ok       injection      injected by 0.1.0
      unknown  service        it is forbidden
      unknown  binding        it is forbidden
      unknown  secrets        Secret 'couchdb-couchdiscover': it is forbidden
      unknown  secrets        Secret 'couchdb-admin': it is forbidden
      unknown  record         it is forbidden
      unknown  pods           it is forbidden

    nothing is wrong: 1 ok, 11 unknown
    ");
}

#[test]
fn nobody_is_labelled() {
    let mut facts = well();
    facts.sets = Ok(vec![]);
    facts.scope = Scope::Namespace("shop".to_owned());
    let table = report(&facts).to_table();
    assert!(table.contains("none in namespace 'shop' carries the label"), "{table}");
}

/// What isn't ok after a change to a cluster in which all is well.
fn said(change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = well();
    change(&mut facts);
    let findings = report(&facts).findings.into_iter().filter(|finding| finding.level != super::Level::Ok);
    let lines = findings.map(|finding| {
        let level = format!("{:?}", finding.level).to_lowercase();
        let cure = finding.cure.map(|cure| format!("\n-> {cure}")).unwrap_or_default();
        format!("{level} {} of {}: {}{cure}", finding.check, finding.subject, finding.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn said_of_set(change: impl FnOnce(&mut Set)) -> String {
    said(|facts| {
        let mut set = well_set();
        change(&mut set);
        facts.sets = Ok(vec![set]);
    })
}

fn report(facts: &Facts) -> Report {
    Report::of(findings(facts, NOW))
}

fn configuration(facts: &mut Facts) -> &mut Configuration {
    facts.configuration.as_mut().unwrap().as_mut().unwrap()
}

fn well() -> Facts {
    Facts {
        admission: Ok(Admission::Injected { version: Some("0.1.0".to_owned()) }),
        configuration: Ok(Some(Configuration {
            fails_open: false,
            ca_bundle: CaBundle::Certificates(vec![valid(-100, 265)]),
        })),
        serving: Ok(Serving::Verified(valid(-1, 6))),
        endpoints: Ok(Some(Endpoints { ready: 2, all: 2 })),
        policy: Ok(Policy { policy: true, binding: true }),
        roles: vec![Role { name: "couchdiscover-agent".to_owned(), lacks: Ok(Some(vec![])) }],
        scope: Scope::All,
        sets: Ok(vec![well_set()]),
    }
}

fn well_set() -> Set {
    let reference = |secret: &str, key: &str| Reference {
        secret: secret.to_owned(),
        key: Some(key.to_owned()),
        found: Ok(Found::Here),
    };
    let pod = |ordinal: u32| Pod {
        name: format!("couchdb-{ordinal}"),
        ready: true,
        has_agent: true,
        trouble: None,
    };
    Set {
        namespace: "shop".to_owned(),
        name: "couchdb".to_owned(),
        label: "enabled".to_owned(),
        replicas: 3,
        agent: Some(Agent { version: Some("0.1.0".to_owned()) }),
        service: Service {
            name: "couchdb".to_owned(),
            seen: Ok(Some(Headless { headless: true, publishes_not_ready: true, selects: true })),
        },
        account: "default".to_owned(),
        binding: Ok(Some(Binding {
            role: "ClusterRole/couchdiscover-agent".to_owned(),
            names_account: true,
        })),
        references: vec![
            reference("couchdb-couchdiscover", "erlang-cookie"),
            reference("couchdb-admin", "password"),
        ],
        record: Ok(Record::Formed {
            at: "2026-05-01T12:00:00Z".to_owned(),
            uuid: "4f7c8e2a9b1d4c6e8f0a2b4c6d8e0f1a".to_owned(),
            size: "3".to_owned(),
        }),
        pods: Ok((0..3).map(pod).collect()),
    }
}

/// From so many days from now to so many.
fn valid(from: i64, to: i64) -> Validity {
    Validity { not_before: NOW + Duration::days(from), not_after: NOW + Duration::days(to) }
}
