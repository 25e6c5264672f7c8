//! The parts of a flip: system calls, instructions, waiting for the disk, sizes.

use super::pairs::disk;
use super::site::Site;
use crate::report::{Chapter, Table};
use crate::stats::{bytes, median, millis};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The counts of a command: up to the store of the word, and in all.
struct Counts {
    calls: [usize; 2],
    instructions: [u64; 2],
    libraries: usize,
    bytes: u64,
}

pub(super) fn measure(chapter: &mut Chapter) -> Result<(), String> {
    let site = Site::new(&disk())?;
    let slotctl = crate::slotctl()?;
    // The first flip creates the history.
    let status = site.with_dirs(crate::command(&slotctl).args(["flip", "app"])).status();
    status.map_err(|e| e.to_string())?;
    let flip = count(&site, &slotctl, &["flip", "app"])?;
    let bare = count(&site, Path::new("/bin/true"), &[])?;
    let row = |name: &str, cells: [String; 3]| [vec![name.to_owned()], cells.to_vec()].concat();
    let numbers = |up_to: usize, flip: usize, bare: usize| {
        [up_to.to_string(), flip.to_string(), bare.to_string()]
    };
    let none = String::new;
    let [record, history] = waits(&site, &slotctl)?;
    chapter.tables.push(Table {
        caption: "The parts of a flip. From the store on, the new slot gets the requests.".into(),
        head: ["", "up to the store", "`slotctl flip`", "`true`"].map(str::to_owned).into(),
        rows: vec![
            row("system calls", numbers(flip.calls[0], flip.calls[1], bare.calls[1])),
            row(
                "instructions, thousands",
                [flip.instructions[0], flip.instructions[1], bare.instructions[1]]
                    .map(|count| format!("{:.0}", count as f64 / 1e3)),
            ),
            row("waiting for the disk: `msync` of the record", [none(), millis(record), none()]),
            row(
                "waiting for the disk: `fdatasync` of the history",
                [none(), millis(history), none()],
            ),
            row(
                "shared libraries",
                [none(), flip.libraries.to_string(), bare.libraries.to_string()],
            ),
            row("size", [none(), bytes(flip.bytes), bytes(bare.bytes)]),
            row("size of `mod_slot.so`", [none(), bytes(size(&crate::parts()?.module)), none()]),
        ],
    });
    Ok(())
}

fn count(site: &Site, program: &Path, args: &[&str]) -> Result<Counts, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let trace = trace(site, &dir, &[], program, args)?;
    let calls: Vec<_> = trace.lines().filter(|line| line.contains('(')).collect();
    let store = calls.iter().position(|line| line.contains("FUTEX_WAKE, 2147483647"));
    Ok(Counts {
        calls: [store.unwrap_or(calls.len()), calls.len()],
        instructions: instructions(site, &dir, program, args)?,
        libraries: libraries(program),
        bytes: size(program),
    })
}

/// Runs a program under strace, and returns the trace.
fn trace(
    site: &Site,
    dir: &TempDir,
    options: &[&str],
    program: &Path,
    args: &[&str],
) -> Result<String, String> {
    let path = dir.path().join("trace");
    let mut strace = crate::command("strace");
    strace.args(["-f", "-o"]).arg(&path).args(options).arg(program).args(args);
    run(site, &mut strace)?;
    fs::read_to_string(path).map_err(|e| e.to_string())
}

/// Counts instructions: up to the `msync` after the store, and in all.
fn instructions(
    site: &Site,
    dir: &TempDir,
    program: &Path,
    args: &[&str],
) -> Result<[u64; 2], String> {
    let path = dir.path().join("callgrind");
    let mut valgrind = crate::command("valgrind");
    valgrind.args(["-q", "--tool=callgrind", "--vgdb=no", "--dump-before=msync"]);
    valgrind.arg(format!("--callgrind-out-file={}", path.display())).arg(program).args(args);
    run(site, &mut valgrind)?;
    let total = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
        line.unwrap_or(0)
    };
    let before = total(&path.with_extension("1"));
    Ok([before, before + total(&path)])
}

/// The median times that a flip waits for the record and for the history on the disk, in milliseconds.
fn waits(site: &Site, slotctl: &Path) -> Result<[f64; 2], String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut waits = [vec![], vec![]];
    for _ in 0..crate::number(50) {
        let text = trace(site, &dir, &["-T", "-e", "msync,fdatasync"], slotctl, &["flip", "app"])?;
        for (call, waits) in ["msync(", "fdatasync("].iter().zip(&mut waits) {
            let line = text.lines().find(|line| line.contains(&format!(" {call}")));
            let time =
                line.and_then(|line| line.rsplit_once('<')?.1.strip_suffix('>')?.parse().ok());
            let time: f64 = time.ok_or_else(|| format!("strace shows no {call}:\n{text}"))?;
            waits.push(time * 1e3);
        }
    }
    Ok(waits.map(|waits| median(&waits)))
}

fn run(site: &Site, command: &mut Command) -> Result<(), String> {
    match site.with_dirs(command).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(e) => Err(format!("{:?}: {e}", command.get_program())),
    }
}

/// The number of shared libraries that `ldd` finds as files.
fn libraries(program: &Path) -> usize {
    let said =
        crate::command("ldd").arg(program).output().map(|out| out.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).matches("=> /").count()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}
