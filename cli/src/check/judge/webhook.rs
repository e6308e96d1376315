//! What is right and wrong with a cluster: a pure function of what was seen, and the time.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::facts::{Admission, CaBundle, Endpoints, Facts, Policy, Role, Scope, Seen, Serving};
use super::sets;

/// One thing that was looked at, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good it is.
    pub level: Level,
    /// Of what it is said: `webhook`, or `namespace/name` of a StatefulSet.
    pub subject: String,
    /// What was looked at, a word that stays the same.
    pub check: &'static str,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It couldn't be seen. Nothing is known to be wrong.
    Unknown,
    /// It works, and may not always.
    Warning,
    /// It doesn't work, or won't when it is needed. The program fails.
    Wrong,
}

/// Everything that can be said of what was seen at this time.
pub fn findings(facts: &Facts, now: OffsetDateTime) -> Vec<Finding> {
    let mut list = List::about("webhook");
    admission(&mut list, facts);
    configuration(&mut list, facts, now);
    serving(&mut list, &facts.serving, now);
    endpoints(&mut list, &facts.endpoints);
    for role in &facts.roles {
        cluster_role(&mut list, role);
    }
    scope(&mut list, facts);
    let mut all = list.findings;
    let serves = match &facts.admission {
        Ok(Admission::Injected { version }) => version.as_deref(),
        Ok(Admission::NotInjected | Admission::Unanswered(_)) | Err(_) => None,
    };
    for set in facts.sets.iter().flatten() {
        all.extend(sets::findings(set, serves));
    }
    all
}

/// The findings about one thing.
pub(super) struct List {
    subject: String,
    pub(super) findings: Vec<Finding>,
}

impl List {
    pub(super) fn about(subject: &str) -> Self {
        Self { subject: subject.to_owned(), findings: vec![] }
    }

    pub(super) fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.push(Level::Ok, check, message.into(), None);
    }

    pub(super) fn unknown(&mut self, check: &'static str, message: impl Into<String>) {
        self.push(Level::Unknown, check, message.into(), None);
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.push(Level::Warning, check, message.into(), Some(cure.into()));
    }

    pub(super) fn wrong(&mut self, check: &'static str, message: impl Into<String>, cure: impl Into<String>) {
        self.push(Level::Wrong, check, message.into(), Some(cure.into()));
    }

    fn push(&mut self, level: Level, check: &'static str, message: String, cure: Option<String>) {
        self.findings.push(Finding { level, subject: self.subject.clone(), check, message, cure });
    }
}

fn admission(list: &mut List, facts: &Facts) {
    const CHECK: &str = "admission";
    match &facts.admission {
        Ok(Admission::Injected { version }) => {
            let by = version.as_deref().unwrap_or("an unknown version");
            list.ok(CHECK, format!("a labelled StatefulSet is injected by {by} (dry run)"));
        }
        Ok(Admission::NotInjected) => {
            let failed_open =
                matches!(&facts.configuration, Ok(Some(configuration)) if configuration.fails_open);
            let cure = match failed_open {
                true => {
                    "the webhook fails open and didn't answer, or another one took the agent out again: see what else is wrong here"
                }
                false => {
                    "the API server doesn't ask the webhook: apply the manifests again (kubectl apply -k)"
                }
            };
            list.wrong(CHECK, "a labelled StatefulSet is not injected (dry run)", cure);
        }
        Ok(Admission::Unanswered(words)) => {
            list.wrong(CHECK, format!("the API server can't ask the webhook: {words}"), cure_of(words));
        }
        Err(why) => list.unknown(CHECK, format!("no dry run: {why}")),
    }
}

/// What helps against what API servers say of a call that failed.
fn cure_of(words: &str) -> &'static str {
    if words.contains("x509") || words.contains("certificate") {
        "the caBundle doesn't belong to the certificate that is served: where the webhook keeps it, restart it; with \
         cert-manager, look at its Certificate and at the annotation cert-manager.io/inject-ca-from"
    } else if words.contains("no endpoints available") || words.contains("connection refused") {
        "no webhook listens: look at the pods and logs in its namespace (kubectl -n couchdiscover get pods)"
    } else if words.contains("not found") {
        "the Service is gone: apply the manifests again (kubectl apply -k)"
    } else if words.contains("deadline exceeded") || words.contains("timeout") || words.contains("no route") {
        "packets from the control plane don't arrive: open the webhook's port in the firewall, or use the component \
         other-port or host-network"
    } else {
        "look at the webhook's logs (kubectl -n couchdiscover logs deployment/couchdiscover-webhook)"
    }
}

fn configuration(list: &mut List, facts: &Facts, now: OffsetDateTime) {
    const CHECK: &str = "configuration";
    let configuration = match &facts.configuration {
        Ok(Some(configuration)) => configuration,
        Ok(None) => {
            let cure = "apply the manifests (kubectl apply -k)";
            return list.wrong(CHECK, "there is no MutatingWebhookConfiguration: no webhook is asked", cure);
        }
        Err(why) => return list.unknown(CHECK, why.to_string()),
    };
    policy(list, &facts.policy, configuration.fails_open);
    ca_bundle(list, &configuration.ca_bundle, now);
}

fn policy(list: &mut List, policy: &Seen<Policy>, fails_open: bool) {
    let (fails, does) = match fails_open {
        true => ("failurePolicy", "the webhook fails open (failurePolicy: Ignore)"),
        false => ("failurePolicy", "labelled StatefulSets wait for the webhook (failurePolicy: Fail)"),
    };
    let net = match policy {
        Ok(Policy { policy: true, binding: true }) => true,
        Ok(Policy { .. }) => false,
        Err(why) => {
            list.ok(fails, does);
            return list.unknown("policy", why.to_string());
        }
    };
    const CURE: &str =
        "apply the manifests (kubectl apply -k); ValidatingAdmissionPolicy needs Kubernetes 1.30";
    match (fails_open, net) {
        (_, true) => {
            list.ok(fails, does);
            list.ok("policy", "what is labelled and would be stored without the agent is denied");
        }
        (true, false) => {
            let both = "the webhook fails open (failurePolicy: Ignore), and no ValidatingAdmissionPolicy denies what goes \
                        without the agent then";
            list.wrong("policy", both, CURE);
        }
        (false, false) => {
            list.ok(fails, does);
            let message =
                "no ValidatingAdmissionPolicy denies a labelled StatefulSet that goes without the agent";
            list.warning("policy", message, CURE);
        }
    }
}

fn ca_bundle(list: &mut List, bundle: &CaBundle, now: OffsetDateTime) {
    const CHECK: &str = "caBundle";
    const CURE: &str = "the webhook writes it as soon as it may, and cert-manager where that is used: look at the log of \
                        the one or the other";
    let certificates = match bundle {
        CaBundle::Empty => {
            return list.wrong(CHECK, "it is empty, so the API server trusts no webhook", CURE);
        }
        CaBundle::Garbage => return list.wrong(CHECK, "it holds no certificates in PEM form", CURE),
        CaBundle::Certificates(certificates) => certificates,
    };
    let Some(last) = certificates.iter().filter(|one| one.contains(now)).map(|one| one.not_after).max()
    else {
        return list.wrong(CHECK, "none of its certificates is valid now", CURE);
    };
    let until = until(last, now);
    match last - now < SOON {
        true => list.warning(
            CHECK,
            format!("its last certificate is valid {until}, and no newer one is there"),
            CURE,
        ),
        false => list.ok(CHECK, format!("valid {until}")),
    }
}

fn serving(list: &mut List, serving: &Seen<Serving>, now: OffsetDateTime) {
    const CHECK: &str = "certificate";
    match serving {
        Ok(Serving::Verified(validity)) => {
            let until = until(validity.not_after, now);
            list.ok(CHECK, format!("what the webhook serves is verified by the caBundle, and valid {until}"));
        }
        Ok(Serving::Refused(why)) => {
            let cure = cure_of("x509");
            list.wrong(
                CHECK,
                format!("what the webhook serves is not verified by the caBundle: {why}"),
                cure,
            );
        }
        // From outside of the cluster that is as it should be, and the dry run has had it verified.
        Err(_) => {}
    }
}

fn endpoints(list: &mut List, endpoints: &Seen<Option<Endpoints>>) {
    const CHECK: &str = "endpoints";
    match endpoints {
        Ok(None) => {}
        Ok(Some(Endpoints { ready: 0, all })) => list.wrong(
            CHECK,
            format!("none of {all} webhooks is ready"),
            "look at the pods and logs in its namespace (kubectl -n couchdiscover get pods)",
        ),
        Ok(Some(Endpoints { ready, all })) if ready < all => list.warning(
            CHECK,
            format!("{ready} of {all} webhooks are ready"),
            "look at the pods and logs in its namespace (kubectl -n couchdiscover get pods)",
        ),
        Ok(Some(Endpoints { ready, .. })) => list.ok(CHECK, format!("{ready} ready")),
        Err(why) => list.unknown(CHECK, why.to_string()),
    }
}

fn cluster_role(list: &mut List, Role { name, lacks }: &Role) {
    const CHECK: &str = "role";
    const CURE: &str = "apply the manifests (kubectl apply -k)";
    match lacks {
        Ok(None) => list.wrong(CHECK, format!("there is no ClusterRole '{name}'"), CURE),
        Ok(Some(lacks)) if lacks.is_empty() => list.ok(CHECK, format!("ClusterRole '{name}' is complete")),
        Ok(Some(lacks)) => {
            list.wrong(CHECK, format!("ClusterRole '{name}' lacks: {}", lacks.join(", ")), CURE)
        }
        Err(why) => list.unknown(CHECK, why.to_string()),
    }
}

fn scope(list: &mut List, facts: &Facts) {
    const CHECK: &str = "statefulsets";
    let place = match &facts.scope {
        Scope::All => "in any namespace".to_owned(),
        Scope::Namespace(namespace) => format!("in namespace '{namespace}'"),
        Scope::Only { namespace, why } => {
            list.unknown(CHECK, format!("only those in namespace '{namespace}' were looked at: {why}"));
            format!("in namespace '{namespace}'")
        }
    };
    match &facts.sets {
        Ok(sets) if sets.is_empty() => list.ok(CHECK, format!("none {place} carries the label")),
        Ok(_) => {}
        Err(why) => list.unknown(CHECK, why.to_string()),
    }
}

fn until(end: OffsetDateTime, now: OffsetDateTime) -> String {
    format!("until {}, {} days", end.date(), (end - now).whole_days())
}

/// The webhook's own authority is renewed when a third of its year is left, so this has gone wrong for months.
const SOON: Duration = Duration::days(30);
