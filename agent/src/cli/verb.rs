//! The arguments.

use crate::repair::Repair;

/// The task of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Print the usage.
    Help,
    /// Carry a repair out, or print what it would change.
    Repair(Repair, Consent),
    /// Run the sidecar; also without a verb.
    Run,
    /// Print the page of the agent that runs in this pod.
    Status(StatusFormat),
    /// Print the version.
    Version,
}

/// The consent to a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// `--yes`: it is carried out.
    Given,
    /// It is only printed.
    Missing,
}

/// The format of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusFormat {
    /// The page as the agent serves it.
    Json,
    /// A table for people.
    Table,
}

impl Verb {
    /// Parses the arguments after the program's name. The error is the first one that is not understood.
    pub(super) fn parse(args: &[String]) -> Result<Self, String> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match args[..] {
            [] | ["run"] => Ok(Self::Run),
            ["status"] => Ok(Self::Status(StatusFormat::Table)),
            ["status", "--json"] => Ok(Self::Status(StatusFormat::Json)),
            ["help" | "-h" | "--help"] => Ok(Self::Help),
            ["version" | "-V" | "--version"] => Ok(Self::Version),
            ["open" | "readmit" | "forget", ref rest @ ..] => {
                let consent = if rest.contains(&YES) { Consent::Given } else { Consent::Missing };
                let words: Vec<&str> = args.iter().copied().filter(|arg| *arg != YES).collect();
                Repair::parse(&words)
                    .map(|repair| Self::Repair(repair, consent))
                    .ok_or_else(|| words.join(" "))
            }
            [unknown] | [_, unknown, ..] => Err(unknown.to_owned()),
        }
    }
}

const YES: &str = "--yes";

pub(super) const USAGE: &str = "\
couchdiscover-agent: joins the CouchDB pods of one StatefulSet into one cluster, and maintains it

usage: couchdiscover-agent [run]             run as the sidecar
       couchdiscover-agent status [--json]   print the state of the agent that runs in this pod
       couchdiscover-agent open [--yes]            let this node take part in reads and writes again
       couchdiscover-agent readmit NODE [--yes]    list a pod's node as a member again
       couchdiscover-agent forget NAME [--yes]     remove a name that is no pod's from _nodes
       couchdiscover-agent version
       couchdiscover-agent help

Without --yes, a repair prints what it would change and what may be lost, and changes nothing. Names may be percent-encoded.

All settings are environment variables; the webhook sets them. Without the webhook, it needs at least
  COUCHDB_USER, COUCHDB_PASSWORD      an admin of CouchDB (or COUCHDB_ADMIN_USER, COUCHDB_ADMIN_PASS)
  COUCHDB_CLUSTER_SIZE                the number of nodes, if the Kubernetes API cannot be used
  COUCHDISCOVER_KUBERNETES=off        never use the Kubernetes API
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Verb, String> {
        Verb::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn verbs_are_parsed_and_others_are_named() {
        assert_eq!(parse(&[]), Ok(Verb::Run));
        assert_eq!(parse(&["run"]), Ok(Verb::Run));
        assert_eq!(parse(&["status"]), Ok(Verb::Status(StatusFormat::Table)));
        assert_eq!(parse(&["status", "--json"]), Ok(Verb::Status(StatusFormat::Json)));
        assert_eq!(parse(&["--version"]), Ok(Verb::Version));
        let open = Verb::Repair(Repair::Open, Consent::Missing);
        assert_eq!(parse(&["open"]), Ok(open));
        let forget = Repair::Forget("nonode@nohost".to_owned());
        assert_eq!(parse(&["forget", "--yes", "nonode@nohost"]), Ok(Verb::Repair(forget, Consent::Given)));
        assert_eq!(parse(&["readmit", "--yes"]), Err("readmit".to_owned()));
        assert_eq!(parse(&["walk"]), Err("walk".to_owned()));
        assert_eq!(parse(&["run", "fast"]), Err("fast".to_owned()));
    }
}
