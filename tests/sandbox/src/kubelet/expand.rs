//! `$(VAR)` in values, commands and arguments (`k8s.io/kubernetes/third_party/forked/golang/expansion`).

/// Replaces `$(NAME)` by the value that `lookup` returns, and `$$` by `$`. Unknown names and unclosed references are
/// kept unchanged.
pub fn expand(input: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        output.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        // `$$(NAME)` is an escaped reference: only the first `$` is removed, and `(NAME)` is copied as text.
        rest = if let Some(tail) = after.strip_prefix('$') {
            output.push('$');
            tail
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            output.push_str(&lookup(name).unwrap_or_else(|| format!("$({name})")));
            tail
        } else {
            output.push('$');
            after
        };
    }
    output.push_str(rest);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the table of Kubernetes' own test, `expand_test.go`; entries that test the same case are left out.
    #[test]
    fn references_expand_as_in_kubernetes() {
        for (input, output) in [
            ("$(VAR_A)", "A"),
            ("___$(VAR_B)___", "___B___"),
            ("$(VAR_A)$(VAR_B)", "AB"),
            ("f000-$$VAR_A", "f000-$VAR_A"),
            ("foo\\$(VAR_C)bar", "foo\\Cbar"),
            ("foo\\\\$(VAR_C)bar", "foo\\\\Cbar"),
            ("$$(VAR_A)", "$(VAR_A)"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$(VAR_A)", "$$(VAR_A)"),
            ("$$$$$(VAR_A)", "$$A"),
            ("$(VAR_DNE)", "$(VAR_DNE)"),
            ("$(VAR_A", "$(VAR_A"),
            ("$VAR_A)", "$VAR_A)"),
            ("${VAR_A}", "${VAR_A}"),
            ("foo$", "foo$"),
            ("$", "$"),
            ("\u{fc}$(VAR_A)\u{fc}", "\u{fc}A\u{fc}"),
            ("$(VAR_EMPTY)", ""),
        ] {
            assert_eq!(expand(input, variable), output, "{input}");
        }
    }

    fn variable(name: &str) -> Option<String> {
        match name {
            "VAR_A" => Some("A".to_owned()),
            "VAR_B" => Some("B".to_owned()),
            "VAR_C" => Some("C".to_owned()),
            "VAR_EMPTY" => Some(String::new()),
            _ => None,
        }
    }
}
