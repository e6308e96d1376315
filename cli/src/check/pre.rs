//! `check --pre`: the requirements of an installation, before anything is installed.

use kube::Client;
use serde_json::{Value, json};

use super::finding::{Finding, Findings};
use crate::cluster::{ADMISSION, AUTHORIZATION, CORE, Lookup, create_dry, get, path, string};

/// The state of a cluster before the installation.
#[derive(Clone, Debug)]
pub(super) struct PreFacts {
    /// Major and minor version of the API server; the text if it is not two numbers.
    pub(super) version: Result<(u32, u32), String>,
    /// Resources of the manifests, and `true` if the user may create them.
    pub(super) rights: Vec<(&'static str, Lookup<bool>)>,
    /// `true` if the MutatingWebhookConfiguration exists.
    pub(super) configuration: Lookup<bool>,
    /// Name and labels of the namespace, if it exists.
    pub(super) namespace: Lookup<Option<Value>>,
}

/// Reads them.
pub(super) async fn look(client: &Client, config_name: &str) -> PreFacts {
    let mut rights = vec![];
    for (group, resource) in RESOURCES {
        rights.push((resource, may_create(client, group, resource).await));
    }
    let configurations = path(ADMISSION, None, "mutatingwebhookconfigurations");
    PreFacts {
        version: version(client).await,
        rights,
        configuration: get(client, &configurations, config_name).await.map(|found| found.is_some()),
        namespace: get(client, &path(CORE, None, "namespaces"), NAMESPACE).await,
    }
}

/// Derives the findings. Pure.
pub(super) fn judge(facts: &PreFacts) -> Vec<Finding> {
    let mut findings = Findings::about("installation");
    version_finding(&mut findings, &facts.version);
    rights(&mut findings, &facts.rights);
    match &facts.configuration {
        Ok(false) => findings.ok("configuration", "no webhook of couchdiscover is installed"),
        Ok(true) => findings.ok("configuration", "couchdiscover is installed: this would be an upgrade"),
        Err(error) => findings.unknown("configuration", error),
    }
    namespace(&mut findings, &facts.namespace);
    findings.into_list()
}

fn version_finding(findings: &mut Findings, version: &Result<(u32, u32), String>) {
    const CHECK: &str = "version";
    match version {
        Ok(version @ (major, minor)) if *version < OLDEST => findings.wrong(
            CHECK,
            format!("Kubernetes {major}.{minor} has no ValidatingAdmissionPolicy, so the manifests cannot be applied"),
            "upgrade to 1.30 or later, or remove the three policies from the base (policy.yaml, webhook-policy.yaml, \
             agent-policy.yaml)",
        ),
        Ok((major, minor)) => findings.ok(CHECK, format!("Kubernetes {major}.{minor}")),
        Err(text) => findings.unknown(CHECK, format!("the version '{text}' is not understood")),
    }
}

fn rights(findings: &mut Findings, rights: &[(&'static str, Lookup<bool>)]) {
    const CHECK: &str = "rights";
    let mut missing = vec![];
    for (resource, allowed) in rights {
        match allowed {
            Ok(true) => {}
            Ok(false) => missing.push(*resource),
            Err(error) => return findings.unknown(CHECK, error),
        }
    }
    if missing.is_empty() {
        return findings.ok(CHECK, "you may create everything in manifests/base");
    }
    findings.wrong(
        CHECK,
        format!("you may not create: {}", missing.join(", ")),
        "a cluster admin applies the manifests: kubectl apply -k manifests/base",
    );
}

fn namespace(findings: &mut Findings, namespace: &Lookup<Option<Value>>) {
    const CHECK: &str = "namespace";
    match namespace {
        Ok(None) => {
            findings.ok(CHECK, format!("namespace '{NAMESPACE}' does not exist; the manifests create it"))
        }
        Ok(Some(found)) if string(&found["status"]["phase"]) == "Terminating" => findings.wrong(
            CHECK,
            format!("namespace '{NAMESPACE}' is being deleted, so nothing can be created in it"),
            format!("wait until it is gone: kubectl wait --for=delete namespace/{NAMESPACE}"),
        ),
        Ok(Some(_)) => findings.ok(CHECK, format!("namespace '{NAMESPACE}' exists")),
        Err(error) => findings.unknown(CHECK, error),
    }
}

async fn version(client: &Client) -> Result<(u32, u32), String> {
    let info = client.apiserver_version().await.map_err(|error| error.to_string())?;
    // Providers append a plus sign to the minor version.
    let minor = info.minor.trim_end_matches('+');
    let parsed = info.major.parse().ok().zip(minor.parse().ok());
    parsed.ok_or_else(|| format!("{}.{}", info.major, info.minor))
}

async fn may_create(client: &Client, group: &str, resource: &str) -> Lookup<bool> {
    let attributes = json!({ "verb": "create", "group": group, "resource": resource });
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    });
    let answer = create_dry(client, &path(AUTHORIZATION, None, "selfsubjectaccessreviews"), &review).await?;
    Ok(answer["status"]["allowed"] == true)
}

/// The first version with ValidatingAdmissionPolicy in `v1`.
const OLDEST: (u32, u32) = (1, 30);
const NAMESPACE: &str = "couchdiscover";
/// Group and resource of what the base contains, without what a namespace's admin may create anyway.
const RESOURCES: [(&str, &str); 6] = [
    ("", "namespaces"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("scheduling.k8s.io", "priorityclasses"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Level;

    #[test]
    fn an_installation_that_cannot_succeed_is_wrong() {
        let good = || PreFacts {
            version: Ok((1, 34)),
            rights: vec![("clusterroles", Ok(true))],
            configuration: Ok(false),
            namespace: Ok(None),
        };
        let wrong = |change: fn(&mut PreFacts)| {
            let mut facts = good();
            change(&mut facts);
            let findings = judge(&facts).into_iter().filter(|finding| finding.level != Level::Ok);
            findings.map(|finding| finding.message).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(wrong(|_| {}), "");
        assert!(wrong(|facts| facts.version = Ok((1, 29))).starts_with("Kubernetes 1.29 has no Validating"));
        assert_eq!(wrong(|facts| facts.rights[0].1 = Ok(false)), "you may not create: clusterroles");
        let ending =
            wrong(|facts| facts.namespace = Ok(Some(json!({ "status": { "phase": "Terminating" } }))));
        assert!(ending.contains("is being deleted"), "{ending}");
        assert_eq!(wrong(|facts| facts.configuration = Ok(true)), "");
    }
}
