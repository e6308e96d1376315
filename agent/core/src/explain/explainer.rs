//! The names that explanations use.

use std::collections::BTreeSet;

use contract::{Naming, PodFqdn, objects};

use super::explanation::list;

/// Explains steps, with the names of one pod and its StatefulSet.
#[derive(Clone, Debug)]
pub struct Explainer<'a> {
    /// This agent's pod.
    pub me: &'a PodFqdn,
    /// The Erlang names of the nodes.
    pub naming: &'a Naming,
    /// The name of the CouchDB admin that the agent uses.
    pub user: &'a str,
    /// The source of the admin's credentials: `COUCHDB_USER and COUCHDB_PASSWORD`.
    pub credentials_source: &'a str,
    /// The part of the admin's password that an ini file does not keep, as the subject of a sentence; never the password.
    pub lost_part: Option<&'static str>,
    /// The base URL of the local CouchDB, as it is reached inside the pod.
    pub couchdb_url: String,
}

impl Explainer<'_> {
    /// The name of the pod with this ordinal.
    pub(super) fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.me.pod().set())
    }

    /// The names of these pods, in order.
    pub(super) fn pods(&self, ordinals: &BTreeSet<u32>) -> String {
        list(ordinals.iter().map(|ordinal| self.pod(*ordinal)))
    }

    /// `StatefulSet 'couchdb'`
    pub(super) fn stateful_set(&self) -> String {
        format!("StatefulSet '{}'", self.me.pod().set())
    }

    /// `Lease 'couchdb-couchdiscover'`
    pub(super) fn lease(&self) -> String {
        format!("Lease '{}'", objects::companion(self.me.pod().set().as_str()))
    }

    /// A kubectl command in the pod's namespace.
    pub(super) fn kubectl(&self, arguments: &str) -> String {
        format!("kubectl -n {} {arguments}", self.me.namespace())
    }

    /// A command of couchdiscover for this namespace. The plugin's name works wherever kubectl finds it.
    pub(super) fn couchdiscover(&self, arguments: &str) -> String {
        format!("kubectl couchdiscover {arguments} -n {}", self.me.namespace())
    }

    /// A request to the CouchDB of this pod. curl is part of CouchDB's image, and asks for the password.
    pub(super) fn curl(&self, path: &str, options: &str) -> String {
        let Self { user, couchdb_url, .. } = self;
        // The certificate is issued for another name where CouchDB is reached by a loopback address.
        let insecure = if couchdb_url.starts_with("https") { "-k " } else { "" };
        let pod = self.me.pod();
        let curl = format!("exec -it {pod} -- curl {insecure}-u {user} '{couchdb_url}{path}'{options}");
        self.kubectl(&curl)
    }
}
