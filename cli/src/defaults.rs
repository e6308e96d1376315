//! Options for values that apply to all StatefulSets without the respective annotation.

use clap::Args;
use contract::keys;
use inject::Defaults;

/// The options. Each value is that of an annotation, which takes precedence.
#[derive(Clone, Debug, Default, Args)]
pub struct DefaultArgs {
    /// Pull policy of the agent's image: Always, IfNotPresent or Never [default: IfNotPresent]
    #[arg(long, env = "COUCHDISCOVER_AGENT_IMAGE_PULL_POLICY", value_parser = valid(keys::AGENT_IMAGE_PULL_POLICY))]
    pub agent_image_pull_policy: Option<String>,
    /// Secrets that the agent's image is pulled with, separated by commas; they must exist in the namespace of each
    /// StatefulSet
    #[arg(long, env = "COUCHDISCOVER_AGENT_IMAGE_PULL_SECRETS", value_parser = valid(keys::AGENT_IMAGE_PULL_SECRETS))]
    pub agent_image_pull_secrets: Option<String>,
    /// CPU request of the agent [default: 5m]
    #[arg(long, env = "COUCHDISCOVER_AGENT_CPU_REQUEST", value_parser = valid(keys::AGENT_CPU_REQUEST))]
    pub agent_cpu_request: Option<String>,
    /// Memory request of the agent [default: 16Mi]
    #[arg(long, env = "COUCHDISCOVER_AGENT_MEMORY_REQUEST", value_parser = valid(keys::AGENT_MEMORY_REQUEST))]
    pub agent_memory_request: Option<String>,
    /// CPU limit of the agent [default: none]
    #[arg(long, env = "COUCHDISCOVER_AGENT_CPU_LIMIT", value_parser = valid(keys::AGENT_CPU_LIMIT))]
    pub agent_cpu_limit: Option<String>,
    /// Memory limit of the agent [default: 64Mi, or the request if that is more]
    #[arg(long, env = "COUCHDISCOVER_AGENT_MEMORY_LIMIT", value_parser = valid(keys::AGENT_MEMORY_LIMIT))]
    pub agent_memory_limit: Option<String>,
    /// Log level of the agent: error, warn, info, debug or trace [default: info]
    #[arg(long, env = "COUCHDISCOVER_AGENT_LOG_LEVEL", value_parser = valid(keys::AGENT_LOG_LEVEL))]
    pub agent_log_level: Option<String>,
    /// Log format of the agent: text or json [default: text]
    #[arg(long, env = "COUCHDISCOVER_AGENT_LOG_FORMAT", value_parser = valid(keys::AGENT_LOG_FORMAT))]
    pub agent_log_format: Option<String>,
    /// Kind of the agent's container: container or native [default: container]
    #[arg(long, env = "COUCHDISCOVER_SIDECAR", value_parser = valid(keys::SIDECAR))]
    pub sidecar: Option<String>,
    /// Readiness of the pods: joined or off [default: joined]
    #[arg(long, env = "COUCHDISCOVER_READINESS", value_parser = valid(keys::READINESS))]
    pub readiness: Option<String>,
    /// The way in which CouchDB is given the cookie: variable or flag [default: flag where the image cannot write the
    /// cookie's file]
    #[arg(long, env = "COUCHDISCOVER_ERLANG_COOKIE", value_parser = valid(keys::ERLANG_COOKIE))]
    pub erlang_cookie: Option<String>,
}

impl DefaultArgs {
    /// The values by the keys of their annotations.
    pub fn values(&self) -> Defaults {
        Defaults::new([
            (keys::AGENT_IMAGE_PULL_POLICY, self.agent_image_pull_policy.clone()),
            (keys::AGENT_IMAGE_PULL_SECRETS, self.agent_image_pull_secrets.clone()),
            (keys::AGENT_CPU_REQUEST, self.agent_cpu_request.clone()),
            (keys::AGENT_MEMORY_REQUEST, self.agent_memory_request.clone()),
            (keys::AGENT_CPU_LIMIT, self.agent_cpu_limit.clone()),
            (keys::AGENT_MEMORY_LIMIT, self.agent_memory_limit.clone()),
            (keys::AGENT_LOG_LEVEL, self.agent_log_level.clone()),
            (keys::AGENT_LOG_FORMAT, self.agent_log_format.clone()),
            (keys::SIDECAR, self.sidecar.clone()),
            (keys::READINESS, self.readiness.clone()),
            (keys::ERLANG_COOKIE, self.erlang_cookie.clone()),
        ])
    }

    /// The first contradiction between valid values, such as a request above its limit.
    pub fn contradiction(&self) -> Option<String> {
        self.values().problems().first().map(ToString::to_string)
    }
}

/// Accepts what the annotation accepts, so that a mistake ends the program instead of denying every StatefulSet.
fn valid(key: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |value| match Defaults::new([(key, Some(value.to_owned()))]).problems().first() {
        None => Ok(value.to_owned()),
        Some(problem) => {
            let message = problem.to_string();
            let fix = message.split_once("Fix: ").map_or(message.as_str(), |(_, fix)| fix);
            Err(fix.to_owned())
        }
    }
}
