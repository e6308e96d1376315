//! The webhook, its certificates, the policy behind it, and the ClusterRoles.

use contract::keys;
use time::{Duration, OffsetDateTime};

use super::failed_call;
use super::fixes::{APPLY, FIX_UNTRUSTED};
use crate::check::facts::{
    CaBundle, ClusterFacts, ClusterRoleFacts, DryRun, EndpointCounts, FailurePolicy, GuardEntry, Handshake,
    Misplaced, Place, PolicyState, Scope, WebhookConfiguration,
};
use crate::check::finding::{Finding, Findings};
use crate::cluster::Lookup;

/// Returns the findings about everything but the StatefulSets.
pub(super) fn judge(facts: &ClusterFacts, now: OffsetDateTime) -> Vec<Finding> {
    let mut findings = Findings::about("webhook");
    admission(&mut findings, facts);
    configuration(&mut findings, facts, now);
    handshake(&mut findings, &facts.handshake, now);
    endpoints(&mut findings, &facts.endpoints);
    for role in &facts.roles {
        cluster_role(&mut findings, role);
    }
    for (name, state) in &facts.account_policies {
        account_policy(&mut findings, name, state);
    }
    scope(&mut findings, facts);
    let mut all = findings.into_list();
    all.extend(facts.misplaced.iter().flatten().map(misplaced));
    all
}

fn admission(findings: &mut Findings, facts: &ClusterFacts) {
    const CHECK: &str = "admission";
    match &facts.admission {
        Ok(DryRun::Injected { version }) => {
            let version =
                version.as_ref().map_or("an unknown version".to_owned(), |known| format!("version {known}"));
            findings.ok(CHECK, format!("a labelled StatefulSet is injected by {version} (dry run)"));
        }
        Ok(DryRun::NotInjected) => {
            findings.wrong(
                CHECK,
                "a labelled StatefulSet is not injected (dry run)",
                fix_not_injected(facts),
            );
        }
        Ok(DryRun::CallFailed(message)) => findings.wrong(
            CHECK,
            format!("the API server cannot call the webhook: {message}"),
            failed_call::fix(message),
        ),
        Err(error) => findings.unknown(CHECK, format!("no dry run: {error}")),
    }
}

fn fix_not_injected(facts: &ClusterFacts) -> &'static str {
    match &facts.configuration {
        // Failing open hides the reason why the webhook did not answer; other checks may show it.
        Ok(Some(WebhookConfiguration { failure_policy: FailurePolicy::Ignore, .. })) => {
            "the webhook fails open and did not answer, or another webhook removed the agent: see the other findings"
        }
        Ok(_) | Err(_) => {
            "the API server does not call the webhook. Apply the manifests again: kubectl apply -k manifests/base"
        }
    }
}

fn configuration(findings: &mut Findings, facts: &ClusterFacts, now: OffsetDateTime) {
    const CHECK: &str = "configuration";
    match &facts.configuration {
        Ok(Some(configuration)) => {
            policy(findings, &facts.policy, configuration.failure_policy);
            ca_bundle(findings, &configuration.ca_bundle, now);
            guard(findings, configuration.guard);
        }
        Ok(None) => findings.wrong(
            CHECK,
            format!(
                "MutatingWebhookConfiguration '{}' does not exist: the API server calls no webhook",
                facts.configuration_name
            ),
            APPLY,
        ),
        Err(error) => findings.unknown(CHECK, error),
    }
}

/// Judges failurePolicy and ValidatingAdmissionPolicy together: each covers for the other's weakness.
fn policy(findings: &mut Findings, policy: &Lookup<PolicyState>, failure_policy: FailurePolicy) {
    const CHECK: &str = "policy";
    const FIX: &str =
        "kubectl apply -k manifests/base (a ValidatingAdmissionPolicy needs Kubernetes 1.30 or later)";
    // Without the policy, failing open stores uninjected StatefulSets. That is one problem, reported once.
    let unprotected = matches!(policy, Ok(PolicyState::NotBound | PolicyState::Missing));
    if unprotected && failure_policy == FailurePolicy::Ignore {
        return findings.wrong(
            CHECK,
            "the webhook fails open (failurePolicy: Ignore), and no ValidatingAdmissionPolicy denies labelled \
             StatefulSets without the agent",
            FIX,
        );
    }
    findings.ok(
        "failurePolicy",
        match failure_policy {
            FailurePolicy::Fail => {
                "labelled StatefulSets are denied while the webhook does not answer (failurePolicy: Fail)"
            }
            FailurePolicy::Ignore => "the webhook fails open (failurePolicy: Ignore)",
        },
    );
    match policy {
        Ok(PolicyState::InForce) => findings.ok(CHECK, "labelled StatefulSets without the agent are denied"),
        Ok(PolicyState::NotBound | PolicyState::Missing) => findings.warning(
            CHECK,
            "no ValidatingAdmissionPolicy denies labelled StatefulSets without the agent",
            FIX,
        ),
        Err(error) => findings.unknown(CHECK, error),
    }
}

fn guard(findings: &mut Findings, entry: GuardEntry) {
    const CHECK: &str = "guard";
    match entry {
        GuardEntry::Called => findings.ok(CHECK, "the webhook is asked before nodes are removed"),
        GuardEntry::Missing => findings.warning(
            CHECK,
            "'kubectl scale' and autoscalers remove nodes without a check: the configuration has no entry \
             'scale.couchdiscover.io'",
            APPLY,
        ),
        GuardEntry::OtherCaBundle => findings.warning(
            CHECK,
            "'kubectl scale' and autoscalers remove nodes without a check: the caBundle of the entry \
             'scale.couchdiscover.io' differs from that of the other entry",
            FIX_CA_BUNDLE,
        ),
    }
}

fn ca_bundle(findings: &mut Findings, bundle: &CaBundle, now: OffsetDateTime) {
    const CHECK: &str = "caBundle";
    const FIX: &str = FIX_CA_BUNDLE;
    let certificates = match bundle {
        CaBundle::Certificates(certificates) => certificates,
        CaBundle::Empty => {
            return findings.wrong(CHECK, "the caBundle is empty: the API server trusts no webhook", FIX);
        }
        CaBundle::Invalid => {
            return findings.wrong(CHECK, "the caBundle contains no certificates in PEM form", FIX);
        }
    };
    // The newest certificate counts: an older one leaves the bundle when its leaves are gone.
    let valid = certificates.iter().filter(|certificate| certificate.contains(now));
    let Some(end) = valid.map(|certificate| certificate.not_after).max() else {
        return findings.wrong(CHECK, "no certificate of the caBundle is valid now", FIX);
    };
    let until = until(end, now);
    if end - now >= RENEWAL_OVERDUE {
        return findings.ok(CHECK, format!("valid {until}"));
    }
    // A warning, not a failure: until the certificate expires, everything works.
    let message =
        format!("the newest certificate of the caBundle is valid {until}, and it has not been renewed");
    findings.warning(CHECK, message, FIX);
}

fn handshake(findings: &mut Findings, handshake: &Lookup<Handshake>, now: OffsetDateTime) {
    const CHECK: &str = "certificate";
    match handshake {
        Ok(Handshake::Verified(validity)) => {
            let until = until(validity.not_after, now);
            findings.ok(
                CHECK,
                format!("the webhook's certificate is verified by the caBundle and valid {until}"),
            );
        }
        Ok(Handshake::Rejected(error)) => findings.wrong(
            CHECK,
            format!("the webhook's certificate is not verified by the caBundle: {error}"),
            FIX_UNTRUSTED,
        ),
        // Usual outside of the cluster. The dry run made the API server verify the certificate.
        Err(_) => {}
    }
}

fn endpoints(findings: &mut Findings, endpoints: &Lookup<Option<EndpointCounts>>) {
    const CHECK: &str = "endpoints";
    const FIX: &str = "kubectl -n couchdiscover get pods, and read the log of those that are not ready";
    match endpoints {
        // A webhook that is called by URL has no Service, and so no endpoints to count.
        Ok(None) => {}
        Ok(Some(EndpointCounts { ready: 0, all })) => {
            findings.wrong(CHECK, format!("none of {all} webhook pods is ready"), FIX);
        }
        Ok(Some(EndpointCounts { ready, all })) if ready < all => {
            findings.warning(CHECK, format!("{ready} of {all} webhook pods are ready"), FIX);
        }
        Ok(Some(EndpointCounts { ready, .. })) => findings.ok(CHECK, format!("{ready} ready")),
        Err(error) => findings.unknown(CHECK, error),
    }
}

fn cluster_role(findings: &mut Findings, role: &ClusterRoleFacts) {
    const CHECK: &str = "role";
    let ClusterRoleFacts { name, removed_by, missing } = role;
    match missing {
        // The cluster does not store which components were applied.
        Ok(None) if let Some(component) = removed_by => findings.unknown(
            CHECK,
            format!(
                "ClusterRole '{name}' does not exist, as with the component '{component}'. Without it: {APPLY}"
            ),
        ),
        Ok(None) => findings.wrong(CHECK, format!("ClusterRole '{name}' does not exist"), APPLY),
        Ok(Some(missing)) if missing.is_empty() => {
            findings.ok(CHECK, format!("ClusterRole '{name}' is complete"));
        }
        Ok(Some(missing)) => {
            findings.wrong(
                CHECK,
                format!("ClusterRole '{name}' does not grant: {}", missing.join(", ")),
                APPLY,
            );
        }
        Err(error) => findings.unknown(CHECK, error),
    }
}

/// The policies that limit what the webhook's and the agents' accounts may write.
fn account_policy(findings: &mut Findings, name: &str, state: &Lookup<PolicyState>) {
    const CHECK: &str = "accounts";
    match state {
        Ok(PolicyState::InForce) => {
            findings.ok(CHECK, format!("ValidatingAdmissionPolicy '{name}' is in force"));
        }
        Ok(PolicyState::NotBound | PolicyState::Missing) => findings.warning(
            CHECK,
            format!(
                "ValidatingAdmissionPolicy '{name}' is not in force: a stolen token of that account can write more objects \
                 than it needs"
            ),
            format!("{APPLY} (a ValidatingAdmissionPolicy needs Kubernetes 1.30 or later)"),
        ),
        Err(error) => findings.unknown(CHECK, error),
    }
}

/// A label or annotation that is set where the webhook does not look.
fn misplaced(found: &Misplaced) -> Finding {
    const CHECK: &str = "label";
    let Misplaced { namespace, name, kind, place } = found;
    let (key, on) = (keys::INJECT, keys::INJECT_ENABLED);
    let mut findings = Findings::about(format!("{namespace}/{name}"));
    let label = format!("kubectl -n {namespace} label statefulset/{name} {key}={on}");
    match place {
        Place::OtherKind => findings.wrong(
            CHECK,
            format!("the label {key} is on a {kind}, where it has no effect: only StatefulSets are injected"),
            format!("run CouchDB as a StatefulSet, or remove the label: kubectl -n {namespace} label {kind}/{name} {key}-"),
        ),
        Place::Annotation => findings.wrong(
            CHECK,
            format!("'{key}' is an annotation, which has no effect: it is a label"),
            format!("{label}; kubectl -n {namespace} annotate statefulset/{name} {key}-"),
        ),
        Place::Pods => findings.wrong(
            CHECK,
            format!("the label {key} is on the pods, where it has no effect: it is the StatefulSet's"),
            format!("{label}, and remove it from spec.template.metadata.labels"),
        ),
        Place::ExcludedNamespace => findings.wrong(
            CHECK,
            format!("the webhook is not called for namespace '{namespace}', so the label {key} has no effect"),
            "move the StatefulSet to another namespace",
        ),
    }
    findings.into_list().remove(0)
}

fn scope(findings: &mut Findings, facts: &ClusterFacts) {
    const CHECK: &str = "statefulsets";
    let place = match &facts.scope {
        Scope::All => "in any namespace".to_owned(),
        Scope::Namespace(namespace) => format!("in namespace '{namespace}'"),
        // The missing permission is a finding of its own, because StatefulSets may remain unchecked.
        Scope::Fallback { namespace, error } => {
            findings.unknown(CHECK, format!("only namespace '{namespace}' was checked: {error}"));
            format!("in namespace '{namespace}'")
        }
    };
    match &facts.stateful_sets {
        Ok(stateful_sets) if stateful_sets.is_empty() => {
            findings.ok(CHECK, format!("no StatefulSet {place} has the label {}", keys::INJECT));
        }
        // Each one has findings of its own.
        Ok(_) => {}
        Err(error) => findings.unknown(CHECK, error),
    }
}

fn until(end: OffsetDateTime, now: OffsetDateTime) -> String {
    format!("until {}, {} days", end.date(), (end - now).whole_days())
}

/// The webhook renews its authority when a third of its year is left. With less than 30 days left, that has failed for
/// months.
const RENEWAL_OVERDUE: Duration = Duration::days(30);

const FIX_CA_BUNDLE: &str = "the webhook writes the caBundle, or cert-manager where it is used. Read the log of the writer: \
                             kubectl -n couchdiscover logs deployment/couchdiscover-webhook";
