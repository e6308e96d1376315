//! One labelled StatefulSet and the objects that it needs.

use insta::assert_snapshot;

use super::super::facts::*;
use super::*;

#[test]
fn a_stateful_set_that_is_not_injected() {
    assert_snapshot!(problems_of_set(|set| set.agent = None), @"");
    assert_snapshot!(problems_of_set(|set| set.agent = Some(InjectedAgent { version: None })), @"");
    assert_snapshot!(problems_of_set(|set| set.label = "yes".to_owned()), @"");
    assert_eq!(problems_of_set(|set| set.label = "disabled".to_owned()), "", "it opted out");
    let older = InjectedAgent { version: Some("0.0.9".to_owned()) };
    assert_eq!(problems_of_set(|set| set.agent = Some(older)), "", "updated with the next change");
}

#[test]
fn a_service_that_does_not_name_the_pods() {
    let good = ServiceFacts { headless: true, publishes_not_ready: true, selects_pods: true };
    let service = |found| problems_of_set(|set| set.service.found = Ok(found));
    assert_snapshot!(service(None), @"");
    assert_snapshot!(service(Some(ServiceFacts { headless: false, ..good })), @"");
    assert_snapshot!(service(Some(ServiceFacts { publishes_not_ready: false, ..good })), @r#""#);
    assert_snapshot!(service(Some(ServiceFacts { selects_pods: false, ..good })), @"");
}

#[test]
fn agents_without_their_role() {
    assert_snapshot!(problems_of_set(|set| set.binding = Ok(None)), @"");
    let binding = |role: &str, names_account| {
        problems_of_set(|set| {
            set.binding = Ok(Some(RoleBindingFacts { role: role.to_owned(), names_account }));
        })
    };
    assert_snapshot!(binding("ClusterRole/view", true), @"");
    assert_snapshot!(binding("ClusterRole/couchdiscover-agent", false), @"");
}

#[test]
fn missing_secrets_and_keys() {
    let found = |index: usize, found| problems_of_set(|set| set.secrets[index].found = Ok(found));
    assert_snapshot!(found(0, SecretState::SecretMissing), @"");
    assert_snapshot!(found(1, SecretState::KeyMissing), @"");
    assert_snapshot!(found(1, SecretState::SecretMissing), @"");
}

#[test]
fn founding_records() {
    assert_snapshot!(problems_of_set(|set| set.record = Ok(RecordFacts::Absent)), @"");
    let newer = RecordFacts::Newer { schema: "2".to_owned() };
    assert_snapshot!(problems_of_set(|set| set.record = Ok(newer)), @"");
    let forming = problems_of_set(|set| {
        set.record = Ok(RecordFacts::Absent);
        set.pods = Err(LookupError::Refused("pods is forbidden".to_owned()));
    });
    assert_snapshot!(forming, @"");
}

#[test]
fn pods_that_are_missing_or_not_ready() {
    let pods = |change: fn(&mut Vec<PodFacts>)| {
        problems_of_set(|set| {
            let mut pods = set.pods.clone().unwrap();
            change(&mut pods);
            set.pods = Ok(pods);
        })
    };
    assert_snapshot!(
        pods(|pods| {
            pods[1].ready = false;
            pods[1].problem = Some("WaitingForPeers: waiting for couchdb-2, which does not answer".to_owned());
            pods[2].ready = false;
        }),
        @""
    );
    assert_snapshot!(pods(|pods| pods[1].has_agent = false), @"");
    assert_snapshot!(pods(|pods| pods.truncate(2)), @"");
}
