//! `/_node/{node}/_config`.

use serde_json::{Value, json};

use super::http::{Request, Response};
use super::ini::Ini;
use super::node::Persist;
use super::password;
use super::settings::Host;
use super::world::World;

impl World {
    /// Answers a call for the configuration of `host`, which may have come in on another node.
    pub(crate) fn config_api(&mut self, host: &Host, rest: &[&str], request: &Request) -> Response {
        let config = self.nodes[host].process.as_ref().map(|p| &p.config);
        match (request.method.as_str(), rest) {
            ("GET" | "HEAD", []) => Response::json(200, &config.map_or(Value::Null, Ini::json)),
            ("GET" | "HEAD", [section]) => {
                Response::json(200, &config.map_or(Value::Null, |config| config.section_json(section)))
            }
            ("GET" | "HEAD", [section, key]) => value_response(self.nodes[host].config(section, key)),
            ("PUT", [section, key]) => self.put_config(host, section, key, request),
            ("DELETE", [section, key]) => {
                let node = self.nodes.get_mut(host);
                let old = node.and_then(|n| n.delete_config(section, key, persistence(request)));
                value_response(old.as_deref())
            }
            // Everything that is set takes effect at once, so there is nothing to reload.
            ("POST", ["_reload"]) => Response::ok(200),
            (_, [] | [_]) => Response::not_allowed("GET"),
            (_, [_, _]) => Response::not_allowed("GET,PUT,DELETE"),
            (_, _) => Response::missing(),
        }
    }

    fn put_config(&mut self, host: &Host, section: &str, key: &str, request: &Request) -> Response {
        let value = match request.json() {
            Some(Value::String(value)) => value,
            Some(_) => return Response::error(400, "bad_request", "a JSON string expected"),
            None => return Response::error(400, "bad_request", "invalid UTF-8 JSON"),
        };
        // A value ends with its line in the ini file; CouchDB trims it before it looks for line ends.
        let value = value.trim();
        if value.contains(['\n', '\r']) {
            return Response::error(400, "bad_request", "Invalid configuration value");
        }
        let persist = persistence(request);
        let old = self.configure(host, (section, key), value, persist);
        // The value is in effect although the answer is an error: CouchDB sets it in memory first.
        if persist == Persist::OnDisk && self.nodes[host].settings.read_only_ini {
            return Response::error(500, "error", "eacces");
        }
        Response::json(200, &json!(old.unwrap_or_default()))
    }

    /// Sets a value as `config:set` does; the password of a new admin is hashed. Returns the old value.
    pub(crate) fn configure(
        &mut self,
        host: &Host,
        (section, key): (&str, &str),
        value: &str,
        persist: Persist,
    ) -> Option<String> {
        // Drawn for every value, so that the sequence of uuids does not depend on the section.
        let salt = self.random.hex32();
        let node = self.nodes.get_mut(host)?;
        if section != "admins" {
            return node.set_config(section, key, value, persist);
        }
        let hashed = password::hash(node.settings.version, value, &salt);
        node.set_config(section, key, &hashed, persist)
    }
}

/// `X-Couch-Persist: false` keeps a change out of the ini file.
fn persistence(request: &Request) -> Persist {
    if request.persist.as_deref() == Some("false") { Persist::InMemory } else { Persist::OnDisk }
}

fn value_response(value: Option<&str>) -> Response {
    match value {
        Some(value) => Response::json(200, &json!(value)),
        None => Response::error(404, "not_found", "unknown_config_value"),
    }
}
