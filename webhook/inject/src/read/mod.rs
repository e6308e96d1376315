//! What a StatefulSet says.

pub(crate) mod annotations;
pub(crate) mod couchdb;
pub(crate) mod erl_flags;
pub(crate) mod quantity;
pub(crate) mod text;
pub(crate) mod view;
