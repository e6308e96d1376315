//! Requests to pods through the API server: `GET /api/v1/namespaces/{ns}/pods/{name}:{port}/proxy/{path}`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

use super::path::{Resource, Target};
use super::reply::Page;
use super::request::Request;
use super::state::{Shared, lock};
use super::status::ApiError;
use crate::json::items;

/// A request to a pod.
#[derive(Debug, PartialEq, Eq)]
struct PodRequest {
    ip: IpAddr,
    port: u16,
    /// Includes the query.
    path: String,
}

/// `true` if the path addresses a pod through the API server.
pub(crate) fn is_for_pod(target: &Target) -> bool {
    target.resource == Resource::new("v1", "pods") && target.subresource.as_deref() == Some("proxy")
}

/// Sends the request to the pod, and returns its answer.
pub(crate) async fn answer(shared: &Shared, request: &Request, target: &Target) -> Result<Page, ApiError> {
    // The subresource `proxy` has the port in the place of the name: `couchdb-0:8484`.
    let (name, port) = split(target.name.as_deref().unwrap_or_default())?;
    let (pod_request, address) = {
        let state = lock(&shared.state);
        let pod = state.store.get(&target.key(name)).ok_or_else(|| ApiError::not_found(target, name))?;
        let pod_request = PodRequest::of(pod, port, request)?;
        let address = state.pod_ports.get(&(pod_request.ip, pod_request.port)).copied();
        (pod_request, address)
    };
    pod_request.send(address).await
}

/// Splits `couchdb-0:8484` or `http:couchdb-0:8484` into the pod's name and the port.
fn split(id: &str) -> Result<(&str, Option<&str>), ApiError> {
    let parts: Vec<&str> = id.split(':').collect();
    match *parts.as_slice() {
        [name] => Ok((name, None)),
        [name, port] | ["http", name, port] => Ok((name, Some(port).filter(|port| !port.is_empty()))),
        _ => Err(ApiError::BadRequest { message: format!("invalid pod request {id:?}") }),
    }
}

impl PodRequest {
    /// Builds the request for a pod: the rest of the path and the query are passed on.
    fn of(pod: &Value, port: Option<&str>, request: &Request) -> Result<Self, ApiError> {
        // Loopback and link-local addresses are refused: the API server would connect to itself or its own host.
        let ip = pod["status"]["podIPs"][0]["ip"].as_str().and_then(|ip| ip.parse().ok()).filter(is_global);
        let ip = ip.ok_or_else(|| ApiError::BadRequest { message: "address not allowed".to_owned() })?;
        let port = match port {
            Some(text) => text.parse().ok(),
            // Without a port in the path: the first port that a container declares, or 80.
            None => declared_port(pod).map_or(Some(80), |port| u16::try_from(port).ok()),
        };
        let port = port.ok_or_else(|| ApiError::BadRequest { message: "invalid port".to_owned() })?;
        // The rest of the path is passed on as it is; an empty one becomes `/`.
        let below = request.path.split_once("/proxy").map_or("", |(_, below)| below);
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        let slash = if below.is_empty() { "/" } else { "" };
        Ok(Self { ip, port, path: format!("{slash}{below}{query}") })
    }
}

fn declared_port(pod: &Value) -> Option<u64> {
    items(&pod["spec"]["containers"]).find_map(|container| container["ports"][0]["containerPort"].as_u64())
}

fn is_global(ip: &IpAddr) -> bool {
    let special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    !special
        && match ip {
            IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        }
}

impl PodRequest {
    async fn send(&self, address: Option<SocketAddr>) -> Result<Page, ApiError> {
        let address = address.ok_or_else(|| self.unreachable("connect: no route to host"))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(no_tls())
            .no_proxy()
            // A redirect is the pod's answer, and is not followed.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let host = SocketAddr::from((self.ip, self.port)).to_string();
        let request = client.get(format!("http://{address}{}", self.path)).header("host", host);
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Page {
            status: answer.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: answer.bytes().await.map_err(|error| self.failed(&error))?.to_vec(),
        })
    }

    fn failed(&self, error: &reqwest::Error) -> ApiError {
        self.unreachable(if error.is_connect() { "connect: connection refused" } else { "EOF" })
    }

    fn unreachable(&self, reason: &str) -> ApiError {
        ApiError::Unreachable { pod: SocketAddr::from((self.ip, self.port)), reason: reason.to_owned() }
    }
}

/// A TLS configuration without roots. Requests to pods use plain HTTP, but the client cannot be built without one.
fn no_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("ring supports the default versions");
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(path: &str, query: &str) -> Request {
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
    fn the_path_names_a_pod_with_or_without_scheme_and_port() {
        assert_eq!(split("db-0").unwrap(), ("db-0", None));
        assert_eq!(split("db-0:8484").unwrap(), ("db-0", Some("8484")));
        assert_eq!(split("http:db-0:8484").unwrap(), ("db-0", Some("8484")));
        assert_eq!(split("a:b:c:d").unwrap_err().to_string(), "invalid pod request \"a:b:c:d\"");
    }

    #[test]
    fn the_rest_of_the_path_and_the_query_are_passed_on() {
        let pod = json!({
            "spec": { "containers": [{}, { "ports": [{ "containerPort": 5984 }] }] },
            "status": { "podIPs": [{ "ip": "10.0.0.7" }] },
        });
        let of = |path: &str, query: &str, port: Option<&str>| {
            let PodRequest { port, path, .. } = PodRequest::of(&pod, port, &request(path, query)).unwrap();
            format!("{port} {path}")
        };
        assert_eq!(of("/api/v1/namespaces/a/pods/b:1/proxy/x/y", "q=1", Some("1")), "1 /x/y?q=1");
        assert_eq!(of("/api/v1/namespaces/a/pods/b/proxy", "", None), "5984 /");
    }

    #[test]
    fn a_request_to_a_pod_without_a_global_address_is_refused() {
        for ips in [json!(null), json!([]), json!([{ "ip": "127.0.0.1" }]), json!([{ "ip": "fe80::1" }])] {
            let pod = json!({ "status": { "podIPs": ips } });
            let refused = PodRequest::of(&pod, Some("1"), &request("/x/proxy", "")).unwrap_err();
            assert_eq!((refused.code(), refused.to_string()), (400, "address not allowed".to_owned()));
        }
    }
}
