//! The MutatingWebhookConfiguration: the published bundles, and the field managers that wrote them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use thiserror::Error;

/// The parts of a MutatingWebhookConfiguration that the keeper reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Configuration {
    resource_version: String,
    entries: Vec<Entry>,
    managers: Vec<ManagedFieldsEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    /// Empty if the entry has none.
    ca_bundle: Vec<u8>,
}

/// A reason for which callers can't be served through this configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BundleError {
    #[error("its entry '{entry}' has no caBundle yet")]
    Missing { entry: String },
    #[error("it has no webhooks")]
    NoEntries,
}

impl From<MutatingWebhookConfiguration> for Configuration {
    fn from(mut configuration: MutatingWebhookConfiguration) -> Self {
        Self {
            resource_version: configuration.resource_version().unwrap_or_default(),
            managers: configuration.metadata.managed_fields.take().unwrap_or_default(),
            entries: configuration.webhooks.into_iter().flatten().map(Entry::from).collect(),
        }
    }
}

impl From<MutatingWebhook> for Entry {
    fn from(webhook: MutatingWebhook) -> Self {
        let ca_bundle = webhook.client_config.ca_bundle.map(|bytes| bytes.0).unwrap_or_default();
        Self { name: webhook.name, ca_bundle }
    }
}

impl Configuration {
    /// The bundle that all entries have in common; `None` if they differ or have none.
    pub(crate) fn published(&self) -> Option<&[u8]> {
        let first = self.entries.first()?;
        let same = self.entries.iter().all(|entry| entry.ca_bundle == first.ca_bundle);
        (same && !first.ca_bundle.is_empty()).then_some(&*first.ca_bundle)
    }

    /// The bundles of all entries, equal neighbours once. An error names the first entry without one.
    pub(crate) fn bundles(&self) -> Result<Vec<String>, BundleError> {
        if self.entries.is_empty() {
            return Err(BundleError::NoEntries);
        }
        let mut bundles = vec![];
        for Entry { name, ca_bundle } in &self.entries {
            match String::from_utf8(ca_bundle.clone()) {
                Ok(text) if !text.is_empty() => bundles.push(text),
                // Bytes that are no text are no PEM either, and verify nothing.
                Ok(_) | Err(_) => return Err(BundleError::Missing { entry: name.clone() }),
            }
        }
        // The readiness check makes a handshake with each bundle.
        bundles.dedup();
        Ok(bundles)
    }

    /// Returns the patch, for server-side apply, that gives every entry this bundle.
    ///
    /// It applies to this version of the object only: an entry that was removed in the meantime would be created
    /// again, with a name and a caBundle and nothing else.
    pub(crate) fn patch(&self, name: &str, ca_bundle: &str) -> Value {
        let ca_bundle = STANDARD.encode(ca_bundle);
        let mut webhooks = vec![];
        for entry in &self.entries {
            webhooks.push(json!({ "name": entry.name, "clientConfig": { "caBundle": ca_bundle } }));
        }
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": name, "resourceVersion": self.resource_version },
            "webhooks": webhooks,
        })
    }

    /// Names the field manager other than `own` that wrote a bundle.
    ///
    /// The managed fields do not record a removal. If no other manager owns a bundle, the answer is all that write
    /// this object.
    pub(crate) fn changed_by(&self, own: &str) -> String {
        let mut others = vec![];
        for entry in &self.managers {
            match entry.manager.as_deref() {
                Some(name) if name != own && owns_a_bundle(entry) => return name.to_owned(),
                Some(name) if name != own => others.push(name),
                Some(_) | None => {}
            }
        }
        if others.is_empty() {
            return "unknown".to_owned();
        }
        format!("unknown, perhaps one of: {}", others.join(", "))
    }
}

fn owns_a_bundle(entry: &ManagedFieldsEntry) -> bool {
    let Some(fields) = &entry.fields_v1 else { return false };
    let webhooks = fields.0["f:webhooks"].as_object();
    webhooks.into_iter().flatten().any(|(_, webhook)| !webhook["f:clientConfig"]["f:caBundle"].is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(object: Value) -> Configuration {
        Configuration::from(serde_json::from_value::<MutatingWebhookConfiguration>(object).unwrap())
    }

    fn with_webhooks(webhooks: &[Value]) -> Configuration {
        configuration(json!({ "metadata": {}, "webhooks": webhooks }))
    }

    fn webhook(name: &str, ca_bundle: &str) -> Value {
        json!({
            "name": name, "clientConfig": { "url": "https://x", "caBundle": STANDARD.encode(ca_bundle) },
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        })
    }

    #[test]
    fn the_published_bundle_is_the_one_of_every_entry() {
        let same = with_webhooks(&[webhook("a", "x"), webhook("b", "x")]);
        assert_eq!(same.published(), Some(&b"x"[..]));
        let different = with_webhooks(&[webhook("a", "x"), webhook("b", "y")]);
        assert_eq!(different.published(), None);
        assert_eq!(with_webhooks(&[webhook("a", ""), webhook("b", "")]).published(), None);
        assert_eq!(with_webhooks(&[]).published(), None);
    }

    #[test]
    fn callers_trust_the_bundles_of_all_entries_and_an_entry_without_one_is_an_error() {
        let bundles = |webhooks: &[Value]| with_webhooks(webhooks).bundles();
        assert_eq!(bundles(&[webhook("a", "x"), webhook("b", "y")]).unwrap(), ["x", "y"]);
        assert_eq!(bundles(&[webhook("a", "x"), webhook("b", "x")]).unwrap(), ["x"]);
        let error = bundles(&[webhook("a", "x"), webhook("b", "")]).unwrap_err();
        assert_eq!(error.to_string(), "its entry 'b' has no caBundle yet");
        assert_eq!(bundles(&[]).unwrap_err().to_string(), "it has no webhooks");
    }

    #[test]
    fn a_patch_gives_every_entry_the_bundle_and_touches_nothing_else() {
        let configuration = configuration(
            json!({ "metadata": { "resourceVersion": "7" }, "webhooks": [webhook("a", "x"), webhook("b", "")] }),
        );
        assert_eq!(
            configuration.patch("couchdiscover", "z"),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": { "name": "couchdiscover", "resourceVersion": "7" },
                "webhooks": [
                    { "name": "a", "clientConfig": { "caBundle": "eg==" } },
                    { "name": "b", "clientConfig": { "caBundle": "eg==" } },
                ],
            })
        );
    }

    #[test]
    fn the_manager_that_wrote_a_bundle_is_named_and_one_that_removed_it_is_only_suspected() {
        let manager = |name: &str, owned: Value| {
            let fields = json!({ "f:webhooks": { "k:{\"name\":\"a\"}": { "f:clientConfig": owned } } });
            json!({ "manager": name, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields })
        };
        let changed_by = |managers: &[&Value]| {
            let object = json!({ "metadata": { "managedFields": managers }, "webhooks": [] });
            configuration(object).changed_by("own")
        };
        let own = manager("own", json!({ "f:caBundle": {} }));
        let helm = manager("helm", json!({ "f:caBundle": {} }));
        let kubectl = manager("kubectl", json!({ "f:url": {} }));
        assert_eq!(changed_by(&[&own, &kubectl, &helm]), "helm");
        assert_eq!(changed_by(&[&own, &kubectl]), "unknown, perhaps one of: kubectl");
        assert_eq!(changed_by(&[&own]), "unknown");
    }
}
