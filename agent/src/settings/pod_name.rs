//! The pod's DNS name, derived from its environment. Pure.

use contract::{Label, PodFqdn, PodName};
use thiserror::Error;

use crate::settings::Pod;

/// The sources of the pod's name, besides the downward API.
#[derive(Clone, Debug, Default)]
pub struct NameSources {
    /// The kernel's hostname, then `HOSTNAME`: short, or the full name with `setHostnameAsFQDN`. They are equal in a pod; a
    /// process that was moved into another pod's namespaces may have inherited the `HOSTNAME` of its origin.
    pub hostnames: Vec<String>,
    /// The text of `/etc/hosts`, in which the kubelet writes `<ip> <fqdn> <hostname>` for a StatefulSet's pod.
    pub etc_hosts: String,
    /// The text of `/etc/resolv.conf`, in which the kubelet writes `search <namespace>.svc.<domain> ..`.
    pub resolv_conf: String,
}

/// The pod's full name cannot be derived.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PodNameError {
    /// The hostname is not a name that a StatefulSet gives.
    #[error(
        "the hostname '{hostname}' is not that of a StatefulSet's pod ('<set>-<ordinal>') and POD_NAME is not set, and \
         the agent must run in a StatefulSet pod. Fix: set POD_NAME, POD_NAMESPACE and COUCHDISCOVER_SERVICE, as the webhook does"
    )]
    Hostname {
        /// The first hostname.
        hostname: String,
    },
    /// `POD_NAME` is not a name that a StatefulSet gives.
    #[error("POD_NAME is not that of a StatefulSet's pod, and the agent must run in one")]
    PodName(#[source] contract::NameError),
    /// The short name is known, the rest of the full name is not.
    #[error(
        "'{pod}' has no full name: neither the hostname nor /etc/hosts contains '{pod}.<service>.<namespace>.svc.<domain>', \
         and parts to compose it from are missing: {missing}. Fix: set spec.serviceName of the StatefulSet"
    )]
    Incomplete {
        /// The pod's short name.
        pod: PodName,
        /// The missing parts.
        missing: String,
    },
    /// The composed parts are not a DNS name.
    #[error("the pod's full name is not a DNS name")]
    Name(#[source] contract::NameError),
}

/// Derives the pod's DNS name: from the hostname, else `/etc/hosts`, else `POD_NAME`, `POD_NAMESPACE`, the injected Service
/// and the search domain.
pub fn full_name(sources: &NameSources, pod: &Pod, service: Option<&Label>) -> Result<PodFqdn, PodNameError> {
    if let Some(fqdn) = sources.hostnames.iter().find_map(|hostname| hostname.parse().ok()) {
        return Ok(fqdn);
    }
    let name = short_name(&sources.hostnames, pod)?;
    match from_hosts(&sources.etc_hosts, &name) {
        Some(fqdn) => Ok(fqdn),
        None => from_parts(name, &sources.resolv_conf, pod, service),
    }
}

fn short_name(hostnames: &[String], pod: &Pod) -> Result<PodName, PodNameError> {
    // `POD_NAME` first: with hostNetwork the hostname is the machine's.
    if let Some(name) = &pod.name {
        return name.parse().map_err(PodNameError::PodName);
    }
    let name = hostnames.iter().find_map(|hostname| hostname.parse().ok());
    name.ok_or_else(|| PodNameError::Hostname { hostname: hostnames.first().cloned().unwrap_or_default() })
}

fn from_hosts(etc_hosts: &str, pod: &PodName) -> Option<PodFqdn> {
    etc_hosts
        .lines()
        // The first word of a line is the address; `#` begins a comment.
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace().skip(1))
        .filter_map(|name| name.parse::<PodFqdn>().ok())
        .find(|fqdn| fqdn.pod() == pod)
}

fn from_parts(
    name: PodName,
    resolv_conf: &str,
    pod: &Pod,
    service: Option<&Label>,
) -> Result<PodFqdn, PodNameError> {
    let searched = search_domain(resolv_conf, pod.namespace.as_deref());
    let namespace = pod.namespace.as_deref().or(searched.map(|(namespace, _)| namespace));
    let domain = searched.map(|(_, domain)| domain);
    let (Some(service), Some(namespace), Some(domain)) = (service, namespace, domain) else {
        let parts = [
            ("COUCHDISCOVER_SERVICE", service.is_some()),
            ("POD_NAMESPACE", namespace.is_some()),
            ("search domain '<namespace>.svc.<domain>' in /etc/resolv.conf", domain.is_some()),
        ];
        let missing: Vec<_> = parts.iter().filter(|(_, found)| !found).map(|(name, _)| *name).collect();
        return Err(PodNameError::Incomplete { pod: name, missing: missing.join(", ") });
    };
    let namespace = namespace.parse().map_err(PodNameError::Name)?;
    let domain = domain.parse().map_err(PodNameError::Name)?;
    PodFqdn::new(name, service.clone(), namespace, domain).map_err(PodNameError::Name)
}

/// The namespace and the cluster domain of the first search domain of the form `<namespace>.svc.<domain>`, in the given
/// namespace if there is one.
fn search_domain<'a>(resolv_conf: &'a str, namespace: Option<&str>) -> Option<(&'a str, &'a str)> {
    // The resolver uses the last `search` line.
    let searched = resolv_conf.lines().rfind(|line| line.trim_start().starts_with("search"))?;
    searched
        .split_whitespace()
        .skip(1)
        .filter_map(|domain| domain.trim_end_matches('.').split_once(".svc."))
        .find(|(found, _)| !found.contains('.') && namespace.is_none_or(|namespace| namespace == *found))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const HOSTS: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n\
        10.1.2.3\tmy-db-0.my-db.shop.svc.k8s.example.com\tmy-db-0 # me\n10.1.2.4 my-db-1.my-db.shop.svc.k8s.example.com my-db-1\n";
    const RESOLV: &str =
        "nameserver 10.96.0.10\nsearch shop.svc.corp.local svc.corp.local corp.local\noptions ndots:5\n";

    fn sources(hostname: &str, etc_hosts: &str, resolv_conf: &str) -> NameSources {
        NameSources {
            hostnames: vec![hostname.to_owned()],
            etc_hosts: etc_hosts.to_owned(),
            resolv_conf: resolv_conf.to_owned(),
        }
    }

    fn pod(name: &str, namespace: &str) -> Pod {
        Pod { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..Pod::default() }
    }

    fn derive(sources: &NameSources, pod: &Pod, service: Option<&str>) -> Result<String, PodNameError> {
        let service = service.map(|service| service.parse().unwrap());
        full_name(sources, pod, service.as_ref()).map(|fqdn| fqdn.to_string())
    }

    #[test]
    fn the_hostname_is_the_full_name_or_leads_to_it_in_the_hosts_file() {
        let full = sources("db-1.db.shop.svc.corp", "", "");
        assert_eq!(derive(&full, &Pod::default(), None).unwrap(), "db-1.db.shop.svc.corp");
        let short = sources("my-db-1", HOSTS, "");
        assert_eq!(derive(&short, &Pod::default(), None).unwrap(), "my-db-1.my-db.shop.svc.k8s.example.com");
    }

    #[test]
    fn without_a_hosts_file_the_name_is_composed_of_service_and_search_domain() {
        let found = derive(&sources("db-2", "", RESOLV), &pod("db-2", "shop"), Some("db")).unwrap();
        assert_eq!(found, "db-2.db.shop.svc.corp.local");
        let without_namespace = derive(&sources("db-2", "", RESOLV), &Pod::default(), Some("db")).unwrap();
        assert_eq!(without_namespace, "db-2.db.shop.svc.corp.local");
    }

    #[test]
    fn on_the_hosts_network_the_machines_name_is_not_the_pods() {
        let machine = sources("worker-1", "10.0.0.7 worker-1.c.project.internal worker-1\n", RESOLV);
        assert_eq!(
            derive(&machine, &pod("db-2", "shop"), Some("db")).unwrap(),
            "db-2.db.shop.svc.corp.local"
        );
    }

    #[test]
    fn missing_parts_are_named() {
        let message = |sources: &NameSources, pod: &Pod, service| {
            let error = derive(sources, pod, service).unwrap_err();
            match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }
        };
        assert_snapshot!(message(&sources("laptop", "", ""), &Pod::default(), None), @"the hostname 'laptop' is not that of a StatefulSet's pod ('<set>-<ordinal>') and POD_NAME is not set, and the agent must run in a StatefulSet pod. Fix: set POD_NAME, POD_NAMESPACE and COUCHDISCOVER_SERVICE, as the webhook does");
        assert_snapshot!(message(&sources("x", "", ""), &pod("web-7d4b9c-x2x1z", "shop"), None), @"POD_NAME is not that of a StatefulSet's pod, and the agent must run in one: 'web-7d4b9c-x2x1z' is not the name of a StatefulSet's pod: it does not end in '-<ordinal>', such as 'couchdb-0'");
        assert_snapshot!(message(&sources("db-0", "", ""), &Pod::default(), None), @"'db-0' has no full name: neither the hostname nor /etc/hosts contains 'db-0.<service>.<namespace>.svc.<domain>', and parts to compose it from are missing: COUCHDISCOVER_SERVICE, POD_NAMESPACE, search domain '<namespace>.svc.<domain>' in /etc/resolv.conf. Fix: set spec.serviceName of the StatefulSet");
        assert_snapshot!(message(&sources("db-0", "", ""), &pod("db-0", "shop"), Some("db")), @"'db-0' has no full name: neither the hostname nor /etc/hosts contains 'db-0.<service>.<namespace>.svc.<domain>', and parts to compose it from are missing: search domain '<namespace>.svc.<domain>' in /etc/resolv.conf. Fix: set spec.serviceName of the StatefulSet");
    }
}
