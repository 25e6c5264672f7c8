//! `flip --if-active` and `--if-generation`: a flip only from the state that the caller expects.

use crate::site::Site;
use std::fs;
use std::thread;

#[test]
fn a_flip_with_a_true_condition_works_as_without() {
    let site = Site::new();
    site.run(&["flip", "--if-active", "resin"])
        .says("app: resin -> resin_standby (generation 2)\n");
    site.run(&["flip", "--if-generation", "2"])
        .says("app: resin_standby -> resin (generation 3)\n");
    site.run(&["flip", "resin_standby", "--if-active=resin", "--if-generation=3"])
        .says("app: resin -> resin_standby (generation 4)\n");
}

#[test]
fn a_failed_condition_changes_nothing_and_names_the_active_slot() {
    let site = Site::new();
    let before = fs::read(site.dirs.control("app")).unwrap();
    let so = r#""resin" of "app" is active, in generation 1; nothing is changed"#;
    for condition in [
        &["--if-active=resin_standby"][..],
        &["--if-generation=2"],
        &["--if-active=resin", "--if-generation=0"],
        &["--if-active=resin_standby", "--if-generation=1"],
    ] {
        for names in [&["flip"][..], &["flip", "app", "resin_standby"]] {
            site.run(&[names, condition].concat()).fails(5, so);
        }
    }
    site.run(&["flip", "--if-active=nobody"]).fails(2, r#"has no slot "nobody""#);
    assert_eq!(fs::read(site.dirs.control("app")).unwrap(), before);
    assert_eq!(site.history("app"), []);
}

#[test]
fn a_repeated_flip_succeeds_unless_it_names_a_generation() {
    let site = Site::new();
    let flip = ["flip", "app", "resin_standby", "--if-active", "resin"];
    site.run(&flip).says("app: resin -> resin_standby (generation 2)\n");
    site.run(&flip).says("app: already resin_standby (generation 2)\n");
    let flip = ["flip", "app", "resin_standby", "--if-generation", "1"];
    site.run(&flip).fails(5, "--if-generation 1 does not match");
    // Without a name the target depends on the active slot, so this is no repetition.
    site.run(&["flip", "app", "--if-active", "resin"]).fails(5, "--if-active resin does not match");
    site.assert_active("app", "resin_standby", 2);
}

#[test]
fn exactly_one_of_many_conditional_flips_succeeds() {
    let site = Site::new();
    let codes: Vec<_> = thread::scope(|scope| {
        let flips: Vec<_> =
            (0..6).map(|_| scope.spawn(|| site.run(&["flip", "--if-generation=1"]).code)).collect();
        flips.into_iter().map(|flip| flip.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 5).count(), 5, "{codes:?}");
    site.assert_active("app", "resin_standby", 2);
}
