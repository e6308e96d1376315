//! The few fields of a StatefulSet that injection looks at, borrowed from its JSON.
//!
//! Everything else is skipped unread. Only these fields must have the type that Kubernetes gives them, so a field
//! that this version doesn't know can neither be misread nor get lost.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::read::text::Text;

/// A StatefulSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[serde(borrow, default, deserialize_with = "object")]
    pub(crate) metadata: Metadata<'a>,
    #[serde(borrow, deserialize_with = "object")]
    pub(crate) spec: Spec<'a>,
}

/// Its metadata.
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
    pub(crate) labels: Option<Ours<'a>>,
    #[serde(borrow)]
    pub(crate) annotations: Option<Ours<'a>>,
}

/// Its spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec<'a> {
    pub(crate) replicas: Option<i64>,
    #[serde(borrow)]
    pub(crate) service_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) pod_management_policy: Option<Text<'a>>,
    pub(crate) ordinals: Option<Ordinals>,
    #[serde(borrow)]
    pub(crate) volume_claim_templates: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(crate) template: Template<'a>,
}

/// Where its pods begin to count.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ordinals {
    #[serde(default)]
    pub(crate) start: u32,
}

/// Its pods, with the JSON they were read from.
#[derive(Clone, Debug)]
pub(crate) struct Template<'a> {
    pub(crate) raw: &'a str,
    pub(crate) metadata: Option<TemplateMetadata<'a>>,
    pub(crate) spec: PodSpec<'a>,
}

/// The metadata of its pods.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TemplateMetadata<'a> {
    #[serde(borrow)]
    pub(crate) annotations: Option<Ours<'a>>,
}

/// What its pods are made of.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSpec<'a> {
    #[serde(borrow, deserialize_with = "objects")]
    pub(crate) containers: Vec<Container<'a>>,
    #[serde(borrow)]
    pub(crate) init_containers: Option<Vec<Named<'a>>>,
    #[serde(borrow)]
    pub(crate) volumes: Option<Vec<Volume<'a>>>,
    pub(crate) automount_service_account_token: Option<bool>,
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
    pub(crate) image: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) env: Option<Vec<Env<'a>>>,
    #[serde(borrow)]
    pub(crate) env_from: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(crate) ports: Option<Vec<Port<'a>>>,
    #[serde(borrow)]
    pub(crate) liveness_probe: Option<Probe<'a>>,
    /// The program, where it isn't the image's own.
    #[serde(borrow)]
    pub(crate) command: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) args: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) volume_mounts: Option<&'a RawValue>,
}

/// An environment variable, with the JSON it was read from, so that it can be copied whole.
#[derive(Clone, Debug)]
pub(crate) struct Env<'a> {
    pub(crate) name: Text<'a>,
    value: Option<Text<'a>>,
    /// Where the value comes from, when it isn't a literal.
    pub(crate) value_from: Option<&'a RawValue>,
    pub(crate) raw: &'a str,
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

/// A probe by HTTP.
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
}

/// Anything with a name.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Named<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
}

/// Those of a map's entries whose keys are under our domain. The others aren't kept, however long they are:
/// `last-applied-configuration` alone is as long as the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ours<'a>(pub(crate) Vec<(Text<'a>, Text<'a>)>);

impl<'a> View<'a> {
    /// Reads a StatefulSet, or says which field is not what it should be.
    pub(crate) fn parse(object: &'a str) -> Result<Self, String> {
        let view: Result<Object<Self>, _> = serde_json::from_str(object);
        view.map(|Object(view)| view).map_err(|_| {
            let place = crate::read::text::place::<Object<View<'_>>>(object.as_bytes());
            // The line and column would be those of JSON that its author has never seen.
            let place = place.split_once(" at line ").map_or(place.as_str(), |(place, _)| place);
            place.trim_start_matches('.').to_owned()
        })
    }

    /// A label of ours.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        find(self.metadata.labels.as_ref(), key)
    }

    /// An annotation of ours.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        find(self.metadata.annotations.as_ref(), key)
    }

    /// The labels of ours.
    pub(crate) fn labels(&self) -> &[(Text<'a>, Text<'a>)] {
        self.metadata.labels.as_ref().map_or(&[], |ours| &ours.0)
    }

    /// The annotations of ours.
    pub(crate) fn annotations(&self) -> &[(Text<'a>, Text<'a>)] {
        self.metadata.annotations.as_ref().map_or(&[], |ours| &ours.0)
    }

    /// How many pods are asked for; as Kubernetes has it, one when nothing is said.
    pub(crate) fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }
}

impl<'a> View<'a> {
    /// The same StatefulSet with other pods.
    pub(crate) fn with_template<'b>(self, template: Template<'b>) -> View<'b>
    where
        'a: 'b,
    {
        let Self { metadata, spec } = self;
        View { metadata, spec: Spec { template, ..spec } }
    }
}

impl Template<'_> {
    /// An annotation of ours on the pods.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        find(self.metadata.as_ref()?.annotations.as_ref(), key)
    }
}

impl<'a> Container<'a> {
    /// Its image, as it is written; nothing where there is none.
    pub(crate) fn image(&self) -> &str {
        self.image.as_ref().map_or("", |image| image.as_str())
    }

    /// Its variables.
    pub(crate) fn env(&self) -> &[Env<'a>] {
        self.env.as_deref().unwrap_or(&[])
    }

    /// The variable of this name that counts: of several, Kubernetes takes the last.
    pub(crate) fn variable(&self, name: &str) -> Option<&Env<'a>> {
        self.env().iter().rfind(|env| env.name.as_str() == name)
    }

    /// Where variables come from that can't be seen here.
    pub(crate) fn env_from(&self) -> &[&'a RawValue] {
        self.env_from.as_deref().unwrap_or(&[])
    }
}

impl Env<'_> {
    /// What is written as its value; `None` when it comes from elsewhere.
    pub(crate) fn literal(&self) -> Option<&str> {
        let written = self.value.as_ref().map_or("", |value| value.as_str());
        self.value_from.is_none().then_some(written)
    }

    /// Its value, if that can be told here: not from elsewhere, and not put together from other variables.
    pub(crate) fn seen(&self) -> Option<&str> {
        self.literal().filter(|value| !value.contains("$("))
    }
}

fn find<'v>(ours: Option<&'v Ours<'_>>, key: &str) -> Option<&'v str> {
    let (_, value) = ours?.0.iter().find(|(name, _)| name.as_str() == key)?;
    Some(value.as_str())
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
        let raw = <&'a RawValue>::deserialize(deserializer)?.get();
        let fields: Result<Object<Fields<'a>>, _> = serde_json::from_str(raw);
        let Object(Fields { metadata, spec }) = fields
            .map_err(|_| D::Error::custom(crate::read::text::place::<Object<Fields<'_>>>(raw.as_bytes())))?;
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
        let raw = <&'a RawValue>::deserialize(deserializer)?.get();
        let fields: Result<Fields<'a>, _> = serde_json::from_str(raw);
        let Fields { name, value, value_from } =
            fields.map_err(|_| D::Error::custom(crate::read::text::place::<Fields<'_>>(raw.as_bytes())))?;
        Ok(Self { name, value, value_from, raw })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Ours<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OursVisitor(PhantomData))
    }
}

/// What is read from a JSON object only. Serde takes a list for a struct as well, in the order of its fields, and a
/// patch that was made for an object doesn't apply to a list.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

fn optional_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Object<T>>::deserialize(deserializer).map(|value| value.map(|Object(value)| value))
}

fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Vec::<Object<T>>::deserialize(deserializer).map(|all| all.into_iter().map(|Object(one)| one).collect())
}

struct OursVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for OursVisitor<'a> {
    type Value = Ours<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ours<'a>, A::Error> {
        let mut ours = Vec::new();
        while let Some(key) = map.next_key::<Text<'a>>()? {
            if is_ours(key.as_str()) {
                ours.push((key, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Ours(ours))
    }
}

/// Whether a key is under our domain.
fn is_ours(key: &str) -> bool {
    key.strip_prefix(contract::keys::DOMAIN).is_some_and(|rest| rest.starts_with('/'))
}
