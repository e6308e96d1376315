//! The webhook's configuration as callers see it: whom they trust, and who changed that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// What is read of a MutatingWebhookConfiguration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    version: String,
    entries: Vec<Entry>,
    managers: Vec<ManagedFieldsEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    /// Empty where there is none.
    ca_bundle: Vec<u8>,
}

impl From<MutatingWebhookConfiguration> for View {
    fn from(mut configuration: MutatingWebhookConfiguration) -> Self {
        let entry = |webhook: k8s_openapi::api::admissionregistration::v1::MutatingWebhook| Entry {
            name: webhook.name,
            ca_bundle: webhook.client_config.ca_bundle.map(|bytes| bytes.0).unwrap_or_default(),
        };
        Self {
            version: configuration.resource_version().unwrap_or_default(),
            managers: configuration.metadata.managed_fields.take().unwrap_or_default(),
            entries: configuration.webhooks.into_iter().flatten().map(entry).collect(),
        }
    }
}

impl View {
    /// The bundle that every entry has, if they all have the same.
    pub(crate) fn published(&self) -> Option<&[u8]> {
        let first = self.entries.first()?;
        let same = self.entries.iter().all(|entry| entry.ca_bundle == first.ca_bundle);
        (same && !first.ca_bundle.is_empty()).then_some(&*first.ca_bundle)
    }

    /// The bundles of all entries, each once; the first entry that has none, else.
    pub(crate) fn bundles(&self) -> Result<Vec<String>, String> {
        let mut all = vec![];
        for Entry { name, ca_bundle } in &self.entries {
            match String::from_utf8(ca_bundle.clone()) {
                Ok(text) if !text.is_empty() => all.push(text),
                Ok(_) | Err(_) => return Err(format!("its entry '{name}' has no caBundle yet")),
            }
        }
        all.dedup();
        match all.is_empty() {
            true => Err("it has no webhooks".to_owned()),
            false => Ok(all),
        }
    }

    /// What is to be applied so that every entry has this bundle. It holds for this version of the object only: an entry
    /// that was removed in the meantime would come back as half of one.
    pub(crate) fn patch(&self, name: &str, ca_bundle: &str) -> Value {
        let ca_bundle = STANDARD.encode(ca_bundle);
        let entry = |entry: &Entry| json!({ "name": entry.name, "clientConfig": { "caBundle": ca_bundle } });
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": name, "resourceVersion": self.version },
            "webhooks": self.entries.iter().map(entry).collect::<Vec<_>>(),
        })
    }

    /// The field manager that wrote another bundle; where one was only taken away nothing tells who did it, and `Err`
    /// has everybody who writes this object. `own` is not meant.
    pub(crate) fn changed_by(&self, own: &str) -> Result<&str, Vec<&str>> {
        let others = || {
            let named = self.managers.iter().filter_map(|entry| Some((entry, entry.manager.as_deref()?)));
            named.filter(|(_, name)| *name != own)
        };
        match others().find(|(entry, _)| owns_a_bundle(entry)) {
            Some((_, name)) => Ok(name),
            None => Err(others().map(|(_, name)| name).collect()),
        }
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

    fn view(configuration: Value) -> View {
        View::from(serde_json::from_value::<MutatingWebhookConfiguration>(configuration).unwrap())
    }

    fn webhook(name: &str, ca_bundle: &str) -> Value {
        json!({
            "name": name, "clientConfig": { "url": "https://x", "caBundle": STANDARD.encode(ca_bundle) },
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        })
    }

    #[test]
    fn published_is_what_every_entry_has() {
        let of = |webhooks: &[Value]| view(json!({ "metadata": {}, "webhooks": webhooks }));
        assert_eq!(of(&[webhook("a", "x"), webhook("b", "x")]).published(), Some(&b"x"[..]));
        assert_eq!(of(&[webhook("a", "x"), webhook("b", "y")]).published(), None);
        assert_eq!(of(&[webhook("a", ""), webhook("b", "")]).published(), None);
        assert_eq!(of(&[]).published(), None);
        assert_eq!(of(&[webhook("a", "x"), webhook("b", "y")]).bundles().unwrap(), ["x", "y"]);
        assert_eq!(
            of(&[webhook("a", "x"), webhook("b", "")]).bundles().unwrap_err(),
            "its entry 'b' has no caBundle yet"
        );
        assert_eq!(of(&[]).bundles().unwrap_err(), "it has no webhooks");
    }

    #[test]
    fn every_entry_is_applied_to_and_nothing_else() {
        let view = view(
            json!({ "metadata": { "resourceVersion": "7" }, "webhooks": [webhook("a", "x"), webhook("b", "")] }),
        );
        assert_eq!(
            view.patch("couchdiscover", "z"),
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
    fn who_wrote_a_bundle_is_known_and_who_took_one_away_is_not() {
        let fields =
            |owned: Value| json!({ "f:webhooks": { "k:{\"name\":\"a\"}": { "f:clientConfig": owned } } });
        let manager = |name: &str, fields: &Value| json!({ "manager": name, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields });
        let of =
            |managers: &[Value]| view(json!({ "metadata": { "managedFields": managers }, "webhooks": [] }));
        let own = manager("own", &fields(json!({ "f:caBundle": {} })));
        let helm = manager("helm", &fields(json!({ "f:caBundle": {} })));
        let kubectl = manager("kubectl", &fields(json!({ "f:url": {} })));
        assert_eq!(of(&[own.clone(), kubectl.clone(), helm]).changed_by("own"), Ok("helm"));
        assert_eq!(of(&[own, kubectl]).changed_by("own"), Err(vec!["kubectl"]));
    }
}
