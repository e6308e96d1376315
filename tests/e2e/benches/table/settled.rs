//! The agent's program beside a stand-in node: its memory and its time on the processor.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::cluster::TestCluster;
use e2e::process::{memory, peak_memory};
use e2e::until::until;
use serde_json::Value;

use crate::programs::{Program, Running, free_address, mebibytes, processor_time, program};
use crate::row::{Goal, Row};

pub(crate) async fn measure() -> Vec<Row> {
    let agent = match program("couchdiscover-agent") {
        Program::At(path) => path,
        Program::Missing(fix) => return vec![Row::not_measured("memory and CPU of a settled agent", &fix)],
    };
    let cluster = TestCluster::in_real_time(1);
    let few = Agent::start(&agent, &cluster);
    few.until_settled().await;
    let before = processor_time(few.running.0.id());
    tokio::time::sleep(WATCHED).await;
    let busy = (processor_time(few.running.0.id()) - before).as_secs_f64() / WATCHED.as_secs_f64();
    let resident = memory(&few.running.0.id().to_string());
    drop(few);

    cluster.add_databases(10_000);
    let many = Agent::start(&agent, &cluster);
    many.until_settled().await;
    let peak = peak_memory(&many.running.0.id().to_string());
    vec![
        Row::number("memory of a settled agent", mebibytes(resident), " MiB", Goal::AtMost(12.0)),
        Row::number("processor of a settled agent", busy * 100.0, " %", Goal::AtMost(0.05)),
        Row::number(
            "peak memory of an agent that reads 10,000 databases",
            mebibytes(peak),
            " MiB",
            Goal::AtMost(16.0),
        ),
    ]
}

/// The program and the address of its port.
struct Agent {
    running: Running,
    address: String,
}

impl Agent {
    /// Starts it with the environment of pod 0.
    fn start(program: &std::path::Path, cluster: &TestCluster) -> Self {
        let container = cluster.pod(0).container(contract::objects::AGENT_CONTAINER).unwrap();
        let mut vars: HashMap<String, String> = container.env.clone().into_iter().collect();
        let address = free_address();
        for (name, value) in [
            ("COUCHDISCOVER_KUBERNETES", "off"),
            ("COUCHDISCOVER_LISTEN", &address),
            ("COUCHDISCOVER_COUCHDB_URL", &cluster.node(0).url()),
            ("HOSTNAME", cluster.fqdn(0)),
        ] {
            vars.insert(name.to_owned(), value.to_owned());
        }
        let mut command = Command::new(program);
        command.env_clear().envs(vars).stdin(Stdio::null()).stdout(Stdio::null());
        Self { running: Running(command.spawn().unwrap()), address }
    }

    async fn until_settled(&self) {
        let url = format!("http://{}{}", self.address, contract::ports::STATUS);
        until("a settled agent", DEADLINE, async || {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            let page: Value = answer.json().await.unwrap_or_default();
            if page["step"]["reason"] == "Settled" { Ok(()) } else { Err(page["step"].to_string()) }
        })
        .await;
    }
}

const WATCHED: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(120);
