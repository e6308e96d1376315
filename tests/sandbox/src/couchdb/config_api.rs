//! `/_node/{node}/_config`.

use serde_json::{Value, json};

use super::http::{Request, Response};
use super::password;
use super::settings::Host;
use super::world::World;

impl World {
    /// `host` is the node whose configuration it is; the call may have come in on another one.
    pub(crate) fn config_api(&mut self, host: &Host, rest: &[&str], request: &Request) -> Response {
        let persist = request.persist.as_deref() != Some("false");
        match (request.method.as_str(), rest) {
            ("GET" | "HEAD", []) => Response::json(
                200,
                &self.nodes[host].process.as_ref().map_or(Value::Null, |p| p.config.json()),
            ),
            ("GET" | "HEAD", [section]) => Response::json(
                200,
                &self.nodes[host].process.as_ref().map_or(Value::Null, |p| p.config.section_json(section)),
            ),
            ("GET" | "HEAD", [section, key]) => match self.nodes[host].config(section, key) {
                Some(value) => Response::json(200, &json!(value)),
                None => unknown(),
            },
            ("PUT", [section, key]) => match request.json() {
                Some(Value::String(value)) if value.trim().contains(['\n', '\r']) => {
                    Response::error(400, "bad_request", "Invalid configuration value")
                }
                Some(Value::String(value)) => {
                    let old = self.configure(host, section, key, value.trim(), persist);
                    if persist && self.nodes[host].settings.read_only_ini {
                        return Response::error(500, "error", "eacces");
                    }
                    Response::json(200, &json!(old.unwrap_or_default()))
                }
                Some(_) => Response::error(400, "bad_request", "a JSON string expected"),
                None => Response::error(400, "bad_request", "invalid UTF-8 JSON"),
            },
            ("DELETE", [section, key]) => {
                match self.nodes.get_mut(host).and_then(|n| n.delete_config(section, key, persist)) {
                    Some(old) => Response::json(200, &json!(old)),
                    None => unknown(),
                }
            }
            ("POST", ["_reload"]) => Response::ok(200),
            (_, []) | (_, [_]) => Response::not_allowed("GET"),
            (_, [_, _]) => Response::not_allowed("GET,PUT,DELETE"),
            (_, _) => Response::missing(),
        }
    }

    /// Sets a value as `config:set` does; a new admin's password is hashed.
    pub(crate) fn configure(
        &mut self,
        host: &Host,
        section: &str,
        key: &str,
        value: &str,
        persist: bool,
    ) -> Option<String> {
        let salt = self.random.hex32();
        let node = self.nodes.get_mut(host)?;
        match section {
            "admins" => {
                let hashed = password::hash(node.settings.version, value, &salt);
                node.set_config(section, key, &hashed, persist)
            }
            _ => node.set_config(section, key, value, persist),
        }
    }
}

fn unknown() -> Response {
    Response::error(404, "not_found", "unknown_config_value")
}
