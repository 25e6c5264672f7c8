//! Writes the man pages and the completions of shells: `slotctl generate DIR`, in a build with the
//! feature `man` alone.

use crate::args::{Args, EXAMPLES};
use crate::failure::{EXIT_CODES, Failure};
use crate::output::Answer;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const SECTION: &str = "8";

/// The date of this version of the pages.
const DATE: &str = "2026-11-27";

const FILES: [(&str, &str); 5] = [
    (
        "SlotStateDir/GROUP.slot",
        "The control file: the recorded slot, which Apache's processes map.",
    ),
    ("SlotStateDir/GROUP.history", "The changes, one line of JSON each."),
    ("SlotStateDir/GROUP.lock", "The writers' lock, and an operator's lock."),
    ("SlotRuntimeDir/GROUP.json", "What the configuration says of the slots, written by Apache."),
    ("SlotRuntimeDir/GROUP.counts", "The counts of requests."),
];

/// Writes the files, if the command line asks for them.
pub(crate) fn asked() -> Option<Result<Answer, Failure>> {
    let mut words = env::args_os().skip(1);
    if words.next()? != OsStr::new("generate") {
        return None;
    }
    let dir = PathBuf::from(words.next()?);
    Some(generate(&dir).map(|()| Answer::default()).map_err(Failure::Output))
}

fn generate(dir: &Path) -> io::Result<()> {
    // A page for `help` would say nothing.
    let mut slotctl = Args::command().disable_help_subcommand(true);
    slotctl.build();
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    fs::write(man.join(format!("slotctl.{SECTION}")), page(&slotctl, None)?)?;
    for verb in slotctl.get_subcommands() {
        let name = format!("slotctl-{}", verb.get_name());
        fs::write(man.join(format!("{name}.{SECTION}")), page(verb, Some(name))?)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Args::command(), "slotctl", &completions)?;
    }
    Ok(())
}

/// The page of slotctl, or of a verb, which has a name of its own.
fn page(command: &Command, name: Option<String>) -> io::Result<Vec<u8>> {
    let is_verb = name.is_some();
    let mut command = command.clone();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if let Some(name) = name {
        command = command.display_name(name);
    }
    let source = format!("mod_slot {}", env!("CARGO_PKG_VERSION"));
    let man =
        Man::new(command).section(SECTION).date(DATE).source(source).manual("Apache HTTP Server");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let (text, examples, json) = if is_verb { parts(&help) } else { ("", examples(EXAMPLES), "") };
    let mut more = Roff::new();
    if !text.is_empty() {
        section(&mut more, "DESCRIPTION", text);
        more.to_writer(&mut page)?;
        more = Roff::new();
    }
    man.render_options_section(&mut page)?;
    if !is_verb {
        man.render_subcommands_section(&mut page)?;
        literal(&mut more, "EXIT STATUS", EXIT_CODES.split_once('\n').map_or("", |(_, rows)| rows));
        more.control("SH", ["FILES"]);
        for (path, text) in FILES {
            more.control("TP", []).text([bold(path)]).text([roman(text)]);
        }
    }
    literal(&mut more, "EXAMPLES", examples);
    if !json.is_empty() {
        section(&mut more, "JSON", json);
    }
    more.control("SH", ["SEE ALSO"]);
    let also = if is_verb { "(8), apachectl(8)" } else { "-VERB(8), apachectl(8)" };
    more.text([bold("slotctl"), roman(also)]);
    more.to_writer(&mut page)?;
    Ok(page)
}

/// Splits the help of a verb into its text, its examples and its JSON.
fn parts(help: &str) -> (&str, &str, &str) {
    let (before, json) = help.split_once("JSON: ").unwrap_or((help, ""));
    let (text, examples) = before.split_once("Examples:\n").unwrap_or((before, ""));
    (text.trim(), examples.trim_end(), json.trim())
}

fn examples(text: &'static str) -> &'static str {
    parts(text).1
}

/// A section of paragraphs.
fn section(roff: &mut Roff, head: &str, text: &str) {
    roff.control("SH", [head]);
    for (n, paragraph) in text.split("\n\n").enumerate() {
        if n > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph.replace('\n', " "))]);
    }
}

/// A section whose lines stay as they are.
fn literal(roff: &mut Roff, head: &str, text: &str) {
    roff.control("SH", [head]).control("nf", []);
    for line in text.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_a_page_with_its_examples() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path()).unwrap();
        let page = |name: &str| {
            fs::read_to_string(dir.path().join("man").join(name))
                .unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        for verb in Args::command().get_subcommands() {
            let text = page(&format!("slotctl-{}.8", verb.get_name()));
            for part in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "JSON"] {
                assert!(text.contains(&format!(".SH {part}")), "{text}");
            }
        }
        let main = page("slotctl.8");
        for part in ["EXIT STATUS", "FILES", "EXAMPLES"] {
            let (quoted, plain) = (format!(".SH \"{part}\""), format!(".SH {part}"));
            assert!(main.contains(&quoted) || main.contains(&plain), "{main}");
        }
        for shell in ["slotctl.bash", "_slotctl", "slotctl.fish"] {
            assert!(dir.path().join("completions").join(shell).exists(), "{shell}");
        }
    }
}
