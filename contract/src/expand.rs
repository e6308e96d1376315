//! `$(VAR)` expansion in a container's values, by the rules of the kubelet.
//!
//! `$(NAME)` is the value of variable `NAME`; `$$` is one dollar, so `$$(NAME)` is the text `$(NAME)`. A reference to an
//! unknown variable stays as it is, and so does a `$` that begins no reference. An inserted value is not expanded again.

/// Replaces each reference in `value` by the result of `lookup`.
///
/// ```
/// let lookup = |name: &str| (name == "USER").then_some("admin");
/// assert_eq!(contract::expand::expand("$(USER) $$(USER) $(OTHER)", lookup), "admin $(USER) $(OTHER)");
/// ```
pub fn expand<S: AsRef<str>>(value: &str, lookup: impl Fn(&str) -> Option<S>) -> String {
    let mut expanded = String::with_capacity(value.len());
    for piece in pieces(value) {
        match piece {
            Piece::Text(text) => expanded.push_str(text),
            Piece::Reference(name) => match lookup(name) {
                Some(found) => expanded.push_str(found.as_ref()),
                None => expanded.extend(["$(", name, ")"]),
            },
        }
    }
    expanded
}

/// The names of the variables that `value` refers to, in order; a name that occurs twice is returned twice.
pub fn references(value: &str) -> impl Iterator<Item = &str> {
    pieces(value).into_iter().filter_map(|piece| match piece {
        Piece::Reference(name) => Some(name),
        Piece::Text(_) => None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// The name in `$(NAME)`.
    Reference(&'a str),
    /// Literal text; for `$$`, the one dollar that remains.
    Text(&'a str),
}

fn pieces(value: &str) -> Vec<Piece<'_>> {
    let mut pieces = vec![];
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('$') {
        pieces.push(Piece::Text(before));
        // The escape goes first: in `$$(NAME)` the second dollar begins no reference.
        rest = if let Some(tail) = after.strip_prefix('$') {
            pieces.push(Piece::Text("$"));
            tail
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|open| open.split_once(')')) {
            pieces.push(Piece::Reference(name));
            tail
        } else {
            pieces.push(Piece::Text("$"));
            after
        };
    }
    pieces.push(Piece::Text(rest));
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<&'static str> {
        match name {
            "USER" => Some("admin"),
            "EMPTY" => Some(""),
            "RAW" => Some("$(USER)"),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_and_other_text_stays() {
        for (value, expanded) in [
            ("$(USER)", "admin"),
            ("<$(USER)$(EMPTY)$(USER)>", "<adminadmin>"),
            ("$$(USER)", "$(USER)"),
            ("$$$(USER)", "$admin"),
            ("$$$$(USER)", "$$(USER)"),
            ("$(NOBODY)", "$(NOBODY)"),
            ("$()", "$()"),
            ("$(USER", "$(USER"),
            ("$USER)", "$USER)"),
            ("${USER}", "${USER}"),
            ("$(A$(USER))", "$(A$(USER))"),
            ("$(RAW)", "$(USER)"),
            ("100$", "100$"),
            ("ü$(USER)ü", "üadminü"),
            ("", ""),
        ] {
            assert_eq!(expand(value, lookup), expanded, "{value}");
        }
        assert_eq!(Vec::from_iter(references("$(A)$$(B)$(C")), ["A"]);
    }

    proptest! {
        #[test]
        fn expands_as_the_kubelet_stand_in_does(value in "[$()AÜ ]{0,12}") {
            let lookup = |name: &str| (name == "A").then(|| "found".to_owned());
            prop_assert_eq!(expand(&value, lookup), sandbox::kubelet::expand(&value, lookup));
        }
    }
}
