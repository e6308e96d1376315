//! What a person reads, for every kind of finding.

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

#[test]
fn a_statefulset_that_is_not_injected() {
    assert_snapshot!(said_of_set(|set| set.agent = None), @"
    wrong injection of shop/couchdb: its pods have no agent: it is older than the webhook, or was stored while that failed open
    -> kubectl -n shop rollout restart statefulset/couchdb
    ");
    assert_snapshot!(said_of_set(|set| set.agent = Some(Agent { version: None })), @"
    warning injection of shop/couchdb: it has the agent, and no record (couchdiscover.io/injected) of who added it
    -> take the agent out of your manifest: then the webhook adds it, and keeps it up to date
    ");
    assert_snapshot!(said_of_set(|set| set.label = "yes".to_owned()), @"
    wrong injection of shop/couchdb: its label couchdiscover.io/inject is 'yes'
    -> use 'enabled' or 'disabled'
    ");
    assert_eq!(said_of_set(|set| set.label = "disabled".to_owned()), "", "it opted out");
    assert_eq!(
        said_of_set(|set| set.agent = Some(Agent { version: Some("0.0.9".to_owned()) })),
        "",
        "by design"
    );
}

#[test]
fn a_service_that_does_not_name_the_pods() {
    let good = Headless { headless: true, publishes_not_ready: true, selects: true };
    let service = |seen| said_of_set(|set| set.service.seen = Ok(seen));
    assert_snapshot!(service(None), @"
    wrong service of shop/couchdb: there is no Service 'couchdb', which spec.serviceName names: the pods have no names
    -> create it headless (clusterIP: None) with publishNotReadyAddresses: true
    ");
    assert_snapshot!(service(Some(Headless { headless: false, ..good })), @"
    wrong service of shop/couchdb: Service 'couchdb' is not headless: the pods have no names
    -> its clusterIP can't be changed: delete it and create it with clusterIP: None
    ");
    assert_snapshot!(service(Some(Headless { publishes_not_ready: false, ..good })), @r#"
    wrong service of shop/couchdb: Service 'couchdb' hides pods that are not ready, and they are ready only when they found each other
    -> kubectl -n shop patch service couchdb -p '{"spec":{"publishNotReadyAddresses":true}}'
    "#);
    assert_snapshot!(service(Some(Headless { selects: false, ..good })), @"
    wrong service of shop/couchdb: Service 'couchdb' doesn't select the pods
    -> make its selector a part of spec.template.metadata.labels
    ");
}

#[test]
fn agents_without_their_role() {
    assert_snapshot!(said_of_set(|set| set.binding = Ok(None)), @"
    wrong binding of shop/couchdb: there is no RoleBinding 'couchdb-couchdiscover': agents don't see the size change, and record no founding
    -> the webhook makes it as soon as it may (--provide on); by hand: kubectl -n shop create rolebinding couchdb-couchdiscover --clusterrole=couchdiscover-agent --serviceaccount=shop:default
    ");
    let binding = |role: &str, names_account| {
        said_of_set(|set| set.binding = Ok(Some(Binding { role: role.to_owned(), names_account })))
    };
    assert_snapshot!(binding("ClusterRole/view", true), @"
    wrong binding of shop/couchdb: RoleBinding 'couchdb-couchdiscover' gives ClusterRole/view
    -> delete it; the webhook makes it as soon as it may (--provide on); by hand: kubectl -n shop create rolebinding couchdb-couchdiscover --clusterrole=couchdiscover-agent --serviceaccount=shop:default
    ");
    assert_snapshot!(binding("ClusterRole/couchdiscover-agent", false), @"
    wrong binding of shop/couchdb: RoleBinding 'couchdb-couchdiscover' doesn't name the pods' service account 'default'
    -> delete it; the webhook makes it as soon as it may (--provide on); by hand: kubectl -n shop create rolebinding couchdb-couchdiscover --clusterrole=couchdiscover-agent --serviceaccount=shop:default
    ");
}

#[test]
fn secrets_and_keys_that_lack() {
    let found = |index: usize, found| said_of_set(|set| set.references[index].found = Ok(found));
    assert_snapshot!(found(0, Found::NoSecret), @"
    wrong secrets of shop/couchdb: there is no Secret 'couchdb-couchdiscover'
    -> the webhook makes it as soon as it may (--provide on), and never changes one that is there; by hand: the keys 'erlang-cookie' and 'auth-secret'
    ");
    assert_snapshot!(found(1, Found::NoKey), @"
    wrong secrets of shop/couchdb: Secret 'couchdb-admin' has no key 'password'
    -> create it: the pods don't start without
    ");
    assert_snapshot!(found(1, Found::NoSecret), @"
    wrong secrets of shop/couchdb: there is no Secret 'couchdb-admin'
    -> create it: the pods don't start without
    ");
}

#[test]
fn records() {
    assert_snapshot!(said_of_set(|set| set.record = Ok(Record::Absent)), @"
    warning record of shop/couchdb: the nodes are a cluster, and no Lease records it: one that lost all its data would be founded anew
    -> its agents write it as soon as they have their role
    ");
    assert_snapshot!(said_of_set(|set| set.record = Ok(Record::Newer("2".to_owned()))), @"
    warning record of shop/couchdb: written by a newer version (schema 2)
    -> agents that don't understand it found nothing: upgrade, and renew the injection (annotation refresh)
    ");
    let forming = said_of_set(|set| {
        set.record = Ok(Record::Absent);
        set.pods = Err(Unseen("pods is forbidden".to_owned()));
    });
    assert_snapshot!(forming, @"unknown pods of shop/couchdb: pods is forbidden");
}

#[test]
fn pods_that_are_not_there_or_not_ready() {
    let pods = |change: fn(&mut Vec<Pod>)| {
        said_of_set(|set| {
            let mut pods = set.pods.clone().unwrap();
            change(&mut pods);
            set.pods = Ok(pods);
        })
    };
    assert_snapshot!(
        pods(|pods| {
            pods[1].ready = false;
            pods[1].trouble = Some("WaitingForPeers: waits for couchdb-2, which doesn't answer".to_owned());
            pods[2].ready = false;
        }),
        @"
    wrong pods of shop/couchdb: 'couchdb-1' is not ready: WaitingForPeers: waits for couchdb-2, which doesn't answer
    -> kubectl -n shop exec couchdb-1 -c couchdiscover-agent -- /couchdiscover-agent status
    wrong pods of shop/couchdb: 'couchdb-2' is not ready: nobody says why
    -> kubectl -n shop exec couchdb-2 -c couchdiscover-agent -- /couchdiscover-agent status
    "
    );
    assert_snapshot!(pods(|pods| pods[1].has_agent = false), @"
    wrong pods of shop/couchdb: 'couchdb-1' is older than the injection, and has no agent
    -> kubectl -n shop rollout status statefulset/couchdb; under OnDelete, delete the pod
    ");
    assert_snapshot!(pods(|pods| pods.truncate(2)), @"
    wrong pods of shop/couchdb: 2 of 3 pods exist
    -> kubectl -n shop describe statefulset/couchdb; under OrderedReady each waits for the one before
    ");
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
