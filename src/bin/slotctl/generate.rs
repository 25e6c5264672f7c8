//! Writes man pages, shell completions and the manual in HTML: `slotctl generate DIR`, only in a build with the
//! feature `man`.

#[cfg(test)]
mod commands;
mod html;
mod man5;
mod synopsis;

use crate::args::{Args, EXAMPLES};
use crate::exit::EXIT_CODES;
use crate::failure::Failure;
use crate::output::Answer;
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use mod_slot::ops::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const SECTION: &str = "8";

/// The date in the pages: constant, so that builds are reproducible.
const DATE: &str = "2026-11-28";

/// The program and its version in the pages.
const SOURCE: &str = concat!("mod_slot ", env!("CARGO_PKG_VERSION"));

const FILES: [(&str, &str); 5] = [
    ("SlotStateDir/APP.slot", "The control file: the active slot. Apache's processes map it."),
    ("SlotStateDir/APP.history", "The changes, one line of JSON each."),
    (
        "SlotStateDir/APP.lock",
        "The lock of slotctl lock, and the lock that writers of the control file take.",
    ),
    ("SlotRuntimeDir/APP.json", "The configuration of the slots, written by Apache at its start."),
    ("SlotRuntimeDir/APP.counts", "The counts of requests, written by Apache's processes."),
];

/// Writes the files, if the command line asks for them.
pub(crate) fn asked() -> Option<Result<Answer, Failure>> {
    let mut words = env::args_os().skip(1);
    if words.next()? != OsStr::new("generate") {
        return None;
    }
    let dir = PathBuf::from(words.next()?);
    let failure = |source| Error::System { path: dir.clone(), source }.into();
    Some(generate(&dir).map(|()| Answer::default()).map_err(failure))
}

fn generate(dir: &Path) -> io::Result<()> {
    // Without a page for the verb `help`, which would say nothing.
    let mut slotctl = Args::command().disable_help_subcommand(true);
    slotctl.build();
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    let synopsis = synopsis::parse(synopsis::PAGE).map_err(io::Error::other)?;
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    fs::write(man.join("mod_slot.5"), man5::page(&synopsis, DATE, SOURCE))?;
    fs::write(man.join(format!("slotctl.{SECTION}")), page(slotctl.clone())?)?;
    for verb in slotctl.get_subcommands() {
        let name = format!("slotctl-{}", verb.get_name());
        let path = man.join(format!("{name}.{SECTION}"));
        fs::write(path, page(verb.clone().display_name(name))?)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Args::command(), "slotctl", &completions)?;
    }
    html::write(Path::new(env!("CARGO_MANIFEST_DIR")), &synopsis, &dir.join("manual"))
}

/// Renders the page of slotctl or of a verb.
fn page(mut command: Command) -> io::Result<String> {
    let is_verb = !command.has_subcommands();
    // clap_mangen's own synopsis leaves out the values of options, and its options leave out aliases.
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let command = command.override_usage(usage).mut_args(show_aliases);
    let help = match is_verb {
        true => command.get_after_help().map(ToString::to_string).unwrap_or_default(),
        false => EXAMPLES.into(),
    };
    let (text, examples, json) = parts(&help);
    let man =
        Man::new(command).section(SECTION).date(DATE).source(SOURCE).manual("Apache HTTP Server");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let mut description = Roff::new();
    section(&mut description, "DESCRIPTION", text);
    description.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if !is_verb {
        man.render_subcommands_section(&mut page)?;
    }
    let mut more = Roff::new();
    literal(&mut more, "EXIT STATUS", EXIT_CODES.split_once('\n').map_or("", |(_, rows)| rows));
    more.control("SH", ["FILES"]);
    for (path, text) in FILES {
        more.control("TP", []).text([bold(path)]).text([roman(text)]);
    }
    literal(&mut more, "EXAMPLES", examples);
    section(&mut more, "JSON", json);
    let also = if is_verb {
        "(8), mod_slot(5), apachectl(8)"
    } else {
        "-VERB(8), mod_slot(5), apachectl(8)"
    };
    more.control("SH", ["SEE ALSO"]).text([bold("slotctl"), roman(also)]);
    more.to_writer(&mut page)?;
    // An empty line between two breaks, before possible values: mandoc warns, and a space is enough.
    Ok(String::from_utf8_lossy(&page).replace(".br\n\n.br\n", ".sp\n"))
}

/// Adds the aliases of an option to its help.
fn show_aliases(option: Arg) -> Arg {
    let aliases = option.get_visible_aliases().unwrap_or_default().join(", --");
    match option.get_help() {
        Some(help) if !aliases.is_empty() => {
            let help = format!("{help} [alias: --{aliases}]");
            option.help(help)
        }
        _ => option,
    }
}

/// Splits the help of a verb into its text, its examples and its JSON.
fn parts(help: &str) -> (&str, &str, &str) {
    let (before, json) = help.split_once("JSON: ").unwrap_or((help, ""));
    let (text, examples) = before.split_once("Examples:\n").unwrap_or((before, ""));
    (text.trim(), examples.trim_end(), json.trim())
}

/// Adds a section of paragraphs; without text, adds nothing.
fn section(roff: &mut Roff, head: &str, text: &str) {
    for (n, paragraph) in text.split("\n\n").filter(|text| !text.is_empty()).enumerate() {
        match n {
            0 => roff.control("SH", [head]),
            _ => roff.control("PP", []),
        };
        roff.text([roman(paragraph)]);
    }
}

/// Adds a section whose lines are not filled.
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
    fn each_verb_has_a_page_with_its_sections() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path()).unwrap();
        let sections = |name: &str| {
            let page = fs::read_to_string(dir.path().join("man").join(name)).unwrap_or_default();
            let heads = page.lines().filter_map(|line| line.strip_prefix(".SH "));
            heads.map(|head| head.trim_matches('"').to_owned()).collect::<Vec<_>>()
        };
        let verbs = Args::command();
        let verbs = verbs.get_subcommands().map(|verb| format!("slotctl-{}.8", verb.get_name()));
        for name in verbs.chain(["slotctl.8".into()]) {
            let sections = sections(&name);
            for head in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "FILES", "EXAMPLES"] {
                assert!(sections.iter().any(|section| section == head), "{name}: {sections:?}");
            }
        }
        for shell in ["slotctl.bash", "_slotctl", "slotctl.fish"] {
            assert!(dir.path().join("completions").join(shell).exists(), "{shell}");
        }
    }

    #[test]
    fn a_page_shows_values_in_the_synopsis_and_aliases_of_options() {
        let verb = |name| Args::command().find_subcommand(name).unwrap().clone();
        let plain = |name| page(verb(name)).unwrap().replace('\\', "");
        assert!(plain("wait").contains("--for <STATE> [APP] [SLOT]"), "{}", plain("wait"));
        assert!(!plain("wait").contains(".br\n\n"), "{}", plain("wait"));
        assert!(plain("flip").contains("[alias: --timeout]"), "{}", plain("flip"));
    }
}
