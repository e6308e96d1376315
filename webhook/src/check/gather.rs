//! Looking at a cluster with what the user may see. Nothing is changed: the one write is a dry run.

use std::collections::BTreeSet;

use contract::keys;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    WebhookClientConfig,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{ListParams, PostParams};
use kube::core::Status;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::facts::{
    Admission, CaBundle, Configuration, Endpoints, Facts, Policy, Role, Scope, Seen, Serving, Set, Unseen,
};
use super::{gather_set, shake};
use crate::serve::chain;

/// What is looked for.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Name of the MutatingWebhookConfiguration.
    pub(super) config_name: String,
    /// The namespace whose StatefulSets are looked at; all of them without.
    pub(super) namespace: Option<String>,
}

/// Looks at everything once.
pub(super) async fn facts(client: &Client, question: &Question) -> Facts {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let configuration = seen(configurations.get_opt(&question.config_name).await);
    let stored = configuration.as_ref().ok().and_then(Option::as_ref);
    let called = stored.and_then(|stored| Some(&stored.webhooks.as_ref()?.first()?.client_config));
    let namespace = question.namespace.as_deref().unwrap_or(client.default_namespace());
    let (scope, sets) = labelled(client, question).await;
    Facts {
        admission: dry_run(client, namespace, stored).await,
        serving: serving(called).await,
        endpoints: endpoints(client, called).await,
        policy: policy(client).await,
        roles: roles(client).await,
        scope,
        sets: match sets {
            Ok(sets) => Ok(all(client, &sets).await),
            Err(why) => Err(why),
        },
        configuration: configuration.map(|found| found.map(|found| read(&found))),
    }
}

/// What was seen, or in the API server's words why it wasn't.
pub(super) fn seen<T>(result: kube::Result<T>) -> Seen<T> {
    result.map_err(|error| {
        let words = api_says(&error).map(|status| status.message.clone());
        Unseen(words.unwrap_or_else(|| chain(&error)))
    })
}

/// The API server's own words, if it was the one to say no.
pub(super) fn api_says(error: &kube::Error) -> Option<&Status> {
    if let kube::Error::Api(status) = error { Some(status) } else { None }
}

async fn all(client: &Client, sets: &[StatefulSet]) -> Vec<Set> {
    let mut all = Vec::with_capacity(sets.len());
    for set in sets {
        all.push(gather_set::set(client, set).await);
    }
    all
}

fn read(configuration: &MutatingWebhookConfiguration) -> Configuration {
    let webhooks = configuration.webhooks.iter().flatten();
    let ca_bundle = webhooks.clone().find_map(|webhook| webhook.client_config.ca_bundle.as_ref());
    Configuration {
        fails_open: webhooks.clone().any(|webhook| webhook.failure_policy.as_deref() == Some("Ignore")),
        ca_bundle: ca_bundle.map_or(CaBundle::Empty, |bundle| certificates(&bundle.0)),
    }
}

fn certificates(pem: &[u8]) -> CaBundle {
    if pem.is_empty() {
        return CaBundle::Empty;
    }
    let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let validities = certificates.unwrap_or_default();
    let validities: Result<Vec<_>, _> = validities.iter().map(certs::Validity::of_der).collect();
    match validities {
        Ok(validities) if !validities.is_empty() => CaBundle::Certificates(validities),
        Ok(_) | Err(_) => CaBundle::Garbage,
    }
}

/// Creates a labelled StatefulSet without storing it.
async fn dry_run(
    client: &Client,
    namespace: &str,
    configuration: Option<&MutatingWebhookConfiguration>,
) -> Seen<Admission> {
    if configuration.is_some_and(|configuration| excludes(configuration, namespace)) {
        return Err(Unseen(format!("the webhook is never asked about namespace '{namespace}': use -n")));
    }
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let params = PostParams { dry_run: true, field_manager: None };
    match sets.create(&params, &probe()).await {
        Ok(created) => Ok(match gather_set::agent(&created) {
            Some(agent) => Admission::Injected { version: agent.version },
            None => Admission::NotInjected,
        }),
        Err(kube::Error::Api(status)) => judge(&status.message),
        Err(error) => Err(Unseen(chain(&error))),
    }
}

/// What an API server's refusal says of the webhook.
fn judge(message: &str) -> Seen<Admission> {
    let called = format!("failed calling webhook \"inject.{}\": ", keys::DOMAIN);
    match message.split_once(&called) {
        Some((_, words)) => Ok(Admission::Unanswered(words.to_owned())),
        None if message.contains(&format!("ValidatingAdmissionPolicy '{POLICY}'")) => {
            Ok(Admission::NotInjected)
        }
        None => Err(Unseen(message.to_owned())),
    }
}

/// Whether the webhook is kept away from this namespace by its name.
fn excludes(configuration: &MutatingWebhookConfiguration, namespace: &str) -> bool {
    let selectors = configuration.webhooks.iter().flatten().filter_map(|one| one.namespace_selector.as_ref());
    let mut requirements = selectors.flat_map(|selector| selector.match_expressions.iter().flatten());
    requirements.any(|requirement| {
        let named = requirement.values.iter().flatten().any(|value| value == namespace);
        requirement.key == NAMESPACE_LABEL && requirement.operator == "NotIn" && named
    })
}

/// The least that is injected without a warning.
fn probe() -> StatefulSet {
    let labels = json!({ "app": PROBE });
    let set = json!({
        "metadata": { "name": PROBE, "labels": { keys::INJECT: keys::INJECT_ENABLED } },
        "spec": {
            "serviceName": PROBE,
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "couchdb", "image": "couchdb:3" }] },
            },
        },
    });
    serde_json::from_value(set).unwrap_or_default()
}

/// Shakes hands with the webhook, where it can be reached from here.
async fn serving(called: Option<&WebhookClientConfig>) -> Seen<Serving> {
    let called = called.ok_or_else(|| Unseen("it isn't known where the webhook is called".to_owned()))?;
    let ca_bundle = called.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice()).unwrap_or_default();
    let (host, port) = match (&called.service, &called.url) {
        (Some(service), _) => {
            (format!("{}.{}.svc", service.name, service.namespace), service.port.unwrap_or(HTTPS))
        }
        (None, Some(url)) => shake::host_and_port(url)?,
        (None, None) => return Err(Unseen("it isn't known where the webhook is called".to_owned())),
    };
    let port = u16::try_from(port).map_err(|_| Unseen(format!("{port} is no port")))?;
    shake::shake(&host, port, ca_bundle).await
}

async fn endpoints(client: &Client, called: Option<&WebhookClientConfig>) -> Seen<Option<Endpoints>> {
    let Some(service) = called.and_then(|called| called.service.as_ref()) else { return Ok(None) };
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &service.namespace);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    let slices = seen(slices.list(&of_service).await)?;
    // A pod with an address of each family is in a slice of each.
    let (mut ready, mut all) = (BTreeSet::new(), BTreeSet::new());
    for endpoint in slices.iter().flat_map(|slice| slice.endpoints.iter().flatten()) {
        let target = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
        let name = target.unwrap_or_else(|| endpoint.addresses.join(","));
        let serves = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
        if serves.unwrap_or(true) {
            ready.insert(name.clone());
        }
        all.insert(name);
    }
    Ok(Some(Endpoints { ready: ready.len(), all: all.len() }))
}

async fn policy(client: &Client) -> Seen<Policy> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let policy = seen(policies.get_opt(POLICY).await)?.is_some();
    let binding = seen(bindings.get_opt(POLICY).await)?;
    let denies = |binding: ValidatingAdmissionPolicyBinding| {
        binding.spec.validation_actions.iter().any(|action| action == "Deny")
    };
    Ok(Policy { policy, binding: binding.is_some_and(denies) })
}

/// The ClusterRoles as they are, against those that ship.
async fn roles(client: &Client) -> Vec<Role> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let mut seen_roles = vec![];
    for shipped in shipped_roles() {
        let name = shipped.metadata.name.unwrap_or_default();
        let stored = seen(roles.get_opt(&name).await);
        let needed = shipped.rules.unwrap_or_default();
        let lacks = |role: ClusterRole| lacks(&needed, &role.rules.unwrap_or_default());
        let lacks = stored.map(|stored| stored.map(lacks));
        seen_roles.push(Role { name, lacks });
    }
    seen_roles
}

/// Those of the manifests that this program was made with.
fn shipped_roles() -> Vec<ClusterRole> {
    let documents = [AGENT_ROLE, WEBHOOK_ROLE].map(serde_saphyr::from_multiple::<serde_json::Value>);
    let objects = documents.into_iter().flat_map(Result::unwrap_or_default);
    let roles = objects.filter(|object| object["kind"] == "ClusterRole");
    roles.filter_map(|role| serde_json::from_value(role).ok()).collect()
}

/// What `needed` allows and `there` doesn't.
fn lacks(needed: &[PolicyRule], there: &[PolicyRule]) -> Vec<String> {
    let mut lacks = vec![];
    for rule in needed {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    if !there.iter().any(|other| allows(other, rule, group, resource, verb)) {
                        let dot = if group.is_empty() { "" } else { "." };
                        lacks.push(format!("{verb} {resource}{dot}{group}"));
                    }
                }
            }
        }
    }
    lacks
}

/// Whether `rule` allows this of `needed`, for all the names that are needed.
fn allows(rule: &PolicyRule, needed: &PolicyRule, group: &str, resource: &str, verb: &str) -> bool {
    let has = |list: Option<&Vec<String>>, wanted: &str| {
        list.is_some_and(|list| list.iter().any(|one| one == wanted || one == "*"))
    };
    let names = match (rule.resource_names.as_deref().unwrap_or_default(), needed.resource_names.as_deref()) {
        ([], _) => true,
        (_, None | Some([])) => false,
        (names, Some(needed)) => needed.iter().all(|name| names.contains(name)),
    };
    names
        && has(rule.api_groups.as_ref(), group)
        && has(rule.resources.as_ref(), resource)
        && has(Some(&rule.verbs), verb)
}

/// The StatefulSets with the label; where all of them may not be listed, those of the user's own namespace.
async fn labelled(client: &Client, question: &Question) -> (Scope, Seen<Vec<StatefulSet>>) {
    let with_label = ListParams::default().labels(keys::INJECT);
    let of = async |namespace: &str| {
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
        seen(sets.list(&with_label).await).map(|list| list.items)
    };
    if let Some(namespace) = &question.namespace {
        return (Scope::Namespace(namespace.clone()), of(namespace).await);
    }
    let sets: Api<StatefulSet> = Api::all(client.clone());
    match seen(sets.list(&with_label).await) {
        Ok(list) => (Scope::All, Ok(list.items)),
        Err(why) => {
            let namespace = client.default_namespace().to_owned();
            let sets = of(&namespace).await;
            (Scope::Only { namespace, why }, sets)
        }
    }
}

const AGENT_ROLE: &str = include_str!("../../../manifests/base/agent-role.yaml");
const WEBHOOK_ROLE: &str = include_str!("../../../manifests/base/webhook-role.yaml");
const HTTPS: i32 = 443;
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Name of the ValidatingAdmissionPolicy and of its binding.
const POLICY: &str = "couchdiscover";
const PROBE: &str = "couchdiscover-check";

#[cfg(test)]
mod tests {
    use contract::objects;

    use super::*;

    #[test]
    fn the_roles_that_ship_are_complete_and_less_is_not() {
        let roles = shipped_roles();
        let names: Vec<&str> = roles.iter().filter_map(|role| role.metadata.name.as_deref()).collect();
        assert_eq!(names[0], objects::AGENT_CLUSTER_ROLE);
        assert_eq!(names.len(), 2, "{names:?}");
        for role in &roles {
            let rules = role.rules.clone().unwrap();
            assert_eq!(lacks(&rules, &rules), Vec::<String>::new());
            let everything: PolicyRule =
                serde_json::from_value(json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }))
                    .unwrap();
            assert_eq!(lacks(&rules, &[everything]), Vec::<String>::new());
            for (index, rule) in rules.iter().enumerate() {
                let less: Vec<PolicyRule> = rules
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != index)
                    .map(|(_, rule)| rule.clone())
                    .collect();
                assert!(!lacks(&rules, &less).is_empty(), "without {rule:?}");
            }
        }
    }

    #[test]
    fn a_rule_for_some_names_is_none_for_all() {
        let rule = |names: serde_json::Value| -> PolicyRule {
            serde_json::from_value(json!({
                "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names
            }))
            .unwrap()
        };
        let lacking = vec!["get secrets".to_owned()];
        assert_eq!(lacks(&[rule(json!([]))], &[rule(json!(["a"]))]), lacking);
        assert_eq!(lacks(&[rule(json!(["a", "b"]))], &[rule(json!(["a"]))]), lacking);
        assert_eq!(lacks(&[rule(json!(["a"]))], &[rule(json!(["b", "a"]))]), Vec::<String>::new());
        assert_eq!(lacks(&[rule(json!(["a"]))], &[rule(json!([]))]), Vec::<String>::new());
    }

    #[test]
    fn refusals_of_others_say_nothing_of_the_webhook() {
        let words = "Internal error occurred: failed calling webhook \"inject.couchdiscover.io\": failed to call webhook: x";
        assert_eq!(judge(words), Ok(Admission::Unanswered("failed to call webhook: x".to_owned())));
        let denied = "statefulsets.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'couchdiscover' with binding ...";
        assert_eq!(judge(denied), Ok(Admission::NotInjected));
        let other = "admission webhook \"policy.example.com\" denied the request";
        assert_eq!(judge(other), Err(Unseen(other.to_owned())));
    }
}
