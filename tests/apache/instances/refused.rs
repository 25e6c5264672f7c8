//! Another instance with the same `SlotStateDir` is refused on the terminal, whatever was edited.

use super::GROUP;
use crate::apache::{await_port, keeper};
use crate::daemon::Daemon;
use crate::site::{Site, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

const PID: &str = "httpd.pid";
/// Runs `httpd` with a configuration.
const COMMANDS: [&[&str]; 5] =
    [&["-k", "start"], &["-t"], &["-k", "graceful"], &["-k", "restart"], &["-DFOREGROUND"]];

fn site() -> Site {
    let site = Site::new();
    site.docroots(&["blue", "green"]);
    site
}

/// A group with the state directory of another site.
fn of(other: &Site) -> String {
    format!("{GROUP}SlotStateDir {}/state\n", other.path().display())
}

/// All files of a directory: path, content, and time of change.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let (content, meta) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
            (path, content, meta.modified().unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Checks that each command is refused with these words and exit code 1.
#[track_caller]
fn refuses(site: &Site, words: &[&str]) {
    for command in COMMANDS {
        let (code, said) = site.httpd(command);
        assert_eq!(code, Some(1), "{command:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{command:?}: {word:?}: {said}");
        }
        assert!(!said.contains("Syntax OK"), "{said}");
    }
}

/// Restarts the parent with a signal, without the check by `httpd -k`.
#[track_caller]
fn signal_graceful(site: &Site, daemon: &Daemon) {
    let serves = || site.log().matches(crate::apache::SERVES).count();
    let before = serves();
    kill(Pid::from_raw(daemon.pid() as i32), Signal::SIGUSR1).unwrap();
    until(|| serves() > before).unwrap_or_else(|| panic!("no restart: {}", site.log()));
}

#[test]
fn another_instance_is_refused_on_the_terminal_and_touches_nothing() {
    let (first, second) = (site(), site());
    first.configure(GROUP);
    let running = Daemon::start(&first, PID);
    first.flip("green");
    let state = first.path().join("state");
    let before = files(&state);
    second.configure(&of(&first));
    let in_use = format!(
        "{} is in use by the Apache with pid {} and PidFile {}/{PID}",
        state.display(),
        running.pid(),
        first.path().display()
    );
    let own = format!("and this one has PidFile {}/{PID}", second.path().display());
    refuses(&second, &[&in_use, &own, "a SlotStateDir and a SlotRuntimeDir of its own"]);
    assert_eq!(files(&state), before);
    for made in [PID, "run", "error.log"] {
        assert!(!second.path().join(made).exists(), "{made}");
    }
    // Commands that only show the configuration are not refused.
    for shows in ["-S", "-M", "-L"] {
        assert_eq!(second.httpd(&[shows]).0, Some(0), "{shows}");
    }
    // Commands for the first Apache itself are not refused.
    assert_eq!(first.httpd(&["-t"]), (Some(0), "Syntax OK\n".into()));
    running.graceful(&first);
    let (code, said) = first.httpd(&["-k", "start"]);
    assert!(code == Some(0) && said.contains("already running"), "{said}");
    assert_eq!(first.get("/name.txt").text(), "slot=green\n");
    // With another directory, the second Apache serves.
    second.configure(GROUP);
    let other = Daemon::start(&second, PID);
    assert_eq!(second.get("/name.txt").text(), "slot=blue\n");

    // The PidFile is edited in the configuration of a running Apache: commands of httpd are
    // refused, and Apache serves on.
    second.configure(&of(&first));
    refuses(&second, &[&in_use, &own]);
    assert_eq!(second.get("/name.txt").text(), "slot=blue\n");
    // The restart of a running parent is not refused, but logged.
    signal_graceful(&second, &other);
    assert!(second.log().contains(&in_use), "{}", second.log());
    assert_eq!(second.get("/name.txt").status(), 200);
    assert!(running.lives() && other.lives());
    running.graceful(&first);
    refuses(&second, &[&in_use]);
}

#[test]
fn an_instance_is_known_by_the_pid_file_it_really_uses() {
    let site = site();
    site.configure(GROUP);
    let running = Daemon::start(&site, PID);
    let root = site.path().display();
    // The parent has not read the new configuration yet.
    site.configure(&format!("{GROUP}PidFile edited.pid\n"));
    let uses = format!(
        "pid {} and PidFile {root}/{PID}, and this one has PidFile {root}/edited.pid",
        running.pid()
    );
    refuses(&site, &[&uses, "or give it the same PidFile if it is the same Apache"]);
    assert_eq!(site.get("/name.txt").text(), "slot=blue\n");
    assert!(!site.path().join("edited.pid").exists());
    // Now it has, and the old PidFile belongs to another instance.
    signal_graceful(&site, &running);
    assert!(!site.log().contains("is in use"), "{}", site.log());
    assert_eq!(site.httpd(&["-t"]), (Some(0), "Syntax OK\n".into()));
    running.graceful(&site);
    site.configure(GROUP);
    let uses = format!("PidFile {root}/edited.pid, and this one has PidFile {root}/{PID}");
    refuses(&site, &[&uses]);
    // After its end, its PidFile does not matter.
    drop(running);
    let next = Daemon::start(&site, PID);
    assert!(!site.log().contains("does not say"), "{}", site.log());
    drop(next);
}

#[test]
fn a_pid_file_is_the_same_by_each_of_its_paths() {
    let site = site();
    fs::create_dir(site.path().join("pids")).unwrap();
    symlink("pids", site.path().join("link")).unwrap();
    site.configure(&format!("{GROUP}PidFile pids/x.pid\n"));
    let _running = Daemon::start(&site, "pids/x.pid");
    let root = site.path().display();
    for same in ["link/x.pid", "./pids//x.pid", &format!("{root}/link/../pids/x.pid")] {
        site.configure(&format!("{GROUP}PidFile {same}\n"));
        assert_eq!(site.httpd(&["-t"]), (Some(0), "Syntax OK\n".into()), "{same}");
        let (code, said) = site.httpd(&["-k", "start"]);
        assert!(code == Some(0) && said.contains("already running"), "{same}: {said}");
    }
    for other in ["x.pid", "link/y.pid", "nowhere/x.pid", "/nowhere/at/all/x.pid"] {
        site.configure(&format!("{GROUP}PidFile {other}\n"));
        let (code, said) = site.httpd(&["-t"]);
        assert!(code == Some(1) && said.contains("is in use by"), "{other}: {said}");
    }
    // It is below ServerRoot, wherever DefaultRuntimeDir is.
    site.configure(&format!("{GROUP}DefaultRuntimeDir {root}/pids\nPidFile pids/x.pid\n"));
    assert_eq!(site.httpd(&["-t"]).0, Some(0));
}

/// The same path in another namespace of process ids is usually another file, and its process
/// number means nothing.
#[test]
fn the_apache_of_another_container_is_another_one() {
    if !geteuid().is_root() {
        crate::skip::skip("only root can make a namespace of process ids");
        return;
    }
    let site = site();
    site.configure(GROUP);
    let _running = Daemon::start(&site, PID);
    let root = site.path().display();
    let httpd = |args: &str| {
        let command = format!("exec {} {args} -f {root}/httpd.conf", site.program().display());
        let run = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "sh", "-c", &command])
            .output()
            .unwrap();
        (run.status.code(), crate::site::text(&run))
    };
    for args in ["-t", "-k start", "-k graceful"] {
        let (code, said) = httpd(args);
        let words =
            format!("{root}/state is in use by an Apache in another container: give this one");
        assert!(code == Some(1) && said.contains(&words), "{args}: {code:?}: {said}");
    }
    assert_eq!(site.httpd(&["-t"]).0, Some(0));
}

#[test]
fn exactly_one_of_several_simultaneous_starts_wins() {
    for round in 0..8 {
        let shared = site();
        let sites: Vec<_> = (0..4).map(|_| site()).collect();
        for site in &sites {
            site.configure(&of(&shared));
        }
        let mut started = thread::scope(|scope| {
            let start = |mut site: Site| scope.spawn(move || (site.try_start(), site));
            let starts: Vec<_> = sites.into_iter().map(start).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
        });
        started.sort_by_key(|(started, _)| started.is_err());
        assert!(started[0].0.is_ok(), "{round}: none: {:?}", started[0].0);
        let winner = started[0].1.pid();
        for (other, site) in &started[1..] {
            let Err(said) = other else { panic!("{round}: more than one: {}", site.log()) };
            assert!(
                said.contains(&format!("in use by the Apache with pid {winner} ")),
                "{round}: {said}"
            );
        }
        let line = fs::read_to_string(shared.path().join("state/.instance")).unwrap();
        let its = format!("{}/{PID}\n", started[0].1.path().display());
        assert!(line.ends_with(&its), "{line}");
    }
}

/// The same with a delayed decision, so that they really meet: each has looked before one of them
/// has created the directory, and asks who uses it before one has locked anything.
#[test]
fn exactly_one_of_two_simultaneous_claims_wins() {
    let shared = site();
    let state = shared.path().join("state").display().to_string();
    let strace = format!(
        "exec strace -D -qq -o ROOT/strace.log -e trace=mkdir,fcntl -P {state} -P \
         {state}/.instance -e inject=mkdir:delay_enter=1500000 -e inject=fcntl:delay_exit=500000"
    );
    let sites: Vec<_> = (0..3)
        .map(|_| {
            let site = Site::new().with_script(&strace);
            site.docroots(&["blue", "green"]);
            site.configure(&of(&shared));
            site
        })
        .collect();
    let started = thread::scope(|scope| {
        let start = |mut site: Site| scope.spawn(move || (site.try_start(), site));
        let starts: Vec<_> = sites.into_iter().map(start).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    let said: Vec<_> = started.iter().map(|(started, _)| started).collect();
    assert_eq!(said.iter().filter(|said| said.is_ok()).count(), 1, "{said:?}");
    let refused = |said: &&&Result<(), String>| {
        said.as_ref().is_err_and(|said| said.contains("in use by the Apache with pid"))
    };
    assert_eq!(said.iter().filter(refused).count(), 2, "{said:?}");
}

#[test]
fn apachectl_t_creates_and_changes_no_file() {
    let mut site = site();
    site.configure(GROUP);
    assert_eq!(site.httpd(&["-t"]), (Some(0), "Syntax OK\n".into()));
    assert!(!site.path().join("state").exists() && !site.path().join("run").exists());
    site.start_again();
    site.stop();
    // Its old file still names it, but nobody uses the directory.
    let before = files(&site.path().join("state"));
    site.configure(&format!("{GROUP}PidFile other.pid\n"));
    assert_eq!(site.httpd(&["-t"]), (Some(0), "Syntax OK\n".into()));
    assert_eq!(files(&site.path().join("state")), before);
    // A foreign file is left as it is; the start decides about it.
    let path = site.path().join("state/.instance");
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert_eq!(site.httpd(&["-t"]), (Some(0), "Syntax OK\n".into()));
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("/etc/passwd"));
}

/// With `httpd -X` the parent itself serves, and keeps its claim.
#[test]
fn apache_with_one_process_claims_its_directory() {
    let one = site();
    one.configure(GROUP);
    let process = Command::new(one.program())
        .args(["-X", "-f"])
        .arg(one.path().join("httpd.conf"))
        .process_group(0)
        .spawn()
        .unwrap();
    let mut keeper = keeper(one.path(), process.id()).unwrap();
    let mut process = process;
    let serves = await_port(one.address, || matches!(process.try_wait(), Ok(None)));
    let answer = serves.then(|| one.get("/name.txt").text());
    let other = site();
    other.configure(&of(&one));
    let (code, said) = other.httpd(&["-t"]);
    drop(keeper.stdin.take());
    let _ = (process.wait(), keeper.wait());
    assert_eq!(answer.as_deref(), Some("slot=blue\n"), "{}", one.log());
    let refused = said.contains(&format!("in use by the Apache with pid {}", process.id()));
    assert_eq!((code, refused), (Some(1), true), "{said}");
}
