//! Hundreds of children: each gets its own row, and reading all rows is still fast.

use super::operator::slotctl;
use super::usage::{Process, occupied};
use super::{groups, tell};
use crate::report::{Chapter, Table};
use crate::server::{Backend, Place, Shape, await_children};
use crate::stats::{bytes, count, in_millis, median, millis};
use mod_slot::state::Dirs;
use mod_slot::state::os::byte_owner;
use std::collections::HashSet;
use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

const RUNS: usize = 21;

pub(super) fn measure(chapter: &mut Chapter, most: usize) -> Result<(), String> {
    tell(
        chapter,
        &format!(
            "**{} children** (prefork) with one group, compared with fewer children: how many of \
             them hold the lock of their own row, when the last one got it, and how long it takes \
             to read all rows. The children share only the counts file, in memory.",
            count(most)
        ),
    );
    let backend = Backend::start(None)?;
    let text = "MOD_SLOT".to_owned() + &groups(1).replace("BACKEND", &backend.address.to_string());
    let (mut rows, mut alone) = (Vec::new(), 0);
    for many in [most / 32, most / 4, most] {
        let place = Place::new(Shape::Prefork { children: many }, &[], &text)?;
        let began = Instant::now();
        let (apache, start) = place.start()?;
        let pids = await_children(apache.pid(), many)?;
        alone = await_rows(&place.dirs(), many)?;
        let all = began.elapsed();
        thread::sleep(Duration::from_secs(1));
        let dirs = place.dirs();
        let time = |verb: &[&str]| {
            let args: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
            let took: Result<Vec<_>, String> =
                (0..RUNS).map(|_| slotctl(&dirs, &args).map(in_millis)).collect();
            took.map(|took| millis(median(&took)))
        };
        let child = Process::median(&pids);
        rows.push(vec![
            count(many),
            count(alone),
            millis(in_millis(start)),
            millis(in_millis(all)),
            time(&["status"])?,
            time(&["drain", "app0", "s1"])?,
            bytes(child.private),
            bytes(occupied(&dirs.runtime, |name| name.ends_with(".counts"))),
        ]);
    }
    chapter.target(
        &format!("{} children: each has its own row", count(most)),
        format!("{} have", count(alone)),
        alone == most,
    );
    let head = [
        "children",
        "with a row",
        "start",
        "all rows taken",
        "`slotctl status`",
        "`slotctl drain`",
        "private memory",
        "counts",
    ];
    chapter.tables.push(Table {
        caption: "Many children".into(),
        head: head.map(str::to_owned).to_vec(),
        rows,
    });
    Ok(())
}

/// Waits, for a limited time, until this many processes have a row. Returns how many have.
fn await_rows(dirs: &Dirs, many: usize) -> Result<usize, String> {
    let rows = File::open(dirs.rows()).map_err(|e| e.to_string())?;
    let mut found = 0;
    for _ in 0..1000 {
        let owners = (1..8192).filter_map(|row| byte_owner(&rows, row).ok().flatten());
        found = owners.collect::<HashSet<_>>().len();
        if found >= many {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(found)
}
