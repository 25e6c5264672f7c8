//! The guides that are marked `run` do what they say: their commands run, one by one, in a private Apache with the
//! configuration of the guide.
//!
//! The marks, in the Markdown of a guide:
//!
//! | mark | meaning |
//! |---|---|
//! | a block <code>```apache run</code> | is the configuration from here on, after the next restart |
//! | a block <code>```sh run</code> | each command must exit with 0, or with the code of its comment `# exit code 6` |
//! | a block <code>```sh run /path</code> | is written to this file, which can then be executed |
//! | the next block, if it is <code>```text</code> | is the output of these commands; numbers and times do not matter |
//! | `<!-- run: COMMAND -->` | a command that the reader does not need: it prepares the place |

mod place;
mod script;

use crate::{shipped, skip};
use place::Place;
use script::Step;
use std::collections::BTreeSet;

/// The guides that are run, each by a test with its name.
const GUIDES: [&str; 7] = [
    "first-deploy",
    "from-graceful-script",
    "maintenance",
    "one-backend",
    "quick-start",
    "rollback",
    "single-page-apps",
];

/// Runs a guide.
fn run(guide: &str) {
    let file = format!("apache/guides/{guide}.md");
    let mut place = Place::new();
    // sudo does nothing here, and slotctl says less to other users.
    let is_root = skip::is_root("the outputs of a guide are those for root; run it as root");
    for step in script::steps(&shipped::file(&file)) {
        match step {
            Step::Configuration(text) => place.configure(&text),
            Step::Program { path, text } => place.install(&path, &text),
            Step::Hidden(command) => {
                place.run(&file, &command, 0);
            }
            Step::Commands { commands, expected } => {
                let ran = commands.iter().map(|(line, code)| place.run(&file, line, *code));
                let output: String = ran.collect();
                if let Some(expected) = expected.filter(|_| is_root) {
                    let (found, shown) = (script::masked(&output), script::masked(&expected));
                    assert_eq!(found, shown, "{file}: {commands:#?} says:\n{output}");
                }
            }
        }
    }
}

#[test]
fn each_marked_guide_is_run_by_a_test() {
    let marked = shipped::guides().into_iter().filter(|guide| {
        !script::steps(&shipped::file(&format!("apache/guides/{guide}.md"))).is_empty()
    });
    assert_eq!(marked.collect::<BTreeSet<_>>(), GUIDES.map(str::to_owned).into());
}

#[test]
fn the_commands_of_the_quick_start_do_what_it_says() {
    run("quick-start");
}

#[test]
fn the_commands_of_the_first_deploy_do_what_it_says() {
    run("first-deploy");
}

#[test]
fn the_commands_of_the_guide_to_rollback_do_what_it_says() {
    run("rollback");
}

#[test]
fn the_commands_of_the_guide_to_maintenance_do_what_it_says() {
    run("maintenance");
}

#[test]
fn the_commands_of_the_guide_to_one_backend_do_what_it_says() {
    run("one-backend");
}

#[test]
fn the_commands_of_the_guide_to_single_page_applications_do_what_it_says() {
    run("single-page-apps");
}

#[test]
fn the_commands_that_replace_a_graceful_script_do_what_the_guide_says() {
    run("from-graceful-script");
}
