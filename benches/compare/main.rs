//! Compares mod_slot with its rivals, and writes the page of all measurements.
//!
//! `make bench` builds what it needs and runs all chapters; `CHAPTERS="flip scale"` chooses some. The other chapters
//! keep their last figures from `benches/figures`. `QUICK=1` only checks that everything runs: it measures small
//! numbers, and writes page and figures to the target directory.
#![forbid(unsafe_code)]

mod deploy;
mod flip;
mod instructions;
mod lease;
mod machine;
mod plot;
mod report;
#[path = "../../benches/instructions/rivals.rs"]
#[allow(dead_code, reason = "shared with the counting of instructions")]
mod rivals;
mod scale;
mod server;
mod stats;
mod throughput;

use report::{Chapter, Page};
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use support::{apache, backend, http, load};

/// The function that measures a chapter.
type Measure = fn() -> Result<Chapter, String>;

/// All chapters, in the order of the page.
const CHAPTERS: [(&str, Measure); 6] = [
    ("lease", lease::measure),
    ("flip", flip::measure),
    ("deploy", deploy::measure),
    ("instructions", instructions::measure),
    ("throughput", throughput::measure),
    ("scale", scale::measure),
];

const BEYOND: &str = include_str!("beyond.md");

/// Whether this run only checks that everything works.
pub(crate) fn quick() -> bool {
    env::var_os("QUICK").is_some_and(|value| !value.is_empty())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    // Cargo adds `--bench`.
    let asked: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let names = CHAPTERS.map(|(name, _)| name);
    if let Some(unknown) = asked.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!(
            "there is no chapter {unknown:?}; the chapters are {}",
            names.join(", ")
        ));
    }
    let page =
        Page::at(if quick() { target().join("bench-quick") } else { manifest().join("benches") });
    for (name, measure) in CHAPTERS {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            if let Some(why) = missing(name) {
                eprintln!("bench: {name} is skipped: {why}");
                continue;
            }
            eprintln!("bench: {name} ...");
            let mut chapter = measure().map_err(|why| format!("{name}: {why}"))?;
            for target in &chapter.targets {
                let verdict = target.verdict.name();
                eprintln!("bench: {verdict}: {}: {}", target.claim, target.measured);
            }
            chapter.when = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
            chapter.machine = machine::describe();
            page.keep(name, &chapter)?;
            // Written after each chapter, so that the page matches the figures even if the next one fails.
            eprintln!("bench: {}", page.write(&names, BEYOND)?.display());
        }
    }
    Ok(())
}

/// Says what a chapter needs that this machine lacks, or `None`. `make` installs what the other chapters need.
fn missing(chapter: &str) -> Option<String> {
    (chapter == "deploy").then(deploy::missing).flatten()
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo's target directory.
fn target() -> PathBuf {
    manifest().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// How many times to repeat something: `times`, or fewer in a quick run.
fn number(times: usize) -> usize {
    if quick() { (times / 10).max(2) } else { times }
}

/// A command as an operator's shell starts it. Cargo sets a library path, which would make the loader search more.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null());
    command
}

/// The measured slotctl.
fn slotctl() -> Result<PathBuf, String> {
    let path = env::var_os("SLOTCTL").map_or_else(|| apache::built("slotctl"), PathBuf::from);
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not built: run `make bench`", path.display())),
    }
}

/// Apache, and the measured module.
fn parts() -> Result<apache::Parts, String> {
    apache::Parts::find()
}
