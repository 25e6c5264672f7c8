//! What a guide asks its reader to do, read from its Markdown, and the comparison of outputs.

/// A step of a guide.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A configuration of Apache.
    Configuration(String),
    /// A program, and where it is.
    Program { path: String, text: String },
    /// A command that the reader does not see.
    Hidden(String),
    /// Commands, each with its exit code, and what they say.
    Commands { commands: Vec<(String, i32)>, expected: Option<String> },
}

/// Returns the steps of a guide.
pub(super) fn steps(markdown: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    // Whether the block before was one of commands.
    let mut is_asked = false;
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        if let Some(hidden) = text.strip_prefix("<!-- run: ") {
            let command = hidden.strip_suffix(" -->").expect("a hidden command is one line");
            steps.push(Step::Hidden(command.to_owned()));
        }
        let Some(info) = text.strip_prefix("```") else { continue };
        let indent = line.len() - text.len();
        let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
        let block: String =
            block.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect();
        let words: Vec<_> = info.split(' ').collect();
        let follows = std::mem::replace(&mut is_asked, words == ["sh", "run"]);
        match words[..] {
            ["apache", "run"] => steps.push(Step::Configuration(block)),
            ["sh", "run"] => {
                let commands = commands(&block);
                steps.push(Step::Commands { commands, expected: None });
            }
            ["sh", "run", path] => steps.push(Step::Program { path: path.to_owned(), text: block }),
            ["text"] if follows => {
                let Some(Step::Commands { expected, .. }) = steps.last_mut() else { continue };
                *expected = Some(block);
            }
            _ => assert!(!words.contains(&"run"), "{info} is no known mark"),
        }
    }
    steps
}

/// Returns the commands of a block, each with its exit code.
fn commands(block: &str) -> Vec<(String, i32)> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with('#'));
    let read = |line: &str| match line.split_once("# exit code ") {
        Some((command, code)) => (command.trim().to_owned(), code.trim().parse().expect(line)),
        None => (line.to_owned(), 0),
    };
    lines.map(read).collect()
}

/// The units of numbers.
const UNITS: [&str; 7] = ["ms", "µs", "s", "m", "h", "min", "%"];

/// Returns the words of an output, with one blank between them and `N` for each number and its unit. Where lines end does
/// not matter, because paths are longer here than in a guide.
pub(super) fn masked(output: &str) -> String {
    let words: Vec<String> = output.split_whitespace().map(masked_word).collect();
    let mut masked = words.join(" ");
    // 2m 00s
    while masked.contains("N N") {
        masked = masked.replace("N N", "N");
    }
    masked
}

fn masked_word(word: &str) -> String {
    let mut masked = String::new();
    let mut rest = word;
    while let Some(char) = rest.chars().next() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = rest[..digits].trim_end_matches('.');
        if !char.is_ascii_digit() || number.is_empty() {
            masked.push(char);
            rest = &rest[char.len_utf8()..];
            continue;
        }
        let after = &rest[number.len()..];
        let end = after.find(|c: char| !c.is_alphabetic() && c != '%').unwrap_or(after.len());
        let unit = &after[..end];
        if unit.is_empty() || UNITS.contains(&unit) {
            masked.push('N');
        } else {
            // 5xx
            masked += number;
            masked += unit;
        }
        rest = &after[end..];
    }
    masked
}

#[test]
fn marks_become_steps() {
    let guide = "# A guide\n<!-- run: mkdir x -->\n\n1. Do:\n\n   ```sh run\n   # First:\n   one \\\n     two\n   three  # exit code \
                 6\n   ```\n\n   It says:\n\n   ```text\n   done in 3s\n   ```\n```apache run\nSlot\n```\n```text\nnot asked\n```\n\
                 ```sh run /x/hook\n#!/bin/sh\n```\n```sh\nnever\n```\n";
    let commands = vec![("one    two".to_owned(), 0), ("three".to_owned(), 6)];
    assert_eq!(
        steps(guide),
        [
            Step::Hidden("mkdir x".into()),
            Step::Commands { commands, expected: Some("done in 3s\n".into()) },
            Step::Configuration("Slot\n".into()),
            Step::Program { path: "/x/hook".into(), text: "#!/bin/sh\n".into() },
        ]
    );
}

#[test]
fn an_output_is_compared_without_its_numbers_but_with_its_words() {
    let of = masked;
    assert_eq!(
        of("  watch   ok  2m 00s  4903 requests, 0 of them 5xx (0%)\n"),
        of("watch ok 1.0s 7 requests, 1 of them 5xx (1.5%)")
    );
    assert_ne!(of("flip ok"), of("flip FAILED"));
    assert_ne!(of("20 of them are 5xx"), of("20 of them are 4xx"));
    assert_ne!(of("one\ntwo"), of("one"));
}
