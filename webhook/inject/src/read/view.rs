//! The fields of a StatefulSet that injection looks at, borrowed from its JSON.
//!
//! All other fields are skipped. Only the fields read here must have the type that Kubernetes defines, so a field that
//! this version does not know can neither be misread nor get lost.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::object::{Object, object, objects, optional_object};
use super::text::{Text, place};
use crate::outcome::Problem;

/// A StatefulSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[serde(borrow, default, deserialize_with = "object")]
    pub(crate) metadata: Metadata<'a>,
    #[serde(borrow, deserialize_with = "object")]
    pub(crate) spec: Spec<'a>,
}

/// The StatefulSet's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) namespace: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) deletion_timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    labels: Option<OurKeys<'a>>,
    #[serde(borrow)]
    annotations: Option<OurKeys<'a>>,
}

/// The StatefulSet's spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec<'a> {
    replicas: Option<i64>,
    #[serde(borrow)]
    service_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) pod_management_policy: Option<Text<'a>>,
    ordinals: Option<Ordinals>,
    #[serde(borrow)]
    pub(crate) volume_claim_templates: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(crate) persistent_volume_claim_retention_policy: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) template: Template<'a>,
}

#[derive(Clone, Debug, Deserialize)]
struct Ordinals {
    #[serde(default)]
    start: u32,
}

/// The pod template, together with the JSON it was read from.
#[derive(Clone, Debug)]
pub(crate) struct Template<'a> {
    pub(crate) raw: &'a str,
    pub(crate) metadata: Option<TemplateMetadata<'a>>,
    pub(crate) spec: PodSpec<'a>,
}

/// The metadata of the pods.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TemplateMetadata<'a> {
    #[serde(borrow)]
    pub(crate) annotations: Option<OurKeys<'a>>,
}

/// The spec of the pods.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSpec<'a> {
    #[serde(borrow, deserialize_with = "objects")]
    pub(crate) containers: Vec<Container<'a>>,
    #[serde(borrow)]
    pub(crate) init_containers: Option<Vec<Named<'a>>>,
    #[serde(borrow)]
    pub(crate) volumes: Option<Vec<Volume<'a>>>,
    pub(crate) security_context: Option<SecurityContext>,
    #[serde(borrow)]
    pub(crate) image_pull_secrets: Option<Vec<Reference<'a>>>,
    #[serde(borrow)]
    pub(crate) service_account_name: Option<Text<'a>>,
    /// The older name of the same field.
    #[serde(borrow)]
    pub(crate) service_account: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) hostname: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) subdomain: Option<Text<'a>>,
}

/// A container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    image: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) env: Option<Vec<Env<'a>>>,
    #[serde(borrow)]
    env_from: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(crate) ports: Option<Vec<Port<'a>>>,
    pub(crate) security_context: Option<SecurityContext>,
    #[serde(borrow)]
    pub(crate) liveness_probe: Option<Probe<'a>>,
    #[serde(borrow)]
    pub(crate) startup_probe: Option<Probe<'a>>,
    #[serde(borrow)]
    pub(crate) readiness_probe: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) lifecycle: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) command: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) args: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) volume_mounts: Option<&'a RawValue>,
}

/// The part of a pod's or a container's security context that decides about files.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecurityContext {
    pub(crate) run_as_user: Option<i64>,
    pub(crate) read_only_root_filesystem: Option<bool>,
}

/// An environment variable, together with the JSON it was read from, so that it can be copied in full.
#[derive(Clone, Debug)]
pub(crate) struct Env<'a> {
    pub(crate) name: Text<'a>,
    value: Option<Text<'a>>,
    /// The source of the value, if it is not a literal.
    pub(crate) value_from: Option<&'a RawValue>,
    pub(crate) raw: &'a RawValue,
}

/// A container port.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    pub(crate) container_port: u16,
}

/// A probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Probe<'a> {
    #[serde(borrow)]
    pub(crate) http_get: Option<HttpGet<'a>>,
    #[serde(borrow)]
    pub(crate) exec: Option<&'a RawValue>,
}

/// The HTTP request of a probe.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct HttpGet<'a> {
    #[serde(borrow)]
    pub(crate) path: Option<Text<'a>>,
}

/// A volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Volume<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) persistent_volume_claim: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) config_map: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) secret: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) projected: Option<&'a RawValue>,
}

/// A reference to an object of the namespace. Kubernetes allows an empty one.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reference<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
}

/// An object of which only the name matters.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Named<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
}

/// The entries of a map that have a key under our domain.
///
/// Other entries are not kept: `last-applied-configuration` alone is as long as the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OurKeys<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> View<'a> {
    /// Reads a StatefulSet. The problem names the first field that has the wrong type.
    pub(crate) fn parse(object: &'a str) -> Result<Self, Problem> {
        let view: Result<Object<Self>, _> = serde_json::from_str(object);
        view.map(|Object(view)| view).map_err(|_| {
            let place = place::<Object<View<'_>>>(object.as_bytes());
            // Line and column refer to compact JSON that the user has never seen.
            let place = place.split_once(" at line ").map_or(place.as_str(), |(place, _)| place);
            Problem::Malformed(place.trim_start_matches('.').to_owned())
        })
    }

    /// The same StatefulSet with another pod template.
    pub(crate) fn with_template<'b>(&self, template: Template<'b>) -> View<'b>
    where
        'a: 'b,
    {
        View { metadata: self.metadata.clone(), spec: self.spec.with_template(template) }
    }

    /// The StatefulSet's name, or an empty string.
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_ref().map_or("", Text::as_str)
    }

    /// Name of the governing Service, or an empty string.
    pub(crate) fn service(&self) -> &str {
        self.spec.service_name.as_ref().map_or("", Text::as_str)
    }

    /// Value of a label under our domain.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key)
    }

    /// Value of an annotation under our domain.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key)
    }

    /// `true` if the object has annotations, of any key.
    pub(crate) fn has_annotations(&self) -> bool {
        self.metadata.annotations.is_some()
    }

    /// `true` if the template has a record of an injection.
    pub(crate) fn has_record(&self) -> bool {
        self.spec.template.annotation(contract::keys::INJECTED).is_some()
    }

    /// All labels under our domain.
    pub(crate) fn labels(&self) -> &[(Text<'a>, Text<'a>)] {
        self.metadata.labels.as_ref().map_or(&[], |ours| &ours.0)
    }

    /// All annotations under our domain.
    pub(crate) fn annotations(&self) -> &[(Text<'a>, Text<'a>)] {
        self.metadata.annotations.as_ref().map_or(&[], |ours| &ours.0)
    }

    /// Number of pods; Kubernetes' default is 1.
    pub(crate) fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }

    /// Number of pods, at least 1: a StatefulSet that is scaled to 0 forms its cluster with its first pod.
    pub(crate) fn pods(&self) -> u32 {
        u32::try_from(self.replicas().max(1)).unwrap_or(u32::MAX)
    }

    /// Ordinal of the first pod.
    pub(crate) fn first_ordinal(&self) -> u32 {
        self.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start)
    }

    /// `true` if Kubernetes deletes the volumes of pods that a smaller number of replicas removes.
    pub(crate) fn deletes_volumes(&self) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Retention<'a> {
            #[serde(borrow)]
            when_scaled: Option<Text<'a>>,
        }
        let policy = self.spec.persistent_volume_claim_retention_policy;
        let policy: Option<Retention<'_>> = policy.and_then(|policy| serde_json::from_str(policy.get()).ok());
        policy.and_then(|policy| policy.when_scaled).is_some_and(|when| when.as_str() == "Delete")
    }

    /// The spec of the pods.
    pub(crate) fn pod(&self) -> &PodSpec<'a> {
        &self.spec.template.spec
    }
}

impl<'a> Spec<'a> {
    fn with_template<'b>(&self, template: Template<'b>) -> Spec<'b>
    where
        'a: 'b,
    {
        Spec {
            replicas: self.replicas,
            service_name: self.service_name.clone(),
            pod_management_policy: self.pod_management_policy.clone(),
            ordinals: self.ordinals.clone(),
            volume_claim_templates: self.volume_claim_templates.clone(),
            persistent_volume_claim_retention_policy: self.persistent_volume_claim_retention_policy,
            template,
        }
    }
}

impl<'a> Template<'a> {
    /// Value of an annotation under our domain on the pods.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.annotations.as_ref()?.get(key)
    }

    /// `true` if one of the containers has the agent's name.
    pub(crate) fn has_agent(&self) -> bool {
        let containers = self.spec.containers.iter().map(|container| &container.name);
        let init_containers = self.spec.init_containers.iter().flatten().map(|container| &container.name);
        containers.chain(init_containers).any(|name| name.as_str() == contract::objects::AGENT_CONTAINER)
    }

    /// All annotations under our domain on the pods.
    pub(crate) fn annotations(&self) -> &[(Text<'a>, Text<'a>)] {
        let annotations = self.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
        annotations.map_or(&[], |ours| &ours.0)
    }
}

impl<'a> Container<'a> {
    /// The image as written, or an empty string.
    pub(crate) fn image(&self) -> &str {
        self.image.as_ref().map_or("", Text::as_str)
    }

    /// The environment variables.
    pub(crate) fn env(&self) -> &[Env<'a>] {
        self.env.as_deref().unwrap_or(&[])
    }

    /// The effective variable of this name: of several, Kubernetes uses the last.
    pub(crate) fn variable(&self, name: &str) -> Option<&Env<'a>> {
        self.env().iter().rfind(|env| env.name.as_str() == name)
    }

    /// Index of a variable of this container.
    pub(crate) fn position(&self, variable: &Env<'_>) -> Option<usize> {
        self.env().iter().position(|env| std::ptr::eq(env.raw, variable.raw))
    }

    /// The variables that Kubernetes can expand in this one, which are those before it.
    pub(crate) fn before(&self, variable: &Env<'_>) -> &[Env<'a>] {
        &self.env()[..self.position(variable).unwrap_or(0)]
    }

    /// ConfigMaps and Secrets that provide further variables, unseen by the webhook.
    pub(crate) fn env_from(&self) -> &[&'a RawValue] {
        self.env_from.as_deref().unwrap_or(&[])
    }
}

impl Env<'_> {
    /// The value as written; `None` if it comes from elsewhere.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self.value_from {
            Some(_) => None,
            // A variable without a value is set, and empty.
            None => Some(self.value.as_ref().map_or("", Text::as_str)),
        }
    }

    /// The final value, if it is visible in the template: neither from elsewhere nor composed of other variables.
    pub(crate) fn visible(&self) -> Option<&str> {
        self.literal().filter(|value| !value.contains("$("))
    }
}

impl OurKeys<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name.as_str() == key)?;
        Some(value.as_str())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Template<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, default, deserialize_with = "optional_object")]
            metadata: Option<TemplateMetadata<'a>>,
            #[serde(borrow, deserialize_with = "object")]
            spec: PodSpec<'a>,
        }
        // The raw text is kept as well: comparing templates and editing them need the original.
        let raw = <&'a RawValue>::deserialize(deserializer)?.get();
        let fields: Result<Object<Fields<'a>>, _> = serde_json::from_str(raw);
        let Object(Fields { metadata, spec }) =
            fields.map_err(|_| D::Error::custom(place::<Object<Fields<'_>>>(raw.as_bytes())))?;
        Ok(Self { raw, metadata, spec })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Env<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields<'a> {
            #[serde(borrow)]
            name: Text<'a>,
            #[serde(borrow)]
            value: Option<Text<'a>>,
            #[serde(borrow)]
            value_from: Option<&'a RawValue>,
        }
        let raw = <&'a RawValue>::deserialize(deserializer)?;
        // The text is kept as well, so that a copy has the fields that this version does not know.
        let fields: Result<Fields<'a>, _> = serde_json::from_str(raw.get());
        let Fields { name, value, value_from } =
            fields.map_err(|_| D::Error::custom(place::<Fields<'_>>(raw.get().as_bytes())))?;
        Ok(Self { name, value, value_from, raw })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for OurKeys<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OurKeysVisitor(PhantomData))
    }
}

struct OurKeysVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for OurKeysVisitor<'a> {
    type Value = OurKeys<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OurKeys<'a>, A::Error> {
        let mut ours = Vec::new();
        while let Some(key) = map.next_key::<Text<'a>>()? {
            if is_ours(key.as_str()) {
                ours.push((key, map.next_value()?));
            } else {
                // Skipped without an allocation.
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(OurKeys(ours))
    }
}

/// `true` if the key is under our domain.
fn is_ours(key: &str) -> bool {
    // A longer domain that begins like ours is not ours.
    key.strip_prefix(contract::keys::DOMAIN).is_some_and(|rest| rest.starts_with('/'))
}
