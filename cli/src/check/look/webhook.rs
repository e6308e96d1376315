//! The webhook: its configuration, certificate, endpoints, the policy behind it, and a dry run through it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::{keys, workload};
use kube::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::handshake::{Address, shake_hands};
use super::pod_spec;
use crate::check::facts::{
    CaBundle, DryRun, EndpointCounts, FailurePolicy, GuardEntry, Handshake, PolicyState, WebhookConfiguration,
};
use crate::cluster::{
    ADMISSION, DISCOVERY, Lookup, LookupError, create_dry, get, items, list, path, stateful_sets, strings,
};

/// Reads the MutatingWebhookConfiguration.
pub(super) async fn configuration(client: &Client, name: &str) -> Lookup<Option<Value>> {
    get(client, &path(ADMISSION, None, "mutatingwebhookconfigurations"), name).await
}

/// The part of a MutatingWebhookConfiguration that contains address and caBundle.
pub(super) fn client_config(configuration: &Value) -> &Value {
    &entry(configuration, INJECT).unwrap_or(&configuration["webhooks"][0])["clientConfig"]
}

/// The entry of a MutatingWebhookConfiguration whose name begins like this.
fn entry<'a>(configuration: &'a Value, begin: &str) -> Option<&'a Value> {
    let name = format!("{begin}.{}", keys::DOMAIN);
    items(&configuration["webhooks"]).find(|webhook| webhook["name"] == name)
}

/// The judged part of a MutatingWebhookConfiguration.
pub(super) fn facts(configuration: &Value) -> WebhookConfiguration {
    // One entry that ignores failures is enough to store a StatefulSet without the agent. The guard's always does.
    let scale = entry(configuration, SCALE);
    let mut others = items(&configuration["webhooks"]).filter(|webhook| Some(*webhook) != scale);
    let ignores = others.any(|webhook| webhook["failurePolicy"] == "Ignore");
    let client_config = client_config(configuration);
    let guard = match scale {
        None => GuardEntry::Missing,
        Some(scale) if scale["clientConfig"]["caBundle"] == client_config["caBundle"] => GuardEntry::Called,
        Some(_) => GuardEntry::OtherCaBundle,
    };
    WebhookConfiguration {
        ca_bundle: certificates(&ca_bundle(client_config)),
        guard,
        failure_policy: if ignores { FailurePolicy::Ignore } else { FailurePolicy::Fail },
    }
}

/// The caBundle in PEM form; empty if it is missing or not base64.
fn ca_bundle(client_config: &Value) -> Vec<u8> {
    STANDARD.decode(client_config["caBundle"].as_str().unwrap_or_default()).unwrap_or_default()
}

fn certificates(pem: &[u8]) -> CaBundle {
    if pem.is_empty() {
        return CaBundle::Empty;
    }
    let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.unwrap_or_default();
    let validities: Result<Vec<_>, _> = certificates.iter().map(certs::Validity::of_der).collect();
    match validities {
        Ok(validities) if !validities.is_empty() => CaBundle::Certificates(validities),
        Ok(_) | Err(_) => CaBundle::Invalid,
    }
}

/// Creates a labelled StatefulSet without storing it.
pub(super) async fn dry_run(
    client: &Client,
    namespace: &str,
    configuration: Option<&Value>,
) -> Lookup<DryRun> {
    // Without a call of the webhook, the dry run would look like a webhook that does not inject.
    if configuration.is_some_and(|configuration| excludes(configuration, namespace)) {
        return Err(LookupError::ExcludedNamespace(namespace.to_owned()));
    }
    let created = create_dry(client, &stateful_sets(Some(namespace)), &probe()).await;
    match created {
        Ok(created) => Ok(match pod_spec::injected_agent(&created["spec"]["template"]) {
            Some(agent) => DryRun::Injected { version: agent.version },
            None => DryRun::NotInjected,
        }),
        Err(error) => dry_run_of_error(error),
    }
}

/// The result of a dry run that the API server refused. A refusal without relation to the webhook shows nothing.
fn dry_run_of_error(error: LookupError) -> Lookup<DryRun> {
    let message = error.to_string();
    let failed_call = format!("failed calling webhook \"{INJECT}.{}\": ", keys::DOMAIN);
    if let Some((_, cause)) = message.split_once(&failed_call) {
        return Ok(DryRun::CallFailed(cause.to_owned()));
    }
    // The policy denies what the webhook let through without the agent.
    if message.contains(&format!("ValidatingAdmissionPolicy '{POLICY}'")) {
        return Ok(DryRun::NotInjected);
    }
    Err(error)
}

/// `true` if the webhook's namespaceSelector excludes this namespace by its name.
pub(super) fn excludes(configuration: &Value, namespace: &str) -> bool {
    let mut requirements = items(&configuration["webhooks"])
        .flat_map(|webhook| items(&webhook["namespaceSelector"]["matchExpressions"]));
    requirements.any(|requirement| {
        requirement["key"] == NAMESPACE_LABEL
            && requirement["operator"] == "NotIn"
            && strings(&requirement["values"]).any(|value| value == namespace)
    })
}

/// The smallest StatefulSet that is injected without a warning.
fn probe() -> Value {
    let labels = json!({ "app": PROBE });
    json!({
        "apiVersion": workload::API_VERSION,
        "kind": workload::KIND,
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

/// Verifies the served certificate, if the webhook can be reached from here.
pub(super) async fn handshake(client_config: Option<&Value>) -> Lookup<Handshake> {
    let client_config = client_config.ok_or(LookupError::NoAddress)?;
    shake_hands(&address(client_config)?, &ca_bundle(client_config)).await
}

/// The address that API servers call: a Service, otherwise a URL.
fn address(client_config: &Value) -> Lookup<Address> {
    if let Some((name, namespace)) = service(client_config) {
        let port = client_config["service"]["port"].as_u64().unwrap_or(HTTPS);
        let port = u16::try_from(port).map_err(|_| LookupError::Port(port))?;
        return Ok(Address { host: format!("{name}.{namespace}.svc"), port });
    }
    let url = client_config["url"].as_str().ok_or(LookupError::NoAddress)?;
    Address::of_url(url)
}

/// Name and namespace of the webhook's Service; `None` if it is called by URL.
fn service(client_config: &Value) -> Option<(&str, &str)> {
    let service = &client_config["service"];
    Some((service["name"].as_str()?, service["namespace"].as_str()?))
}

/// Counts the endpoints of the webhook's Service.
pub(super) async fn endpoints(
    client: &Client,
    client_config: Option<&Value>,
) -> Lookup<Option<EndpointCounts>> {
    let Some((name, namespace)) = client_config.and_then(service) else { return Ok(None) };
    let of_service = format!("kubernetes.io/service-name={name}");
    let slices = list(client, &path(DISCOVERY, Some(namespace), "endpointslices"), &of_service).await?;
    // A pod with IPv4 and IPv6 addresses is in two slices and counts once.
    let mut ready = BTreeSet::new();
    let mut all = BTreeSet::new();
    for endpoint in slices.iter().flat_map(|slice| items(&slice["endpoints"])) {
        let pod = endpoint.get("targetRef").and_then(|target| target.get("name"));
        let name = pod.unwrap_or(&endpoint["addresses"][0]);
        // By the API's definition, an endpoint without this condition is ready.
        if endpoint["conditions"]["ready"] != false {
            ready.insert(name.to_string());
        }
        all.insert(name.to_string());
    }
    Ok(Some(EndpointCounts { ready: ready.len(), all: all.len() }))
}

/// Reads the ValidatingAdmissionPolicy below the webhook, and its binding.
pub(super) async fn policy(client: &Client) -> Lookup<PolicyState> {
    policy_state(client, POLICY).await
}

/// Reads the ValidatingAdmissionPolicies for the accounts of the webhook and of the agents.
pub(super) async fn account_policies(client: &Client) -> Vec<(&'static str, Lookup<PolicyState>)> {
    let mut states = vec![];
    for name in ACCOUNT_POLICIES {
        states.push((name, policy_state(client, name).await));
    }
    states
}

async fn policy_state(client: &Client, name: &str) -> Lookup<PolicyState> {
    let policy = get(client, &path(ADMISSION, None, "validatingadmissionpolicies"), name).await?;
    let bindings = path(ADMISSION, None, "validatingadmissionpolicybindings");
    let binding = get(client, &bindings, name).await?.unwrap_or_default();
    if policy.is_none() {
        return Ok(PolicyState::Missing);
    }
    // A binding may also only warn or audit.
    let denies = strings(&binding["spec"]["validationActions"]).any(|action| action == "Deny");
    Ok(if denies { PolicyState::InForce } else { PolicyState::NotBound })
}

/// The beginning of the name of the entry for StatefulSets.
const INJECT: &str = "inject";
/// The beginning of the name of the entry for their subresource `scale`.
const SCALE: &str = "scale";
const HTTPS: u64 = 443;
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Name of the ValidatingAdmissionPolicy and of its binding.
const POLICY: &str = "couchdiscover";
/// Names of the ValidatingAdmissionPolicies for our own accounts, and of their bindings.
const ACCOUNT_POLICIES: [&str; 2] = ["couchdiscover-webhook", "couchdiscover-agent"];
const PROBE: &str = "couchdiscover-check";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_relation_to_the_webhook_shows_nothing() {
        let result = |message: &str| dry_run_of_error(LookupError::Refused(message.to_owned()));
        let failed = "Internal error occurred: failed calling webhook \"inject.couchdiscover.io\": failed to call webhook: x";
        assert_eq!(result(failed), Ok(DryRun::CallFailed("failed to call webhook: x".to_owned())));
        let denied = "statefulsets.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'couchdiscover' with binding ...";
        assert_eq!(result(denied), Ok(DryRun::NotInjected));
        let other = "admission webhook \"policy.example.com\" denied the request";
        assert_eq!(result(other), Err(LookupError::Refused(other.to_owned())));
    }
}
