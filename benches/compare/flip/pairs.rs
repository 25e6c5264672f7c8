//! The time of a whole `slotctl flip`, compared with a bare `true`.

use super::site::Site;
use crate::report::{Chapter, Table};
use crate::stats::{in_millis, median, millis, quantile};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub(super) const METHOD: &str = "\
**Time of the command.** The bench starts `slotctl flip app` and waits for it, as a shell does, and does the same \
with a bare `true`. The two take turns, so that other work on the machine affects both. Each flip is real and \
durable: it connects to the new slot's backend, changes the slot, and waits for the disk twice (for the record, then \
for the history). The difference of a pair is what slotctl adds to the start of a process.
";

/// The times of both commands, pair by pair, in milliseconds.
struct Pairs {
    flip: Vec<f64>,
    bare: Vec<f64>,
}

impl Pairs {
    fn run(site: &Site, args: &[&str]) -> Result<Self, String> {
        let mut pairs = Self { flip: Vec::new(), bare: Vec::new() };
        let slotctl = crate::slotctl()?;
        for pair in 0..crate::number(1000) + 10 {
            let flip = || time(site.with_dirs(crate::command(&slotctl).args(args)));
            let bare = || time(site.with_dirs(&mut crate::command("/bin/true")));
            let (flip, bare) = if pair % 2 == 0 {
                let bare = bare()?;
                (flip()?, bare)
            } else {
                (flip()?, bare()?)
            };
            // The first pairs load the programs into memory.
            if pair >= 10 {
                pairs.flip.push(flip);
                pairs.bare.push(bare);
            }
        }
        Ok(pairs)
    }

    fn more(&self) -> Vec<f64> {
        self.flip.iter().zip(&self.bare).map(|(flip, bare)| flip - bare).collect()
    }

    fn row(&self, name: &str) -> Vec<String> {
        let more = self.more();
        let ratios: Vec<_> = self.flip.iter().zip(&self.bare).map(|(f, b)| f / b).collect();
        let mut row = vec![name.to_owned(), millis(median(&self.flip)), millis(median(&more))];
        row.extend([0.9, 0.99].map(|share| millis(quantile(&more, share))));
        row.push(format!("{:.1}", median(&ratios)));
        row
    }
}

pub(super) fn measure(chapter: &mut Chapter) -> Result<(), String> {
    let disk = Site::new(&disk())?;
    let flips = Pairs::run(&disk, &["flip", "app"])?;
    let mut rows = vec![flips.row("`slotctl flip`, state on the disk")];
    if let Ok(memory) = Site::new(Path::new("/dev/shm")) {
        let flips = Pairs::run(&memory, &["flip", "app"])?;
        rows.push(flips.row("the same, state in memory (tmpfs)"));
    }
    rows.push(Pairs::run(&disk, &["--version"])?.row("`slotctl --version`"));
    chapter.tables.push(Table {
        caption: format!(
            "{} pairs each. A bare `true` takes {} in the median.",
            flips.flip.len(),
            millis(median(&flips.bare))
        ),
        head: ["", "median", "over `true`: median", "p90", "p99", "times `true`"]
            .map(str::to_owned)
            .into(),
        rows,
    });
    let more = median(&flips.more());
    chapter.target(
        "`slotctl flip`, median over a bare `true`: at most 2 ms",
        millis(more),
        more <= 2.0,
    );
    Ok(())
}

/// Cargo's temporary directory, because it usually lies on a disk.
pub(super) fn disk() -> PathBuf {
    env!("CARGO_TARGET_TMPDIR").into()
}

fn time(command: &mut Command) -> Result<f64, String> {
    let start = Instant::now();
    let status = command.spawn().and_then(|mut child| child.wait());
    let took = in_millis(start.elapsed());
    match status {
        Ok(status) if status.success() => Ok(took),
        Ok(status) => Err(format!("{:?}: {status}", command.get_program())),
        Err(e) => Err(format!("{:?}: {e}", command.get_program())),
    }
}
