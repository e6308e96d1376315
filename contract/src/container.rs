//! Which container of a pod runs CouchDB. The webhook and the agent must find the same one.

use thiserror::Error;

use crate::name::COUCHDB;

/// What a container is taken for CouchDB by, where its image isn't `couchdb`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Guess {
    /// It is called as the StatefulSet is.
    #[error("it is named as the StatefulSet")]
    Namesake,
    /// Its image's name has `couchdb` in it.
    #[error("of its image's name")]
    Image,
    /// There is no other.
    #[error("there is no other")]
    Only,
}

/// The CouchDB container among those of a pod of the StatefulSet `set`, given by name and image: `couchdb`; else the
/// StatefulSet's namesake; else the one whose image is called so; else the only one. With it what it was guessed by, where
/// it was.
///
/// The namesake gives way where its image says nothing of CouchDB and one other's is `couchdb` exactly: the pods of a
/// Hyperledger Fabric peer are so.
pub fn choose<'c>(
    set: &str,
    containers: impl Iterator<Item = (&'c str, &'c str)> + Clone,
) -> Option<(usize, Option<Guess>)> {
    let only = |is_it: &dyn Fn(&str, &str) -> bool| {
        let mut found = containers.clone().enumerate().filter(|(_, (name, image))| is_it(name, image));
        let (index, _) = found.next()?;
        found.next().is_none().then_some(index)
    };
    let named = |wanted: &str| only(&|name, _| name == wanted);
    let by_image = |is_it: fn(&str) -> bool| only(&|_, image| is_it(image_name(image)));
    let namesake = named(set);
    let says_so = |index: &usize| {
        containers.clone().nth(*index).is_some_and(|(_, image)| image_name(image).contains(COUCHDB))
    };
    let certain = named(COUCHDB)
        .or_else(|| namesake.filter(says_so))
        .or_else(|| by_image(|image| image == COUCHDB))
        // `fabric-couchdb` is CouchDB, and `couchdb-exporter` isn't.
        .or_else(|| by_image(|image| image.ends_with(COUCHDB)).filter(|_| namesake.is_none()));
    certain
        .map(|index| (index, None))
        .or_else(|| Some((namesake?, Some(Guess::Namesake))))
        .or_else(|| Some((by_image(|image| image.contains(COUCHDB))?, Some(Guess::Image))))
        .or_else(|| Some((only(&|_, _| true)?, Some(Guess::Only))))
}

/// The last part of an image's path, without its tag and digest.
pub fn image_name(image: &str) -> &str {
    name_and_tag(image).0
}

/// The last part of an image's path, and what follows the colon there.
pub fn name_and_tag(image: &str) -> (&str, &str) {
    let without_digest = image.split_once('@').map_or(image, |(image, _)| image);
    let last = without_digest.rsplit_once('/').map_or(without_digest, |(_, last)| last);
    last.split_once(':').unwrap_or((last, ""))
}
