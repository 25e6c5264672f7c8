//! Full disks, and limits of the process.

use crate::site::{Busy, Ran, Site, TWO, ran};
use crate::skip;
use mod_slot::ops::lock;
use mod_slot::state::lock::Content;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system for a site's state directory, unmounted when dropped.
struct Mounted {
    at: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.at).status();
        assert!(unmounted.unwrap().success() || std::thread::panicking());
    }
}

/// Runs `mount` with these arguments; reports a skip if it fails.
fn mount(args: &[&str], at: &Path) -> Option<Mounted> {
    let why = match Command::new("mount").args(args).arg(at).output() {
        Ok(out) if out.status.success() => return Some(Mounted { at: at.to_owned() }),
        Ok(out) => String::from_utf8_lossy(&out.stderr).trim().to_owned(),
        Err(e) => e.to_string(),
    };
    skip::skip(&format!("mount {args:?}: {why}; run it as root, where mounts are allowed"));
    None
}

/// The kinds of file system, each of less than 2 MiB.
#[derive(Clone, Copy, Debug)]
enum Disk {
    Tmpfs,
    Ext4,
}

/// A site with its state directory on this file system.
fn on(disk: Disk) -> Option<(Mounted, Site)> {
    let site = Site::empty();
    fs::create_dir(&site.dirs.state).unwrap();
    let mounted = match disk {
        Disk::Tmpfs => {
            mount(&["-t", "tmpfs", "-o", "size=256k,mode=755", "none"], &site.dirs.state)
        }
        Disk::Ext4 => {
            let image = site.path().join("disk");
            File::create(&image).unwrap().set_len(2 << 20).unwrap();
            let mut made = Command::new("mkfs.ext4");
            made.args(["-q", "-O", "^has_journal"]).arg(&image);
            if !made.status().is_ok_and(|status| status.success()) {
                skip::skip("mkfs.ext4 does not run; install e2fsprogs");
                return None;
            }
            mount(&["-o", "loop", image.to_str().unwrap()], &site.dirs.state)
        }
    }?;
    site.publish("app", &TWO, None);
    drop(Busy::of(&site, "app"));
    Some((mounted, site))
}

/// Fills the disk to the last byte.
fn fill(site: &Site) {
    let mut file = File::create(site.dirs.state.join("filler")).unwrap();
    for size in [1 << 16, 4096, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// Makes the history end at the end of a block, so that the next line needs another block.
fn end_block(site: &Site) {
    let path = site.dirs.history("app");
    let mut history = OpenOptions::new().append(true).open(&path).unwrap();
    let len = fs::metadata(&path).unwrap().len() as usize;
    history.write_all(&vec![b'\n'; len.next_multiple_of(4096) - len]).unwrap();
}

fn a_full_disk_stops_no_flip(disk: Disk) {
    let Some((_mounted, site)) = on(disk) else { return };
    assert_eq!(site.run(&["flip"]).code, 0);
    end_block(&site);
    fill(&site);
    for generation in [3, 4] {
        let Ran { code, out, err } = site.run(&["flip", "app"]);
        assert_eq!(code, 0, "{disk:?}: {err}");
        assert!(out.ends_with(&format!("(generation {generation})\n")), "{out}");
        let warning = "slotctl: warning: the flip is done, but it is not in the history: No space";
        assert!(err.starts_with(warning) && err.lines().count() == 1, "{err}");
        assert_eq!(site.control("app").word.generation(), generation);
    }
    // A lock needs room; without it there is none.
    site.run(&["lock", "app"]).fails(1, "app.lock: No space left on device");
    assert_eq!(lock::read(&site.dirs, "app").unwrap(), Content::Free);
    for verb in ["status", "active", "history", "doctor"] {
        assert_eq!(site.run(&[verb]).code, 0);
    }
    fs::remove_file(site.dirs.state.join("filler")).unwrap();
    site.run(&["flip", "app"]).says("app: resin_standby -> resin (generation 5)\n");
    let generations: Vec<_> = site.history("app").iter().map(|entry| entry.generation).collect();
    assert_eq!(generations, [2, 5]);
    let found = site.run(&["doctor"]).out;
    match disk {
        Disk::Ext4 => assert_eq!(found, "nothing is broken\n"),
        Disk::Tmpfs => {
            let start =
                format!("warning: {}: it is in memory (tmpfs): ", site.dirs.state.display());
            assert!(found.starts_with(&start) && found.lines().count() == 1, "{found}");
        }
    }
}

#[test]
fn a_full_tmpfs_stops_no_flip() {
    a_full_disk_stops_no_flip(Disk::Tmpfs);
}

#[test]
fn a_full_disk_of_ext4_stops_no_flip() {
    a_full_disk_stops_no_flip(Disk::Ext4);
}

#[test]
fn a_flip_on_a_read_only_disk_says_so() {
    let Some((mounted, site)) = on(Disk::Tmpfs) else { return };
    let again = ["-o", "remount,ro"];
    assert!(Command::new("mount").args(again).arg(&mounted.at).status().unwrap().success());
    for (verb, file) in [("flip", "app.slot"), ("lock", "app.lock")] {
        site.run(&[verb, "app"]).fails(1, &format!("{file}: Read-only file system"));
    }
    site.assert_active("app", "resin", 1);
    site.run(&["active"]).says("resin\n");
}

/// slotctl, started by a shell after these words.
fn after(site: &Site, words: &str, args: &[&str]) -> Ran {
    let slotctl = site.slotctl(args);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{words}; exec \"$@\"")).arg("sh");
    command.arg(slotctl.get_program()).args(slotctl.get_args());
    command.envs(slotctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ran(command.env_remove("SUDO_USER"))
}

/// The limit's signal would kill the writer after the flip, before it could report it.
#[test]
fn a_file_size_limit_does_not_kill_a_flip_silently() {
    let site = Site::new();
    let Ran { code, out, err } = after(&site, "ulimit -f 0", &["flip", "app"]);
    assert_eq!((code, out.as_str()), (0, "app: resin -> resin_standby (generation 2)\n"), "{err}");
    assert!(err.contains("it is not in the history: File too large"), "{err}");
    after(&site, "ulimit -f 0", &["lock", "app"]).fails(1, "app.lock: File too large");
    assert_eq!(lock::read(&site.dirs, "app").unwrap(), Content::Free);
    site.run(&["flip", "app"]).says("app: resin_standby -> resin (generation 3)\n");
    assert_eq!(site.history("app").len(), 1);
}

#[test]
fn a_process_with_too_few_descriptors_changes_all_or_nothing() {
    let site = Site::new();
    let mut outcomes = Vec::new();
    for descriptors in 3..12 {
        let before = site.control("app").word.generation();
        let ran = after(&site, &format!("ulimit -n {descriptors}"), &["flip", "app"]);
        // With 3, the loader cannot open the libraries.
        let now = site.control("app").word.generation();
        assert_eq!(now, before + u32::from(ran.code == 0), "{descriptors}: {ran:?}");
        assert!(ran.code == 0 || !ran.err.is_empty(), "{descriptors}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        outcomes.push(ran.code);
    }
    assert_eq!((outcomes[0] == 0, outcomes[8]), (false, 0), "{outcomes:?}");
}

#[test]
fn a_flip_works_without_standard_output_and_error() {
    let site = Site::whole();
    for (words, generation) in [("exec >&-", 2), ("exec 2>&-", 3), ("exec <&- >&- 2>&-", 4)] {
        let ran = after(&site, words, &["flip", "app"]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{words}");
        assert_eq!(site.control("app").word.generation(), generation, "{words}");
        assert_eq!(site.history("app").len() as u32, generation - 1, "{words}");
    }
    site.run(&["doctor"]).says("nothing is broken\n");
}
