//! The record of an injection, an annotation on the pod template: enough to remove exactly what was added.
//!
//! ```json
//! {"schema":1,"version":"0.1.0","containers":{"couchdiscover-agent":"9f0c1d2e"},
//!  "env":{"couchdb":{"ERL_FLAGS":"5a6b7c8d"}},"made":["annotations"]}
//! ```
//!
//! Each name has a digest of what was rendered. A variable that differs from it was changed since, and belongs to the
//! user.

use std::borrow::Cow;
use std::sync::Arc;

use contract::objects;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::read::annotations::INJECTABLE;

/// The content of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Version of the webhook that rendered the injection.
    pub(crate) version: String,
    pub(crate) items: Vec<Item>,
    /// The maps and lists that were created for the items, from the outside in.
    pub(crate) made: Vec<Parent>,
    /// Names of entries that couchdiscover never adds. The user writes the annotation, too: if these were removed, it would
    /// take out what another webhook has added to the StatefulSet.
    pub(crate) ignored: Vec<String>,
}

/// One added entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) place: Place,
    pub(crate) digest: Digest,
}

/// The place of an entry: a list of named entries, and the entry's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) list: List,
    pub(crate) name: Cow<'static, str>,
}

/// A list in the pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// The containers.
    Containers,
    /// The init containers.
    InitContainers,
    /// The variables of the container with this name.
    Env(Arc<str>),
    /// The volumes.
    Volumes,
    /// The Secrets that images are pulled with.
    PullSecrets,
}

/// A map or list that was created so that something could be added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// The template's metadata.
    Metadata,
    /// The template's annotations.
    Annotations,
    /// One of the lists.
    List(List),
}

/// The annotation is not a record of a schema that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

const SCHEMA: u32 = 1;

impl Record {
    /// Parses the annotation's value.
    pub(crate) fn parse(text: &str) -> Result<Self, Broken> {
        let record: ReadRecord = serde_json::from_str(text).map_err(|_| Broken)?;
        // Another schema may give the fields another meaning.
        if record.schema != SCHEMA {
            return Err(Broken);
        }
        let mut items = Vec::new();
        read(&mut items, &List::Containers, &record.containers)?;
        read(&mut items, &List::InitContainers, &record.init_containers)?;
        for (container, variables) in &record.env {
            let list = List::Env(container.as_str().into());
            read(&mut items, &list, variables.as_object().ok_or(Broken)?)?;
        }
        read(&mut items, &List::Volumes, &record.volumes)?;
        read(&mut items, &List::PullSecrets, &record.image_pull_secrets)?;
        let (items, ignored) = items.into_iter().partition::<Vec<_>, _>(|item| item.place.can_be_ours());
        let ignored = ignored.into_iter().map(|item| item.place.name.into_owned()).collect();
        let made = record.made.iter().map(|name| Parent::parse(name)).collect::<Result<_, _>>()?;
        Ok(Self { version: record.version, items, made, ignored })
    }

    /// Compact JSON. Equal records have equal bytes.
    pub(crate) fn to_json(&self) -> String {
        let record = WrittenRecord {
            schema: SCHEMA,
            version: &self.version,
            containers: self.entries(List::Containers),
            init_containers: self.entries(List::InitContainers),
            env: Environments(self),
            volumes: self.entries(List::Volumes),
            image_pull_secrets: self.entries(List::PullSecrets),
            made: &self.made,
        };
        let mut json = Vec::with_capacity(512);
        // Maps of strings in memory cannot fail to serialize.
        let _ = serde_json::to_writer(&mut json, &record);
        String::from_utf8(json).unwrap_or_default()
    }

    /// The variables in containers of the user.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| item.place.list.is_env())
    }

    /// `true` if it describes more than variables: the agent's container or its volumes.
    pub(crate) fn has_agent(&self) -> bool {
        self.items.iter().any(|item| !item.place.list.is_env())
    }

    fn entries(&self, list: List) -> Entries<'_> {
        Entries { items: &self.items, list }
    }
}

impl Place {
    /// `true` for an entry that some version of couchdiscover may have added.
    fn can_be_ours(&self) -> bool {
        match self.list {
            List::Containers | List::InitContainers => self.name == objects::AGENT_CONTAINER,
            List::Volumes => self.name.starts_with(objects::VOLUME_PREFIX),
            List::Env(_) => INJECTABLE.contains(&&*self.name),
            // The cluster's admin chooses the names.
            List::PullSecrets => true,
        }
    }
}

impl List {
    /// `true` for the variables of a container of the user.
    pub(crate) fn is_env(&self) -> bool {
        match self {
            Self::Env(_) => true,
            Self::Containers | Self::InitContainers | Self::Volumes | Self::PullSecrets => false,
        }
    }
}

impl Parent {
    fn parse(text: &str) -> Result<Self, Broken> {
        Ok(match text {
            "metadata" => Self::Metadata,
            "annotations" => Self::Annotations,
            "initContainers" => Self::List(List::InitContainers),
            "volumes" => Self::List(List::Volumes),
            "imagePullSecrets" => Self::List(List::PullSecrets),
            _ => Self::List(List::Env(text.strip_prefix("env:").ok_or(Broken)?.into())),
        })
    }

    fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Metadata => "metadata".into(),
            Self::Annotations => "annotations".into(),
            Self::List(List::Containers) => "containers".into(),
            Self::List(List::InitContainers) => "initContainers".into(),
            Self::List(List::Env(container)) => format!("env:{container}").into(),
            Self::List(List::Volumes) => "volumes".into(),
            Self::List(List::PullSecrets) => "imagePullSecrets".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadRecord {
    schema: u32,
    version: String,
    #[serde(default)]
    containers: Map<String, Value>,
    #[serde(default)]
    init_containers: Map<String, Value>,
    #[serde(default)]
    env: Map<String, Value>,
    #[serde(default)]
    volumes: Map<String, Value>,
    #[serde(default)]
    image_pull_secrets: Map<String, Value>,
    #[serde(default)]
    made: Vec<String>,
}

fn read(items: &mut Vec<Item>, list: &List, digests: &Map<String, Value>) -> Result<(), Broken> {
    for (name, digest) in digests {
        let digest = digest.as_str().and_then(Digest::parse).ok_or(Broken)?;
        items.push(Item { place: Place { list: list.clone(), name: Cow::Owned(name.clone()) }, digest });
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRecord<'r> {
    schema: u32,
    version: &'r str,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    containers: Entries<'r>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    init_containers: Entries<'r>,
    #[serde(skip_serializing_if = "Environments::is_empty")]
    env: Environments<'r>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    volumes: Entries<'r>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    image_pull_secrets: Entries<'r>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    made: &'r [Parent],
}

/// The items of one list: a map from name to digest.
struct Entries<'r> {
    items: &'r [Item],
    list: List,
}

impl Entries<'_> {
    fn is_empty(&self) -> bool {
        !self.items.iter().any(|item| item.place.list == self.list)
    }
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items = self.items.iter().filter(|item| item.place.list == self.list);
        serializer.collect_map(items.map(|item| (&*item.place.name, item.digest)))
    }
}

/// The variables: a map from container to [`Entries`].
struct Environments<'r>(&'r Record);

impl<'r> Environments<'r> {
    fn is_empty(&self) -> bool {
        self.containers().next().is_none()
    }

    /// The containers that have variables. The items of one container are adjacent.
    fn containers(&self) -> impl Iterator<Item = &'r Arc<str>> {
        let mut previous = None;
        self.0.items.iter().filter_map(move |item| {
            let List::Env(container) = &item.place.list else { return None };
            (previous.replace(container) != Some(container)).then_some(container)
        })
    }
}

impl Serialize for Environments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(self.containers().map(|name| (&**name, self.0.entries(List::Env(name.clone())))))
    }
}

impl Serialize for Parent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_record_is_read_as_the_same() {
        let couchdb = List::Env("couchdb".into());
        let place = |list: List, name: &'static str| Place { list, name: name.into() };
        let places = [
            place(List::Containers, "couchdiscover-agent"),
            place(couchdb.clone(), "NODENAME"),
            place(couchdb.clone(), "POD_NAME"),
            place(List::Volumes, "couchdiscover-token"),
            place(List::PullSecrets, "registry"),
        ];
        let digest = Digest::parse("0000beef").unwrap();
        let items = places.map(|place| Item { place, digest }).to_vec();
        let made = vec![Parent::Annotations, Parent::List(couchdb)];
        let record = Record { version: "1.2.3".to_owned(), items, made, ignored: vec![] };
        insta::assert_snapshot!(record.to_json(), @r#"{"schema":1,"version":"1.2.3","containers":{"couchdiscover-agent":"0000beef"},"env":{"couchdb":{"NODENAME":"0000beef","POD_NAME":"0000beef"}},"volumes":{"couchdiscover-token":"0000beef"},"imagePullSecrets":{"registry":"0000beef"},"made":["annotations","env:couchdb"]}"#);
        assert_eq!(Record::parse(&record.to_json()), Ok(record));
    }

    #[test]
    fn entries_that_couchdiscover_never_adds_are_ignored() {
        let text = r#"{"schema":1,"version":"1","containers":{"policy-sidecar":"00000000","couchdiscover-agent":"00000000"},
            "initContainers":{"policy-init":"00000000"},"volumes":{"policy-ca":"00000000","couchdiscover-token":"00000000"},
            "env":{"couchdb":{"HTTPS_PROXY":"00000000","NODENAME":"00000000"}}}"#;
        let record = Record::parse(text).unwrap();
        let names: Vec<&str> = record.items.iter().map(|item| &*item.place.name).collect();
        assert_eq!(names, ["couchdiscover-agent", "NODENAME", "couchdiscover-token"]);
        assert_eq!(record.ignored, ["policy-sidecar", "policy-init", "HTTPS_PROXY", "policy-ca"]);
    }

    #[test]
    fn other_text_is_a_broken_record() {
        for text in [
            "",
            "true",
            "{}",
            r#"{"schema":2,"version":"9"}"#,
            r#"{"schema":1,"version":"1","containers":{"a":1}}"#,
            r#"{"schema":1,"version":"1","containers":{"a":"zz"}}"#,
            r#"{"schema":1,"version":"1","env":{"a":"00000000"}}"#,
            r#"{"schema":1,"version":"1","made":["roof"]}"#,
        ] {
            assert_eq!(Record::parse(text), Err(Broken), "{text}");
        }
    }
}
