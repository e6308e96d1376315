//! Looking at a cluster with what the user may see. Nothing is changed: the one write is a dry run.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::keys;
use kube::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::ask::{ADMISSION, APPS, DISCOVERY, RBAC, at, create_dry, get, items, list, strings};
use super::facts::{
    Admission, CaBundle, Configuration, Endpoints, Facts, Policy, Role, Scope, Seen, Serving, Set, Unseen,
};
use super::{gather_set, shake};

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
    let configuration =
        get(client, &at(ADMISSION, None, "mutatingwebhookconfigurations"), &question.config_name).await;
    let stored = configuration.as_ref().ok().and_then(Option::as_ref);
    let called = stored.map(|stored| &stored["webhooks"][0]["clientConfig"]);
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

async fn all(client: &Client, sets: &[Value]) -> Vec<Set> {
    let mut all = Vec::with_capacity(sets.len());
    for set in sets {
        all.push(gather_set::set(client, set).await);
    }
    all
}

fn read(configuration: &Value) -> Configuration {
    let mut webhooks = items(&configuration["webhooks"]);
    Configuration {
        ca_bundle: certificates(&ca_bundle(&configuration["webhooks"][0]["clientConfig"])),
        fails_open: webhooks.any(|webhook| webhook["failurePolicy"] == "Ignore"),
    }
}

/// What it is verified with, in PEM form; nothing where that isn't there, or isn't even base64.
fn ca_bundle(called: &Value) -> Vec<u8> {
    STANDARD.decode(called["caBundle"].as_str().unwrap_or_default()).unwrap_or_default()
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
async fn dry_run(client: &Client, namespace: &str, configuration: Option<&Value>) -> Seen<Admission> {
    if configuration.is_some_and(|configuration| excludes(configuration, namespace)) {
        return Err(Unseen(format!("the webhook is never asked about namespace '{namespace}': use -n")));
    }
    match create_dry(client, &at(APPS, Some(namespace), "statefulsets"), &probe()).await {
        Ok(created) => Ok(match gather_set::agent(&created) {
            Some(agent) => Admission::Injected { version: agent.version },
            None => Admission::NotInjected,
        }),
        Err(Unseen(message)) => judge(&message),
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
fn excludes(configuration: &Value, namespace: &str) -> bool {
    let mut requirements = items(&configuration["webhooks"])
        .flat_map(|webhook| items(&webhook["namespaceSelector"]["matchExpressions"]));
    requirements.any(|requirement| {
        let named = strings(&requirement["values"]).any(|value| value == namespace);
        requirement["key"] == NAMESPACE_LABEL && requirement["operator"] == "NotIn" && named
    })
}

/// The least that is injected without a warning.
fn probe() -> Value {
    let labels = json!({ "app": PROBE });
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
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
    })
}

/// Shakes hands with the webhook, where it can be reached from here.
async fn serving(called: Option<&Value>) -> Seen<Serving> {
    let unknown = || Unseen("it isn't known where the webhook is called".to_owned());
    let called = called.ok_or_else(unknown)?;
    let service = &called["service"];
    let (host, port) = match (service["name"].as_str(), service["namespace"].as_str(), called["url"].as_str())
    {
        (Some(name), Some(namespace), _) => {
            (format!("{name}.{namespace}.svc"), service["port"].as_u64().unwrap_or(HTTPS))
        }
        (_, _, Some(url)) => shake::host_and_port(url)?,
        (_, _, None) => return Err(unknown()),
    };
    let port = u16::try_from(port).map_err(|_| Unseen(format!("{port} is no port")))?;
    shake::shake(&host, port, &ca_bundle(called)).await
}

async fn endpoints(client: &Client, called: Option<&Value>) -> Seen<Option<Endpoints>> {
    let service = called.map(|called| (&called["service"]["name"], &called["service"]["namespace"]));
    let Some((Some(name), Some(namespace))) = service.map(|(name, space)| (name.as_str(), space.as_str()))
    else {
        return Ok(None);
    };
    let of_service = format!("kubernetes.io/service-name={name}");
    let slices = list(client, &at(DISCOVERY, Some(namespace), "endpointslices"), &of_service).await?;
    // A pod with an address of each family is in a slice of each.
    let (mut ready, mut all) = (BTreeSet::new(), BTreeSet::new());
    for endpoint in slices.iter().flat_map(|slice| items(&slice["endpoints"])) {
        let target = endpoint.get("targetRef").and_then(|target| target.get("name"));
        let name = target.unwrap_or(&endpoint["addresses"][0]);
        if endpoint["conditions"]["ready"] != false {
            ready.insert(name.to_string());
        }
        all.insert(name.to_string());
    }
    Ok(Some(Endpoints { ready: ready.len(), all: all.len() }))
}

async fn policy(client: &Client) -> Seen<Policy> {
    let policy = get(client, &at(ADMISSION, None, "validatingadmissionpolicies"), POLICY).await?;
    let binding = get(client, &at(ADMISSION, None, "validatingadmissionpolicybindings"), POLICY).await?;
    let denies =
        |binding: Value| strings(&binding["spec"]["validationActions"]).any(|action| action == "Deny");
    Ok(Policy { policy: policy.is_some(), binding: binding.is_some_and(denies) })
}

/// The ClusterRoles as they are, against those that ship.
async fn roles(client: &Client) -> Vec<Role> {
    let mut roles = vec![];
    for shipped in shipped_roles() {
        let name = shipped["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let stored = get(client, &at(RBAC, None, "clusterroles"), &name).await;
        let lacks = stored.map(|stored| stored.map(|stored| lacks(&shipped["rules"], &stored["rules"])));
        roles.push(Role { name, lacks });
    }
    roles
}

/// Those of the manifests that this program was made with.
fn shipped_roles() -> Vec<Value> {
    let documents = [AGENT_ROLE, WEBHOOK_ROLE].map(serde_saphyr::from_multiple::<Value>);
    let objects = documents.into_iter().flat_map(Result::unwrap_or_default);
    objects.filter(|object| object["kind"] == "ClusterRole").collect()
}

/// What `needed` allows and `there` doesn't.
fn lacks(needed: &Value, there: &Value) -> Vec<String> {
    let mut lacks = vec![];
    for rule in items(needed) {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    if !items(there).any(|other| allows(other, rule, group, resource, verb)) {
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
fn allows(rule: &Value, needed: &Value, group: &str, resource: &str, verb: &str) -> bool {
    let has = |list: &str, wanted: &str| strings(&rule[list]).any(|one| one == wanted || one == "*");
    let of = |rule: &Value| strings(&rule["resourceNames"]).map(str::to_owned).collect::<BTreeSet<_>>();
    let (names, wanted) = (of(rule), of(needed));
    // No names are all names.
    let named = names.is_empty() || (!wanted.is_empty() && wanted.is_subset(&names));
    named && has("apiGroups", group) && has("resources", resource) && has("verbs", verb)
}

/// The StatefulSets with the label; where all of them may not be listed, those of the user's own namespace.
async fn labelled(client: &Client, question: &Question) -> (Scope, Seen<Vec<Value>>) {
    let of = async |namespace: Option<&str>| {
        list(client, &at(APPS, namespace, "statefulsets"), keys::INJECT).await
    };
    if let Some(namespace) = &question.namespace {
        return (Scope::Namespace(namespace.clone()), of(Some(namespace)).await);
    }
    match of(None).await {
        Ok(sets) => (Scope::All, Ok(sets)),
        Err(why) => {
            let namespace = client.default_namespace().to_owned();
            let sets = of(Some(&namespace)).await;
            (Scope::Only { namespace, why }, sets)
        }
    }
}

const AGENT_ROLE: &str = include_str!("../../../manifests/base/agent-role.yaml");
const WEBHOOK_ROLE: &str = include_str!("../../../manifests/base/webhook-role.yaml");
const HTTPS: u64 = 443;
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
        let names: Vec<&Value> = roles.iter().map(|role| &role["metadata"]["name"]).collect();
        assert_eq!(names[0], objects::AGENT_CLUSTER_ROLE);
        assert_eq!(names.len(), 2, "{names:?}");
        for rules in roles.iter().map(|role| &role["rules"]) {
            assert_eq!(lacks(rules, rules), Vec::<String>::new());
            let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
            assert_eq!(lacks(rules, &everything), Vec::<String>::new());
            for (index, rule) in items(rules).enumerate() {
                let mut less = rules.clone();
                less.as_array_mut().unwrap().remove(index);
                assert!(!lacks(rules, &less).is_empty(), "without {rule}");
            }
        }
    }

    #[test]
    fn a_rule_for_some_names_is_none_for_all() {
        let rules = |names: Value| json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names }]);
        let lacking = vec!["get secrets".to_owned()];
        assert_eq!(lacks(&rules(json!([])), &rules(json!(["a"]))), lacking);
        assert_eq!(lacks(&rules(json!(["a", "b"])), &rules(json!(["a"]))), lacking);
        assert_eq!(lacks(&rules(json!(["a"])), &rules(json!(["b", "a"]))), Vec::<String>::new());
        assert_eq!(lacks(&rules(json!(["a"])), &rules(json!([]))), Vec::<String>::new());
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
