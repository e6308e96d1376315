//! Reads the facts of a repair at the own CouchDB, and carries a proposal out there.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_core::facts::{MaintenanceMode, VolumeNote};
use contract::status::{NodeReport, Page};
use contract::{Naming, NodeName, PodName};
use thiserror::Error;

use super::proposal::{Change, OwnNode, Owner, Proposal, Refused};
use super::verb::Repair;
use crate::Surroundings;
use crate::couch::tls::{TlsError, Trust};
use crate::couch::{Couch, CouchError, Note};
use crate::credentials::{ResolveError, Resolver};
use crate::kubernetes;
use crate::metrics::Metrics;
use crate::observe::Directory;
use crate::settings::Settings;
use crate::settings::pod_name::{PodNameError, full_name};

/// A repair failed, or was refused.
#[derive(Debug, Error)]
pub enum RepairError {
    /// A call to CouchDB failed.
    #[error(transparent)]
    Couch(#[from] CouchError),
    /// No credentials of CouchDB's admin are found.
    #[error("no admin credentials were injected")]
    Credentials(#[from] ResolveError),
    /// The agent has just started.
    #[error("the agent has not completed a round. Fix: repeat this in a moment")]
    FirstRound,
    /// The pod's full name can't be derived.
    #[error("failed to derive the DNS name of this pod")]
    Identity(#[from] PodNameError),
    /// The name is no node's.
    #[error("'{0}' is neither a pod of this StatefulSet nor the name of an Erlang node")]
    Name(String),
    /// The repair would do harm.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// CouchDB's certificates can't be checked.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Carries repairs out with the agent's credentials, at the CouchDB of its own pod.
#[derive(Debug)]
pub struct Repairer {
    couch: Couch,
    directory: Directory,
}

impl Repairer {
    /// Finds the pod's name and CouchDB's credentials as the agent does.
    pub async fn new(settings: Settings, surroundings: Surroundings) -> Result<Self, RepairError> {
        let Surroundings { names, addresses, kubernetes, place, termination_log: _ } = surroundings;
        let me = full_name(&names, &settings.pod, settings.service.as_ref())?;
        let mut trust = Trust::new(me.clone(), settings.couchdb.clone(), settings.ca_file.clone());
        let client = trust.client()?;
        let credentials = match settings.credentials {
            Some(injected) => injected,
            None => {
                let access = kubernetes::connect(settings.kubernetes, kubernetes, place).await;
                let ip = settings.pod.ip.map(|ip| ip.to_string());
                Resolver::new(access.client(), me.clone(), settings.container, ip).credentials().await?
            }
        };
        let couch = Couch::new(client, credentials, Arc::new(Metrics::default()));
        let naming = Naming::usual(&me);
        let directory = Directory {
            me,
            endpoint: settings.couchdb,
            naming,
            colleagues: BTreeSet::new(),
            known: addresses,
        };
        Ok(Self { couch, directory })
    }

    /// What a repair would change; `page` is that of this pod's agent. Changes nothing.
    pub async fn propose(&self, repair: &Repair, page: &Page) -> Result<Proposal, RepairError> {
        let base = self.directory.local();
        let me = self.couch.name(&base).await?;
        let pod = self.directory.me.pod().to_string();
        match repair {
            Repair::Open => {
                let node = OwnNode {
                    mode: self.couch.standing(&base).await?.mode,
                    note: self.couch.note(&base).await?.state,
                    leaving: self.couch.is_leaving(&base, &me).await?,
                };
                Ok(Proposal::open(&pod, page, node)?)
            }
            Repair::Readmit(name) => {
                let (node, Some(_)) = self.node(&me, name)? else {
                    return Err(RepairError::Name(name.clone()));
                };
                Ok(Proposal::readmit(&node, &me, &self.couch.listed(&base).await?)?)
            }
            Repair::Forget(name) => {
                let (node, pod) = self.node(&me, name)?;
                // Before its first round the agent does not know the pods of the StatefulSet.
                if page.expected.is_empty() {
                    return Err(RepairError::FirstRound);
                }
                let owner = owner(page, &self.directory.me.pod().to_string(), &node, pod.as_deref());
                let members = self.couch.membership(&base).await?;
                let copies = self.couch.databases_on(&base, &node).await?;
                Ok(Proposal::forget(&node, &me, &members, owner, copies)?)
            }
        }
    }

    /// Carries a change out.
    pub async fn carry_out(&self, change: &Change) -> Result<(), RepairError> {
        let base = self.directory.local();
        match change {
            Change::EndMaintenance => self.couch.end_maintenance_for_good(&base).await?,
            Change::OpenUnproved => {
                // The mode last: an agent that finds the node open before would close it again, by the note, or after it has
                // compared the volume.
                let note = self.couch.note(&base).await?;
                self.couch.write_note(&base, Note { state: VolumeNote::Complete, ..note }).await?;
                self.couch.mark_compared(&base).await?;
                self.couch.set_maintenance(&base, MaintenanceMode::Off).await?;
            }
            Change::List(node) => self.couch.join(&base, node).await?,
            Change::Unlist(node) => self.couch.remove_member(&base, node).await?,
        }
        Ok(())
    }

    /// The Erlang name of a node, and its pod if it belongs to this StatefulSet.
    fn node(&self, me: &str, name: &str) -> Result<(String, Option<String>), RepairError> {
        let own = self.directory.me.pod();
        let naming = me.parse::<NodeName>().ok().and_then(|me| Naming::of(&me, own));
        if !name.contains('@') {
            // A pod's name, which the own node's name turns into that of its node.
            let pod = name.parse::<PodName>().ok().filter(|pod| pod.set() == own.set());
            let ordinal = pod.map(|pod| pod.ordinal());
            let node = naming.zip(ordinal).map(|(naming, ordinal)| naming.node(ordinal).to_string());
            return node
                .map(|node| (node, Some(name.to_owned())))
                .ok_or_else(|| RepairError::Name(name.to_owned()));
        }
        let node = name.parse::<NodeName>().ok();
        let ordinal = naming.zip(node).and_then(|(naming, node)| naming.ordinal_of(&node));
        Ok((name.to_owned(), ordinal.map(|ordinal| format!("{}-{ordinal}", own.set()))))
    }
}

/// The owner of a name in `_nodes`, as the agent of pod `me` sees it; `pod` is the pod that the name would belong to.
fn owner(page: &Page, me: &str, node: &str, pod: Option<&str>) -> Owner {
    if pod.is_some_and(|pod| page.expected.iter().any(|expected| expected == pod)) {
        return Owner::StatefulSet;
    }
    match page.nodes.get(me) {
        Some(NodeReport::Seen(own)) if own.other_members.contains(node) => Owner::OtherMembers,
        Some(NodeReport::Seen(_) | NodeReport::Unseen { .. }) | None => Owner::Nothing,
    }
}
