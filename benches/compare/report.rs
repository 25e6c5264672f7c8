//! What a chapter found, and the page that all of them make.

use crate::plot::Plot;
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

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
    /// The day, as in "2026-01-31".
    pub(crate) when: String,
    /// What it was measured on: a table, as Markdown.
    pub(crate) machine: String,
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
}

/// The folder of the page, `RESULTS.md`; its plots are in `plots`, the figures of which it is made in
/// `figures`, a chapter each, as JSON. All are in the tree, so that a part can be measured anew.
#[derive(Debug)]
pub(crate) struct Page(PathBuf);

impl Page {
    pub(crate) fn at(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    fn figures(&self, name: &str) -> PathBuf {
        self.0.join("figures").join(format!("{name}.json"))
    }

    /// Keeps a chapter's figures in the place of those of the last time.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn keep(&self, name: &str, chapter: &Chapter) -> Result<(), String> {
        let path = self.figures(name);
        let text = serde_json::to_string_pretty(chapter).map_err(|e| e.to_string())? + "\n";
        fs::create_dir_all(self.0.join("figures"))
            .and_then(|()| fs::write(&path, text))
            .map_err(of(&path))
    }

    /// The chapter that was kept last; none, if it was never measured.
    fn kept(&self, name: &str) -> Result<Option<Chapter>, String> {
        let path = self.figures(name);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(of(&path))?,
        };
        let chapter = serde_json::from_str(&text).map_err(of(&path));
        chapter
            .map(Some)
            .map_err(|why| format!("{why}. `make bench CHAPTERS={name}` measures it anew"))
    }

    /// Writes the page and its plots, of all chapters that there are figures of, in this order; gives the
    /// page's path.
    ///
    /// # Errors
    ///
    /// What the system said, or that the figures of a chapter can't be read.
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

/// What went wrong, and with which file.
fn of<E: Display>(path: &Path) -> impl FnOnce(E) -> String {
    move |e| format!("{}: {e}", path.display())
}

const HEAD: &str = "\
# Measurements

`make bench` measures and writes all of this in one go; `make bench CHAPTERS=\"flip scale\"` measures a part of it
anew. Each comparison is side by side in one run, on one machine.

";

/// The page's text. A chapter of another machine than the first one's has its own beside it.
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
    // Names and words to the left, figures to the right.
    let aligned =
        |(at, name): (usize, &String)| if at == 0 || name == "what" { "---|" } else { "---:|" };
    text += &format!("|{}\n", table.head.iter().enumerate().map(aligned).collect::<String>());
    for row in &table.rows {
        text += &line(row);
    }
    text
}
