//! Each command of slotctl in the documents is one that slotctl understands.

use super::{html, synopsis};
use crate::args::Args;
use clap::{CommandFactory, Parser as _, error::ErrorKind};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::fs;
use std::path::Path;

/// What the manual names because slotctl does not have it: see its chapter on slotctl.
const EXPLAINED: [&str; 3] = ["slotctl switch", "slotctl logs", "slotctl watch"];

/// Returns the code in Markdown: blocks of commands, and code in running text.
fn code(source: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut in_block = false;
    for event in Parser::new_ext(source, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let not_commands =
                    ["apache", "ini", "js", "groovy", "ruby", "yaml", "nginx", "xml"];
                in_block = match kind {
                    CodeBlockKind::Fenced(info) => {
                        let language = info.split(' ').next().unwrap_or_default();
                        !not_commands.contains(&language)
                    }
                    CodeBlockKind::Indented => true,
                };
                all.push(String::new());
            }
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Text(text) if in_block => {
                if let Some(block) = all.last_mut() {
                    block.push_str(&text);
                }
            }
            Event::Code(text) => all.push(text.into_string()),
            _ => {}
        }
    }
    all
}

/// Returns the code of all documents, with their names.
fn documents() -> Vec<(String, Vec<String>)> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = html::documents(tree).unwrap();
    paths.push(tree.join("README.md"));
    let read = |path: &Path| code(&fs::read_to_string(path).unwrap());
    let mut all: Vec<_> =
        paths.iter().map(|path| (path.display().to_string(), read(path))).collect();
    let page = synopsis::parse(synopsis::PAGE).unwrap();
    let nodes = page.descendants();
    let nodes = nodes.filter(|node| node.has_tag_name("code") || node.has_tag_name("example"));
    all.push(("mod_slot.xml".to_owned(), nodes.map(synopsis::plain).collect()));
    all
}

/// Returns what follows each `slotctl ` that begins a command.
fn calls(code: &str) -> Vec<String> {
    let joined = code.replace("\\\n", " ");
    let mut calls: Vec<String> = Vec::new();
    for line in joined.lines() {
        // The next line of a synopsis.
        if line.trim_start().starts_with("[--")
            && let Some(call) = calls.last_mut()
        {
            call.push_str(line);
            continue;
        }
        for (at, _) in line.match_indices("slotctl ") {
            if at == 0 || line[..at].ends_with([' ', '(', '\'', '"', '`', '/']) {
                calls.push(line[at..].to_owned());
            }
        }
    }
    calls
}

/// Splits a command as a shell does, up to the end of the command.
fn words(call: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut last = ' ';
    for char in call.chars() {
        match quote {
            Some(open) if open == char => quote = None,
            Some(_) => words.last_mut().unwrap().push(char),
            None if char == '\'' || char == '"' => quote = Some(char),
            None if "|;&<>)`".contains(char) || (char == '#' && last == ' ') => break,
            None if char == ' ' => {
                // A wide gap comes before an explanation.
                if last == ' ' && words.len() > 1 {
                    break;
                }
                words.push(String::new());
            }
            None => words.last_mut().unwrap().push(char),
        }
        last = char;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Says why slotctl does not understand a command. A quoted message, which has an ellipsis, is no command.
fn fault(call: &str) -> Option<String> {
    if EXPLAINED.iter().any(|explained| call.starts_with(explained))
        || call.contains("VERB")
        || call.contains('…')
    {
        return None;
    }
    if call.contains('[') {
        return synopsis_fault(call);
    }
    let error = Args::try_parse_from(words(call)).err()?;
    let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (!shown).then(|| error.to_string())
}

/// Says which verb or option of a synopsis does not exist.
fn synopsis_fault(call: &str) -> Option<String> {
    let args = Args::command();
    let name = call.split(' ').nth(1).unwrap_or_default();
    let Some(verb) = args.find_subcommand(name) else { return Some(format!("no verb {name}")) };
    let known = |option: &str| {
        let options = args.get_arguments().chain(verb.get_arguments());
        options.into_iter().any(|known| {
            let aliases = known.get_all_aliases().unwrap_or_default();
            known.get_long() == Some(option) || aliases.contains(&option)
        })
    };
    let options = call.split("--").skip(1).map(|rest| {
        rest.split(|char: char| !char.is_ascii_alphanumeric() && char != '-').next().unwrap()
    });
    let unknown = options.into_iter().find(|option| !option.is_empty() && !known(option))?;
    Some(format!("{name} has no option --{unknown}"))
}

#[test]
fn slotctl_understands_each_command_in_the_documents() {
    let mut faults = Vec::new();
    let mut count = 0;
    for (name, blocks) in documents() {
        for call in blocks.iter().flat_map(|block| calls(block)) {
            count += 1;
            faults.extend(fault(&call).map(|why| format!("{name}: {call}\n{why}")));
        }
    }
    assert!(count > 100, "{count} commands");
    assert!(faults.is_empty(), "{} of {count}:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_wrong_command_is_found() {
    for wrong in [
        "slotctl flp app",
        "sudo slotctl flip app --wait-for-it",
        "slotctl flip [APP] [--nonsense]",
        "x=\"$(slotctl idle app --none | cat)\"",
    ] {
        let calls = calls(wrong);
        assert_eq!(calls.len(), 1, "{wrong}");
        assert!(fault(&calls[0]).is_some(), "{wrong}");
    }
    assert_eq!(
        words("slotctl lock app --reason 'a b' --for 2h  # why"),
        ["slotctl", "lock", "app", "--reason", "a b", "--for", "2h"]
    );
}
