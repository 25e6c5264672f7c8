//! Verbs and options of other tools that people try, and the advice that they get.

use crate::args::Args;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};
use mod_slot::name::nearest;

/// Words with the same meaning, and the advice.
type Row = (&'static [&'static str], &'static str);

/// Verbs that people try.
const VERBS: &[Row] = &[
    (
        &[
            "switch", "activate", "use", "promote", "enable", "toggle", "swap", "select",
            "cutover", "failover",
        ],
        "To make a slot the active one: slotctl flip [APP] [SLOT]. Without SLOT, flip takes the \
         other one of two",
    ),
    (&["publish", "rollout", "ship"], "To make a new release the active one: slotctl deploy [APP]"),
    (
        &["release"],
        "To release a lock: slotctl unlock [APP]. To release software: slotctl deploy [APP]",
    ),
    (
        &["revert", "undo", "back", "unflip"],
        "To undo the last flip: slotctl rollback [APP]. What was flipped: slotctl history",
    ),
    (
        &["show", "info", "describe", "get"],
        "To see the slots, and which one is active: slotctl status [APP]",
    ),
    (&["resume", "continue"], "To end a hold: slotctl unhold [APP]"),
    (&["ls", "groups", "slots"], "To list the groups and their slots: slotctl list"),
    (&["ps", "top", "requests"], "To list the requests in flight: slotctl status [APP] --requests"),
    (
        &["log", "logs", "audit"],
        "To see who flipped what, when and why: slotctl history [APP]. Requests are in the logs of \
         Apache, where %{SLOT}e prints their slot",
    ),
    (
        &["stop", "kill", "disable", "deactivate"],
        "deploy stops the slot that it has replaced: slotctl deploy [APP]. By hand, make another slot \
         active: slotctl flip [APP] OTHER. Then wait until no request is in the one you want to stop: \
         slotctl drain [APP] SLOT",
    ),
    (
        &["start", "restart"],
        "Apache has a service manager, such as systemctl. deploy starts the backend of the idle slot, or restarts \
         that of the only one: slotctl deploy [APP]. To restart the backend of the active slot while its requests \
         wait: slotctl hold [APP] -- COMMAND. To wait until a slot that was started is healthy: slotctl check [APP] \
         SLOT --wait",
    ),
    (
        &["health", "healthcheck", "ping", "test", "verify", "probe"],
        "To examine whether a slot is healthy: slotctl check [APP] [SLOT]. To examine the files of \
         mod_slot: slotctl doctor [APP]",
    ),
    (
        &["reload", "graceful"],
        "A flip needs no reload. To make Apache read a changed configuration: apachectl graceful",
    ),
    (
        &["current", "which", "live"],
        "To print the active slot: slotctl active [APP]. To print the one to prepare: slotctl idle \
         [APP]",
    ),
    (
        &["standby", "inactive", "other", "next"],
        "To print the slot that is not active: slotctl idle [APP]",
    ),
    (
        &["warmup", "warm-up", "preheat"],
        "To warm a slot before the flip: slotctl warm [APP] [SLOT]",
    ),
    (
        &["pause", "freeze", "suspend"],
        "To hold requests back: slotctl hold [APP]. To keep other people from flipping: slotctl lock [APP]",
    ),
    (
        &["maintenance", "down", "offline", "unavailable"],
        "To answer the requests of a group with 503 and a page: slotctl maint [APP] on. To end that: \
         slotctl maint [APP] off",
    ),
    (
        &["prometheus", "export", "exporter", "stats"],
        "To print metrics for Prometheus: slotctl metrics [APP]. For people: slotctl status [APP]",
    ),
    (&["watch", "monitor", "follow"], "To see the state change: slotctl status --watch"),
    (
        &["add", "create", "remove", "rm", "delete"],
        "The groups and slots are in Apache's configuration: change <SlotGroup> there, then \
         apachectl graceful",
    ),
    (&["fix", "repair"], "To repair what can be repaired: slotctl doctor [APP] --repair"),
    (&["version"], "To print the version: slotctl --version"),
];

/// Options that people try with a verb that does not have them.
const OPTIONS: &[Row] = &[
    (
        &["--watch", "-w", "--follow"],
        "To see the state change: slotctl status --watch. flip and deploy have --watch. To wait for the \
         end of requests: slotctl flip --wait, or slotctl drain",
    ),
    (
        &["--force", "-f"],
        "To flip to a slot that is not healthy: slotctl flip [APP] SLOT --force. For root to end the \
         lock of another user: slotctl unlock [APP] --force",
    ),
    (&["--yes", "-y", "--assume-yes"], "slotctl asks no questions: leave it out"),
    (
        &["--to", "--slot", "--target", "--app", "--group", "--name"],
        "Write the names of the group and the slot without an option, as in: slotctl flip APP SLOT",
    ),
    (
        &["--quiet", "-q", "--silent"],
        "To see errors and warnings only, send the standard output away: >/dev/null",
    ),
    (
        &["--verbose", "-v", "--debug"],
        "There is one level of detail. To see more: slotctl status --json, slotctl history, \
         slotctl doctor",
    ),
    (&["--version", "-V"], "To print the version: slotctl --version"),
    (
        &["--dry-run", "--noop", "--simulate"],
        "check, warm, flip, rollback, deploy, hold and unhold have --dry-run. To see what is active: slotctl status [APP]",
    ),
    (
        &["--format", "--output", "-o"],
        "For programs, every verb has --json. Only metrics writes a file",
    ),
    (&["--last", "--limit", "--lines"], "For the last N changes: slotctl history [APP] -n N"),
    (&["--message", "-m", "--comment"], "flip and lock take the reason: --reason TEXT"),
    (
        &["--check", "--health"],
        "flip always checks its target first: leave it out. To check only: slotctl check [APP] [SLOT]",
    ),
    (
        &["--no-check", "--skip-check"],
        "To flip to a slot that is not healthy: slotctl flip [APP] SLOT --force",
    ),
];

/// Explains a verb or an option that slotctl does not have, in one line. `None` for every other
/// error, and for a word that is in neither table: `error` then suggests the names that are near.
pub(crate) fn explain(error: &mut clap::Error) -> Option<String> {
    // clap suggests passing `--watch` as a value, but no group or slot begins with a hyphen.
    error.remove(ContextKind::Suggested);
    let slotctl = Args::command();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand)?;
            if let Some(sentence) = sentence(VERBS, &word) {
                return Some(format!(
                    "there is no verb {word:?}. {sentence}. All verbs: slotctl --help"
                ));
            }
            let verbs = slotctl.get_subcommands().map(Command::get_name);
            suggest(error, ContextKind::SuggestedSubcommand, nearest(&word, verbs), "");
        }
        ErrorKind::UnknownArgument => {
            let word = text(error, ContextKind::InvalidArg)?;
            let word = word.split('=').next().unwrap_or_default();
            let verb = verb(error, &slotctl);
            let name = verb.map_or("slotctl", Command::get_name);
            if let Some(sentence) = sentence(OPTIONS, word) {
                let help =
                    verb.map_or("slotctl".into(), |verb| format!("slotctl {}", verb.get_name()));
                return Some(format!(
                    "{name} has no option {word:?}. {sentence}. All options: {help} --help"
                ));
            }
            let own = verb.into_iter().chain([&slotctl]).flat_map(Command::get_arguments);
            let own: Vec<_> =
                own.filter_map(|option| option.get_long_and_visible_aliases()).collect();
            let typed = word.strip_prefix("--").unwrap_or_default();
            let near = nearest(typed, own.iter().flatten().copied());
            suggest(error, ContextKind::SuggestedArg, near, "--");
        }
        _ => {}
    }
    None
}

fn sentence(table: &[Row], word: &str) -> Option<&'static str> {
    // -v and -V are two options.
    let word = if word.len() > 2 { word.to_lowercase() } else { word.to_owned() };
    table.iter().find(|(words, _)| words.contains(&word.as_str())).map(|(_, sentence)| *sentence)
}

/// Finds the verb whose arguments are wrong: the usage line of the error names it after slotctl.
fn verb<'a>(error: &clap::Error, slotctl: &'a Command) -> Option<&'a Command> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return None };
    let usage = usage.to_string();
    slotctl.find_subcommand(usage.split_whitespace().nth(2)?)
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn suggest(error: &mut clap::Error, kind: ContextKind, near: Vec<&str>, prefix: &str) {
    if !near.is_empty() {
        let near = near.into_iter().map(|name| format!("{prefix}{name}")).collect();
        error.insert(kind, ContextValue::Strings(near));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Finds the words after each `slotctl` in a sentence, up to the next punctuation mark.
    fn commands(sentence: &str) -> Vec<Vec<&str>> {
        sentence
            .split("slotctl ")
            .skip(1)
            .map(|rest| {
                let end = rest.find([',', '.', '`', ')']).unwrap_or(rest.len());
                rest[..end].split_whitespace().collect()
            })
            .collect()
    }

    #[test]
    fn every_command_in_the_advice_exists() {
        let slotctl = Args::command();
        let mut named = 0;
        for (words, sentence) in VERBS.iter().chain(OPTIONS) {
            for command in commands(sentence) {
                let Some(verb) = slotctl.find_subcommand(command[0]) else {
                    // Here slotctl is the subject of the sentence.
                    let subject = ["installs", "stops", "starts", "sends", "cannot", "has", "asks"];
                    assert!(
                        command[0] == "--version" || subject.contains(&command[0]),
                        "{words:?}: {command:?}"
                    );
                    continue;
                };
                named += 1;
                let options = command[1..].iter().filter_map(|word| word.strip_prefix("--"));
                // "--" alone ends them.
                for option in options.filter(|option| !option.is_empty()) {
                    let has = |command: &Command| {
                        command.get_arguments().any(|argument| argument.get_long() == Some(option))
                    };
                    assert!(has(verb) || has(&slotctl), "{words:?}: {command:?}");
                }
            }
        }
        assert!(named > 20, "{named}");
    }

    #[test]
    fn no_word_is_a_real_verb_or_has_two_entries() {
        let slotctl = Args::command();
        let verbs = slotctl.get_subcommands().map(Command::get_name);
        let mut seen: HashSet<&str> = verbs.collect();
        for word in VERBS.iter().flat_map(|(words, _)| *words) {
            assert!(seen.insert(word), "{word}");
        }
        let mut seen = HashSet::new();
        for word in OPTIONS.iter().flat_map(|(words, _)| *words) {
            assert!(seen.insert(word) && word.starts_with('-'), "{word}");
        }
    }
}
