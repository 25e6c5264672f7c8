//! A full disk with a copy-on-write file system, on which even a store into an existing page needs a new
//! block.

use crate::site::{Ran, Site};
use crate::skip;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The smallest disk that mkfs.btrfs accepts, in bytes, with some to spare.
const DISK: u64 = 120 << 20;

/// A btrfs mounted at a directory until it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Reports a skip and returns `None` if it cannot be made or mounted.
    fn at(dir: &Path) -> Option<Self> {
        let image = dir.with_extension("img");
        File::create(&image).unwrap().set_len(DISK).unwrap();
        fs::create_dir_all(dir).unwrap();
        let run = |command: &mut Command| {
            let output = command.env("PATH", path_with_sbin()).output();
            match output {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
                Err(e) => Err(e.to_string()),
            }
        };
        let made = run(Command::new("mkfs.btrfs").args(["-q", "--mixed"]).arg(&image))
            .and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(dir)));
        match made {
            Ok(()) => Some(Self(dir.to_owned())),
            Err(why) => {
                skip::skip(&format!("a btrfs cannot be made and mounted here: {why}"));
                None
            }
        }
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let bytes = vec![b'x'; size];
            while filler.write_all(&bytes).and_then(|()| filler.sync_data()).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

#[test]
fn a_flip_on_a_full_disk_that_copies_on_write_fails_with_a_sentence() {
    let site = Site::empty();
    let Some(disk) = Disk::at(&site.dirs.state) else { return };
    site.publish("app", &crate::site::TWO, None);
    assert_eq!(site.run(&["flip", "app", "resin_standby"]).code, 0);
    disk.fill();
    let mut refused = 0;
    for slot in ["resin", "resin_standby", "resin", "resin_standby"] {
        let before = site.control("app").word.generation();
        let Ran { code, out, err } = site.run(&["flip", "app", slot]);
        let after = site.control("app");
        match code {
            // A free block was left: the flip is done, and at worst is missing from the history.
            0 => assert_eq!(after.active(), slot, "{out}{err}"),
            1 => {
                assert!(err.contains("No space left on device"), "{err}");
                let unchanged = err.contains("nothing is changed");
                assert!(unchanged || err.contains("was taken back"), "{err}");
                assert_eq!(after.word.generation(), before + if unchanged { 0 } else { 2 });
                refused += 1;
            }
            _ => panic!("{code}: {out}{err}"),
        }
    }
    assert!(refused > 0, "the disk was to be full");
    // Free room again, as the message advises.
    fs::remove_file(site.dirs.state.join("filler")).unwrap();
    let target = if site.control("app").active() == "resin" { "resin_standby" } else { "resin" };
    let ran = site.run(&["flip", "app", target]);
    assert_eq!((ran.code, site.control("app").active()), (0, target), "{ran:?}");
}
