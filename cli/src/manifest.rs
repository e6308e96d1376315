//! `inject` and `uninject` on files.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use contract::error::chain;
use inject::files::{self, Format, Input, Output, Verb};
use inject::{Defaults, OnRemoval, Settings};

use crate::defaults::DefaultArgs;
use crate::error::CommandError;
use crate::sources::{self, Source, Sources};
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
    /// YAML or JSON file, or a folder of them; '-' is stdin. May be repeated
    #[arg(long = "filename", short = 'f', value_name = "FILE", required_unless_present = "paths")]
    files: Vec<PathBuf>,
    /// The same without -f
    #[arg(value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Read the folders within folders, too
    #[arg(long, short = 'R')]
    recursive: bool,
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
    let Sources { sources, mut unreadable } =
        sources::read(args.files.iter().chain(&args.paths), args.recursive);
    let is_one = sources.len() + unreadable.len() == 1;
    if is_one && let Some(error) = unreadable.pop() {
        return Err(error.into());
    }
    let input = |source: &'_ Source| -> (Option<String>, String) {
        ((!is_one).then(|| source.name.clone()), source.text.clone())
    };
    let texts: Vec<_> = sources.iter().map(input).collect();
    let inputs: Vec<_> = texts.iter().map(|(file, text)| Input { file: file.as_deref(), text }).collect();
    let result = files::run_all(verb, &inputs, args.output.map(Format::from), settings, namespace);
    // The problems of the readable files are reported together with the unreadable ones.
    if !unreadable.is_empty() {
        let mut lines: Vec<_> = unreadable.iter().map(|error| chain(error)).collect();
        match result {
            Ok(_) => {}
            Err(files::Error::Several(more) | files::Error::Denied(more)) => lines.extend(more),
            Err(error) => lines.push(error.to_string()),
        }
        return Err(files::Error::Several(lines).into());
    }
    let Output { text, report } = result?;
    // The report goes to stderr, so that the result can be piped into kubectl apply.
    for line in &report {
        terminal::note(line);
    }
    terminal::print(&text).map_err(CommandError::Write)
}

const DEFAULT_AGENT_IMAGE: &str = concat!("couchdiscover-agent:", env!("CARGO_PKG_VERSION"));
