//! The memory of processes.

/// The bytes of a process that are in memory. `process` is its number, or `self`.
///
/// # Panics
///
/// If there is no such process.
pub fn memory(process: &str) -> u64 {
    in_status(process, "VmRSS:")
}

/// The most bytes of a process that were in memory.
///
/// # Panics
///
/// If there is no such process.
pub fn peak_memory(process: &str) -> u64 {
    in_status(process, "VmHWM:")
}

fn in_status(process: &str, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process exists");
    let value =
        status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel reports the field");
    let kibibytes: u64 = value.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kibibytes << 10
}
