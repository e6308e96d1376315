//! Decoding of percent-encoded paths and query strings.

/// Decodes percent escapes. In a query, `+` is a space.
pub(crate) fn decode(text: &str, query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%'
            && let Some(byte) = hex_byte(tail)
        {
            bytes.push(byte);
            rest = &tail[2..];
            continue;
        }
        // A `%` without two hex digits is no escape, and is kept.
        bytes.push(if query && *first == b'+' { b' ' } else { *first });
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The byte that the first two hex digits encode.
fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

/// The decoded value of the first query parameter with this name; empty if it has no `=`.
pub(crate) fn param(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key, true) == name).then(|| decode(value, true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_escapes_are_decoded_and_incomplete_ones_are_kept() {
        assert_eq!(decode("couchdb%40a%2Fb%", false), "couchdb@a/b%");
        assert_eq!(decode("a+b", false), "a+b");
        assert_eq!(param("a=1&b=x+y%3D&c", "b").as_deref(), Some("x y="));
        assert_eq!(param("a=1&c", "c").as_deref(), Some(""));
        assert_eq!(param("a=1", "b"), None);
    }
}
