//! Two Apaches, one state directory.

mod refused;
mod stopping;

use crate::site::{Site, text, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

const GROUP: &str = "<SlotGroup app>\nSlot blue - docroot=ROOT/blue\nSlot green - \
                     docroot=ROOT/green\n</SlotGroup>\nSlotDocumentRoot app\n<Directory ROOT>\n\
                     Require all granted\n</Directory>\n";

#[test]
fn a_second_apache_with_the_same_state_is_refused_with_the_first_ones_pid() {
    let mut first = Site::new();
    first.docroots(&["blue", "green"]);
    first.start(GROUP);
    first.flip("green");
    let mut second = Site::new();
    second.docroots(&["blue", "green"]);
    second.configure(&format!("{GROUP}SlotStateDir {}/state\n", first.path().display()));
    let refusal = second.try_start().unwrap_err();
    let pid = format!("in use by the Apache with pid {}", first.pid());
    assert!(refusal.contains(&pid), "{refusal}");
    assert!(refusal.contains("SlotStateDir and a SlotRuntimeDir of its own"), "{refusal}");
    // The first one goes on undisturbed, and its restarts are not mistaken for a second Apache.
    for _ in 0..3 {
        first.graceful();
    }
    first.restart();
    assert!(until(|| first.get("/name.txt").text() == "slot=green\n").is_some());
    assert!(second.try_start().is_err());
    // When it is gone, the second one gets the directory, with the slot that was active.
    first.kill();
    second.start_again();
    assert_eq!(second.get("/name.txt").text(), "slot=green\n");
    assert!(first.try_start().is_err());
}

#[test]
fn configtest_of_a_running_apache_is_not_a_second_instance() {
    let mut site = Site::new();
    site.docroots(&["blue", "green"]);
    site.start(GROUP);
    let (good, said) = site.configtest(GROUP);
    assert!(good, "{said}");
    site.graceful();
    assert_eq!(site.get("/name.txt").status(), 200);
}

/// A script that lists its inherited descriptors, and then runs `rest`.
fn lister(site: &Site, name: &str, rest: &str) -> PathBuf {
    let list = site.path().join(format!("{name}.list"));
    let script = format!(
        "#!/bin/sh\n{{ ls -l /proc/$$/fd; cat /proc/$$/maps; echo listed; }} >>{} 2>&1\n{rest}\n",
        list.display()
    );
    let script = site.write(name, &script);
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    list
}

#[test]
fn a_program_that_apache_starts_inherits_no_descriptor_of_ours() {
    let mut site = Site::new().with(&["rewrite"]);
    site.docroots(&["blue", "green"]);
    let lists = [
        lister(&site, "logger", "exec cat >/dev/null"),
        lister(&site, "errors", "exec cat >/dev/null"),
        lister(&site, "map", "while read key; do echo \"$key\"; done"),
    ];
    // In another server's error log, because the tests read the main one.
    site.start(&format!(
        "{GROUP}CustomLog |ROOT/logger \"%U\"\nRewriteEngine On\nRewriteMap same prg:ROOT/map\n\
         RewriteRule ^/mapped(.*)$ ${{same:$1}}\n<VirtualHost 127.0.0.1:1>\nErrorLog \
         |ROOT/errors\n</VirtualHost>\n"
    ));
    for restart in [Site::graceful, Site::restart, Site::graceful] {
        restart(&site);
        site.flip("green");
        assert_eq!(site.get("/mapped/name.txt").text(), "slot=green\n", "{}", site.log());
    }
    for list in &lists {
        let said = || fs::read_to_string(list).unwrap_or_default();
        // Lists of a start and of a restart; one may have been killed before it was complete.
        until(|| said().matches("listed").count() >= 2).unwrap_or_else(|| panic!("{}", said()));
        for ours in ["/state", "/run", "slot.so"] {
            assert!(!said().contains(ours), "{} inherits {ours}: {}", list.display(), said());
        }
    }
}

/// The daemon is a fork of the parent, and cannot write a control file.
#[test]
fn the_daemon_of_mod_cgid_cannot_write_a_control_file() {
    let mut site = Site::new().with(&["cgid"]);
    site.docroots(&["blue", "green"]);
    site.start(&format!("{GROUP}ScriptSock ROOT/cgi.sock\n"));
    site.graceful();
    site.flip("green");
    let state = site.path().join("state");
    let look = |pid: &i32| {
        // A child of the old generation may end meanwhile.
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let control = maps.lines().filter(|line| line.ends_with("/app.slot"));
        assert!(control.clone().all(|line| line.contains(" r--s ")), "{pid}: {maps}");
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let open = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        let ours: Vec<_> = open.filter(|path| path.starts_with(&state)).collect();
        // The claim is a lock of the parent: a fork has the descriptor but not the lock. The names
        // are open for reading.
        let is_known = |path: &PathBuf| path.ends_with(".instance") || path.ends_with(".names");
        assert!(ours.iter().all(is_known), "{pid}: {ours:?}");
        Some(())
    };
    // The restart may still be starting the children.
    until(|| site.children().iter().filter_map(look).count() > 2)
        .expect("there are the children and the daemon");
    site.stop();
    site.start_again();
    assert_eq!(site.get("/name.txt").text(), "slot=green\n");
}

#[test]
fn a_cgi_inherits_no_descriptor_of_ours() {
    for module in ["cgi", "cgid"] {
        let mut site = Site::new().with(&[module]);
        site.docroots(&["blue", "green"]);
        let script = site.write(
            "cgi/descriptors",
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nSLOT=%s\\n' \"$SLOT\"\nls -l \
             /proc/self/fd\ncat /proc/self/maps\n",
        );
        let out = Command::new("chmod").arg("755").arg(&script).output().unwrap();
        assert!(out.status.success(), "{}", text(&out));
        let socket = if module == "cgid" { "ScriptSock ROOT/cgi.sock\n" } else { "" };
        site.start(&format!(
            "{GROUP}{socket}ScriptAlias /cgi/ ROOT/cgi/\n<Directory ROOT/cgi>\nOptions +ExecCGI\n\
             </Directory>\n"
        ));
        site.graceful();
        let said = site.get("/cgi/descriptors").text();
        assert!(said.contains("SLOT=blue\n"), "{module}: {said}\n{}", site.log());
        assert!(said.contains("/proc"), "{module}: {said}");
        for ours in ["/state", "/run", "slot.so"] {
            assert!(!said.contains(ours), "{module} inherits {ours}: {said}");
        }
    }
}
