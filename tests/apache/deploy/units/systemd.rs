//! systemd for a test where it does not manage the machine: in namespaces of processes and mounts, with its own `/run`.

use crate::apache;
use crate::skip;
use crate::tomcat::program;
use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes the namespaces. The control groups are those of version 2, whatever the machine has.
const INIT: &str = r#"#!/bin/sh
mount --make-rprivate / && mount -t tmpfs tmpfs /run || exit 1
umount -R /sys/fs/cgroup || umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup || exit 1
mkdir -p /run/lock /run/systemd/system/test.target.wants
cd /run/systemd/system || exit 1
printf '[Unit]\nDefaultDependencies=no\n' >test.target
printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=ROOT/test\n' >test.service
ln -s ../test.service test.target.wants
container=test exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
"#;

/// Runs the calling test again, where systemd is the first process. Reports a skip if it cannot be started.
///
/// # Panics
///
/// If the test fails there.
pub(super) fn run_this_test() {
    let dir = apache::directory("mod_slot-systemd-").unwrap();
    let root = dir.path();
    program(&root.join("init"), &INIT.replace("ROOT", root.to_str().unwrap()));
    program(&root.join("test"), &test(root));
    let log = File::create(root.join("log")).unwrap();
    let status = Command::new("timeout")
        .args(["-s", "KILL", "120", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"])
        .args(["--uts", "--ipc", "--cgroup", "--mount-proc"])
        .arg(root.join("init"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status();
    let read = |name| fs::read_to_string(root.join(name)).unwrap_or_default();
    match read("code").trim() {
        "0" => assert!(read("out").contains("1 passed"), "{}", read("out")),
        "" => skip::skip(&format!(
            "systemd does not start in a namespace ({status:?}): {}; run it where systemd manages the machine",
            read("log").lines().last().unwrap_or_default()
        )),
        code => panic!("exit code {code}: {}{}", read("out"), read("log")),
    }
}

/// The program that runs the calling test and ends systemd.
fn test(root: &Path) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let variables: String = env::vars()
        .filter(|(name, _)| is_name(name))
        .map(|(name, value)| format!("export {name}={}\n", quoted(&value)))
        .collect();
    format!(
        "#!/bin/sh\n{variables}cd {root} || exit 1\n{program} --exact {name} >out 2>&1\necho $? >code\n\
         systemctl exit 0 || kill -s RTMIN+4 1\n",
        root = root.display(),
        program = quoted(env::current_exe().unwrap().to_str().unwrap()),
        name = std::thread::current().name().expect("a test's thread has its name"),
    )
}
