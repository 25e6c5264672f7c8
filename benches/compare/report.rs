//! What a chapter found, kept as JSON in the target directory, and the page that all of them make.

use crate::plot::Plot;
use crate::quick;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// One subject: how it was measured, what came out, and whether that is what it should be.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Chapter {
    pub(crate) title: String,
    /// Markdown: what was run, how often, and what a figure means.
    pub(crate) method: String,
    pub(crate) targets: Vec<Target>,
    pub(crate) tables: Vec<Table>,
    pub(crate) plots: Vec<Plot>,
    /// Markdown, behind the tables: what is to be seen in them.
    pub(crate) reading: String,
    /// What the figures are of, when they are not of the same time as the others.
    #[serde(default)]
    pub(crate) when: String,
}

/// A figure that was set beforehand, and the one that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    /// As in "median flip over a bare `true`: at most 2 ms".
    pub(crate) claim: String,
    /// As in "1.3 ms".
    pub(crate) measured: String,
    pub(crate) verdict: Verdict,
}

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// The measurement can't tell: what was found is nearer to the target than it can see.
    Undecided,
}

impl Verdict {
    /// Of a target that is met or not, by the figure, and that may be met, by the figure's interval.
    pub(crate) fn of(met: bool, may_be: bool) -> Self {
        match (met, may_be) {
            (true, _) => Self::Met,
            (false, true) => Self::Undecided,
            (false, false) => Self::Missed,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::Undecided => "*undecided*",
        }
    }
}

/// Rows of cells; the first cell of a row names it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Chapter {
    /// A target, met where `met` is.
    pub(crate) fn target(&mut self, claim: &str, measured: String, met: bool) {
        self.judge(claim, measured, Verdict::of(met, false));
    }

    /// A target, and what is to be said of it.
    pub(crate) fn judge(&mut self, claim: &str, measured: String, verdict: Verdict) {
        self.targets.push(Target { claim: claim.into(), measured, verdict });
    }

    fn keep(&self, name: &str) -> io::Result<()> {
        fs::create_dir_all(kept())?;
        fs::write(kept().join(format!("{name}.json")), serde_json::to_string_pretty(self)?)
    }

    fn kept(name: &str) -> io::Result<Self> {
        Ok(serde_json::from_str(&fs::read_to_string(kept().join(format!("{name}.json")))?)?)
    }
}

/// Keeps a chapter, with the moment at which it was measured.
///
/// # Errors
///
/// What the system said.
pub(crate) fn keep(name: &str, mut chapter: Chapter) -> io::Result<()> {
    chapter.when = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    chapter.keep(name)
}

/// Writes `RESULTS.md` and its plots, of all chapters that there are figures of, in this order.
///
/// # Errors
///
/// What the system said.
pub(crate) fn write(names: &[&str], machine: &str, beyond: &str) -> io::Result<PathBuf> {
    let chapters: Vec<_> =
        names.iter().filter_map(|name| Some((*name, Chapter::kept(name).ok()?))).collect();
    let plots = page_dir().join("plots");
    fs::create_dir_all(&plots)?;
    let mut page = String::from(HEAD);
    page += machine;
    page += &targets(&chapters);
    for (name, chapter) in &chapters {
        page += &text(name, chapter, &plots)?;
    }
    page += beyond;
    let path = page_dir().join("RESULTS.md");
    fs::write(&path, page)?;
    Ok(path)
}

const HEAD: &str = "\
# Measurements

`make bench` measures and writes all of this in one go; `make bench CHAPTERS=\"flip scale\"` measures a part of it
anew. Each comparison is side by side in one run, on one machine.

";

fn targets(chapters: &[(&str, Chapter)]) -> String {
    let mut text = String::from("\n## Targets\n\n| | target | measured |\n|---|---|---|\n");
    for target in chapters.iter().flat_map(|(_, chapter)| &chapter.targets) {
        let Target { claim, measured, verdict } = target;
        let _ = writeln!(text, "| {} | {claim} | {measured} |", verdict.name());
    }
    text
}

fn text(name: &str, chapter: &Chapter, plots: &Path) -> io::Result<String> {
    let mut text = format!("\n## {}\n\n{}\n", chapter.title, chapter.method.trim());
    let _ = writeln!(text, "\nMeasured on {}: `make bench CHAPTERS={name}`", chapter.when);
    for table in &chapter.tables {
        text += &markdown(table);
    }
    for (number, plot) in chapter.plots.iter().enumerate() {
        let file = format!("{name}-{}.svg", number + 1);
        plot.draw(&plots.join(&file)).map_err(io::Error::other)?;
        let _ = write!(text, "\n![{}](plots/{file})\n", plot.caption);
    }
    if !chapter.reading.is_empty() {
        let _ = write!(text, "\n{}\n", chapter.reading.trim());
    }
    Ok(text)
}

fn markdown(table: &Table) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("\n{}\n\n{}", table.caption, line(&table.head));
    // Names and words to the left, figures to the right.
    let aligned =
        |(at, name): (usize, &String)| if at == 0 || name == "what" { "---|" } else { "---:|" };
    text += &format!("|{}\n", table.head.iter().enumerate().map(aligned).collect::<String>());
    for row in &table.rows {
        text += &line(row);
    }
    text
}

/// Where the measured chapters are kept.
fn kept() -> PathBuf {
    target().join(if quick() { "bench-quick" } else { "bench" })
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    let dir = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)
}

/// Where the page is.
fn page_dir() -> PathBuf {
    if quick() { kept() } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("benches") }
}
