//! One labelled StatefulSet and the objects that it needs.

use contract::{keys, objects};

use crate::check::facts::{
    GoverningService, RecordFacts, RoleBindingFacts, RolloutFacts, SecretReference, SecretState,
    ServiceFacts, StatefulSetFacts,
};
use crate::check::finding::{Finding, Findings};
use crate::cluster::PodFacts;

/// Returns the findings about a StatefulSet. `serving` is the version of the webhook that answers, if one does.
pub(super) fn judge(set: &StatefulSetFacts, serving: Option<&str>) -> Vec<Finding> {
    let mut findings = Findings::about(format!("{}/{}", set.namespace, set.name));
    match set.label.as_str() {
        keys::INJECT_ENABLED => enabled(&mut findings, set, serving),
        keys::INJECT_DISABLED => {
            findings.ok("injection", opted_out(set));
        }
        other => findings.wrong(
            "injection",
            format!("the label {} has the unknown value '{other}'", keys::INJECT),
            format!(
                "kubectl -n {} label statefulset/{} --overwrite {}={} (or {})",
                set.namespace,
                set.name,
                keys::INJECT,
                keys::INJECT_ENABLED,
                keys::INJECT_DISABLED
            ),
        ),
    }
    findings.into_list()
}

fn opted_out(set: &StatefulSetFacts) -> String {
    let label = format!("opted out by the label {}={}", keys::INJECT, keys::INJECT_DISABLED);
    if set.agent.is_some() {
        // Older than the webhook, or an agent of the user's own manifest.
        return label;
    }
    if set.variables.is_empty() {
        return format!("{label}: nothing of the injection is left, and no agent repairs the cluster");
    }
    let variables = set.variables.join(", ");
    format!(
        "{label}: no agent repairs the cluster; {variables} stay, since databases are filed under the node names and nodes \
         connect by the cookie"
    )
}

fn enabled(findings: &mut Findings, set: &StatefulSetFacts, serving: Option<&str>) {
    injection(findings, set, serving);
    service(findings, set);
    // Without the agent, the remaining objects are not needed yet and would only add failures of the same cause.
    if set.agent.is_some() {
        binding(findings, set);
        secrets(findings, set);
        record(findings, set);
        rollout(findings, set);
        next_pod(findings, set);
        pods(findings, set);
    }
}

fn injection(findings: &mut Findings, set: &StatefulSetFacts, serving: Option<&str>) {
    const CHECK: &str = "injection";
    let Some(agent) = &set.agent else {
        return findings.wrong(
            CHECK,
            "the pods have no agent: the StatefulSet is older than the webhook, or was stored while the webhook failed \
             open",
            format!("kubectl -n {} rollout restart statefulset/{}", set.namespace, set.name),
        );
    };
    let Some(version) = &agent.version else {
        return findings.warning(
            CHECK,
            format!("the pod template has an agent without the annotation {}", keys::INJECTED),
            "remove the agent from your manifest: the webhook then adds it and keeps it up to date",
        );
    };
    // An agent of an older version is not a problem: the webhook never restarts pods only to update it.
    match serving {
        Some(serving) if serving != version => findings.ok(
            CHECK,
            format!(
                "injected by version {version}; version {serving} follows with the next change of the pods"
            ),
        ),
        Some(_) | None => findings.ok(CHECK, format!("injected by version {version}")),
    }
}

fn service(findings: &mut Findings, set: &StatefulSetFacts) {
    const CHECK: &str = "service";
    let GoverningService { name, found } = &set.service;
    let service = match found {
        Ok(Some(service)) => service,
        Ok(None) => {
            return findings.wrong(
                CHECK,
                format!("Service '{name}' of spec.serviceName does not exist: the pods have no DNS names"),
                "create it headless (clusterIP: None) with publishNotReadyAddresses: true",
            );
        }
        Err(error) => return findings.unknown(CHECK, error),
    };
    let ServiceFacts { headless, publishes_not_ready, selects_pods } = *service;
    if headless && publishes_not_ready && selects_pods {
        return findings
            .ok(CHECK, format!("Service '{name}' is headless and publishes pods that are not ready"));
    }
    // Each property is reported on its own, with its own fix.
    if !headless {
        findings.wrong(
            CHECK,
            format!("Service '{name}' is not headless: the pods have no DNS names"),
            "clusterIP is immutable: delete the Service and create it with clusterIP: None",
        );
    }
    if !publishes_not_ready {
        findings.wrong(
            CHECK,
            format!(
                "Service '{name}' hides pods that are not ready, and pods become ready only after they found each other"
            ),
            format!(
                "kubectl -n {} patch service {name} -p '{{\"spec\":{{\"publishNotReadyAddresses\":true}}}}'",
                set.namespace
            ),
        );
    }
    if !selects_pods {
        findings.wrong(
            CHECK,
            format!("Service '{name}' does not select the pods"),
            "use a subset of spec.template.metadata.labels as its selector",
        );
    }
}

fn binding(findings: &mut Findings, set: &StatefulSetFacts) {
    const CHECK: &str = "binding";
    let StatefulSetFacts { namespace, account, .. } = set;
    let name = objects::companion(&set.name);
    let role = objects::AGENT_CLUSTER_ROLE;
    let create = format!(
        "the webhook creates it (--provide on); manually: kubectl -n {namespace} create rolebinding {name} \
         --clusterrole={role} --serviceaccount={namespace}:{account}"
    );
    // Kubernetes does not allow to change the role of a RoleBinding, and the webhook never changes an existing one.
    let replace = format!("kubectl -n {namespace} delete rolebinding {name}; {create}");
    match &set.binding {
        Ok(None) => findings.wrong(
            CHECK,
            format!(
                "RoleBinding '{name}' does not exist: the agents cannot follow changes of the size or record the \
                 formation"
            ),
            create,
        ),
        Ok(Some(RoleBindingFacts { role: granted, .. })) if *granted != format!("ClusterRole/{role}") => {
            findings.wrong(
                CHECK,
                format!("RoleBinding '{name}' grants {granted} instead of ClusterRole/{role}"),
                replace,
            );
        }
        Ok(Some(binding)) if !binding.names_account => findings.wrong(
            CHECK,
            format!("RoleBinding '{name}' does not name the pods' service account '{account}'"),
            replace,
        ),
        Ok(Some(_)) => findings.ok(CHECK, format!("service account '{account}' has the role of the agents")),
        Err(error) => findings.unknown(CHECK, error),
    }
}

fn secrets(findings: &mut Findings, set: &StatefulSetFacts) {
    const CHECK: &str = "secrets";
    let mut complete = true;
    for SecretReference { secret, key, found } in &set.secrets {
        let problem = match found {
            Ok(SecretState::Present) => continue,
            Ok(SecretState::SecretMissing) => format!("Secret '{secret}' does not exist"),
            Ok(SecretState::KeyMissing) => match key {
                Some(key) => format!("Secret '{secret}' has no key '{key}'"),
                // A container that reads all keys of a Secret (envFrom) starts with any of them.
                None => continue,
            },
            Err(error) => {
                findings.unknown(CHECK, format!("Secret '{secret}': {error}"));
                complete = false;
                continue;
            }
        };
        findings.wrong(CHECK, problem, fix_secret(set, secret));
        complete = false;
    }
    if complete {
        let count = set.secrets.len();
        findings.ok(CHECK, format!("all {count} that the containers read exist"));
    }
}

fn fix_secret(set: &StatefulSetFacts, secret: &str) -> String {
    // The webhook generates only the Secret of the StatefulSet's own name; all others belong to the user.
    if secret != objects::companion(&set.name) {
        return "create it: the pods do not start without it".to_owned();
    }
    format!(
        "the webhook creates it (--provide on) and never changes an existing one; manually: with the keys '{}' and '{}'",
        objects::ERLANG_COOKIE_KEY,
        objects::AUTH_SECRET_KEY
    )
}

fn record(findings: &mut Findings, set: &StatefulSetFacts) {
    const CHECK: &str = "record";
    match &set.record {
        Ok(RecordFacts::Formed { at, uuid, size }) => {
            findings.ok(CHECK, format!("formed with {size} nodes at {at}, uuid {uuid}"));
        }
        // Ready pods are members of a formed cluster, so a record must exist.
        Ok(RecordFacts::Absent) if all_ready(set) => findings.warning(
            CHECK,
            "the cluster is formed, but no Lease records it: after a loss of all data, the nodes would form a new cluster",
            "the agents write the record as soon as they have their role: see the check 'binding'",
        ),
        Ok(RecordFacts::Absent) => findings.ok(CHECK, "the cluster is not formed yet"),
        Ok(RecordFacts::Newer { schema }) => findings.warning(
            CHECK,
            format!("the founding record was written by a newer release (schema {schema})"),
            format!(
                "agents that do not understand it form no cluster. Upgrade, then re-render the injection: kubectl -n {} \
                 annotate statefulset/{} --overwrite {}=1 (any new value)",
                set.namespace,
                set.name,
                keys::REFRESH
            ),
        ),
        Err(error) => findings.unknown(CHECK, error),
    }
}

fn all_ready(set: &StatefulSetFacts) -> bool {
    matches!(&set.pods, Ok(pods) if !pods.is_empty() && pods.iter().all(|pod| pod.ready))
}

/// Finds pods that the controller does not replace by itself.
fn rollout(findings: &mut Findings, set: &StatefulSetFacts) {
    const CHECK: &str = "rollout";
    let StatefulSetFacts { namespace, rollout: RolloutFacts { in_order, on_delete, revision }, .. } = set;
    // Pods that cannot be read are reported by their own check.
    let pods = set.pods.as_deref().unwrap_or(&[]);
    let outdated = pods.iter().filter(|pod| !revision.is_empty() && pod.revision != *revision);
    if *on_delete {
        let names: Vec<&str> = outdated.map(|pod| pod.name.as_str()).collect();
        if !names.is_empty() {
            findings.warning(
                CHECK,
                format!(
                    "of an older revision, and not replaced by themselves (updateStrategy OnDelete): {}",
                    names.join(", ")
                ),
                format!("one after the other: kubectl -n {namespace} delete pod {}", names[0]),
            );
        }
        return;
    }
    // With OrderedReady the controller waits for a pod to be ready before it replaces any, that pod included.
    for PodFacts { name, .. } in outdated.filter(|pod| *in_order && !pod.ready) {
        findings.wrong(
            CHECK,
            format!(
                "pod '{name}' is not ready and of an older revision than the template: with podManagementPolicy OrderedReady \
                 the controller waits for it and replaces nothing"
            ),
            format!("kubectl -n {namespace} delete pod {name}"),
        );
    }
}

/// The result of a dry run of a pod: quotas, limits, Pod Security and uid ranges refuse pods, not StatefulSets.
fn next_pod(findings: &mut Findings, set: &StatefulSetFacts) {
    const CHECK: &str = "next-pod";
    let refusal = match &set.next_pod {
        Ok(None) => return findings.ok(CHECK, "a pod of the template would be created (dry run)"),
        Ok(Some(refusal)) => refusal,
        Err(error) => return findings.unknown(CHECK, format!("no dry run of a pod: {error}")),
    };
    // The pods that exist use the quota. A replaced one gives its share back first.
    let all_exist = set.pods.as_ref().is_ok_and(|pods| pods.len() >= set.replicas);
    if all_exist && refusal.contains("exceeded quota") {
        return findings.ok(CHECK, "all pods exist; the quota has no room for another one");
    }
    findings.wrong(
        CHECK,
        format!("Kubernetes refuses pods of the template: {refusal}"),
        fix_refusal(refusal),
    );
}

/// The fix for a refused pod, recognised by the words of the plugin that refuses it.
fn fix_refusal(refusal: &str) -> &'static str {
    let any = |words: &[&str]| words.iter().any(|word| refusal.contains(word));
    if any(&["security context constraint"]) {
        "remove fixed uids, gids and fsGroup from the template, or give the pods' service account an SCC that allows them; the \
         agent needs none"
    } else if any(&["violates PodSecurity"]) {
        "change the securityContext that the message names; the agent's complies with 'restricted'"
    } else if any(&["quota", "usage per Container", "usage per Pod", "must specify"]) {
        "set requests and limits that the LimitRange and the ResourceQuota allow. Those of the agent: annotations \
         couchdiscover.io/agent-cpu-request, agent-cpu-limit, agent-memory-request and agent-memory-limit with a new value of \
         couchdiscover.io/refresh, or the same options of the webhook for the whole cluster"
    } else if any(&["service account", "serviceaccount"]) {
        "create the ServiceAccount that spec.template.spec.serviceAccountName names"
    } else {
        "change the template as the message says"
    }
}

fn pods(findings: &mut Findings, set: &StatefulSetFacts) {
    const CHECK: &str = "pods";
    let StatefulSetFacts { namespace, name, replicas, .. } = set;
    let pods = match &set.pods {
        Ok(pods) => pods,
        Err(error) => return findings.unknown(CHECK, error),
    };
    // Without the agent, readiness is not reported in addition: it would have the same cause.
    for PodFacts { name: pod, .. } in pods.iter().filter(|pod| !pod.has_agent) {
        findings.wrong(
            CHECK,
            format!("pod '{pod}' is older than the injection and has no agent"),
            format!(
                "kubectl -n {namespace} rollout status statefulset/{name}; with updateStrategy OnDelete: kubectl -n \
                 {namespace} delete pod {pod}"
            ),
        );
    }
    for PodFacts { name: pod, problem, .. } in pods.iter().filter(|pod| pod.has_agent && !pod.ready) {
        let problem = problem.as_deref().unwrap_or("the reason is unknown");
        findings.wrong(
            CHECK,
            format!("pod '{pod}' is not ready: {problem}"),
            format!(
                "kubectl -n {namespace} exec {pod} -c {} -- /couchdiscover-agent status",
                objects::AGENT_CONTAINER
            ),
        );
    }
    for PodFacts { name: pod, page, .. } in pods {
        for condition in page.iter().flat_map(|page| &page.conditions) {
            let fix = condition.cure.as_deref().unwrap_or_default();
            let message = format!("pod '{pod}' reports {}: {}", condition.reason, condition.fact());
            findings.warning(CHECK, message, fix);
        }
    }
    // Kubernetes may also have more pods than replicas for a moment, while it scales down.
    if pods.len() < *replicas {
        findings.wrong(
            CHECK,
            format!("{} of {replicas} pods exist", pods.len()),
            format!(
                "kubectl -n {namespace} describe statefulset/{name}; with podManagementPolicy OrderedReady, each pod \
                 waits for the one before it"
            ),
        );
    } else if pods.iter().all(|pod| pod.ready && pod.has_agent) {
        findings.ok(CHECK, format!("{} of {replicas} pods are ready", pods.len()));
    }
}
