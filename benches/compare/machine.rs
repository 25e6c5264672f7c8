//! Describes the machine that measures.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// A Markdown table of the machine and of all versions.
pub(crate) fn describe() -> String {
    let mut text = String::from("| | |\n|---|---|\n");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let rows = [
        ("processor", format!("{cores} x {}", of_file("/proc/cpuinfo", "model name"))),
        ("memory", of_file("/proc/meminfo", "MemTotal")),
        ("kernel", output("uname", &["-sr"])),
        ("system", of_file("/etc/os-release", "PRETTY_NAME").replace('"', "")),
        ("Apache", first(&output("apache2", &["-v"]))),
        ("Rust", output("rustc", &["--version"])),
        ("nginx", output("nginx", &["-v"])),
        ("HAProxy", first(&output("haproxy", &["-v"]))),
        ("Caddy", output("caddy", &["version"])),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

/// The value of a name, in lines like `name : value` or `name=value`.
fn of_file(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim_start_matches([' ', '\t', ':', '=']).trim().to_owned()
}

/// A program's output, with standard error, because some programs print their version there.
fn output(program: &str, args: &[&str]) -> String {
    let Ok(out) = Command::new(program).args(args).output() else { return String::new() };
    let both = [out.stdout, out.stderr].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}

fn first(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
