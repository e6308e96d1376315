//! `kubectl exec` of the agent's program. The API server authenticates the user, and nothing else can start it.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;

use contract::objects;
use contract::text::in_url;

use super::error::RepairError;

/// One run of the agent's program.
#[derive(Clone, Debug)]
pub(super) struct Exec {
    /// The context of the kubeconfig, if it is not the current one.
    pub(super) context: Option<String>,
    pub(super) namespace: String,
    pub(super) pod: String,
    /// The verb, and the name that it is about.
    pub(super) verb: &'static str,
    pub(super) name: Option<String>,
}

impl Exec {
    /// Runs the program; with `consent` it changes something. Returns its output.
    pub(super) fn run(&self, consent: bool) -> Result<String, RepairError> {
        let mut command = Command::new("kubectl");
        command
            .args(self.arguments(consent))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return RepairError::NoKubectl { command: self.command_line(consent) };
            }
            RepairError::Kubectl(error)
        })?;
        let errors = child.stderr.take();
        // Beside the output: a full pipe would stop the program.
        let errors = thread::spawn(move || errors.map_or_else(String::new, beginning));
        let output = child.stdout.take().map_or_else(String::new, beginning);
        let status = child.wait().map_err(RepairError::Kubectl)?;
        let message = errors.join().unwrap_or_default();
        if status.success() {
            return Ok(output);
        }
        Err(self.refused(&message))
    }

    fn refused(&self, message: &str) -> RepairError {
        if message.contains("is not understood") {
            return RepairError::OldAgent { pod: self.pod.clone() };
        }
        let lines = message.lines().filter(|line| !is_noise(line));
        let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("couchdiscover-agent: ")).collect();
        RepairError::Refused { message: lines.join("\n") }
    }

    fn arguments(&self, consent: bool) -> Vec<String> {
        let Self { context, namespace, pod, verb, name } = self;
        let mut arguments: Vec<String> = vec![];
        if let Some(context) = context {
            arguments.extend(["--context".to_owned(), context.clone()]);
        }
        arguments
            .extend(["-n", namespace, "exec", pod, "-c", objects::AGENT_CONTAINER, "--"].map(str::to_owned));
        arguments.extend(["/couchdiscover-agent".to_owned(), (*verb).to_owned()]);
        arguments.extend(name.as_deref().map(in_url));
        if consent {
            arguments.push("--yes".to_owned());
        }
        arguments
    }

    /// The command for a shell.
    fn command_line(&self, consent: bool) -> String {
        let quoted = self.arguments(consent).into_iter().map(|argument| quoted(&argument));
        ["kubectl".to_owned()].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
    }
}

/// A line that kubectl adds: about the exit code, or of its log, such as `E1130 22:00:30.835316 ..`.
fn is_noise(line: &str) -> bool {
    let (first, rest) = line.split_at_checked(1).unwrap_or_default();
    let is_log = matches!(first, "E" | "I" | "W")
        && rest
            .split(' ')
            .next()
            .is_some_and(|date| date.len() == 4 && date.bytes().all(|byte| byte.is_ascii_digit()));
    is_log || line.starts_with("command terminated with exit code")
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@%".contains(letter);
    if argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// The beginning of a stream. A container may write without an end.
fn beginning(stream: impl Read) -> String {
    let mut bytes = vec![];
    // What was read before an error is shown.
    let _ = stream.take(MOST_BYTES).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A proposal has less than 2 kB.
const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_kubectls_log_are_left_out() {
        assert!(is_noise("E1130 22:00:30.835316   20918 memcache.go:265] \"Unhandled Error\""));
        assert!(is_noise("command terminated with exit code 1"));
        for line in ["", "Error from server (Forbidden): no", "E: unable", "\u{e9}1130 a", "1130 a"] {
            assert!(!is_noise(line), "{line}");
        }
    }

    #[test]
    fn the_command_can_be_pasted_whatever_the_names_are() {
        let exec = Exec {
            context: Some("it's mine".to_owned()),
            namespace: "shop".to_owned(),
            pod: "db-0".to_owned(),
            verb: "forget",
            name: Some("x';reboot@h".to_owned()),
        };
        assert_eq!(
            exec.command_line(true),
            r"kubectl --context 'it'\''s mine' -n shop exec db-0 -c couchdiscover-agent -- /couchdiscover-agent forget x%27%3Breboot@h --yes"
        );
    }
}
