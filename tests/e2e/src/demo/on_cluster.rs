//! The same story on the cluster that `KUBECONFIG` names, told with `kubectl`. Nothing of it stays there.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::{Options, Printer, is_settled, list, text};
use crate::manifest::{self, ManifestError};

/// The namespace that the demo creates and deletes.
const NAMESPACE: &str = "couchdiscover-demo";
/// The manifests of the product.
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/base");
/// Images may have to be pulled, and volumes to be provided.
const DEADLINE: Duration = Duration::from_secs(300);
/// `kubectl` is a process for each look.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A reason for a demo on a cluster to fail.
#[derive(Debug, Error)]
pub enum ClusterDemoError {
    /// `kubectl` cannot be started.
    #[error("failed to run kubectl. Fix: install it, and set KUBECONFIG")]
    NoKubectl(#[source] io::Error),
    /// `kubectl` failed. Contains its message.
    #[error("kubectl {command}: {message}")]
    Kubectl {
        /// The arguments.
        command: String,
        /// The error output.
        message: String,
    },
    /// The namespace exists already.
    #[error(
        "namespace '{NAMESPACE}' exists already, and the demo would delete it. Fix: kubectl delete namespace {NAMESPACE}"
    )]
    NamespaceExists,
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The agents did not settle in time.
    #[error("the cluster was not formed within {} s. The last state:\n{state}", DEADLINE.as_secs())]
    TooLong {
        /// The pods and the steps of their agents.
        state: String,
    },
    /// The output cannot be written.
    #[error("failed to write the output")]
    Write(#[from] io::Error),
}

/// Runs the demo, and removes what it has created, also if it fails.
pub async fn run(options: &Options, out: &mut impl io::Write) -> Result<(), ClusterDemoError> {
    let mut demo = Demo {
        printer: Printer { out, start: Instant::now(), steps: BTreeMap::new() },
        installed: false,
        created: false,
    };
    let told = demo.tell(options).await;
    // The first error is the one to report.
    let removed = demo.remove();
    told.and(removed)
}

struct Demo<'o, W> {
    printer: Printer<'o, W>,
    /// `true` if the demo has installed the product.
    installed: bool,
    /// `true` if the demo has created its namespace.
    created: bool,
}

impl<W: io::Write> Demo<'_, W> {
    async fn tell(&mut self, options: &Options) -> Result<(), ClusterDemoError> {
        self.printer.line(
            "couchdiscover: a labelled StatefulSet becomes a CouchDB cluster, on your Kubernetes cluster",
        )?;
        if !kubectl(&["get", "namespace", NAMESPACE, "--ignore-not-found", "--output=name"])?.is_empty() {
            return Err(ClusterDemoError::NamespaceExists);
        }
        self.install()?;
        let set = self.apply(options)?;
        self.follow(&set).await?;
        self.show(&["get", "pods", "--namespace", NAMESPACE])?;
        if let Some(wipe) = options.wipe {
            self.lose_volume(&set, wipe).await?;
            self.show(&["get", "pods", "--namespace", NAMESPACE])?;
        }
        Ok(())
    }

    /// Installs the product unless it is installed.
    fn install(&mut self) -> Result<(), ClusterDemoError> {
        self.printer.heading("A cluster admin deploys the webhook")?;
        let configuration =
            ["get", "mutatingwebhookconfiguration", "couchdiscover", "--ignore-not-found", "--output=name"];
        if kubectl(&configuration)?.is_empty() {
            self.installed = true;
            self.show(&["apply", "-k", BASE])?;
        } else {
            self.printer.line("   it is installed already")?;
        }
        self.show(&[
            "--namespace=couchdiscover",
            "rollout",
            "status",
            "deployment/couchdiscover-webhook",
            "--timeout=120s",
        ])
    }

    /// Applies the manifest in a new namespace. Returns the stored StatefulSet.
    fn apply(&mut self, options: &Options) -> Result<Value, ClusterDemoError> {
        self.printer.heading(&format!("A user applies {}", options.title))?;
        self.created = true;
        self.show(&["create", "namespace", NAMESPACE])?;
        let mut objects = manifest::objects(&options.manifest)?;
        let set = objects.iter_mut().find(|object| object["kind"] == "StatefulSet");
        let set = set.ok_or(ManifestError::NoStatefulSet)?;
        if let Some(nodes) = options.nodes {
            set["spec"]["replicas"] = json!(nodes);
        }
        let applied = set.clone();
        let all = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let printed = run_kubectl(&["apply", "--namespace", NAMESPACE, "-f", "-"], &all.to_string())?;
        self.indented(&printed)?;
        let name = text(&applied["metadata"]["name"]);
        let stored = kubectl(&["get", "statefulset", name, "--namespace", NAMESPACE, "--output=json"])?;
        let stored: Value = serde_json::from_str(&stored).unwrap_or_default();
        self.printer.injection(&applied, &stored)?;
        Ok(stored)
    }

    /// Prints each new step of each agent until all are settled.
    async fn follow(&mut self, set: &Value) -> Result<(), ClusterDemoError> {
        let count = usize::try_from(set["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(1);
        let name = text(&set["metadata"]["name"]);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut settled = 0;
            for ordinal in 0..count {
                let pod = format!("{name}-{ordinal}");
                let path = format!(
                    "/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{}/proxy/status",
                    contract::ports::AGENT
                );
                // No answer while the pod starts.
                let Ok(page) = kubectl(&["get", "--raw", &path]) else { continue };
                let page: Value = serde_json::from_str(&page).unwrap_or_default();
                self.printer.step(ordinal, &pod, &page["step"])?;
                settled += usize::from(is_settled(&page));
            }
            if settled == count && self.are_ready(set)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(ClusterDemoError::TooLong {
                    state: kubectl(&["describe", "pods", "--namespace", NAMESPACE])?,
                });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// `true` if as many pods are ready as the set has replicas, and none is being deleted.
    fn are_ready(&self, set: &Value) -> Result<bool, ClusterDemoError> {
        let name = text(&set["metadata"]["name"]);
        let now = kubectl(&["get", "statefulset", name, "--namespace", NAMESPACE, "--output=json"])?;
        let now: Value = serde_json::from_str(&now).unwrap_or_default();
        Ok(now["status"]["readyReplicas"] == set["spec"]["replicas"])
    }

    /// Deletes the claims and the pod of a node, and follows its return.
    async fn lose_volume(&mut self, set: &Value, wipe: usize) -> Result<(), ClusterDemoError> {
        let pod = format!("{}-{wipe}", text(&set["metadata"]["name"]));
        self.printer.heading(&format!("{pod} loses its volume and restarts empty"))?;
        for template in list(&set["spec"]["volumeClaimTemplates"]) {
            let claim = format!("{}-{pod}", text(&template["metadata"]["name"]));
            self.show(&["delete", "pvc", &claim, "--namespace", NAMESPACE, "--wait=false"])?;
        }
        self.show(&["delete", "pod", &pod, "--namespace", NAMESPACE])?;
        self.printer.steps.remove(&wipe);
        self.follow(set).await
    }

    fn remove(&mut self) -> Result<(), ClusterDemoError> {
        self.printer.heading("Everything is removed")?;
        if self.created {
            self.show(&["delete", "namespace", NAMESPACE, "--timeout=180s"])?;
        }
        if self.installed {
            self.show(&["delete", "-k", BASE, "--timeout=180s"])?;
        }
        Ok(())
    }

    /// Runs kubectl, and prints command and output.
    fn show(&mut self, arguments: &[&str]) -> Result<(), ClusterDemoError> {
        self.printer.line(&format!("   $ kubectl {}", arguments.join(" ")))?;
        let printed = kubectl(arguments)?;
        self.indented(&printed)
    }

    fn indented(&mut self, printed: &str) -> Result<(), ClusterDemoError> {
        for line in printed.lines() {
            self.printer.line(&format!("   {line}"))?;
        }
        Ok(())
    }
}

fn kubectl(arguments: &[&str]) -> Result<String, ClusterDemoError> {
    run_kubectl(arguments, "")
}

/// Runs kubectl with this standard input. Returns what it prints, warnings first.
fn run_kubectl(arguments: &[&str], input: &str) -> Result<String, ClusterDemoError> {
    let output = spawn(arguments, input).map_err(ClusterDemoError::NoKubectl)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let message = errors.trim().to_owned();
        return Err(ClusterDemoError::Kubectl { command: arguments.join(" "), message });
    }
    Ok(format!("{errors}{}", String::from_utf8_lossy(&output.stdout)))
}

fn spawn(arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut kubectl = Command::new("kubectl");
    kubectl.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = kubectl.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input reports the reason itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}
