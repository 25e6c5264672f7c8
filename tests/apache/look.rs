//! What slotctl reports about a running Apache: its docroots and counts.

use crate::site::{Site, text, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn doctor_examines_docroots_with_the_rights_of_apaches_user() {
    if !nix::unistd::geteuid().is_root() {
        return crate::skip::skip("only root's Apache has a User of its own; run it as root");
    }
    let mut site = Site::new();
    site.docroots(&["blue", "green"]);
    site.start(
        "<SlotGroup app>\nSlot blue - docroot=ROOT/blue\nSlot green - docroot=ROOT/green\n\
         </SlotGroup>\nSlotDocumentRoot app\n<Directory ROOT>\nRequire all granted\n</Directory>\n",
    );
    let doctor = |site: &Site| {
        let out = site.slotctl(&["doctor"]).output().unwrap();
        let lines = text(&out).lines().map(str::to_owned).collect::<Vec<_>>();
        let of_docroots = lines.into_iter().filter(|line| line.contains("docroot of slot"));
        of_docroots.collect::<Vec<_>>()
    };
    assert_eq!((site.get("/name.txt").status(), doctor(&site)), (200, vec![]));
    let blue = site.path().join("blue");
    fs::set_permissions(&blue, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(site.get("/name.txt").status(), 403);
    let found = doctor(&site);
    let start = format!("error: {}: Apache's user ", blue.display());
    assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    fs::set_permissions(&blue, fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!((site.get("/name.txt").status(), doctor(&site)), (200, vec![]));
}

#[test]
fn requests_since_the_last_flip_are_counted_across_a_graceful_restart() {
    let mut site = Site::new();
    site.docroots(&["blue", "green"]);
    site.start(
        "<SlotGroup app>\nSlot blue - docroot=ROOT/blue\nSlot green - docroot=ROOT/green\n\
         </SlotGroup>\nSlotDocumentRoot app\n<Directory ROOT>\nRequire all granted\n</Directory>\n",
    );
    let answered = |times| (0..times).for_each(|_| assert_eq!(site.get("/name.txt").status(), 200));
    let seen = || site.run(&["status", "app", "--json"]);
    let slot = |since: u64| format!(r#""since_flip":{{"requests":{since},"5xx":0"#);
    answered(3);
    until(|| seen().contains(r#""requests":3"#)).unwrap();
    site.flip("green");
    answered(2);
    until(|| seen().contains(&slot(2))).unwrap_or_else(|| panic!("{}", seen()));
    assert!(seen().contains(&slot(0)), "{}", seen());
    site.graceful();
    answered(1);
    until(|| seen().contains(&slot(3))).unwrap_or_else(|| panic!("{}", seen()));
}
