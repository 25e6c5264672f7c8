//! The comparisons with what else there is, and the page of all measurements.
//!
//! `make bench` builds what it needs and runs all chapters; `CHAPTERS="flip scale"` names some of
//! them. Figures of a chapter that is not measured now are those of the last time.
#![forbid(unsafe_code)]

mod machine;
mod plot;
mod report;

use report::Chapter;
use std::env;
use std::process::ExitCode;

/// A chapter's name, and who measures it.
type Measure = fn() -> Result<Chapter, String>;

/// In the order of the page.
const CHAPTERS: [(&str, Measure); 0] = [];

const BEYOND: &str = include_str!("beyond.md");

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
        return Err(format!("there is no chapter {unknown:?}; there is {}", names.join(", ")));
    }
    for (name, measure) in CHAPTERS {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            eprintln!("bench: {name} ...");
            let chapter = measure().map_err(|why| format!("{name}: {why}"))?;
            for target in &chapter.targets {
                let met = if target.met { "met" } else { "MISSED" };
                eprintln!("bench: {met}: {}: {}", target.claim, target.measured);
            }
            report::keep(name, chapter).map_err(|e| e.to_string())?;
        }
    }
    let page = report::write(&names, &machine::describe(), BEYOND).map_err(|e| e.to_string())?;
    eprintln!("bench: {}", page.display());
    Ok(())
}
