//! `apachectl -t`: it refuses a wrong directive with its line, the fault and the way out; it
//! accepts right ones; and it touches no file.

mod deploy;
mod maint;
mod site;
mod wrong;

use crate::site::{Site, until};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use wrong::Wrong;

/// Asserts that each line is refused.
fn assert_refused(site: &Site, wrongs: &[Wrong<'_>]) {
    let mut faults = Vec::new();
    for (marked, words) in wrongs {
        let marked = format!("{}{marked}", wrong::GROUPS);
        let lines: Vec<_> = marked.lines().map(|l| l.strip_prefix('!').unwrap_or(l)).collect();
        let (passed, said) = site.configtest(&lines.join("\n"));
        let config = fs::read_to_string(site.path().join("httpd.conf")).unwrap();
        let before = config.lines().count() - lines.len();
        let mark = marked.lines().position(|line| line.starts_with('!')).expect("a mark");
        let place = format!("line {} of {}", before + mark + 1, site.path().display());
        let is_said = |words: &&str| words.split(" or else ").any(|word| said.contains(word));
        let missing: Vec<_> =
            [&*place].into_iter().chain(words.split('|')).filter(|w| !is_said(w)).collect();
        if passed || !missing.is_empty() {
            faults.push(format!("{marked}\npassed: {passed}, missing: {missing:?} in\n{said}"));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), wrongs.len(), faults.join("\n"));
}

#[test]
fn a_wrong_directive_is_refused_with_its_line_and_a_way_out() {
    let site = Site::new().with(&["rewrite", "actions", "proxy_balancer", "slotmem_shm"]);
    maps(&site);
    assert_refused(&site, &wrong::ROUTES);
    assert_refused(&site, &wrong::SECTIONS);
    assert_refused(
        &site,
        &wrong::ELSEWHERE.map(|lines| (lines, "slot:// does not work here|ProxyPass")),
    );
}

/// Maps of names, and of whole URLs.
fn maps(site: &Site) {
    site.write("map.txt", "one app\ntwo bare\n");
    site.write("raw.txt", "one http://127.0.0.1:8081/|slot://app/\n");
}

#[test]
fn mod_rewrite_is_loaded_first() {
    let site = Site::new();
    let rewrite = Site::modules().join("mod_rewrite.so");
    let line = format!("LoadModule rewrite_module {}\n", rewrite.display());
    for rules in ["", "RewriteRule ^/x slot://app/x [P]\n"] {
        let (passed, said) = site.configtest(&format!("{line}{}{rules}", wrong::GROUPS));
        assert!(!passed && said.contains("mod_slot is loaded before mod_rewrite"), "{said}");
        assert!(
            said.contains("move the LoadModule line of slot_module below that of rewrite_module")
        );
    }
    // Without a group, the order does not matter.
    let (passed, said) = site.configtest(&line);
    assert!(passed, "{said}");
}

#[test]
fn a_wrong_line_of_a_group_is_refused() {
    let site = Site::new();
    let within = |(line, words): &Wrong<'static>| {
        (format!("<SlotGroup g>\nSlot one http://127.0.0.1:8\n{line}\n</SlotGroup>"), *words)
    };
    let wrongs: Vec<_> = wrong::MEMBERS.iter().map(within).collect();
    let wrongs: Vec<_> = wrongs.iter().map(|(lines, words)| (&**lines, *words)).collect();
    assert_refused(&site, &wrongs);
}

#[test]
fn names_and_groups_beyond_the_limits_are_refused() {
    let slot = |n: usize| format!("Slot s{n} http://127.0.0.1:{}\n", 1000 + n);
    let slots: String = (0..64).map(slot).collect();
    let most = format!("<SlotGroup many>\n{slots}</SlotGroup>");
    let more = format!("<SlotGroup many>\n{slots}!{}</SlotGroup>", slot(64));
    let name = "x".repeat(48);
    let longest = format!("<SlotGroup {name}>\nSlot {name} http://127.0.0.1:4\n</SlotGroup>");
    let [group, slot] = [
        format!("!<SlotGroup x{name}>\nSlot a http://127.0.0.1:4\n</SlotGroup>"),
        format!("<SlotGroup x>\n!Slot x{name} http://127.0.0.1:4\n</SlotGroup>"),
    ];
    let site = Site::new();
    let long = "longer than 48 bytes";
    assert_refused(&site, &[(&more, "Slot s64|at most 64"), (&group, long), (&slot, long)]);
    for right in [most, longest] {
        let (passed, said) = site.configtest(&right);
        assert!(passed, "{right}: {said}");
    }
}

#[test]
fn a_group_named_like_a_file_of_ours_needs_two_directories() {
    let site = Site::new();
    for name in ["rows", "lost"] {
        let group = format!("<SlotGroup {name}>\nSlot a http://127.0.0.1:4\n</SlotGroup>\n");
        let (passed, said) = site.configtest(&group);
        assert!(passed, "{said}");
        let one = format!("{group}SlotStateDir ROOT/one\nSlotRuntimeDir ROOT/x/../one\n");
        let (passed, said) = site.configtest(&one);
        assert!(!passed && said.contains("its lock file would be one of SlotRuntimeDir"), "{said}");
        assert!(said.contains("Syntax error on line"), "{said}");
    }
}

#[test]
fn without_mod_proxy_addresses_are_refused_and_docroots_pass() {
    let site = Site::new().without(&["proxy", "proxy_http"]);
    let config = "<SlotGroup app>\nSlot a - docroot=/srv/a\nSlot b - docroot=/srv/b\n</SlotGroup>\n\
                  SlotDocumentRoot app";
    let (passed, said) = site.configtest(config);
    assert!(passed, "{said}");
    for (lines, words) in [
        (
            "<SlotGroup app>\nSlot a http://127.0.0.1:1\n</SlotGroup>",
            "http://127.0.0.1:1 needs mod_proxy, which is not loaded|LoadModule proxy_module|a2enmod proxy",
        ),
        ("ProxyPass / slot://app/", "Invalid command 'ProxyPass'"),
        ("ProxyPassReverse / slot://app/", "Invalid command 'ProxyPassReverse'"),
        ("ProxyPassReverse / http://x/", "Invalid command 'ProxyPassReverse'"),
        ("RewriteRule ^ - [F]", "Invalid command 'RewriteRule'"),
        ("RewriteRule ^ slot://app/ [P]", "Invalid command 'RewriteRule'"),
    ] {
        let (passed, said) = site.configtest(lines);
        assert!(!passed && words.split('|').all(|word| said.contains(word)), "{lines}: {said}");
    }
}

#[test]
fn right_configurations_pass() {
    let modules = ["rewrite", "proxy_ajp", "proxy_fcgi", "proxy_balancer", "slotmem_shm"];
    let site = Site::new().with(&modules);
    maps(&site);
    site.write("slots.conf", "Slot c http://[::1]:8083/ctx/\n");
    for (name, lines) in wrong::RIGHT {
        let (passed, said) = site.configtest(&format!("{}{lines}", wrong::GROUPS));
        assert!(passed && said.contains("Syntax OK"), "{name}: {said}");
    }
}

#[test]
fn a_missing_docroot_is_a_warning() {
    let (passed, said) = Site::new().configtest(wrong::GROUPS);
    assert!(passed, "{said}");
    let line = "SLOT0039: group \"app\": docroot /srv/no/a of slot \"a\" is not a directory";
    assert!(said.contains(line), "{said}");
}

#[test]
fn a_quoted_docroot_may_have_spaces() {
    let mut site = Site::new();
    site.write("a docroot/name.txt", "spaces\n");
    site.start(
        "<SlotGroup app>\nSlot a - \"docroot=ROOT/a docroot\"\n</SlotGroup>\nSlotDocumentRoot app\n\
         <Directory \"ROOT/a docroot\">\nRequire all granted\n</Directory>",
    );
    assert_eq!(site.get("/name.txt").text(), "spaces\n");
}

#[test]
fn the_directives_are_refused_in_htaccess_files() {
    let mut site = Site::new();
    site.docroots(&["a"]);
    site.start(
        "<SlotGroup app>\nSlot a - docroot=ROOT/a\n</SlotGroup>\nSlotDocumentRoot app\n\
         <Directory ROOT/a>\nRequire all granted\nAllowOverride All\n</Directory>",
    );
    assert_eq!(site.get("/name.txt").status(), 200);
    for lines in [
        "<SlotGroup x>\n</SlotGroup>",
        "Slot x http://127.0.0.1:1",
        "SlotDefault a",
        "SlotOperator group=root",
        "SlotHealthCheck uri=/up",
        "SlotWarmUp uri=/",
        "SlotAutoRollback off",
        "SlotDrain off",
        "SlotHook stop /bin/true",
        "SlotDocumentRoot app",
        "SlotStateDir /srv/x",
        "SlotRuntimeDir /srv/x",
    ] {
        site.write("a/.htaccess", lines);
        assert_eq!(site.get("/name.txt").status(), 500, "{lines}");
        let says = format!("{} not allowed here", lines.split([' ', '>']).next().unwrap());
        until(|| site.log().contains(&says)).unwrap_or_else(|| panic!("{says}: {}", site.log()));
    }
}

/// Reads every file below a directory: bytes, inode, mode and times.
fn snapshot(dir: &Path) -> BTreeMap<String, (Vec<u8>, [i64; 6])> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        let facts = [meta.ino() as i64, i64::from(meta.mode())];
        let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let facts = [&facts[..], &times].concat().try_into().unwrap();
        files.insert(path.display().to_string(), (bytes, facts));
        if meta.is_dir() {
            files.extend(snapshot(&path));
        }
    }
    files
}

const GOOD: &str = "<SlotGroup app>\nSlot a http://127.0.0.1:1\nSlot b http://127.0.0.1:2\n\
                    </SlotGroup>\n<SlotGroup files>\nSlot f - docroot=ROOT\n</SlotGroup>\n\
                    ProxyPass / slot://app/";

#[test]
fn configtest_creates_no_file() {
    let site = Site::new();
    for (lines, right) in [(GOOD, true), ("<SlotGroup app>\nSlot a -\n</SlotGroup>", false)] {
        let (passed, said) = site.configtest(lines);
        assert_eq!(passed, right, "{said}");
        let names: Vec<_> = snapshot(site.path()).into_keys().collect();
        assert!(names.iter().all(|name| name.ends_with("httpd.conf")), "{names:?}");
    }
}

#[test]
fn configtest_changes_no_file_of_a_running_apache() {
    let mut site = Site::new();
    site.start(GOOD);
    site.flip_unchecked("b");
    let below = || [snapshot(&site.path().join("state")), snapshot(&site.path().join("run"))];
    let before = below();
    assert!(before.iter().all(|files| files.len() >= 5), "{before:?}");
    let changed = "<SlotGroup app>\nSlot new http://127.0.0.1:3\nSlotOperator group=nogroup\n\
                   </SlotGroup>\n<SlotGroup second>\nSlot f - docroot=ROOT\n</SlotGroup>";
    for (lines, right) in [(GOOD, true), (changed, true), ("Slot a", false)] {
        let (passed, said) = site.configtest(lines);
        assert_eq!(passed, right, "{said}");
        assert!(below() == before, "{lines}");
    }
    assert_eq!(site.active(), "b");
}
