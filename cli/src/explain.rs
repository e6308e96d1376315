//! `explain`: the runbook's page about a state, a condition or an alert, without a network.

use std::io;

use clap::Args as ClapArgs;
use serde_json::{Value, json};
use thiserror::Error;

use crate::check::Output;
use crate::terminal;

/// Arguments of `explain`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Name of a state, condition or alert, such as Filling; without it, all names are listed
    name: Option<String>,
    /// Format of the result
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Reason why nothing was explained.
#[derive(Debug, Error)]
pub(crate) enum ExplainError {
    /// There is no page of this name.
    #[error(
        "'{name}' is no state, condition or alert{nearest}. Fix: list all of them with 'couchdiscover explain'"
    )]
    Unknown {
        /// The name.
        name: String,
        /// Such as `; did you mean 'Filling'?`, or empty.
        nearest: String,
    },
    /// The page cannot be written.
    #[error("failed to write the page")]
    Write(#[from] io::Error),
}

/// Prints a page, or the list of all pages.
pub(crate) fn run(args: &Args) -> Result<(), ExplainError> {
    let text = match (&args.name, args.output) {
        (None, Output::Table) => names().map(|name| format!("{name}\n")).collect(),
        (None, Output::Json) => format!("{}\n", Value::from_iter(names())),
        (Some(name), Output::Table) => page(name)?.1.to_owned(),
        (Some(name), Output::Json) => {
            let (name, page) = page(name)?;
            format!("{:#}\n", json!({ "name": name, "page": page }))
        }
    };
    Ok(terminal::print(&text)?)
}

/// The names of all pages.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(name, _)| *name)
}

/// The page of this name, in any case.
fn page(name: &str) -> Result<(&'static str, &'static str), ExplainError> {
    let found = PAGES.iter().find(|(title, _)| title.eq_ignore_ascii_case(name));
    found.copied().ok_or_else(|| {
        let lower = name.to_ascii_lowercase();
        let part = PAGES.iter().find(|(title, _)| {
            let title = title.to_ascii_lowercase();
            title.contains(&lower) || lower.contains(&title)
        });
        let nearest = part.filter(|_| !name.is_empty());
        let nearest = nearest.map_or_else(String::new, |(title, _)| format!("; did you mean '{title}'?"));
        ExplainError::Unknown { name: name.to_owned(), nearest }
    })
}

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../docs/runbook/", $name, ".md")))),*]
    };
}

/// The pages of `docs/runbook`, by name.
const PAGES: &[(&str, &str)] = pages![
    "AddingCopies",
    "AdminPasswordsDiffer",
    "AdminsOnSomeNodes",
    "AdoptingIdentity",
    "BasicAuthenticationOff",
    "ClosedByHand",
    "CookieMismatch",
    "CopiesDisagree",
    "CouchDBClosedByHand",
    "CouchDBCredentialsRejected",
    "CouchDBFillingStalled",
    "CouchDBIdentityKeepsChanging",
    "CouchDBMajorityLost",
    "CouchDBMemberNotConnected",
    "CouchDBMovesPaused",
    "CouchDBNoReadyPod",
    "CouchDBPodNotReady",
    "CouchDBPodNotSettled",
    "CouchDBPodRefuses",
    "CouchDBShardMapsBroken",
    "CouchDbClosed",
    "CouchDbUnclear",
    "CouchDbUntrusted",
    "CouchDiscoverAgentMissing",
    "CouchDiscoverAgentStepsFail",
    "CouchDiscoverAgentWithoutKubernetes",
    "CouchDiscoverAgentsAbsent",
    "CouchDiscoverStatefulSetsUninjected",
    "CouchDiscoverStatefulSetsUnprovided",
    "CouchDiscoverWebhookAuthorityExpires",
    "CouchDiscoverWebhookCaBundleFoughtOver",
    "CouchDiscoverWebhookCertificateExpires",
    "CouchDiscoverWebhookCrowded",
    "CouchDiscoverWebhookDown",
    "CouchDiscoverWebhookNotReady",
    "CouchDiscoverWebhookPanics",
    "CouchDiscoverWebhookRefusesRequests",
    "CouchDiscoverWebhookReplicaNotReady",
    "CouchDiscoverWebhookSheds",
    "CouchDiscoverWebhookSlow",
    "CreatingDatabase",
    "CredentialsForbidden",
    "CredentialsLockedOut",
    "CredentialsMissing",
    "CredentialsRejected",
    "Displaced",
    "DrainingNode",
    "EnablingCluster",
    "EnteringMaintenance",
    "Filling",
    "FillingStalled",
    "FinishingMoves",
    "FirstLook",
    "ForeignData",
    "ForeignPeers",
    "FormedBefore",
    "Founding",
    "Joining",
    "KubernetesTokenMissing",
    "MakingSessionSecret",
    "MembersBeyondSize",
    "MixedReleases",
    "MovesPaused",
    "NodeNameMismatch",
    "NodeRenamed",
    "NotExpected",
    "NotListed",
    "NotPublished",
    "NotingFilling",
    "PortsBlocked",
    "ProvingWhole",
    "RaisingCopies",
    "ReadmittingNode",
    "Rebalancing",
    "RecordingFounding",
    "ReleasingLease",
    "RemovingEmptyDatabases",
    "RemovingMember",
    "RestoringNode",
    "SettingZone",
    "Settled",
    "ShardMapsBroken",
    "ShardsLost",
    "SingleCopies",
    "SizeUnknown",
    "SplitCluster",
    "StrangersListed",
    "SystemDatabaseUnderReplicated",
    "SystemDatabasesClosed",
    "TakingLease",
    "WaitingForAdoption",
    "WaitingForConnections",
    "WaitingForCouchDb",
    "WaitingForFounding",
    "WaitingForJoined",
    "WaitingForKubernetes",
    "WaitingForLease",
    "WaitingForMaps",
    "WaitingForMembership",
    "WaitingForOtherMembers",
    "WaitingForPeers",
    "WaitingForResharding",
    "WaitingForSystemDatabase",
    "ZoneUnknown",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_page_of_the_runbook_is_part_of_the_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let files: BTreeSet<String> = files.filter_map(|file| file.into_string().ok()).collect();
        let pages = PAGES.iter().map(|(name, _)| format!("{name}.md"));
        let pages: BTreeSet<String> = pages.chain(["README.md".to_owned()]).collect();
        assert_eq!(files, pages);
    }

    #[test]
    fn a_page_is_found_in_any_case_and_an_unknown_name_gets_the_nearest() {
        assert!(page("filling").unwrap().1.starts_with("# Filling"));
        let unknown = page("Credentials").unwrap_err().to_string();
        assert!(unknown.contains("did you mean 'CouchDBCredentialsRejected'?"), "{unknown}");
        let far = page("x-y").unwrap_err().to_string();
        assert!(far.starts_with("'x-y' is no state, condition or alert. Fix"), "{far}");
    }
}
