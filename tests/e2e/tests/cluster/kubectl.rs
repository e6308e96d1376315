//! `kubectl`, as a user runs it.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// `kubectl` with a default namespace.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    pub(crate) namespace: String,
}

/// Output of a successful `kubectl`: results, and the lines that begin with `Warning:`.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) results: String,
    pub(crate) warnings: String,
}

impl Kubectl {
    pub(crate) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    /// Runs `kubectl` with this standard input. The error is what it prints.
    pub(crate) async fn try_run(&self, arguments: &[&str], input: &str) -> Result<Output, String> {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--namespace").arg(&self.namespace).args(arguments);
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = kubectl.spawn().map_err(|error| {
            format!("kubectl cannot be started: {error}. Fix: run the tests with tests/cluster/in")
        })?;
        let mut stdin = child.stdin.take().ok_or("kubectl has no standard input")?;
        // A command that does not read its input reports the reason itself.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
        let results = String::from_utf8_lossy(&output.stdout).into_owned();
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.success() {
            true => Ok(Output { results, warnings }),
            false => Err(format!("kubectl {}: {warnings}{results}", arguments.join(" "))),
        }
    }

    /// Runs `kubectl`, which must succeed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        self.try_run(arguments, "").await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// `kubectl apply` of these objects, which must succeed.
    pub(crate) async fn apply(&self, objects: &[Value]) -> Output {
        self.try_apply(objects).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn try_apply(&self, objects: &[Value]) -> Result<Output, String> {
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.try_run(&["apply", "-f", "-"], &list.to_string()).await
    }

    /// An object or a list as JSON; `null` if there is none.
    pub(crate) async fn get(&self, arguments: &[&str]) -> Value {
        let arguments = [&["get", "--output=json", "--ignore-not-found"], arguments].concat();
        let output = self.run(&arguments).await;
        serde_json::from_str(&output.results).unwrap_or_default()
    }
}
