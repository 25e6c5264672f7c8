//! A group with slots named by release, and a reload for each: names come and go for ever, and no
//! process takes the index of a new name for its old slot.

use super::{Half, assert_serves, group, site};
use crate::site::{Site, until};
use mod_slot::state::control::Control;
use std::fs;

const RELEASES: usize = 200;

fn release(n: usize) -> String {
    format!("r{n}")
}

/// A site with a docroot for each release, and the lines of a group of these releases.
fn releases() -> (Site, impl Fn(&[usize]) -> String) {
    let site = site();
    let names: Vec<_> = (0..=RELEASES).map(release).collect();
    site.docroots(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let lines = |releases: &[usize]| {
        let names: Vec<_> = releases.iter().map(|n| release(*n)).collect();
        group(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    (site, lines)
}

fn names(site: &Site) -> usize {
    let page = fs::read(super::control(site)).unwrap();
    Control::decode(&page.try_into().unwrap()).unwrap().names.iter().count()
}

#[test]
fn slots_can_be_named_by_release_for_ever() {
    let (mut site, lines) = releases();
    site.start(&lines(&[0, 1]));
    let mut old: Vec<_> = (0..4).map(|_| Half::in_slot(&site, "r0")).collect();
    let mut younger = Vec::new();
    for n in 1..RELEASES {
        site.configure(&lines(&[n, n + 1]));
        site.graceful();
        let new = release(n + 1);
        if [70, 100, 150].contains(&n) {
            let status = site.run(&["status", "--json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let slot = &status["groups"][0]["slots"][1];
            assert_eq!((&slot["name"], &slot["requests"]), (&new.as_str().into(), &0.into()));
        }
        site.flip(&new);
        assert_eq!(site.active(), new);
        // A child of the old configuration may have the connection, until it ends.
        until(|| site.get("/name.txt").text() == format!("slot={new}\n"))
            .unwrap_or_else(|| panic!("{n}: {}", site.log()));
        // The table is full. They do not know a slot with another index than theirs.
        if n > 66
            && let Some(half) = old.pop()
        {
            let answer = half.finish();
            assert!(answer.starts_with("HTTP/1.1 503 "), "{n}: {answer}");
        }
        if [90, 120].contains(&n) {
            younger.push(Half::in_slot(&site, &new));
        }
    }
    assert_eq!((names(&site), old.len()), (64, 0));
    for half in younger {
        let answer = half.finish();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    assert!(!site.log().contains("[slot:error] [pid") || !site.log().contains("no room"));
    // Back to a release whose name is gone.
    site.configure(&lines(&[3, RELEASES]));
    site.graceful();
    site.flip("r3");
    until(|| site.get("/name.txt").text() == "slot=r3\n").unwrap();
}

#[test]
fn a_new_slot_waits_while_old_processes_know_all_indexes() {
    let (mut site, lines) = releases();
    site.start(&lines(&(0..64).collect::<Vec<_>>()));
    site.flip("r63");
    let half = Half::in_slot(&site, "r63");
    site.configure(&lines(&[64, 63, 62]));
    site.graceful();
    until(|| site.get("/name.txt").text() == "slot=r63\n").unwrap();
    assert_eq!(site.active(), "r63");
    let says = "has no room for \"r64\"";
    assert_eq!(site.log().matches(says).count(), 1, "{}", site.log());
    let flip = site.slotctl(&["flip", "app", "r64"]).output().unwrap();
    let said = crate::site::text(&flip);
    assert!(flip.status.code() == Some(1) && said.contains(says), "{said}");
    assert!(said.contains("restart Apache, and then reload it"), "{said}");
    assert!(site.log().matches("[slot:error]").count() == 1, "{}", site.log());
    let status = site.slotctl(&["status"]).output().unwrap();
    assert!(status.status.success() && crate::site::text(&status).contains(says));
    site.flip("r62");
    until(|| site.get("/name.txt").text() == "slot=r62\n").unwrap();
    let answer = half.finish();
    assert!(answer.ends_with("slot=r62\n"), "the old process knows it: {answer}");
    // Its process ends soon.
    until(|| {
        site.graceful();
        site.slotctl(&["flip", "app", "r64"]).output().unwrap().status.success()
    })
    .unwrap_or_else(|| panic!("{}", site.log()));
    until(|| site.get("/name.txt").text() == "slot=r64\n").unwrap();
    assert_eq!(site.active(), "r64");
}

/// No parent knows of them.
#[test]
fn a_name_known_to_an_orphan_keeps_its_index() {
    let (mut site, lines) = releases();
    site.start(&lines(&(0..64).collect::<Vec<_>>()));
    let orphans = site.orphan();
    let port = site.address;
    site.address = crate::apache::free_port().unwrap();
    site.start(&lines(&[64, 0]));
    assert!(site.log().contains("has no room for \"r64\""), "{}", site.log());
    assert_serves(&site, "r0");
    crate::site::end_all(&orphans.processes);
    drop(orphans);
    assert_ne!(port, site.address);
    site.graceful();
    site.flip("r64");
    until(|| site.get("/name.txt").text() == "slot=r64\n").unwrap();
}
