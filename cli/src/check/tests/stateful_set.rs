//! One labelled StatefulSet and what it needs.

use insta::assert_snapshot;

use super::super::facts::*;
use super::*;

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
