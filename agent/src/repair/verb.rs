//! The repairs, as the command line names them.

use percent_encoding::percent_decode_str;

/// A repair that a person decides about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The own node takes part in reads and writes again.
    Open,
    /// A pod's node is listed again as a member; by pod name or Erlang name.
    Readmit(String),
    /// A name that belongs to no pod is removed from `_nodes`.
    Forget(String),
}

impl Repair {
    /// The repair of these arguments; `None` if they name none.
    ///
    /// Names are percent-decoded: a message contains them in a form that no shell interprets.
    pub fn parse(args: &[&str]) -> Option<Self> {
        let name = |encoded: &str| percent_decode_str(encoded).decode_utf8().ok().map(String::from);
        match *args {
            ["open"] => Some(Self::Open),
            ["readmit", node] => name(node).map(Self::Readmit),
            ["forget", node] => name(node).map(Self::Forget),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_and_other_arguments_are_no_repair() {
        assert_eq!(Repair::parse(&["open"]), Some(Repair::Open));
        assert_eq!(Repair::parse(&["readmit", "db-2"]), Some(Repair::Readmit("db-2".to_owned())));
        assert_eq!(Repair::parse(&["forget", "a%27b@c"]), Some(Repair::Forget("a'b@c".to_owned())));
        assert_eq!(Repair::parse(&["forget", "%ff"]), None, "not UTF-8");
        assert_eq!(Repair::parse(&["open", "db-2"]), None);
        assert_eq!(Repair::parse(&["forget"]), None);
    }
}
