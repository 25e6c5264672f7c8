//! Two Apaches, one state directory.

use crate::site::{Site, text, until};
use std::process::Command;

const GROUP: &str = "<SlotGroup app>\nSlot blue - docroot=ROOT/blue\nSlot green - \
                     docroot=ROOT/green\n</SlotGroup>\nSlotDocumentRoot app\n<Directory ROOT>\n\
                     Require all granted\n</Directory>\n";

#[test]
fn a_second_apache_with_the_same_state_is_refused_and_told_the_first_ones_pid() {
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
    // The first one has not noticed, and its restarts are not mistaken for a second Apache.
    for _ in 0..3 {
        first.graceful();
    }
    first.restart();
    assert!(until(|| first.get("/name.txt").text() == "slot=green\n").is_some());
    assert!(second.try_start().is_err());
    // Once it is gone, the state is the other's, with the slot that was active.
    first.kill();
    second.start_again();
    assert_eq!(second.get("/name.txt").text(), "slot=green\n");
    assert!(first.try_start().is_err());
}

#[test]
fn configtest_of_a_running_apache_is_no_second_one() {
    let mut site = Site::new();
    site.docroots(&["blue", "green"]);
    site.start(GROUP);
    let (good, said) = site.configtest(GROUP);
    assert!(good, "{said}");
    site.graceful();
    assert_eq!(site.get("/name.txt").status(), 200);
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
