//! slotctl during the first moments of Apache's very first start.

use crate::site::{Site, TWO, ran};
use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// A state directory in the middle of Apache's first start: claimed `age` ago, without groups.
fn claimed(age: Duration) -> Site {
    let site = Site::empty();
    fs::create_dir_all(&site.dirs.state).unwrap();
    let mark = File::create(site.dirs.instance()).unwrap();
    mark.set_modified(SystemTime::now() - age).unwrap();
    site
}

#[test]
fn a_group_that_apache_is_about_to_publish_is_waited_for() {
    let site = claimed(Duration::ZERO);
    let mut active = site.slotctl(&["active", "app"]);
    let active = thread::spawn(move || ran(&mut active));
    thread::sleep(Duration::from_millis(300));
    site.publish("app", &TWO, None);
    let active = active.join().unwrap();
    assert_eq!((active.code, active.out.as_str()), (0, "resin\n"), "{active:?}");
}

#[test]
fn a_group_that_is_not_there_is_waited_for_only_while_apache_starts() {
    let site = claimed(Duration::from_secs(60));
    site.run(&["active", "app"]).fails(7, "no group \"app\"");
    // The other bound: a start that never publishes the group.
    let site = claimed(Duration::ZERO);
    let began = Instant::now();
    site.run(&["active", "app"]).fails(7, "no group \"app\"");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}
