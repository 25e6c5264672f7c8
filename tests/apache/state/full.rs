//! Where the runtime directory's file system is full, requests are served and slots flip.

use super::damage::Mount;
use super::{assert_serves, group};
use crate::site::{Site, text};
use std::fs;

/// A site whose runtime directory has so much room, if one can be had.
fn started(size: &str) -> Option<(Site, Mount)> {
    let mut site = super::site();
    let tmpfs = ["-t", "tmpfs", "tmpfs", "-o", &format!("mode=755,size={size}")];
    let mount = Mount::new(&site.path().join("run"), &tmpfs)?;
    site.start(&group(&["a", "b"]));
    Some((site, mount))
}

/// Until nothing more fits.
fn fill(site: &Site) {
    let filled = fs::write(site.path().join("run/filled"), vec![0; 64 << 20]);
    assert!(filled.is_err(), "there was room for all");
}

#[test]
fn a_full_runtime_directory_ends_no_process_and_counts_go_on() {
    let Some((mut site, mount)) = started("8m") else { return };
    fill(&site);
    for slot in ["b", "a", "b"] {
        site.flip(slot);
        for _ in 0..20 {
            assert_serves(&site, slot);
        }
        // New processes, on rows that nobody has had.
        site.graceful();
        assert_serves(&site, slot);
    }
    site.run(&["drain", "app", "a", "--timeout", "10"]);
    let status = site.run(&["status", "--requests"]);
    assert!(status.contains("b is active"), "{status}");
    assert!(!site.log().contains("exit signal"), "{}", site.log());
    site.stop();
    drop(mount);
}

#[test]
fn where_counts_find_no_room_apache_says_so_and_serves() {
    let Some((mut site, mount)) = started("400k") else { return };
    fill(&site);
    for slot in ["b", "a"] {
        site.flip(slot);
        assert_serves(&site, slot);
    }
    let says = "the requests of group \"app\" are not counted";
    assert!(site.log().contains("cannot get the room for") && site.log().contains(says));
    site.run(&["status"]);
    let out = site.slotctl(&["drain", "app", "b"]).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(!site.log().contains("exit signal"), "{}", site.log());
    site.stop();
    drop(mount);
}
