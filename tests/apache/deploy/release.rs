//! Releases of real Tomcats, which hooks start and stop.

use super::stage::{SLOTS, Stage};
use crate::site::Site;
use crate::tomcat::Services;
use mod_slot::state::history::StepState;
use mod_slot::state::story::Outcome;

/// The group's lines besides those that start and stop its backends.
pub(super) const LINES: &str = "SlotHealthCheck uri=/name.jsp passes=1 interval=100ms timeout=10s startup=60s\n\
                                SlotWarmUp uri=/echo.jsp uri=/name.jsp count=5\n\
                                SlotAutoRollback window=1s max5xx=2% minrequests=20\nSlotDrain timeout=20s\n";

#[test]
fn releases_of_two_tomcats_lose_nothing_until_one_crashes() {
    let services = Services::of(SLOTS);
    let service = services.program();
    let service = service.display();
    let hooks = format!("SlotHook start {service} start\nSlotHook stop {service} stop\n");
    services.start("blue", services.addresses[0]);
    let stage = Stage::on(Site::new(), services.addresses, &["", ""], &format!("{hooks}{LINES}"));

    // A good release: the old JVM is gone at the end, and the history says what was done.
    stage.deployed(&["--reason", "v2"]).exits(0).says(&["blue -> green"]);
    assert_eq!((stage.active().as_str(), services.process("blue")), ("green", None));
    let done = |step: &str| (step.to_owned(), StepState::Done);
    let steps = stage.steps();
    for step in ["start", "check", "warm", "flip", "drain", "watch", "stop"] {
        assert!(steps.contains(&done(step)), "{step}: {steps:?}");
    }
    let story = stage.story().unwrap();
    let warm = story.steps.iter().find(|step| step.step == "warm").unwrap();
    assert!(warm.detail.as_deref().unwrap_or_default().contains("requests"), "{warm:?}");
    let history = stage.site.run(&["history", "app"]);
    assert!(history.contains("v2") && history.contains("green"), "{history}");

    // An idle slot that runs is restarted.
    stage.deployed(&["--keep"]).exits(0);
    let kept = services.process("green").expect("green is kept");
    stage.deployed(&[]).exits(0).says(&["restarted"]);
    let restarted = services.process("green").expect("green runs");
    assert_ne!(restarted, kept);
    assert_eq!((stage.active().as_str(), services.process("blue")), ("green", None));
    stage.assert_good_so_far();

    // The new JVM crashes.
    let flips = stage.expect_flips(2);
    let deploying = stage.deploy(&["--watch=window=40s"]);
    stage.until_step("watch");
    services.crash("blue");
    deploying.end().exits(6).says(&["are 5xx"]);
    flips.join().unwrap();
    assert_eq!((stage.active().as_str(), stage.result()), ("green", Some(Outcome::RolledBack)));
    assert_eq!(services.process("green"), Some(restarted));
    assert!(stage.failures() > 0);
}
