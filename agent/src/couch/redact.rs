//! Text of CouchDB, before it is logged or shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::text;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::settings::Credentials;

/// Returns the text of an error as one short line, with `***` for the password and its encodings. A CouchDB that fails
/// on a call may print what was sent to it.
pub(super) fn redacted(text: &str, admin: &Credentials) -> String {
    let mut text = text.to_owned();
    for secret in encodings(admin) {
        text = text.replace(&secret, "***");
    }
    text::one_line(&text, LONGEST).into_owned()
}

/// The forms in which the password may appear, longer ones first.
fn encodings(Credentials { user, password, .. }: &Credentials) -> Vec<String> {
    let password = password.reveal();
    let json = serde_json::Value::from(password).to_string();
    // Erlang prints text that is not Latin as the numbers of its bytes.
    let numbers = Vec::from_iter(password.bytes().map(|byte| byte.to_string())).join(",");
    let mut encodings = vec![
        STANDARD.encode(format!("{user}:{password}")),
        STANDARD.encode(password),
        utf8_percent_encode(password, NON_ALPHANUMERIC).to_string(),
        json[1..json.len() - 1].to_owned(),
        numbers,
        password.to_owned(),
    ];
    encodings.retain(|encoding| !encoding.is_empty());
    encodings.sort_by_key(|encoding| std::cmp::Reverse(encoding.len()));
    encodings
}

/// In bytes: a sentence or two.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    #[test]
    fn the_password_is_replaced_in_every_encoding_and_the_text_is_cut() {
        let admin = Credentials {
            user: "admin".to_owned(),
            password: Secret::new("p\"\u{e4}ss w0rd"),
            source: "COUCHDB_USER and COUCHDB_PASSWORD".to_owned(),
        };
        let all = "badmatch {<<\"p\"\u{e4}ss w0rd\">>, p\\\"\u{e4}ss w0rd, YWRtaW46cCLDpHNzIHcwcmQ=, cCLDpHNzIHcwcmQ=, \
                   p%22%C3%A4ss%20w0rd, <<112,34,195,164,115,115,32,119,48,114,100>>}";
        assert_eq!(redacted(all, &admin), "badmatch {<<\"***\">>, ***, ***, ***, ***, <<***>>}");
        assert_eq!(redacted("a\r\n\u{1b}[2J", &admin), "a\\u{d}\\u{a}\\u{1b}[2J");
        assert_eq!(redacted(&"x".repeat(1000), &admin).len(), LONGEST);
    }
}
