//! `$(VAR)` in a container's values, as Kubernetes defines it.

/// A piece of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// `$(NAME)`: another variable, or the text itself where there is none of that name.
    Reference(&'a str),
    /// As it stands; of `$$` the one that is left.
    Text(&'a str),
}

/// `value` with its references replaced by what `lookup` gives. What isn't known stays as it is, and so does a `$` that
/// begins no reference.
pub(super) fn expand(value: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    pieces(value).into_iter().fold(String::with_capacity(value.len()), |mut out, piece| {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Reference(name) => match lookup(name) {
                Some(found) => out.push_str(&found),
                None => out.extend(["$(", name, ")"]),
            },
        }
        out
    })
}

/// The variables that `value` refers to.
pub(super) fn references(value: &str) -> impl Iterator<Item = &str> {
    pieces(value).into_iter().filter_map(|piece| match piece {
        Piece::Reference(name) => Some(name),
        Piece::Text(_) => None,
    })
}

fn pieces(value: &str) -> Vec<Piece<'_>> {
    let mut pieces = vec![];
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('$') {
        pieces.push(Piece::Text(before));
        let closed = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        rest = match (after.strip_prefix('$'), closed) {
            (Some(tail), _) => {
                pieces.push(Piece::Text("$"));
                tail
            }
            (None, Some((name, tail))) => {
                pieces.push(Piece::Reference(name));
                tail
            }
            (None, None) => {
                pieces.push(Piece::Text("$"));
                after
            }
        };
    }
    pieces.push(Piece::Text(rest));
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "USER" => Some("admin".to_owned()),
            "EMPTY" => Some(String::new()),
            "RAW" => Some("$(USER)".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_and_all_else_stays() {
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
        fn as_the_kubelet_stand_in_expands(value in "[$()AÜ ]{0,12}") {
            let lookup = |name: &str| (name == "A").then(|| "found".to_owned());
            prop_assert_eq!(expand(&value, lookup), sandbox::kubelet::expand(&value, lookup));
        }
    }
}
