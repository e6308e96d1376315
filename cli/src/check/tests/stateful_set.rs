//! One labelled StatefulSet and the objects that it needs.

use insta::assert_snapshot;

use super::super::facts::*;
use super::*;
use crate::cluster::{LookupError, PodFacts};

#[test]
fn a_stateful_set_that_is_not_injected() {
    assert_snapshot!(problems_of_set(|set| set.agent = None), @"
    wrong injection of shop/couchdb: the pods have no agent: the StatefulSet is older than the webhook, or was stored while the webhook failed open
    Fix: kubectl -n shop rollout restart statefulset/couchdb
    ");
    assert_snapshot!(problems_of_set(|set| set.agent = Some(InjectedAgent { version: None })), @"
    warning injection of shop/couchdb: the pod template has an agent without the annotation couchdiscover.io/injected
    Fix: remove the agent from your manifest: the webhook then adds it and keeps it up to date
    ");
    assert_snapshot!(problems_of_set(|set| set.label = "yes".to_owned()), @"
    wrong injection of shop/couchdb: the label couchdiscover.io/inject has the unknown value 'yes'
    Fix: kubectl -n shop label statefulset/couchdb --overwrite couchdiscover.io/inject=enabled (or disabled)
    ");
    assert_eq!(problems_of_set(|set| set.label = "disabled".to_owned()), "", "it opted out");
    let opted_out = |variables: &[&str]| {
        let mut facts = good();
        let set = StatefulSetFacts {
            label: "disabled".to_owned(),
            agent: None,
            variables: variables.iter().map(|name| (*name).to_owned()).collect(),
            ..good_stateful_set()
        };
        facts.stateful_sets = Ok(vec![set]);
        let table = report(&facts).to_table();
        table.lines().find(|line| line.contains("opted out")).unwrap_or_default().to_owned()
    };
    assert_snapshot!(opted_out(&["ERLANG_COOKIE", "ERL_FLAGS"]), @"  ok       injection      opted out by the label couchdiscover.io/inject=disabled: no agent repairs the cluster; ERLANG_COOKIE, ERL_FLAGS stay, since databases are filed under the node names and nodes connect by the cookie");
    assert_snapshot!(opted_out(&[]), @"  ok       injection      opted out by the label couchdiscover.io/inject=disabled: nothing of the injection is left, and no agent repairs the cluster");
    let older = InjectedAgent { version: Some("0.0.9".to_owned()) };
    assert_eq!(problems_of_set(|set| set.agent = Some(older)), "", "updated with the next change");
}

#[test]
fn a_service_that_does_not_name_the_pods() {
    let good = ServiceFacts { headless: true, publishes_not_ready: true, selects_pods: true };
    let service = |found| problems_of_set(|set| set.service.found = Ok(found));
    assert_snapshot!(service(None), @"
    wrong service of shop/couchdb: Service 'couchdb' of spec.serviceName does not exist: the pods have no DNS names
    Fix: create it headless (clusterIP: None) with publishNotReadyAddresses: true
    ");
    assert_snapshot!(service(Some(ServiceFacts { headless: false, ..good })), @"
    wrong service of shop/couchdb: Service 'couchdb' is not headless: the pods have no DNS names
    Fix: clusterIP is immutable: delete the Service and create it with clusterIP: None
    ");
    assert_snapshot!(service(Some(ServiceFacts { publishes_not_ready: false, ..good })), @r#"
    wrong service of shop/couchdb: Service 'couchdb' hides pods that are not ready, and pods become ready only after they found each other
    Fix: kubectl -n shop patch service couchdb -p '{"spec":{"publishNotReadyAddresses":true}}'
    "#);
    assert_snapshot!(service(Some(ServiceFacts { selects_pods: false, ..good })), @"
    wrong service of shop/couchdb: Service 'couchdb' does not select the pods
    Fix: use a subset of spec.template.metadata.labels as its selector
    ");
}

#[test]
fn agents_without_their_role() {
    assert_snapshot!(problems_of_set(|set| set.binding = Ok(None)), @"
    wrong binding of shop/couchdb: RoleBinding 'couchdb-couchdiscover' does not exist: the agents cannot follow changes of the size or record the formation
    Fix: the webhook creates it (--provide on); manually: kubectl -n shop create rolebinding couchdb-couchdiscover --clusterrole=couchdiscover-agent --serviceaccount=shop:default
    ");
    let binding = |role: &str, names_account| {
        problems_of_set(|set| {
            set.binding = Ok(Some(RoleBindingFacts { role: role.to_owned(), names_account }));
        })
    };
    assert_snapshot!(binding("ClusterRole/view", true), @"
    wrong binding of shop/couchdb: RoleBinding 'couchdb-couchdiscover' grants ClusterRole/view instead of ClusterRole/couchdiscover-agent
    Fix: kubectl -n shop delete rolebinding couchdb-couchdiscover; the webhook creates it (--provide on); manually: kubectl -n shop create rolebinding couchdb-couchdiscover --clusterrole=couchdiscover-agent --serviceaccount=shop:default
    ");
    assert_snapshot!(binding("ClusterRole/couchdiscover-agent", false), @"
    wrong binding of shop/couchdb: RoleBinding 'couchdb-couchdiscover' does not name the pods' service account 'default'
    Fix: kubectl -n shop delete rolebinding couchdb-couchdiscover; the webhook creates it (--provide on); manually: kubectl -n shop create rolebinding couchdb-couchdiscover --clusterrole=couchdiscover-agent --serviceaccount=shop:default
    ");
}

#[test]
fn missing_secrets_and_keys() {
    let found = |index: usize, found| problems_of_set(|set| set.secrets[index].found = Ok(found));
    assert_snapshot!(found(0, SecretState::SecretMissing), @"
    wrong secrets of shop/couchdb: Secret 'couchdb-couchdiscover' does not exist
    Fix: the webhook creates it (--provide on) and never changes an existing one; manually: with the keys 'erlang-cookie' and 'auth-secret'
    ");
    assert_snapshot!(found(1, SecretState::KeyMissing), @"
    wrong secrets of shop/couchdb: Secret 'couchdb-admin' has no key 'password'
    Fix: create it: the pods do not start without it
    ");
    assert_snapshot!(found(1, SecretState::SecretMissing), @"
    wrong secrets of shop/couchdb: Secret 'couchdb-admin' does not exist
    Fix: create it: the pods do not start without it
    ");
}

#[test]
fn founding_records() {
    assert_snapshot!(problems_of_set(|set| set.record = Ok(RecordFacts::Absent)), @"
    warning record of shop/couchdb: the cluster is formed, but no Lease records it: after a loss of all data, the nodes would form a new cluster
    Fix: the agents write the record as soon as they have their role: see the check 'binding'
    ");
    let newer = RecordFacts::Newer { schema: "2".to_owned() };
    assert_snapshot!(problems_of_set(|set| set.record = Ok(newer)), @"
    warning record of shop/couchdb: the founding record was written by a newer release (schema 2)
    Fix: agents that do not understand it form no cluster. Upgrade, then re-render the injection: kubectl -n shop annotate statefulset/couchdb --overwrite couchdiscover.io/refresh=1 (any new value)
    ");
    let forming = problems_of_set(|set| {
        set.record = Ok(RecordFacts::Absent);
        set.pods = Err(LookupError::Refused("pods is forbidden".to_owned()));
    });
    assert_snapshot!(forming, @"unknown pods of shop/couchdb: pods is forbidden");
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
        @"
    wrong pods of shop/couchdb: pod 'couchdb-1' is not ready: WaitingForPeers: waiting for couchdb-2, which does not answer
    Fix: kubectl -n shop exec couchdb-1 -c couchdiscover-agent -- /couchdiscover-agent status
    wrong pods of shop/couchdb: pod 'couchdb-2' is not ready: the reason is unknown
    Fix: kubectl -n shop exec couchdb-2 -c couchdiscover-agent -- /couchdiscover-agent status
    "
    );
    assert_snapshot!(pods(|pods| pods[1].has_agent = false), @"
    wrong pods of shop/couchdb: pod 'couchdb-1' is older than the injection and has no agent
    Fix: kubectl -n shop rollout status statefulset/couchdb; with updateStrategy OnDelete: kubectl -n shop delete pod couchdb-1
    ");
    assert_snapshot!(pods(|pods| pods.truncate(2)), @"
    wrong pods of shop/couchdb: 2 of 3 pods exist
    Fix: kubectl -n shop describe statefulset/couchdb; with podManagementPolicy OrderedReady, each pod waits for the one before it
    ");
}

#[test]
fn a_rollout_that_waits_for_a_pod_of_an_older_revision() {
    let stuck = |in_order, on_delete| {
        problems_of_set(|set| {
            set.rollout.in_order = in_order;
            set.rollout.on_delete = on_delete;
            let pod = &mut set.pods.as_mut().unwrap()[2];
            (pod.ready, pod.revision) = (false, "couchdb-1".to_owned());
            pod.problem = Some("container 'couchdiscover-agent' ImagePullBackOff".to_owned());
        })
    };
    assert_snapshot!(stuck(true, false), @"
    wrong rollout of shop/couchdb: pod 'couchdb-2' is not ready and of an older revision than the template: with podManagementPolicy OrderedReady the controller waits for it and replaces nothing
    Fix: kubectl -n shop delete pod couchdb-2
    wrong pods of shop/couchdb: pod 'couchdb-2' is not ready: container 'couchdiscover-agent' ImagePullBackOff
    Fix: kubectl -n shop exec couchdb-2 -c couchdiscover-agent -- /couchdiscover-agent status
    ");
    assert_snapshot!(stuck(true, true), @"
    warning rollout of shop/couchdb: of an older revision, and not replaced by themselves (updateStrategy OnDelete): couchdb-2
    Fix: one after the other: kubectl -n shop delete pod couchdb-2
    wrong pods of shop/couchdb: pod 'couchdb-2' is not ready: container 'couchdiscover-agent' ImagePullBackOff
    Fix: kubectl -n shop exec couchdb-2 -c couchdiscover-agent -- /couchdiscover-agent status
    ");
    let parallel = stuck(false, false);
    assert!(!parallel.contains("rollout"), "the controller replaces it: {parallel}");
}

#[test]
fn pods_that_kubernetes_would_refuse() {
    let refused = |message: &str, pods: usize| {
        problems_of_set(|set| {
            set.next_pod = Ok(Some(message.to_owned()));
            set.pods.as_mut().unwrap().truncate(pods);
        })
    };
    let quota = "pods \"couchdb-check-x\" is forbidden: exceeded quota: most, requested: limits.cpu=1, used: limits.cpu=8, limited: limits.cpu=8";
    assert_eq!(refused(quota, 3), "", "all pods exist");
    assert_snapshot!(refused(quota, 2), @r#"
    wrong next-pod of shop/couchdb: Kubernetes refuses pods of the template: pods "couchdb-check-x" is forbidden: exceeded quota: most, requested: limits.cpu=1, used: limits.cpu=8, limited: limits.cpu=8
    Fix: set requests and limits that the LimitRange and the ResourceQuota allow. Those of the agent: annotations couchdiscover.io/agent-cpu-request, agent-cpu-limit, agent-memory-request and agent-memory-limit with a new value of couchdiscover.io/refresh, or the same options of the webhook for the whole cluster
    wrong pods of shop/couchdb: 2 of 3 pods exist
    Fix: kubectl -n shop describe statefulset/couchdb; with podManagementPolicy OrderedReady, each pod waits for the one before it
    "#);
    let mut fixes = String::new();
    for message in [
        "pods \"x\" is forbidden: failed quota: most: must specify limits.cpu for: couchdiscover-agent",
        "pods \"x\" is forbidden: minimum cpu usage per Container is 10m, but request is 5m",
        "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false",
        "pods \"x\" is forbidden: unable to validate against any security context constraint: [..]",
        "pods \"x\" is forbidden: error looking up service account shop/couchdb: serviceaccount \"couchdb\" not found",
        "admission webhook \"policy.example.com\" denied the request: no",
    ] {
        fixes += &refused(message, 3);
        fixes += "\n";
    }
    assert_snapshot!(fixes, @r#"
    wrong next-pod of shop/couchdb: Kubernetes refuses pods of the template: pods "x" is forbidden: failed quota: most: must specify limits.cpu for: couchdiscover-agent
    Fix: set requests and limits that the LimitRange and the ResourceQuota allow. Those of the agent: annotations couchdiscover.io/agent-cpu-request, agent-cpu-limit, agent-memory-request and agent-memory-limit with a new value of couchdiscover.io/refresh, or the same options of the webhook for the whole cluster
    wrong next-pod of shop/couchdb: Kubernetes refuses pods of the template: pods "x" is forbidden: minimum cpu usage per Container is 10m, but request is 5m
    Fix: set requests and limits that the LimitRange and the ResourceQuota allow. Those of the agent: annotations couchdiscover.io/agent-cpu-request, agent-cpu-limit, agent-memory-request and agent-memory-limit with a new value of couchdiscover.io/refresh, or the same options of the webhook for the whole cluster
    wrong next-pod of shop/couchdb: Kubernetes refuses pods of the template: pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false
    Fix: change the securityContext that the message names; the agent's complies with 'restricted'
    wrong next-pod of shop/couchdb: Kubernetes refuses pods of the template: pods "x" is forbidden: unable to validate against any security context constraint: [..]
    Fix: remove fixed uids, gids and fsGroup from the template, or give the pods' service account an SCC that allows them; the agent needs none
    wrong next-pod of shop/couchdb: Kubernetes refuses pods of the template: pods "x" is forbidden: error looking up service account shop/couchdb: serviceaccount "couchdb" not found
    Fix: create the ServiceAccount that spec.template.spec.serviceAccountName names
    wrong next-pod of shop/couchdb: Kubernetes refuses pods of the template: admission webhook "policy.example.com" denied the request: no
    Fix: change the template as the message says
    "#);
}
