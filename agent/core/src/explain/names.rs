//! Names that another node reported, cut to what a page or a message may contain.

use std::borrow::Cow;
use std::collections::BTreeSet;

use contract::text::{in_url, one_line};

/// The first of many names, each cut to the longest that Erlang accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstNames {
    /// Up to 32 names.
    pub names: Vec<String>,
    /// The number of further ones.
    pub more: usize,
}

impl FirstNames {
    /// The first of these names.
    pub fn of(names: &BTreeSet<String>) -> Self {
        let first = names.iter().take(COUNT).map(|name| cut_name(name).to_owned());
        Self { names: first.collect(), more: names.len().saturating_sub(COUNT) }
    }
}

/// Cuts a name to the longest that Erlang accepts, at the border of a character.
pub fn cut_name(name: &str) -> &str {
    let mut end = name.len().min(LENGTH);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// The name of an admin in a message, which may name several and must fit into an Event with its fix.
pub(super) fn admin(name: &str) -> Cow<'_, str> {
    one_line(name, ADMIN_LENGTH)
}

/// Encodes a name for a command. It may be chosen by an attacker, and an admin pastes the command into a shell.
pub(super) fn in_command(name: &str) -> String {
    in_url(cut_name(name))
}

/// More than a cluster has strangers for a reason. `_nodes` may contain thousands, and they replicate.
const COUNT: usize = 32;
/// In bytes: the longest atom of Erlang has 255 characters.
const LENGTH: usize = 255;
/// In bytes, enough to tell two admins apart.
const ADMIN_LENGTH: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_command_contains_nothing_that_a_shell_interprets() {
        assert_eq!(in_command("couchdb@db-1.db"), "couchdb@db-1.db");
        assert_eq!(in_command("x'; rm -rf $HOME\n"), "x%27%3B%20rm%20-rf%20%24HOME%0A");
    }

    #[test]
    fn names_are_cut_at_the_border_of_a_character_and_counted() {
        assert_eq!(cut_name("couchdb@a"), "couchdb@a");
        assert_eq!(cut_name(&"\u{e4}".repeat(200)).len(), 254);
        let many = (0..100).map(|n| format!("{n:03}")).collect();
        let FirstNames { names, more } = FirstNames::of(&many);
        assert_eq!((names.len(), more, names[31].as_str()), (32, 68, "031"));
    }
}
