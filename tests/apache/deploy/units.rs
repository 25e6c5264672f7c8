//! Releases whose backends are units of systemd: the real one, or one that notes what it is asked for.

mod systemd;

use super::release::LINES;
use super::stage::{Deploying, SLOTS, Stage};
use crate::site::{Site, text, until};
use crate::skip;
use crate::tomcat::{Services, program};
use mod_slot::ops::unit;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// systemctl, as far as slotctl uses it, for the units blue.service and green.service.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd ROOT || exit 1
echo "$*" >>asked
slot=${2%.service}
case "$1" in
is-active) if SERVICE runs "$slot"; then echo active; else echo inactive; exit 3; fi ;;
is-enabled) if [ -e "enabled.$slot" ]; then echo enabled; else echo disabled; exit 1; fi ;;
enable) : >"enabled.$slot" ;;
disable) rm -f "enabled.$slot" ;;
start | stop) exec SERVICE "$1" "$slot" ;;
restart) SERVICE stop "$slot" && exec SERVICE start "$slot" ;;
*) echo "systemctl $*?"; exit 1 ;;
esac
"#;

/// `slotctl deploy app` with `bin` first in the PATH.
pub(super) fn with_path(stage: &Stage, args: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap();
    let mut command = stage.slotctl(args);
    command.env("PATH", format!("{}:{path}", stage.root().join("bin").display()));
    command
}

#[test]
fn units_are_started_restarted_stopped_and_enabled() {
    let services = Services::of(SLOTS);
    let site = Site::new();
    let systemctl = SYSTEMCTL
        .replace("ROOT", site.path().to_str().unwrap())
        .replace("SERVICE", services.program().to_str().unwrap());
    site.write("bin/none", "");
    site.write("enabled.blue", "");
    program(&site.path().join("bin/systemctl"), &systemctl);
    services.start("blue", services.addresses[0]);
    let stage = Stage::on(site, services.addresses, &["unit=blue", "unit=green.service"], LINES);
    let deployed = |args: &[&str]| {
        let flip = stage.expect_flips(1);
        let ran = Deploying::of(with_path(&stage, args), stage.root()).end().exits(0);
        flip.join().unwrap();
        ran
    };
    let asked = || {
        let asked = fs::read_to_string(stage.root().join("asked")).unwrap();
        let changes = asked.lines().filter(|line| !line.starts_with("is-"));
        let changes: Vec<_> = changes.map(str::to_owned).collect();
        let _ = fs::remove_file(stage.root().join("asked"));
        changes
    };

    deployed(&["--enable"]);
    assert_eq!(
        asked(),
        [
            "start green.service",
            "enable green.service",
            "disable blue.service",
            "stop blue.service"
        ]
    );
    assert_eq!((stage.active().as_str(), services.process("blue")), ("green", None));
    // Started by hand, the idle one is restarted in one step.
    services.start("blue", services.addresses[0]);
    let before = services.process("blue");
    deployed(&["--keep"]);
    assert_eq!(asked(), ["restart blue.service"]);
    assert_ne!(services.process("blue"), before);
    assert!(services.process("green").is_some(), "it is kept");
    stage.assert_nothing_lost();
}

#[test]
fn a_unit_that_does_not_start_ends_the_deploy() {
    let stage = Stage::on_fakes(Site::new(), &["unit=blue", "unit=green"], super::stage::QUICK);
    stage.site.write("bin/none", "");
    let systemctl = "#!/bin/sh\ncase $1 in\nis-active) echo inactive; exit 3 ;;\n\
                     start) echo \"Job for $2 failed.\"; exit 1 ;;\nesac\n";
    program(&stage.root().join("bin/systemctl"), systemctl);
    program(&stage.root().join("bin/journalctl"), "#!/bin/sh\necho no such class\n");
    let ran = Deploying::of(with_path(&stage, &[]), stage.root()).end().exits(3);
    ran.says(&["unit green.service did not start", "| no such class", "nothing is changed"]);
    program(&stage.root().join("bin/journalctl"), "#!/bin/sh\nexit 1\n");
    let ran = Deploying::of(with_path(&stage, &[]), stage.root()).end().exits(3);
    ran.says(&["| Job for green.service failed."]);
    assert_eq!(stage.active(), "blue");
    stage.assert_nothing_lost();
}

/// Units in `/run`, until they are dropped.
struct Units([PathBuf; 2]);

impl Units {
    fn of(services: &Services, names: &[String; 2]) -> Self {
        let mut at = 0;
        let units = names.each_ref().map(|name| {
            let file = PathBuf::from("/run/systemd/system").join(name);
            let run = services.command(SLOTS[at]);
            at += 1;
            let unit = format!(
                "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={}\nSuccessExitStatus=143\n",
                run.display()
            );
            fs::write(&file, unit).unwrap();
            file
        });
        systemctl(&["daemon-reload"]);
        Self(units)
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for unit in &self.0 {
            let name = unit.file_name().unwrap();
            let _ = Command::new("systemctl").arg("stop").arg(name).status();
            let _ = fs::remove_file(unit);
        }
        let _ = Command::new("systemctl").arg("daemon-reload").status();
    }
}

fn systemctl(args: &[&str]) {
    let out = Command::new("systemctl").args(args).output().unwrap();
    assert!(out.status.success(), "systemctl {args:?}: {}", text(&out));
}

#[test]
fn units_of_a_real_systemd_are_started_and_stopped() {
    if !skip::is_root("only root can create units; run it as root") {
        return;
    }
    if !unit::is_booted() {
        systemd::run_this_test();
        return;
    }
    let services = Services::of(SLOTS);
    let names = SLOTS.map(|slot| format!("mod_slot-test-{}-{slot}.service", std::process::id()));
    let _units = Units::of(&services, &names);
    systemctl(&["start", &names[0]]);
    assert!(crate::apache::await_port(services.addresses[0], || true), "Tomcat does not listen");
    let units = names.each_ref().map(|name| format!("unit={name}"));
    let units = units.each_ref().map(String::as_str);
    let stage = Stage::on(Site::new(), services.addresses, &units, LINES);
    stage.deployed(&[]).exits(0);
    let runs = |name: &String| unit::state(name).unwrap() == unit::UnitState::Running;
    until(|| !runs(&names[0])).expect("blue is stopped");
    assert!(runs(&names[1]));
    stage.deployed(&["--keep"]).exits(0);
    assert!(runs(&names[0]) && runs(&names[1]));
    stage.assert_nothing_lost();
}
