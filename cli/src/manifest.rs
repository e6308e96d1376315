//! `inject` and `uninject` on files.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use inject::files::{self, Format, Output, Verb};
use inject::{Defaults, OnRemoval, Settings};

use crate::defaults::DefaultArgs;
use crate::error::CommandError;
use crate::terminal;

/// Arguments of `inject`.
#[derive(Debug, ClapArgs)]
pub struct InjectArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    injection: Injection,
    /// Namespace of StatefulSets without metadata.namespace
    #[arg(long, short)]
    namespace: Option<String>,
}

/// The file and the format of the result.
#[derive(Debug, ClapArgs)]
pub(crate) struct FileArgs {
    /// YAML or JSON file, several documents and Lists included; '-' is stdin
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// Format of the result; by default that of the input
    #[arg(long, short, value_enum)]
    output: Option<OutputFormat>,
}

/// Arguments of `uninject`.
#[derive(Debug, ClapArgs)]
pub struct UninjectArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Remove the injected variables, too: node name, cookie, session secret and size
    ///
    /// By default only the agent is removed, unless the annotation couchdiscover.io/on-removal is 'everything'. The databases
    /// of a formed cluster are filed under the injected node names and cannot be reached without these.
    #[arg(long)]
    everything: bool,
}

/// Values for StatefulSets without an annotation of their own. The server has the same options.
#[derive(Clone, Debug, ClapArgs)]
pub struct Injection {
    /// Image of the agent
    #[arg(long, env = "COUCHDISCOVER_AGENT_IMAGE", default_value = DEFAULT_AGENT_IMAGE)]
    pub agent_image: String,
    /// The cluster's DNS domain
    #[arg(long, env = "COUCHDISCOVER_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Cluster-wide values of annotations.
    #[command(flatten)]
    pub defaults: DefaultArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputFormat {
    /// YAML documents
    Yaml,
    /// JSON objects
    Json,
    /// One JSON Patch per line and changed StatefulSet
    Patch,
}

impl Injection {
    /// The settings of an injection by this release.
    pub fn settings(&self) -> Settings {
        Settings {
            agent_image: self.agent_image.clone(),
            cluster_domain: self.cluster_domain.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            defaults: self.defaults.values(),
        }
    }
}

impl From<OutputFormat> for Format {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Yaml => Self::Yaml,
            OutputFormat::Json => Self::Json,
            OutputFormat::Patch => Self::Patch,
        }
    }
}

/// Injects the agent into the labelled StatefulSets of a file.
pub(crate) fn inject(args: &InjectArgs) -> Result<(), CommandError> {
    convert(Verb::Inject, &args.file, &args.injection.settings(), args.namespace.as_deref())
}

/// Removes the agent from the StatefulSets of a file.
pub(crate) fn uninject(args: &UninjectArgs) -> Result<(), CommandError> {
    // The record in each StatefulSet names everything that is removed; settings are not used.
    let unused = Settings {
        agent_image: String::new(),
        cluster_domain: String::new(),
        version: String::new(),
        defaults: Defaults::default(),
    };
    // Without the option, the annotation of each StatefulSet decides.
    let removal = args.everything.then_some(OnRemoval::Everything);
    convert(Verb::Uninject(removal), &args.file, &unused, None)
}

/// Writes the changed documents to stdout and the report to stderr.
fn convert(
    verb: Verb,
    args: &FileArgs,
    settings: &Settings,
    namespace: Option<&str>,
) -> Result<(), CommandError> {
    let input = read(&args.file)?;
    let Output { text, report } =
        files::run(verb, &input, args.output.map(Format::from), settings, namespace)?;
    // The report goes to stderr, so that the result can be piped into kubectl apply.
    for line in &report {
        terminal::note(line);
    }
    terminal::print(&text).map_err(CommandError::Write)
}

fn read(path: &Path) -> Result<String, CommandError> {
    let text = if path == Path::new("-") {
        io::read_to_string(io::stdin().lock())
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|source| CommandError::Read { path: path.to_owned(), source })
}

const DEFAULT_AGENT_IMAGE: &str = concat!("couchdiscover-agent:", env!("CARGO_PKG_VERSION"));
