//! CouchDB's ini files in ConfigMaps and Secrets of the files, and the values in Secrets that CouchDB reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::container::choose;
use contract::ini::lost_part;
use serde_json::Value;

use super::surroundings::Set;
use crate::read::ini;

/// Warns of settings that keep the nodes apart, and of values that an ini file does not keep.
pub(super) fn warn(set: &Set<'_>, lines: &mut Vec<String>) {
    let pod = &set.set["spec"]["template"]["spec"];
    let Some(couchdb) = couchdb(set.name(), pod) else { return };
    for (kind, name) in mounted(pod) {
        for source in set.beside(kind).filter(|it| it["metadata"]["name"] == name) {
            let subject = format!("{}/{name}", kind.to_ascii_lowercase());
            for (key, text) in texts(source) {
                settings(set, couchdb, &format!("{subject}: warning: '{key}'"), &text, lines);
            }
        }
    }
    secrets(set, couchdb, lines);
}

/// Settings that contradict a cluster. No value is shown.
fn settings(set: &Set<'_>, couchdb: &Value, place: &str, text: &str, lines: &mut Vec<String>) {
    let all: Vec<_> = ini::settings(text).collect();
    let is_set = |section: &str, key: &str, value: &str| all.contains(&(section, key, value));
    if is_set("couchdb", "single_node", "true") {
        lines.push(format!(
            "{place}: [couchdb] single_node makes each node a cluster of its own before it can join. Fix: remove it; the agents \
             create the system databases"
        ));
    }
    if set.replicas() > 1 && is_set("cluster", "n", "1") {
        lines.push(format!(
            "{place}: [cluster] n = 1 keeps one copy of each shard, so a lost volume is lost data. Fix: remove it; the default is 3"
        ));
    }
    if all.iter().any(|(section, ..)| *section == "admins") {
        lines.push(format!(
            "{place}: [admins] sets an admin that the agents do not know. Fix: set COUCHDB_USER and COUCHDB_PASSWORD of \
             CouchDB's container from a Secret instead"
        ));
    }
    let sections = ["chttpd", "chttpd_auth", "couch_httpd_auth"];
    let needs_login = sections.iter().any(|section| is_set(section, "require_valid_user", "true"));
    let by_http = ["livenessProbe", "startupProbe"].iter().any(|probe| {
        let get = &couchdb[probe]["httpGet"];
        get.is_object() && !get["httpHeaders"].to_string().to_ascii_lowercase().contains("authorization")
    });
    if needs_login && by_http {
        lines.push(format!(
            "{place}: require_valid_user demands a login on every path, so Kubernetes kills CouchDB for its httpGet probes. Fix: \
             use 'tcpSocket' in the probes, or set [chttpd] require_valid_user_except_for_up = true instead and probe '/_up' for \
             readiness only"
        ));
    }
}

/// Values of Secrets that reach CouchDB by a variable which the entrypoint writes to an ini file.
fn secrets(set: &Set<'_>, couchdb: &Value, lines: &mut Vec<String>) {
    for variable in couchdb["env"].as_array().into_iter().flatten() {
        let reference = &variable["valueFrom"]["secretKeyRef"];
        let (Some(variable), Some(key)) = (variable["name"].as_str(), reference["key"].as_str()) else {
            continue;
        };
        if !ini::WRITTEN.contains(&variable) {
            continue;
        }
        for secret in set.beside("Secret").filter(|it| it["metadata"]["name"] == reference["name"]) {
            let value = texts(secret).into_iter().rfind(|(name, _)| name == key);
            if let Some(what) = value.and_then(|(_, value)| lost_part(&value)) {
                lines.push(format!(
                    "secret/{}: warning: '{key}': {what}, which CouchDB's ini file does not keep, so the agent cannot log in. Fix: \
                     {}",
                    reference["name"].as_str().unwrap_or_default(),
                    if what.ends_with("line break") { "write it without: printf %s VALUE | base64" } else { "choose another value" }
                ));
            }
        }
    }
}

/// CouchDB's container, by the rule of the webhook.
fn couchdb<'s>(set: &str, pod: &'s Value) -> Option<&'s Value> {
    let containers = pod["containers"].as_array()?;
    let known = containers
        .iter()
        .map(|it| (it["name"].as_str().unwrap_or_default(), it["image"].as_str().unwrap_or_default()));
    let (index, _) = choose(set, known)?;
    containers.get(index)
}

/// Kinds and names of the ConfigMaps and Secrets that the pod mounts.
fn mounted(pod: &Value) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut add = |source: &Value| {
        for (kind, name) in [
            ("ConfigMap", &source["configMap"]["name"]),
            ("Secret", &source["secret"]["secretName"]),
            ("Secret", &source["secret"]["name"]),
        ] {
            found.extend(name.as_str().map(|name| (kind, name.to_owned())));
        }
    };
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        add(volume);
        volume["projected"]["sources"].as_array().into_iter().flatten().for_each(&mut add);
    }
    found
}

/// The entries of a ConfigMap or Secret, as far as they are text.
fn texts(source: &Value) -> Vec<(String, String)> {
    let is_encoded = source["kind"] == "Secret";
    let mut texts = Vec::new();
    for (key, value) in source["data"].as_object().into_iter().flatten() {
        let Some(value) = value.as_str() else { continue };
        let text = match is_encoded {
            // Tools wrap long values.
            true => STANDARD.decode(value.split_whitespace().collect::<String>()).ok(),
            false => Some(value.as_bytes().to_vec()),
        };
        texts.extend(text.and_then(|text| String::from_utf8(text).ok()).map(|text| (key.clone(), text)));
    }
    for (key, value) in source["stringData"].as_object().into_iter().flatten() {
        texts.extend(value.as_str().map(|value| (key.clone(), value.to_owned())));
    }
    texts
}
