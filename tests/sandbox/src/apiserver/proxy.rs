//! Pods asked through the API server: `GET /api/v1/namespaces/{ns}/pods/{name}:{port}/proxy/{path}`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

use super::handle::Request;
use super::path::{Resource, Target};
use super::server::{Shared, lock};
use super::status::ApiError;

/// Where the ports of pods lead, by the address that `status.podIPs` has and the port.
pub(crate) type Ports = BTreeMap<(IpAddr, u16), SocketAddr>;

/// What a pod answered, as it came.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// Whom to ask what.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    ip: IpAddr,
    port: u16,
    /// With its query.
    path: String,
}

/// Whether this is a question to a pod.
pub(crate) fn is_for_pod(target: &Target) -> bool {
    target.resource == Resource::new("v1", "pods") && target.subresource.as_deref() == Some("proxy")
}

pub(crate) async fn answer(shared: &Shared, request: &Request, target: &Target) -> Result<Page, ApiError> {
    let (name, port) = split(target.name.as_deref().unwrap_or_default())?;
    let (question, to) = {
        let state = lock(&shared.state);
        let not_found = || ApiError::NotFound { resource: target.resource.clone(), name: name.to_owned() };
        let pod = state.store.get(&target.key(name)).ok_or_else(not_found)?;
        let question = question(pod, port, request)?;
        let to = state.pod_ports.get(&(question.ip, question.port)).copied();
        (question, to)
    };
    question.ask(to).await
}

/// The pod's name and the port of `couchdb-0:8484` or `http:couchdb-0:8484`.
fn split(id: &str) -> Result<(&str, Option<&str>), ApiError> {
    let parts: Vec<&str> = id.split(':').collect();
    match *parts.as_slice() {
        [name] => Ok((name, None)),
        [name, port] | ["http", name, port] => Ok((name, Some(port).filter(|port| !port.is_empty()))),
        _ => Err(ApiError::BadRequest { message: format!("invalid pod request {id:?}") }),
    }
}

/// What is to be asked of this pod.
fn question(pod: &Value, port: Option<&str>, request: &Request) -> Result<Question, ApiError> {
    // Loopback and the like are refused, too: an API server would ask itself.
    let ip = pod["status"]["podIPs"][0]["ip"].as_str().and_then(|ip| ip.parse().ok()).filter(is_global);
    let ip = ip.ok_or_else(|| ApiError::BadRequest { message: "address not allowed".to_owned() })?;
    let declared = || {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        containers.filter_map(|one| one["ports"][0]["containerPort"].as_u64()).next()
    };
    let port = match port {
        Some(text) => text.parse().ok(),
        None => declared().map_or(Some(80), |port| u16::try_from(port).ok()),
    };
    let port = port.ok_or_else(|| ApiError::BadRequest { message: "invalid port".to_owned() })?;
    let below = request.path.split_once("/proxy").map_or("", |(_, below)| below);
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let slash = if below.is_empty() { "/" } else { "" };
    Ok(Question { ip, port, path: format!("{slash}{below}{query}") })
}

fn is_global(ip: &IpAddr) -> bool {
    let special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    !special
        && match ip {
            IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        }
}

impl Question {
    async fn ask(&self, to: Option<SocketAddr>) -> Result<Page, ApiError> {
        let pod = SocketAddr::from((self.ip, self.port));
        let unreachable = |why: &str| ApiError::Unreachable { pod, why: why.to_owned() };
        let to = to.ok_or_else(|| unreachable("connect: no route to host"))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(no_tls())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| unreachable(&error.to_string()))?;
        let request = client.get(format!("http://{to}{}", self.path)).header("host", pod.to_string());
        let failed = |error: reqwest::Error| {
            unreachable(if error.is_connect() { "connect: connection refused" } else { "EOF" })
        };
        let answer = request.send().await.map_err(failed)?;
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Page {
            status: answer.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: answer.bytes().await.map_err(failed)?.to_vec(),
        })
    }
}

/// Nothing is called over TLS here, and a client wants to know how all the same.
fn no_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the versions that ring has");
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(path: &str, query: &str) -> Request {
        Request {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            authorization: None,
            content_type: String::new(),
            user_agent: String::new(),
            body: vec![],
        }
    }

    #[test]
    fn an_id_is_a_name_with_or_without_port_and_scheme() {
        assert_eq!(split("db-0").unwrap(), ("db-0", None));
        assert_eq!(split("db-0:8484").unwrap(), ("db-0", Some("8484")));
        assert_eq!(split("http:db-0:8484").unwrap(), ("db-0", Some("8484")));
        assert_eq!(split("a:b:c:d").unwrap_err().to_string(), "invalid pod request \"a:b:c:d\"");
    }

    #[test]
    fn the_rest_of_the_path_is_what_the_pod_is_asked() {
        let pod = json!({
            "spec": { "containers": [{}, { "ports": [{ "containerPort": 5984 }] }] },
            "status": { "podIPs": [{ "ip": "10.0.0.7" }] },
        });
        let of = |path: &str, query: &str, port: Option<&str>| {
            let Question { port, path, .. } = question(&pod, port, &asked(path, query)).unwrap();
            format!("{port} {path}")
        };
        assert_eq!(of("/api/v1/namespaces/a/pods/b:1/proxy/x/y", "q=1", Some("1")), "1 /x/y?q=1");
        assert_eq!(of("/api/v1/namespaces/a/pods/b/proxy", "", None), "5984 /");
    }

    #[test]
    fn a_pod_without_an_address_of_its_own_is_not_asked() {
        for ips in [json!(null), json!([]), json!([{ "ip": "127.0.0.1" }]), json!([{ "ip": "fe80::1" }])] {
            let pod = json!({ "status": { "podIPs": ips } });
            let refused = question(&pod, Some("1"), &asked("/x/proxy", "")).unwrap_err();
            assert_eq!((refused.code(), refused.to_string()), (400, "address not allowed".to_owned()));
        }
    }
}
