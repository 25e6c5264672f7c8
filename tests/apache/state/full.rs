//! Without room for the counts on the runtime directory's file system, requests are served, slots
//! flip, and slotctl works.

use super::damage::Mount;
use super::{assert_serves, group};
use crate::site::{Site, text};
use std::fs;
use std::process::Command;

/// A site whose runtime directory has this much room, if it can be mounted.
fn started(size: &str) -> Option<(Site, Mount)> {
    let mut site = super::site();
    let tmpfs = ["-t", "tmpfs", "tmpfs", "-o", &format!("mode=755,size={size}")];
    let mount = Mount::new(&site.path().join("run"), &tmpfs)?;
    site.start(&group(&["a", "b"]));
    Some((site, mount))
}

/// Fills the file system.
fn fill(site: &Site) {
    let filled = fs::write(site.path().join("run/filled"), vec![0; 64 << 20]);
    assert!(filled.is_err(), "there was room for all");
}

#[test]
fn without_room_for_the_counts_apache_says_so_and_serves() {
    let Some((mut site, mount)) = started("400k") else { return };
    fill(&site);
    for slot in ["b", "a"] {
        site.flip(slot);
        assert_serves(&site, slot);
    }
    let says = "the requests of group \"app\" are not counted";
    assert!(site.log().contains("cannot make room for") && site.log().contains(says));
    site.run(&["status"]);
    let out = site.slotctl(&["drain", "app", "b"]).output().unwrap();
    assert!(matches!(out.status.code(), Some(1 | 7)), "{}", text(&out));
    assert!(!site.log().contains("exit signal"), "{}", site.log());
    site.stop();
    drop(mount);
}

/// Many groups do not take memory for all their rows at the start.
#[test]
fn unused_counts_take_no_memory_and_a_full_disk_stops_no_request() {
    let mut site = super::site();
    let tmpfs = ["-t", "tmpfs", "tmpfs", "-o", "mode=755,size=2m"];
    let Some(mount) = Mount::new(&site.path().join("run"), &tmpfs) else { return };
    let more: String = (0..40)
        .map(|n| {
            format!("<SlotGroup more{n}>\nSlot x http://127.0.0.1:{}\n</SlotGroup>\n", 9000 + n)
        })
        .collect();
    site.start(&(group(&["a", "b"]) + &more));
    assert!(!site.log().contains("cannot make room for"), "{}", site.log());
    assert_serves(&site, "a");
    fill(&site);
    for slot in ["b", "a"] {
        site.flip(slot);
        assert_serves(&site, slot);
    }
    site.run(&["status"]);
    assert!(!site.log().contains("exit signal"), "{}", site.log());
    site.stop();
    drop(mount);
}

#[test]
fn apache_warns_of_a_state_directory_in_memory() {
    let warned = |site: &Site| {
        assert_serves(site, "a");
        site.log().contains("is in memory (tmpfs): after a reboot")
    };
    let mut site = super::site();
    site.start(&group(&["a", "b"]));
    let state = site.path().join("state");
    let kind = Command::new("stat").args(["--file-system", "--format=%T"]).arg(&state).output();
    let is_tmpfs = String::from_utf8_lossy(&kind.unwrap().stdout).trim() == "tmpfs";
    assert_eq!(warned(&site), is_tmpfs, "{}", site.log());
    site.stop();

    let mut site = super::site();
    let tmpfs = ["-t", "tmpfs", "tmpfs", "-o", "mode=755,size=1m"];
    let Some(mount) = Mount::new(&site.path().join("state"), &tmpfs) else { return };
    site.start(&group(&["a", "b"]));
    assert!(warned(&site), "{}", site.log());
    site.stop();
    drop(mount);
}
