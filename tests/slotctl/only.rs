//! A group with one slot: what there is nothing to flip to means to each verb.

use crate::site::{Busy, Site, closed_port, open_port};
use mod_slot::state::group_file;
use serde_json::json;

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

#[test]
fn a_deploy_that_would_restart_nothing_is_refused_with_the_way_out() {
    let address = closed_port();
    let site = Site::of(&[("resin", &address)]);
    let _busy = Busy::of(&site, "app");
    let way_out = "while requests wait: slotctl hold app -- COMMAND";
    for (args, why) in [
        (&["deploy"][..], "because nothing says how: configure unit= or SlotHook start and stop"),
        (&["deploy", "--start", "true", "--no-restart"], "because of --no-restart"),
    ] {
        site.run(args).fails(2, why);
        site.run(args).fails(2, way_out);
    }
    site.assert_active("app", "resin", 1);
    assert_eq!(site.history("app"), [], "nothing has begun");
}

#[test]
fn a_deploy_of_the_only_slot_is_planned_and_done_with_its_own_steps() {
    let (_listener, address) = open_port();
    let slots = [("resin", address.as_str())];
    let site = Site::of(&slots).without_docroots_named(&slots);
    let busy = Busy::of(&site, "app");
    let args = ["deploy", "resin", "--start", "true", "--watch"];
    let planned = site.run(&[&args[..], &["--dry-run"]].concat());
    planned.fails_not();
    let first =
        "app: resin would be restarted while its requests wait, nothing is done (--dry-run)\n";
    assert!(planned.out.starts_with(first), "{planned:?}");
    assert!(
        planned.out.contains("hold            requests wait, for 30.0s at most\n"),
        "{planned:?}"
    );
    let steps = |said: &serde_json::Value| {
        let steps = said["steps"].as_array().unwrap().clone();
        steps.into_iter().map(|step| step["step"].clone()).collect::<Vec<_>>()
    };
    let all = ["hold", "drain", "restart", "check", "unhold", "watch"];
    assert_eq!(steps(&site.json(&[&args[..], &["--dry-run"]].concat())), all);
    site.assert_active("app", "resin", 1);
    // A request that began before the hold.
    busy.set(0, 1);
    let ran = site.run(&["deploy", "--start", "true", "--drain", "timeout=300ms"]);
    assert!(ran.code == 4 && ran.err.contains("1 request is still in resin after 3"), "{ran:?}");
    busy.set(0, 0);
    let said = site.json(&["deploy", "--start", "true", "--watch=window=100ms"]);
    assert_eq!(steps(&said), all);
    assert_eq!((&said["result"], &said["active"]), (&json!("done"), &json!("resin")));
    // A change for each end of both holds.
    site.assert_active("app", "resin", 5);
    let history = site.run(&["history"]).out;
    assert!(history.contains("deploy of resin: undone") && history.contains(": done"), "{history}");
    site.run(&["rollback"]).fails(2, NOTHING);
}

/// Clients of tunnels connect again, and wait. Nobody else is cut off.
#[test]
fn the_restart_closes_tunnels_that_do_not_end_in_their_time() {
    let (_listener, address) = open_port();
    let slots = [("resin", address.as_str())];
    let site = Site::of(&slots).without_docroots_named(&slots);
    let busy = Busy::of(&site, "app");
    let deploy = |words| site.run(&["deploy", "--start", "true", "--drain", words]);
    busy.set(0, 2);
    busy.tunnels(0, 1);
    let ran = deploy("timeout=500ms tunnels=100ms");
    assert!(ran.code == 4 && ran.err.contains("1 request and 1 tunnel are still in"), "{ran:?}");
    busy.set(0, 1);
    let ran = deploy("timeout=20s tunnels=100ms");
    assert!(ran.code == 0 && ran.err.contains("the restart closes 1 tunnel"), "{ran:?}");
}

#[test]
fn a_killed_deploy_of_the_only_slot_is_not_one_to_a_slot_that_was_added() {
    let (_listener, address) = open_port();
    let slots = [("resin", address.as_str()), ("added", "-")];
    let site = Site::of(&slots);
    let configure = |slots| {
        let group = site.group("app", slots, site.control("app").identity);
        group_file::write(&site.dirs, &group).unwrap();
    };
    configure(&slots[..1]);
    let _busy = Busy::of(&site, "app");
    // The shell's parent is the second process of slotctl.
    let killed = ["deploy", "--force", "--json", "--start", "kill -9 $PPID"];
    let ran = site.run(&killed);
    assert!(ran.code == 1 && ran.out.contains("\"result\":\"kept\""), "{ran:?}");
    assert!(ran.err.contains("the process that carries the deploy on has ended"), "{ran:?}");
    let status = site.run(&["status"]).out;
    assert!(status.contains("deploy of resin by root died at the step restart"), "{status}");
    configure(&slots);
    let ran = site.run(&["deploy", "--dry-run"]);
    assert!(ran.code == 0 && ran.out.starts_with("app: resin -> added, "), "{ran:?}");
    // Of the only slot, the rest is done by any call, also one for another release.
    configure(&slots[..1]);
    let ran = site.run(&["deploy", "--force", "--start", "true", "--reason", "v2"]);
    assert!(ran.code == 0 && ran.err.contains("deploy of resin is done again"), "{ran:?}");
}
