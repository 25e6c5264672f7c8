//! The time of the operator's commands with one group and with a thousand.

use super::{SLOTS, groups, tell};
use crate::report::{Chapter, Table};
use crate::server::{Place, Shape};
use crate::stats::{count, in_millis, median, millis};
use mod_slot::state::Dirs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, path::Path};

const RUNS: usize = 21;

pub(super) fn measure(chapter: &mut Chapter, many: usize) -> Result<(), String> {
    tell(
        chapter,
        &format!(
            "**slotctl** with one group and with {}: the median of {RUNS} runs of the program, \
             from its start to its end. The flips alternate between two slots. No backend listens, \
             so they skip the check of their target (`--force`).",
            count(many)
        ),
    );
    let columns = [1, many].map(times);
    let [one, all] = columns;
    let (one, all) = (one?, all?);
    let flip = |times: &[(&str, f64)]| {
        times.iter().find(|(verb, _)| *verb == "flip APP SLOT").map_or(f64::NAN, |(_, took)| *took)
    };
    chapter.target(
        &format!(
            "a flip among {} groups takes no longer than 1.25 times one among one",
            count(many)
        ),
        format!("{}, against {}", millis(flip(&all)), millis(flip(&one))),
        flip(&all) <= 1.25 * flip(&one),
    );
    let status = all.iter().find(|(verb, _)| *verb == "status").map_or(f64::NAN, |(_, took)| *took);
    chapter.target(
        &format!("`slotctl status` of {} groups of {SLOTS} slots: at most 250 ms", count(many)),
        millis(status),
        status <= 250.0,
    );
    let rows = one.iter().zip(&all).map(|((verb, one), (_, all))| {
        vec![format!("`slotctl {verb}`"), millis(*one), millis(*all)]
    });
    chapter.tables.push(Table {
        caption: "An operator's commands".into(),
        head: vec![String::new(), "1 group".into(), format!("{} groups", count(many))],
        rows: rows.collect(),
    });
    Ok(())
}

/// A command's name in the table, and its arguments in each run.
type Timed<'a> = (&'static str, &'a dyn Fn(usize) -> Vec<String>);

fn times(many: usize) -> Result<Vec<(&'static str, f64)>, String> {
    let nobody = "127.0.0.1:9";
    let text = "MOD_SLOT".to_owned() + &groups(many).replace("BACKEND", nobody);
    let place = Place::new(Shape::Event { children: 4, threads: 25 }, &[], &text)?;
    let (_apache, _) = place.start()?;
    let dirs = place.dirs();
    let app = format!("app{}", many / 2);
    let there = ["s1", "s0"];
    let verbs: [Timed<'_>; 6] = [
        ("flip APP SLOT", &|run| words(&["flip", &app, there[run % 2], "--force"])),
        ("active APP", &|_| words(&["active", &app])),
        ("drain APP SLOT", &|_| words(&["drain", &app, "s7"])),
        ("status APP", &|_| words(&["status", &app])),
        ("status", &|_| words(&["status"])),
        ("list", &|_| words(&["list"])),
    ];
    let mut times = Vec::new();
    for (verb, args) in verbs {
        let mut took = Vec::new();
        for run in 0..RUNS {
            took.push(in_millis(slotctl(&dirs, &args(run))?));
        }
        times.push((verb, median(&took)));
    }
    Ok(times)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Runs slotctl, and returns how long it took.
pub(super) fn slotctl(dirs: &Dirs, args: &[String]) -> Result<std::time::Duration, String> {
    let program = env::var_os("SLOTCTL").map_or_else(|| PathBuf::from("slotctl"), PathBuf::from);
    let mut command = Command::new(&program);
    let dir = |name: &str, path: &Path| format!("--{name}-dir={}", path.display());
    command.args([dir("state", &dirs.state), dir("runtime", &dirs.runtime)]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let out = command.output().map_err(|e| format!("{}: {e}", program.display()))?;
    let took = start.elapsed();
    match out.status.success() {
        true => Ok(took),
        false => {
            Err(format!("slotctl {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr)))
        }
    }
}
