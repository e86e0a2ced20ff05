//! Where the figures come from.

use std::process::Command;

/// What there is to say of this machine, and what it is; what it does not tell is left out.
pub fn described() -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = line("/proc/cpuinfo", "model name");
    let memory = line("/proc/meminfo", "MemTotal").and_then(|text| {
        let kib: f64 = text.strip_suffix(" kB")?.parse().ok()?;
        Some(format!("{:.0} GiB", kib / 1_048_576.0))
    });
    let parts = [
        ("CPU", cpu.map(|cpu| format!("{cpu}, {cores} cores of it"))),
        ("Memory", memory),
        ("System", line("/etc/os-release", "PRETTY_NAME")),
        ("Kernel", said_by("uname", "-sr")),
        ("Compiler", said_by("rustc", "--version")),
        ("Drawn on", said_by("date", "+%F")),
    ];
    let known = parts.into_iter();
    known.filter_map(|(what, is)| Some((what, is?))).collect()
}

/// What stands behind `name` in a file of names and values.
fn line(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.trim_start();
        let value = rest.strip_prefix([':', '='])?;
        Some(value.trim().trim_matches('"').to_owned())
    })
}

fn said_by(program: &str, arg: &str) -> Option<String> {
    let output = Command::new(program).arg(arg).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
