//! A group with one slot: what there is nothing to flip to means to each verb.

use crate::site::{Busy, Site, closed_port};

const NOTHING: &str = "\"app\" has no slot but \"resin\", which is active, so there is no other one to flip to. To restart its \
                       backend while requests wait: slotctl deploy app, or slotctl hold app -- COMMAND";

#[test]
fn verbs_that_need_another_slot_name_the_way_to_restart_the_only_one() {
    let address = closed_port();
    let site = Site::of(&[("resin", &address)]);
    let _busy = Busy::of(&site, "app");
    for args in [
        &["flip"][..],
        &["flip", "app", "--dry-run"],
        &["flip", "--watch"],
        &["rollback"],
        &["rollback", "--dry-run"],
        &["idle"],
        &["drain"],
        &["drain", "app", "resin"],
        &["warm", "--uri=/"],
        &["warm", "app", "resin", "--uri=/"],
    ] {
        site.run(args).fails(2, NOTHING);
    }
    site.run(&["flip", "app", "resin"]).says("app: already resin (generation 1)\n");
    site.run(&["idle", "--all"]).says("");
    // There is no doubt which slot to check.
    site.run(&["check"]).fails(3, "resin of app is not healthy: no connection to");
    site.assert_active("app", "resin", 1);
}
