//! Skipped tests: a test that cannot run here, or only in part, says so in one line that libtest
//! does not capture. With `CI` it fails instead, unless `.ci/may-skip` lists it with a reason.

use std::io::Write;
use std::path::Path;
use std::{env, fs, thread};

/// The tests that may be skipped with `CI`, a line for each: `crate::module::test: reason`.
const MAY_SKIP: &str = include_str!("../../../.ci/may-skip");

/// Reports that the calling test leaves out all or a part of itself: `why` says what is missing,
/// and what to do. Call it on the test's own thread. Also appends the line to the file that
/// `MOD_SLOT_SKIPPED` names.
///
/// # Panics
///
/// If `CI` is set and not empty, and [`MAY_SKIP`] does not list the test.
#[track_caller]
pub fn skip(why: &str) {
    let test = format!("{}::{}", program(), thread::current().name().unwrap_or("?"));
    let is_ci = env::var_os("CI").is_some_and(|ci| !ci.is_empty());
    let line = report(&test, why, is_ci.then_some(MAY_SKIP)).unwrap_or_else(|why| panic!("{why}"));
    // Not with println!, which libtest captures.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = env::var_os("MOD_SLOT_SKIPPED").filter(|list| !list.is_empty()) {
        append(Path::new(&list), &line);
    }
}

/// The name of the test program, without cargo's hash.
fn program() -> String {
    let path = env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').map_or(&*name, |(name, _)| name).to_owned()
}

fn append(list: &Path, line: &str) {
    let file = fs::File::options().create(true).append(true).open(list);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|e| panic!("{}: {e}", list.display()));
}

/// The line to report; `Err` if `may_skip` does not list the test.
fn report(test: &str, why: &str, may_skip: Option<&str>) -> Result<String, String> {
    match may_skip.map(|list| reason(list, test)) {
        None => Ok(format!("SKIPPED {test}: {why}\n")),
        Some(Some(reason)) => Ok(format!("SKIPPED {test}: {why} (allowed: {reason})\n")),
        Some(None) => {
            Err(format!("{test} cannot be skipped in CI: {why}; .ci/may-skip does not list it"))
        }
    }
}

/// The reason that a list gives for skipping a test; a line without a reason is ignored.
fn reason<'a>(list: &'a str, test: &str) -> Option<&'a str> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let listed = lines.filter_map(|line| line.split_once(": "));
    listed
        .map(|(name, reason)| (name, reason.trim()))
        .find(|(name, reason)| *name == test && !reason.is_empty())
        .map(|(_, reason)| reason)
}

/// Whether this is root; otherwise reports a skip.
#[track_caller]
pub fn is_root(why: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(why);
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_fails_in_ci_unless_it_is_listed_with_a_reason() {
        let list = "# a comment\na::b: no such device\na::c:\na::d: \n";
        assert_eq!(report("a::x", "no root", None).unwrap(), "SKIPPED a::x: no root\n");
        let allowed = "SKIPPED a::b: no mount (allowed: no such device)\n";
        assert_eq!(report("a::b", "no mount", Some(list)).unwrap(), allowed);
        for test in ["a::x", "a::c", "a::d", "b", "# a comment", "a::b: no such"] {
            let refused = report(test, "no root", Some(list)).unwrap_err();
            assert!(refused.contains("cannot be skipped in CI: no root"), "{refused}");
        }
    }

    /// A test's thread has its name: a helper function cannot know the calling test in another way.
    #[test]
    fn a_test_knows_its_name() {
        let name = thread::current().name().unwrap().to_owned();
        assert!(name.ends_with("a_test_knows_its_name"), "{name}");
    }

    #[test]
    fn each_line_of_the_list_names_a_test_and_a_reason() {
        for line in MAY_SKIP.lines().filter(|line| !line.starts_with('#')) {
            let (name, why) = line.split_once(": ").expect(line);
            assert!(name.contains("::") && !name.contains(' ') && !why.trim().is_empty(), "{line}");
        }
    }
}
