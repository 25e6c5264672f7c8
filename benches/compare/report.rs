//! The results of a chapter, and the page that shows all chapters.

use crate::plot::Plot;
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// One subject: how it was measured, the results, and whether they meet the targets.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Chapter {
    pub(crate) title: String,
    /// Markdown: what ran, how often, and what the figures mean.
    pub(crate) method: String,
    pub(crate) targets: Vec<Target>,
    pub(crate) tables: Vec<Table>,
    pub(crate) plots: Vec<Plot>,
    /// Markdown after the tables: what they show.
    pub(crate) reading: String,
    /// The day, for example "2026-01-31".
    pub(crate) when: String,
    /// The machine that measured: a Markdown table.
    pub(crate) machine: String,
}

/// A figure that was set in advance, and the measured one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    /// For example "median flip over a bare `true`: at most 2 ms".
    pub(crate) claim: String,
    /// For example "1.3 ms".
    pub(crate) measured: String,
    pub(crate) verdict: Verdict,
}

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// The measurement cannot decide, because the difference from the target is smaller than its uncertainty.
    Undecided,
}

impl Verdict {
    /// Judges a target: `met` by the measured figure, `may_be` by its confidence interval.
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
    /// Adds a target with the verdict met or missed.
    pub(crate) fn target(&mut self, claim: &str, measured: String, met: bool) {
        self.judge(claim, measured, Verdict::of(met, false));
    }

    /// Adds a target with any verdict.
    pub(crate) fn judge(&mut self, claim: &str, measured: String, verdict: Verdict) {
        self.targets.push(Target { claim: claim.into(), measured, verdict });
    }
}

/// The directory of the page, `RESULTS.md`. Its plots are in `plots`. The figures of each chapter are in `figures` as
/// JSON, and are committed, so that one chapter can be measured again alone.
#[derive(Debug)]
pub(crate) struct Page(PathBuf);

impl Page {
    pub(crate) fn at(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    fn figures(&self, name: &str) -> PathBuf {
        self.0.join("figures").join(format!("{name}.json"))
    }

    /// Replaces a chapter's figures.
    ///
    /// # Errors
    ///
    /// An I/O error, with the path.
    pub(crate) fn keep(&self, name: &str, chapter: &Chapter) -> Result<(), String> {
        let path = self.figures(name);
        let text = serde_json::to_string_pretty(chapter).map_err(|e| e.to_string())? + "\n";
        fs::create_dir_all(self.0.join("figures"))
            .and_then(|()| fs::write(&path, text))
            .map_err(of(&path))
    }

    /// A chapter's last figures; `None` if it was never measured.
    fn kept(&self, name: &str) -> Result<Option<Chapter>, String> {
        let path = self.figures(name);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(of(&path))?,
        };
        let chapter = serde_json::from_str(&text).map_err(of(&path));
        chapter
            .map(Some)
            .map_err(|why| format!("{why}. `make bench CHAPTERS={name}` measures it again"))
    }

    /// Writes the page and its plots, with all measured chapters in this order, and returns the page's path.
    ///
    /// # Errors
    ///
    /// An I/O error, or figures that cannot be read.
    pub(crate) fn write(&self, names: &[&str], beyond: &str) -> Result<PathBuf, String> {
        let mut chapters = Vec::new();
        for name in names {
            chapters.extend(self.kept(name)?.map(|chapter| (*name, chapter)));
        }
        let plots = self.0.join("plots");
        fs::create_dir_all(&plots).map_err(of(&plots))?;
        for (name, chapter) in &chapters {
            for (at, plot) in chapter.plots.iter().enumerate() {
                plot.draw(&plots.join(plot_file(name, at)))?;
            }
        }
        let path = self.0.join("RESULTS.md");
        fs::write(&path, page(&chapters, beyond)).map_err(of(&path))?;
        Ok(path)
    }
}

/// Puts the path before an error's message.
fn of<E: Display>(path: &Path) -> impl FnOnce(E) -> String {
    move |e| format!("{}: {e}", path.display())
}

const HEAD: &str = "\
# Measurements

`make bench` measures everything and writes this page; `make bench CHAPTERS=\"flip scale\"` measures only these chapters
again. Things that are compared run side by side, in one run on one machine.

";

/// The page's text. It describes the first chapter's machine once; a chapter from another machine describes its own.
fn page(chapters: &[(&str, Chapter)], beyond: &str) -> String {
    let machine = chapters.first().map_or("", |(_, chapter)| &chapter.machine);
    let mut page = String::from(HEAD) + machine + &targets(chapters);
    for (name, chapter) in chapters {
        let elsewhere = if chapter.machine == machine { "" } else { &chapter.machine };
        page += &text(name, chapter, elsewhere);
    }
    page + beyond
}

fn targets(chapters: &[(&str, Chapter)]) -> String {
    let mut text = String::from("\n## Targets\n\n| | target | measured |\n|---|---|---|\n");
    for target in chapters.iter().flat_map(|(_, chapter)| &chapter.targets) {
        let Target { claim, measured, verdict } = target;
        let _ = writeln!(text, "| {} | {claim} | {measured} |", verdict.name());
    }
    text
}

fn text(name: &str, chapter: &Chapter, machine: &str) -> String {
    let mut text = format!("\n## {}\n\n{}\n", chapter.title, chapter.method.trim());
    let _ = writeln!(text, "\nMeasured on {}: `make bench CHAPTERS={name}`", chapter.when);
    if !machine.is_empty() {
        let _ = write!(text, "\nOn another machine:\n\n{machine}");
    }
    for table in &chapter.tables {
        text += &markdown(table);
    }
    for (at, plot) in chapter.plots.iter().enumerate() {
        let _ = write!(text, "\n![{}](plots/{})\n", plot.caption, plot_file(name, at));
    }
    if !chapter.reading.is_empty() {
        let _ = write!(text, "\n{}\n", chapter.reading.trim());
    }
    text
}

fn plot_file(name: &str, at: usize) -> String {
    format!("{name}-{}.svg", at + 1)
}

fn markdown(table: &Table) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("\n{}\n\n{}", table.caption, line(&table.head));
    // Names and words are aligned left, figures right.
    let aligned =
        |(at, name): (usize, &String)| if at == 0 || name == "what" { "---|" } else { "---:|" };
    text += &format!("|{}\n", table.head.iter().enumerate().map(aligned).collect::<String>());
    for row in &table.rows {
        text += &line(row);
    }
    text
}
