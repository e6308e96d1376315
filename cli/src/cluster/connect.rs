//! A client for the cluster that the kubeconfig names.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use contract::error::chain;
use contract::text::{MESSAGE_LIMIT, one_line};
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

use super::request::status_of;

/// The cluster and the namespace that a subcommand reads.
#[derive(Clone, Debug, Default, Args)]
pub struct Target {
    /// Namespace; by default that of the context, and for check and status all namespaces
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; by default the current one
    #[arg(long)]
    pub context: Option<String>,
}

impl Target {
    /// The namespace of one StatefulSet or pod: that of the context, unless one is given.
    pub(crate) fn namespace_or_default(&self, client: &Client) -> String {
        self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned())
    }
}

/// Reason why no cluster could be read.
#[derive(Debug, Error)]
pub enum Error {
    /// Neither a kubeconfig nor a service account exists.
    #[error("no cluster is configured: set KUBECONFIG, or run this in a pod")]
    Infer(#[from] InferConfigError),
    /// The kubeconfig cannot be read, or does not contain the context.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] KubeconfigError),
    /// The kubeconfig's values do not make a client.
    #[error("the kubeconfig cannot be used")]
    Client(#[source] kube::Error),
    /// The API server does not accept the credentials.
    #[error("the API server at '{url}' does not accept the kubeconfig's credentials: {message}")]
    Credentials {
        /// Address of the API server.
        url: String,
        /// Message of the API server.
        message: String,
    },
    /// The connection is made, and TLS fails: another authority, another name, or a client certificate of an old kind.
    #[error(
        "no trusted connection to the API server at '{url}'; certificate-authority-data, tls-server-name and the client \
         certificate of the kubeconfig decide"
    )]
    Tls {
        /// Address of the API server.
        url: String,
        /// Error of the client.
        #[source]
        source: kube::Error,
    },
    /// The API server does not answer.
    #[error("no API server answers at '{url}': is this the right context of the kubeconfig?")]
    Unreachable {
        /// Address of the API server.
        url: String,
        /// Error of the client.
        #[source]
        source: kube::Error,
    },
}

/// The configuration of the cluster that the kubeconfig, or the pod's service account, names.
pub(crate) async fn configuration(target: &Target) -> Result<Config, Error> {
    // Config::infer also finds a service account; a context exists only in a kubeconfig.
    let mut config = match &target.context {
        None => Config::infer().await?,
        Some(context) => {
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await?
        }
    };
    // kube compares NO_PROXY with the proxy's own address instead of the API server's.
    if config.proxy_url.is_some() && bypasses_proxy(target, &config) {
        config.proxy_url = None;
    }
    Ok(config)
}

/// `true` if the proxy is that of the environment, and NO_PROXY names the API server. As for kubectl, `proxy-url` of the
/// kubeconfig is always used.
#[expect(clippy::disallowed_methods, reason = "kube reads the proxy itself from the environment, too")]
fn bypasses_proxy(target: &Target, config: &Config) -> bool {
    let kubeconfig = Kubeconfig::read().unwrap_or_default();
    let context = target.context.as_ref().or(kubeconfig.current_context.as_ref());
    let context = kubeconfig.contexts.iter().find(|it| Some(&it.name) == context);
    let cluster = context.and_then(|it| it.context.as_ref()).map(|it| &it.cluster);
    let cluster = kubeconfig.clusters.iter().find(|it| Some(&it.name) == cluster);
    if cluster.and_then(|it| it.cluster.as_ref()).is_some_and(|it| it.proxy_url.is_some()) {
        return false;
    }
    let host = config.cluster_url.host().unwrap_or_default();
    let named = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| std::env::var(name).ok());
    is_local(host) || is_exempt(host, &named.unwrap_or_default())
}

/// As Go treats them: never through a proxy.
fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `true` if an entry of NO_PROXY covers the host: `*`, the host, a domain that it is in, or a network of its address.
fn is_exempt(host: &str, entries: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    entries.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        if entry.is_empty() {
            return false;
        }
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        entry == "*"
            || host == domain
            || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            || is_in_network(&host, &entry)
    })
}

fn is_in_network(host: &str, network: &str) -> bool {
    let Some((address, prefix)) = network.split_once('/') else { return false };
    let (Ok(host), Ok(address), Ok(prefix)) =
        (host.parse::<IpAddr>(), address.parse::<IpAddr>(), prefix.parse::<u32>())
    else {
        return false;
    };
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let ((host, width), (address, other)) = (bits(host), bits(address));
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    width == other && prefix <= width && host & mask == address & mask
}

/// A client for the cluster, which has answered one request.
pub(crate) async fn connect(mut config: Config) -> Result<Client, Error> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    // A failed request is a finding, which a retry would only delay.
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(Error::Client)?;
    // One cheap request first: without a cluster, every other request would fail with the same error.
    if let Err(source) = client.apiserver_version().await {
        return Err(match status_of(&source) {
            Some(status) if status.code == 401 => {
                // Of the server's choice, which need not be an API server.
                Error::Credentials { url, message: one_line(&status.message, MESSAGE_LIMIT).into_owned() }
            }
            Some(_) | None if is_tls(&source) => Error::Tls { url, source },
            Some(_) | None => Error::Unreachable { url, source },
        });
    }
    Ok(client)
}

/// `true` if TLS failed, so that a server answered.
fn is_tls(error: &kube::Error) -> bool {
    let text = chain(error).to_ascii_lowercase();
    ["certificate", "tls", "handshake"].iter().any(|word| text.contains(word))
}

/// An API server that does not accept a connection within 5 s is reported as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than an API server waits for the webhook, so that its error arrives before this timeout.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_domains_and_networks_as_for_kubectl() {
        for (host, entries) in [
            ("api.shop.example", "example"),
            ("api.shop.example", "a, .shop.example"),
            ("api.shop.example", "*.shop.example"),
            ("API.shop.example", "api.SHOP.example"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("10.1.2.3", "192.0.2.1,10.1.2.3"),
            ("[fd00::1]", "fd00::/8"),
            ("anything", "*"),
        ] {
            assert!(is_exempt(host, entries), "{host} {entries}");
        }
        for (host, entries) in [
            ("api.shop.example", ""),
            ("api.myshop.example", "shop.example"),
            ("10.1.2.3", "10.2.0.0/16"),
            ("10.1.2.3", "fd00::/8"),
            ("10.1.2.3", "10.0.0.0/99"),
        ] {
            assert!(!is_exempt(host, entries), "{host} {entries}");
        }
        assert!(is_local("[::1]") && is_local("127.0.0.1") && is_local("localhost") && !is_local("10.0.0.1"));
    }
}
