//! Selection of the CouchDB container of a pod. The webhook and the agent must select the same one.

use thiserror::Error;

use crate::name::COUCHDB;

/// The reason for a selection that is not certain.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Guess {
    /// The container has the StatefulSet's name, but its image's name does not contain `couchdb`.
    #[error("it is named as the StatefulSet")]
    Namesake,
    /// The name of the container's image contains `couchdb`.
    #[error("of its image's name")]
    Image,
    /// The pod has one container.
    #[error("there is no other")]
    Only,
}

/// Selects the CouchDB container of a pod of the StatefulSet `set` and returns its index, with a [`Guess`] if the
/// selection is not certain. `containers` are the names and images of the pod's containers.
///
/// In this order: the container `couchdb`; the container with the StatefulSet's name; the container with the image
/// `couchdb` or one of a similar name; the only container. A rule that two containers match selects neither.
pub fn choose<'c>(
    set: &str,
    containers: impl Iterator<Item = (&'c str, &'c str)> + Clone,
) -> Option<(usize, Option<Guess>)> {
    let by_name = |wanted: &str| only(containers.clone(), |name, _| name == wanted);
    let by_image = |matches: fn(&str) -> bool| {
        only(containers.clone(), |_, image| !is_search(image) && matches(image_name(image)))
    };

    if let Some(index) = by_name(COUCHDB) {
        return Some((index, None));
    }
    let namesake = by_name(set);
    if let Some(index) = namesake
        && containers.clone().nth(index).is_some_and(|(_, image)| image_name(image).contains(COUCHDB))
    {
        return Some((index, None));
    }
    // Ahead of a namesake without CouchDB's image: a Hyperledger Fabric peer's pods have a container with the
    // StatefulSet's name, which is the peer, beside one with the image `couchdb`.
    if let Some(index) = by_image(|image| image == COUCHDB) {
        return Some((index, None));
    }
    if let Some(index) = namesake {
        return Some((index, Some(Guess::Namesake)));
    }
    // `fabric-couchdb` is CouchDB, but `couchdb-exporter` is not.
    if let Some(index) = by_image(|image| image.ends_with(COUCHDB)) {
        return Some((index, None));
    }
    if let Some(index) = by_image(|image| image.contains(COUCHDB)) {
        return Some((index, Some(Guess::Image)));
    }
    only(containers, |_, _| true).map(|index| (index, Some(Guess::Only)))
}

/// `true` for the image of a search server, whose name or tag resembles CouchDB's: `couchdb:3.5.1-nouveau`.
fn is_search(image: &str) -> bool {
    let (name, tag) = name_and_tag(image);
    ["nouveau", "clouseau", "search"].iter().any(|word| name.contains(word) || tag.contains(word))
}

/// The index of the only container that `matches` by name and image.
fn only<'c>(
    containers: impl Iterator<Item = (&'c str, &'c str)>,
    matches: impl Fn(&str, &str) -> bool,
) -> Option<usize> {
    let mut found = containers.enumerate().filter(|(_, (name, image))| matches(name, image));
    let (index, _) = found.next()?;
    found.next().is_none().then_some(index)
}

/// The last part of an image's path, without tag and digest.
///
/// ```
/// assert_eq!(contract::container::image_name("registry:5000/shop/couchdb:3.5@sha256:0f0f"), "couchdb");
/// ```
pub fn image_name(image: &str) -> &str {
    name_and_tag(image).0
}

/// The last part of an image's path, split at the colon; the tag is empty if the image has none.
pub fn name_and_tag(image: &str) -> (&str, &str) {
    let without_digest = image.split_once('@').map_or(image, |(image, _)| image);
    let last = without_digest.rsplit_once('/').map_or(without_digest, |(_, last)| last);
    last.split_once(':').unwrap_or((last, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_one_container_matches_selects_it() {
        let choose =
            |containers: &[(&'static str, &'static str)]| choose("orders", containers.iter().copied());
        for (containers, chosen) in [
            (&[("orders", "shop/api"), ("couchdb", "store:1")][..], Some((1, None))),
            (&[("orders", "ibm/couchdb3:1"), ("db", "couchdb:3")], Some((0, None))),
            (&[("orders", "fabric-peer:2"), ("db", "couchdb:3")], Some((1, None))),
            (&[("orders", "fabric-peer:2"), ("db", "fabric-couchdb:2")], Some((0, Some(Guess::Namesake)))),
            (&[("peer", "fabric-peer:2"), ("db", "fabric-couchdb:2")], Some((1, None))),
            (&[("web", "nginx"), ("db", "couchdb-cluster:3")], Some((1, Some(Guess::Image)))),
            (&[("db", "couchdb:3.5.1"), ("find", "couchdb:3.5.1-nouveau")], Some((0, None))),
            (
                &[("db", "my/couchdb-node:1"), ("find", "kocolosk/couchdb-search:0.2.0")],
                Some((0, Some(Guess::Image))),
            ),
            (
                &[("db", "couchdb:3"), ("metrics", "gesellix/couchdb-prometheus-exporter:v30")],
                Some((0, None)),
            ),
            (&[("web", "nginx")], Some((0, Some(Guess::Only)))),
            (&[("web", "nginx"), ("db", "postgres")], None),
            (&[("one", "couchdb"), ("two", "couchdb")], None),
            (&[], None),
        ] {
            assert_eq!(choose(containers), chosen, "{containers:?}");
        }
    }

    #[test]
    fn an_image_may_have_a_registry_with_a_port_a_tag_and_a_digest() {
        assert_eq!(name_and_tag("couchdb"), ("couchdb", ""));
        assert_eq!(name_and_tag("couchdb:3.5.1"), ("couchdb", "3.5.1"));
        assert_eq!(name_and_tag("registry:5000/couchdb"), ("couchdb", ""));
        assert_eq!(name_and_tag("registry:5000/apache/couchdb:3@sha256:0f"), ("couchdb", "3"));
    }
}
