//! The machine and the moment of a measurement.

use std::process::Command;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The date, the commit, the processor, the memory, the kernel and the load of the machine, one in each line.
pub(crate) fn description() -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let commit = output("git", &["describe", "--always", "--dirty"]);
    let (kernel, rust) = (output("uname", &["-sr"]), output("rustc", &["--version"]));
    format!(
        "Measured {now} at commit {commit}, {rust}.\nMachine: {cores} cores ({processor}), {memory}, {kernel}, load {load} at the end.\n"
    )
}

/// The value of a line `name: value` of a file.
fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let value = fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned());
    value.unwrap_or_else(|| "unknown".to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
