//! Who am I? Pure: from what the pod says of itself to its DNS name.

use contract::{Label, PodFqdn, PodName};
use thiserror::Error;

use crate::settings::Pod;

/// Everything that can tell a pod its own name.
#[derive(Clone, Debug, Default)]
pub struct Clues {
    /// The kernel's hostname, then `HOSTNAME`: short, or with `setHostnameAsFQDN` the whole name. In a pod they are the
    /// same; a process that was put into another pod's namespaces may have inherited a `HOSTNAME` that is not its own.
    pub hostnames: Vec<String>,
    /// The text of `/etc/hosts`, in which the kubelet writes `<ip> <fqdn> <hostname>` for a StatefulSet's pod.
    pub etc_hosts: String,
    /// The text of `/etc/resolv.conf`, in which the kubelet writes `search <namespace>.svc.<domain> ..`.
    pub resolv_conf: String,
}

/// Why the pod's name can't be told.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// The hostname isn't one that a StatefulSet gives.
    #[error(
        "the hostname '{hostname}' is not that of a StatefulSet's pod ('<set>-<ordinal>') and POD_NAME is not set: \
         the agent belongs into a pod of a StatefulSet; outside of one, set POD_NAME, POD_NAMESPACE and COUCHDISCOVER_SERVICE"
    )]
    Hostname {
        /// What was found.
        hostname: String,
    },
    /// `POD_NAME` isn't one that a StatefulSet gives.
    #[error("POD_NAME is not that of a StatefulSet's pod: the agent belongs into a pod of a StatefulSet")]
    PodName(#[source] contract::NameError),
    /// The name is known, and the rest of the FQDN is not.
    #[error(
        "'{pod}' has no full name: neither the hostname nor /etc/hosts holds '{pod}.<service>.<namespace>.svc.<domain>' \
         (is spec.serviceName of the StatefulSet set?), and {missing} to make it from"
    )]
    Incomplete {
        /// The pod's short name.
        pod: PodName,
        /// Which of the fallbacks lack.
        missing: String,
    },
    /// The parts don't make a DNS name.
    #[error("the pod's full name can't be made")]
    Name(#[source] contract::NameError),
}

/// The pod's DNS name: from the hostname, else `/etc/hosts`, else `POD_NAME`, `POD_NAMESPACE`, the injected Service
/// and the search domain.
pub fn who_am_i(clues: &Clues, pod: &Pod, service: Option<&Label>) -> Result<PodFqdn, IdentityError> {
    if let Some(fqdn) = clues.hostnames.iter().find_map(|hostname| hostname.parse().ok()) {
        return Ok(fqdn);
    }
    let name = short_name(&clues.hostnames, pod)?;
    match from_hosts(&clues.etc_hosts, &name) {
        Some(fqdn) => Ok(fqdn),
        None => from_parts(name, &clues.resolv_conf, pod, service),
    }
}

/// `POD_NAME` where it is given: with hostNetwork the hostname is the machine's.
fn short_name(hostnames: &[String], pod: &Pod) -> Result<PodName, IdentityError> {
    let unfit = || IdentityError::Hostname { hostname: hostnames.first().cloned().unwrap_or_default() };
    match &pod.name {
        Some(name) => name.parse().map_err(IdentityError::PodName),
        None => hostnames.iter().find_map(|hostname| hostname.parse().ok()).ok_or_else(unfit),
    }
}

fn from_hosts(etc_hosts: &str, pod: &PodName) -> Option<PodFqdn> {
    etc_hosts
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace().skip(1))
        .filter_map(|name| name.parse::<PodFqdn>().ok())
        .find(|fqdn| fqdn.pod() == pod)
}

fn from_parts(
    name: PodName,
    resolv_conf: &str,
    pod: &Pod,
    service: Option<&Label>,
) -> Result<PodFqdn, IdentityError> {
    let (namespace, domain) = match (&pod.namespace, search_domain(resolv_conf, pod.namespace.as_deref())) {
        (Some(namespace), Some((_, domain))) => (Some(namespace.clone()), Some(domain)),
        (None, Some((namespace, domain))) => (Some(namespace), Some(domain)),
        (namespace, None) => (namespace.clone(), None),
    };
    let (Some(service), Some(namespace), Some(domain)) = (service, &namespace, &domain) else {
        let lacks = [
            ("COUCHDISCOVER_SERVICE", service.is_none()),
            ("POD_NAMESPACE", namespace.is_none()),
            ("search domain '<namespace>.svc.<domain>' in /etc/resolv.conf", domain.is_none()),
        ];
        let lacks: Vec<_> = lacks.into_iter().filter_map(|(name, lacks)| lacks.then_some(name)).collect();
        return Err(IdentityError::Incomplete {
            pod: name,
            missing: format!("there is no {}", lacks.join(", no ")),
        });
    };
    let namespace = namespace.parse().map_err(IdentityError::Name)?;
    let domain = domain.parse().map_err(IdentityError::Name)?;
    PodFqdn::new(name, service.clone(), namespace, domain).map_err(IdentityError::Name)
}

/// The namespace and the cluster domain of the first search domain of the form `<namespace>.svc.<domain>`.
fn search_domain(resolv_conf: &str, namespace: Option<&str>) -> Option<(String, String)> {
    let searched = resolv_conf.lines().rfind(|line| line.trim_start().starts_with("search"))?;
    searched.split_whitespace().skip(1).find_map(|searched| {
        let (found, domain) = searched.trim_end_matches('.').split_once(".svc.")?;
        let ours = namespace.is_none_or(|namespace| namespace == found);
        (ours && !found.contains('.')).then(|| (found.to_owned(), domain.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const HOSTS: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n\
        10.1.2.3\tmy-db-0.my-db.shop.svc.k8s.example.com\tmy-db-0 # me\n10.1.2.4 my-db-1.my-db.shop.svc.k8s.example.com my-db-1\n";
    const RESOLV: &str =
        "nameserver 10.96.0.10\nsearch shop.svc.corp.local svc.corp.local corp.local\noptions ndots:5\n";

    fn clues(hostname: &str, etc_hosts: &str, resolv_conf: &str) -> Clues {
        Clues {
            hostnames: vec![hostname.to_owned()],
            etc_hosts: etc_hosts.to_owned(),
            resolv_conf: resolv_conf.to_owned(),
        }
    }

    fn pod(name: &str, namespace: &str) -> Pod {
        Pod { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..Pod::default() }
    }

    fn ask(clues: &Clues, pod: &Pod, service: Option<&str>) -> Result<String, IdentityError> {
        let service = service.map(|service| service.parse().unwrap());
        who_am_i(clues, pod, service.as_ref()).map(|fqdn| fqdn.to_string())
    }

    #[test]
    fn the_hostname_tells_it_whole_or_by_the_hosts_file() {
        let whole = clues("db-1.db.shop.svc.corp", "", "");
        assert_eq!(ask(&whole, &Pod::default(), None).unwrap(), "db-1.db.shop.svc.corp");
        let short = clues("my-db-1", HOSTS, "");
        assert_eq!(ask(&short, &Pod::default(), None).unwrap(), "my-db-1.my-db.shop.svc.k8s.example.com");
    }

    #[test]
    fn pod_name_service_and_search_domain_tell_it_where_the_hosts_file_does_not() {
        let found = ask(&clues("db-2", "", RESOLV), &pod("db-2", "shop"), Some("db")).unwrap();
        assert_eq!(found, "db-2.db.shop.svc.corp.local");
        let without_namespace = ask(&clues("db-2", "", RESOLV), &Pod::default(), Some("db")).unwrap();
        assert_eq!(without_namespace, "db-2.db.shop.svc.corp.local");
    }

    #[test]
    fn on_the_hosts_network_the_machines_name_is_not_the_pods() {
        let machine = clues("worker-1", "10.0.0.7 worker-1.c.project.internal worker-1\n", RESOLV);
        assert_eq!(ask(&machine, &pod("db-2", "shop"), Some("db")).unwrap(), "db-2.db.shop.svc.corp.local");
    }

    #[test]
    fn what_lacks_is_named() {
        let say = |clues: &Clues, pod: &Pod, service| {
            let error = ask(clues, pod, service).unwrap_err();
            match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }
        };
        assert_snapshot!(say(&clues("laptop", "", ""), &Pod::default(), None), @"the hostname 'laptop' is not that of a StatefulSet's pod ('<set>-<ordinal>') and POD_NAME is not set: the agent belongs into a pod of a StatefulSet; outside of one, set POD_NAME, POD_NAMESPACE and COUCHDISCOVER_SERVICE");
        assert_snapshot!(say(&clues("x", "", ""), &pod("web-7d4b9c-x2x1z", "shop"), None), @"POD_NAME is not that of a StatefulSet's pod: the agent belongs into a pod of a StatefulSet: 'web-7d4b9c-x2x1z' is not the name of a StatefulSet's pod: it does not end in '-<ordinal>', such as 'couchdb-0'");
        assert_snapshot!(say(&clues("db-0", "", ""), &Pod::default(), None), @"'db-0' has no full name: neither the hostname nor /etc/hosts holds 'db-0.<service>.<namespace>.svc.<domain>' (is spec.serviceName of the StatefulSet set?), and there is no COUCHDISCOVER_SERVICE, no POD_NAMESPACE, no search domain '<namespace>.svc.<domain>' in /etc/resolv.conf to make it from");
        assert_snapshot!(say(&clues("db-0", "", ""), &pod("db-0", "shop"), Some("db")), @"'db-0' has no full name: neither the hostname nor /etc/hosts holds 'db-0.<service>.<namespace>.svc.<domain>' (is spec.serviceName of the StatefulSet set?), and there is no search domain '<namespace>.svc.<domain>' in /etc/resolv.conf to make it from");
    }
}
