//! What is right and wrong with one labelled StatefulSet.

use contract::{keys, objects};

use super::facts::{Binding, Found, Headless, Pod, Record, Reference, Service, Set};
use super::findings::{Finding, List};

/// What can be said of a StatefulSet, where the webhook that answers is of this version.
pub(super) fn findings(set: &Set, serves: Option<&str>) -> Vec<Finding> {
    let mut list = List::about(&format!("{}/{}", set.namespace, set.name));
    match set.label.as_str() {
        keys::INJECT_ENABLED => {}
        keys::INJECT_DISABLED => {
            list.ok("injection", "opted out");
            return list.findings;
        }
        other => {
            list.wrong(
                "injection",
                format!("its label {} is '{other}'", keys::INJECT),
                format!("use '{}' or '{}'", keys::INJECT_ENABLED, keys::INJECT_DISABLED),
            );
            return list.findings;
        }
    }
    injection(&mut list, set, serves);
    service(&mut list, set);
    if set.agent.is_some() {
        binding(&mut list, set);
        secrets(&mut list, set);
        record(&mut list, set);
        pods(&mut list, set);
    }
    list.findings
}

fn injection(list: &mut List, set: &Set, serves: Option<&str>) {
    const CHECK: &str = "injection";
    let Set { namespace, name, .. } = set;
    match &set.agent {
        None => list.wrong(
            CHECK,
            "its pods have no agent: it is older than the webhook, or was stored while that failed open",
            format!("kubectl -n {namespace} rollout restart statefulset/{name}"),
        ),
        Some(agent) => match (agent.version.as_deref(), serves) {
            (None, _) => list.warning(
                CHECK,
                format!("it has the agent, and no record ({}) of who added it", keys::INJECTED),
                "take the agent out of your manifest: then the webhook adds it, and keeps it up to date",
            ),
            (Some(version), Some(serves)) if version != serves => {
                list.ok(CHECK, format!("injected by {version}; by {serves} at the next change of its pods"));
            }
            (Some(version), Some(_) | None) => list.ok(CHECK, format!("injected by {version}")),
        },
    }
}

fn service(list: &mut List, set: &Set) {
    const CHECK: &str = "service";
    let Service { name, seen } = &set.service;
    let service = match seen {
        Ok(Some(service)) => service,
        Ok(None) => {
            return list.wrong(
                CHECK,
                format!("there is no Service '{name}', which spec.serviceName names: the pods have no names"),
                "create it headless (clusterIP: None) with publishNotReadyAddresses: true",
            );
        }
        Err(why) => return list.unknown(CHECK, why.to_string()),
    };
    let Headless { headless, publishes_not_ready, selects } = *service;
    if !headless {
        list.wrong(
            CHECK,
            format!("Service '{name}' is not headless: the pods have no names"),
            "its clusterIP can't be changed: delete it and create it with clusterIP: None",
        );
    }
    if !publishes_not_ready {
        list.wrong(
            CHECK,
            format!("Service '{name}' hides pods that are not ready, and they are ready only when they found each other"),
            format!("kubectl -n {} patch service {name} -p '{{\"spec\":{{\"publishNotReadyAddresses\":true}}}}'", set.namespace),
        );
    }
    if !selects {
        list.wrong(
            CHECK,
            format!("Service '{name}' doesn't select the pods"),
            "make its selector a part of spec.template.metadata.labels",
        );
    }
    if headless && publishes_not_ready && selects {
        list.ok(CHECK, format!("Service '{name}' is headless and names the pods at once"));
    }
}

fn binding(list: &mut List, set: &Set) {
    const CHECK: &str = "binding";
    let Set { namespace, account, .. } = set;
    let (name, role) = (objects::companion(&set.name), objects::AGENT_CLUSTER_ROLE);
    let cure = format!(
        "the webhook makes it as soon as it may (--provide on); by hand: kubectl -n {namespace} create rolebinding {name} \
         --clusterrole={role} --serviceaccount={namespace}:{account}"
    );
    match &set.binding {
        Ok(Some(Binding { role: bound, .. })) if *bound != format!("ClusterRole/{role}") => {
            list.wrong(CHECK, format!("RoleBinding '{name}' gives {bound}"), format!("delete it; {cure}"));
        }
        Ok(Some(Binding { names_account: false, .. })) => {
            let message = format!("RoleBinding '{name}' doesn't name the pods' service account '{account}'");
            list.wrong(CHECK, message, format!("delete it; {cure}"));
        }
        Ok(Some(Binding { names_account: true, .. })) => {
            list.ok(CHECK, format!("service account '{account}' has the agents' role"));
        }
        Ok(None) => {
            let message = format!(
                "there is no RoleBinding '{name}': agents don't see the size change, and record no founding"
            );
            list.wrong(CHECK, message, cure);
        }
        Err(why) => list.unknown(CHECK, why.to_string()),
    }
}

fn secrets(list: &mut List, set: &Set) {
    const CHECK: &str = "secrets";
    let companion = objects::companion(&set.name);
    let mut here = 0;
    for Reference { secret, key, found } in &set.references {
        let cure = match *secret == companion {
            true => format!(
                "the webhook makes it as soon as it may (--provide on), and never changes one that is there; by hand: the \
                 keys '{}' and '{}'",
                objects::ERLANG_COOKIE_KEY,
                objects::AUTH_SECRET_KEY
            ),
            false => "create it: the pods don't start without".to_owned(),
        };
        match (found, key) {
            (Ok(Found::Here), _) => here += 1,
            (Ok(Found::NoSecret), _) => list.wrong(CHECK, format!("there is no Secret '{secret}'"), cure),
            (Ok(Found::NoKey), Some(key)) => {
                list.wrong(CHECK, format!("Secret '{secret}' has no key '{key}'"), cure);
            }
            // Without a key to look for none can be missed.
            (Ok(Found::NoKey), None) => here += 1,
            (Err(why), _) => list.unknown(CHECK, format!("Secret '{secret}': {why}")),
        }
    }
    if here == set.references.len() {
        list.ok(CHECK, format!("all {here} that its containers need are there"));
    }
}

fn record(list: &mut List, set: &Set) {
    const CHECK: &str = "record";
    let all_ready = matches!(&set.pods, Ok(pods) if !pods.is_empty() && pods.iter().all(|pod| pod.ready));
    match &set.record {
        Ok(Record::Formed { at, uuid, size }) => {
            list.ok(CHECK, format!("founded with {size} at {at}, uuid {uuid}"));
        }
        Ok(Record::Absent) if all_ready => list.warning(
            CHECK,
            "the nodes are a cluster, and no Lease records it: one that lost all its data would be founded anew",
            "its agents write it as soon as they have their role",
        ),
        Ok(Record::Absent) => list.ok(CHECK, "not founded yet"),
        Ok(Record::Newer(schema)) => list.warning(
            CHECK,
            format!("written by a newer version (schema {schema})"),
            "agents that don't understand it found nothing: upgrade, and renew the injection (annotation refresh)",
        ),
        Err(why) => list.unknown(CHECK, why.to_string()),
    }
}

fn pods(list: &mut List, set: &Set) {
    const CHECK: &str = "pods";
    let Set { namespace, name, replicas, .. } = set;
    let pods = match &set.pods {
        Ok(pods) => pods,
        Err(why) => return list.unknown(CHECK, why.to_string()),
    };
    for Pod { name: pod, .. } in pods.iter().filter(|pod| !pod.has_agent) {
        list.wrong(
            CHECK,
            format!("'{pod}' is older than the injection, and has no agent"),
            format!(
                "kubectl -n {namespace} rollout status statefulset/{name}; under OnDelete, delete the pod"
            ),
        );
    }
    for Pod { name: pod, trouble, .. } in pods.iter().filter(|pod| pod.has_agent && !pod.ready) {
        let why = trouble.as_deref().unwrap_or("nobody says why");
        let cure = format!(
            "kubectl -n {namespace} exec {pod} -c {} -- /couchdiscover-agent status",
            objects::AGENT_CONTAINER
        );
        list.wrong(CHECK, format!("'{pod}' is not ready: {why}"), cure);
    }
    if pods.len() < *replicas {
        list.wrong(
            CHECK,
            format!("{} of {replicas} pods exist", pods.len()),
            format!("kubectl -n {namespace} describe statefulset/{name}; under OrderedReady each waits for the one before"),
        );
    }
    if pods.len() >= *replicas && pods.iter().all(|pod| pod.ready && pod.has_agent) {
        list.ok(CHECK, format!("{} of {replicas} are ready", pods.len()));
    }
}
