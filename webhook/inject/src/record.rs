//! The record of what was added, kept as an annotation on the pod template: enough to take exactly that out again.
//!
//! ```json
//! {"schema":1,"version":"0.1.0","containers":{"couchdiscover-agent":"9f0c1d2e"},
//!  "env":{"couchdb":{"ERL_FLAGS":"5a6b7c8d"}},"made":["annotations"]}
//! ```
//!
//! Beside each name stands a digest of what was rendered. A variable that differs from it was changed since, and
//! what a user has changed is the user's.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json::{self, Digest, comma};

/// What was added to a pod template.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) version: String,
    pub(crate) items: Vec<Item>,
    /// What wasn't there before, from the outside in.
    pub(crate) made: Vec<Parent>,
}

/// One thing that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) place: Place,
    pub(crate) digest: Digest,
}

/// Where it was added: each is a list whose entries have names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among the containers.
    Container(Name),
    /// Among the init containers.
    InitContainer(Name),
    /// Among the variables of a container.
    Env {
        /// The container's name.
        container: Arc<str>,
        /// The variable's name.
        name: Name,
    },
    /// Among the volumes.
    Volume(Name),
}

/// One of our own names, or one that was read.
pub(crate) type Name = Cow<'static, str>;

/// A map or list that had to be made before something could be added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// The template's metadata.
    Metadata,
    /// The template's annotations.
    Annotations,
    /// The variables of a container.
    Env {
        /// The container's name.
        container: Arc<str>,
    },
    /// The init containers.
    InitContainers,
    /// The volumes.
    Volumes,
}

/// The record is none that this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

const SCHEMA: u32 = 1;

impl Record {
    /// Reads an annotation's value.
    pub(crate) fn parse(text: &str) -> Result<Self, Broken> {
        let wire: Wire = serde_json::from_str(text).map_err(|_| Broken)?;
        if wire.schema != SCHEMA {
            return Err(Broken);
        }
        let mut items = Vec::new();
        read(&mut items, &wire.containers, Place::Container)?;
        read(&mut items, &wire.init_containers, Place::InitContainer)?;
        for (container, variables) in &wire.env {
            let container: Arc<str> = container.as_str().into();
            let place = |name| Place::Env { container: container.clone(), name };
            read(&mut items, variables.as_object().ok_or(Broken)?, place)?;
        }
        read(&mut items, &wire.volumes, Place::Volume)?;
        let made = wire.made.iter().map(|name| Parent::parse(name)).collect::<Result<_, _>>()?;
        Ok(Self { version: wire.version, items, made })
    }

    /// Compact JSON; the same record always gives the same bytes.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::with_capacity(512);
        let _ = write!(out, "{{\"schema\":{SCHEMA},");
        json::field(&mut out, "version", &self.version);
        self.group(&mut out, "containers", |place| match place {
            Place::Container(name) => Some(name),
            Place::InitContainer(_) | Place::Env { .. } | Place::Volume(_) => None,
        });
        self.group(&mut out, "initContainers", |place| match place {
            Place::InitContainer(name) => Some(name),
            Place::Container(_) | Place::Env { .. } | Place::Volume(_) => None,
        });
        self.variables(&mut out);
        self.group(&mut out, "volumes", |place| match place {
            Place::Volume(name) => Some(name),
            Place::Container(_) | Place::InitContainer(_) | Place::Env { .. } => None,
        });
        if !self.made.is_empty() {
            out.push_str(",\"made\":[");
            for parent in &self.made {
                comma(&mut out);
                json::string(&mut out, &parent.name());
            }
            out.push(']');
        }
        out.push('}');
        out
    }

    fn group<'r>(&'r self, out: &mut String, key: &str, name: impl Fn(&'r Place) -> Option<&'r Name>) {
        let mut begun = false;
        for item in &self.items {
            let Some(name) = name(&item.place) else { continue };
            if !begun {
                let _ = write!(out, ",\"{key}\":{{");
                begun = true;
            }
            comma(out);
            json::string(out, name);
            let _ = write!(out, ":\"{}\"", item.digest);
        }
        if begun {
            out.push('}');
        }
    }

    fn variables(&self, out: &mut String) {
        let mut current: Option<&str> = None;
        for Item { place, digest } in &self.items {
            let Place::Env { container, name } = place else { continue };
            if current != Some(&**container) {
                out.push_str(if current.is_none() { ",\"env\":{" } else { "}," });
                json::string(out, container);
                out.push_str(":{");
                current = Some(container);
            }
            comma(out);
            json::string(out, name);
            let _ = write!(out, ":\"{digest}\"");
        }
        if current.is_some() {
            out.push_str("}}");
        }
    }
}

impl Place {
    /// The name of what was added.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Container(name) | Self::InitContainer(name) | Self::Volume(name) => name,
            Self::Env { name, .. } => name,
        }
    }
}

impl Parent {
    fn parse(text: &str) -> Result<Self, Broken> {
        Ok(match text {
            "metadata" => Self::Metadata,
            "annotations" => Self::Annotations,
            "initContainers" => Self::InitContainers,
            "volumes" => Self::Volumes,
            _ => Self::Env { container: text.strip_prefix("env:").ok_or(Broken)?.into() },
        })
    }

    fn name(&self) -> Name {
        match self {
            Self::Metadata => "metadata".into(),
            Self::Annotations => "annotations".into(),
            Self::Env { container } => format!("env:{container}").into(),
            Self::InitContainers => "initContainers".into(),
            Self::Volumes => "volumes".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
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
    made: Vec<String>,
}

fn read(
    items: &mut Vec<Item>,
    digests: &Map<String, Value>,
    place: impl Fn(Name) -> Place,
) -> Result<(), Broken> {
    for (name, digest) in digests {
        let digest = digest.as_str().and_then(Digest::parse).ok_or(Broken)?;
        items.push(Item { place: place(Cow::Owned(name.clone())), digest });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_written_and_read() {
        let env = |name: &str| Place::Env { container: "couchdb".into(), name: name.to_owned().into() };
        let places = [Place::Container("agent".into()), env("A"), env("B"), Place::Volume("token".into())];
        let digest = Digest::parse("0000beef").unwrap();
        let items = places.map(|place| Item { place, digest }).to_vec();
        let made = vec![Parent::Annotations, Parent::Env { container: "couchdb".into() }];
        let record = Record { version: "1.2.3".to_owned(), items, made };
        insta::assert_snapshot!(record.to_json(), @r#"{"schema":1,"version":"1.2.3","containers":{"agent":"0000beef"},"env":{"couchdb":{"A":"0000beef","B":"0000beef"}},"volumes":{"token":"0000beef"},"made":["annotations","env:couchdb"]}"#);
        assert_eq!(Record::parse(&record.to_json()), Ok(record));
    }

    #[test]
    fn what_is_not_a_record_is_broken() {
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
