//! What `make deps` does about Rust: which packages it installs, what it announces, and what it
//! leaves alone. The programs that it calls are stand-ins in a private PATH.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The real programs that the script needs.
const REAL: [&str; 6] = ["sh", "sort", "sed", "paste", "readlink", "chmod"];

/// A system of stand-ins.
struct System {
    dir: TempDir,
    uid: u32,
}

impl System {
    /// Root on a Debian whose packages `cargo` and `cargo-web` have these versions of Rust; no Rust is installed.
    fn new(cargo: &str, cargo_web: &str) -> Self {
        let system = Self { dir: TempDir::new().unwrap(), uid: 0 };
        for name in REAL {
            let found = ["/usr/bin", "/bin"].map(|dir| format!("{dir}/{name}"));
            let real = found.iter().find(|path| fs::exists(path).unwrap()).expect(name);
            symlink(real, system.dir.path().join(name)).unwrap();
        }
        system.program("id", "echo $FAKE_UID");
        system.program(
            "apt-cache",
            &format!(
                "case $2 in cargo) v={cargo};; cargo-web) v={cargo_web};; esac\necho \"  Candidate: $v+dfsg1-1\""
            ),
        );
        // Installs programs with the version of cargo-web.
        system.program(
            "apt-get",
            &format!(
                "if [ \"$1 $2\" = '-qqs install' ]; then echo \"$FAKE_REMOVED\"; exit; fi\necho \"apt-get $*\"\n\
                 if [ \"$1\" = install ]; then for tool in cargo rustc; do\n\
                 printf '#!/bin/sh\\necho \"%s {cargo_web} (0)\"\\n' $tool >\"$FAKE/$tool\"\n\
                 chmod 755 \"$FAKE/$tool\"; done; fi"
            ),
        );
        // Packages own all files outside the directory `foreign`.
        system.program("dpkg", "case $2 in */foreign/*) exit 1;; esac");
        system
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Installs cargo and rustc of this version, owned by a package.
    fn with_rust(self, version: &str) -> Self {
        for tool in ["cargo", "rustc"] {
            self.program(tool, &format!("echo '{tool} {version} (0 2025-01-01)'"));
        }
        self
    }

    /// Installs both as links to `target`, with this version.
    fn with_links(self, target: &str, version: &str) -> Self {
        self.program(target, &format!("echo 'cargo {version} (0 2025-01-01)'"));
        for tool in ["cargo", "rustc"] {
            symlink(self.dir.path().join(target), self.dir.path().join(tool)).unwrap();
        }
        self
    }

    fn unprivileged(mut self) -> Self {
        self.uid = 1000;
        self
    }

    /// Asks for Rust 1.89. Returns whether that succeeds, and all output.
    fn provide(&self, args: &[&str]) -> (bool, String) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/provide");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$@\" 2>&1", "sh", "/bin/bash", script]).args(args);
        command.env_clear().env("PATH", self.dir.path()).env("FAKE", self.dir.path());
        command.env("FAKE_UID", self.uid.to_string());
        command.env("FAKE_REMOVED", "Remv cargo [1.85.1+dfsg1-1]\nRemv rustc [1.85.1+dfsg1-1]");
        let Output { status, stdout, .. } = command.output().unwrap();
        (status.success(), String::from_utf8(stdout).unwrap())
    }
}

#[test]
fn a_rust_that_is_new_enough_is_left_alone() {
    for version in ["1.89.0", "1.90.1", "2.0.0"] {
        let system = System::new("1.85.1", "1.96.0").with_rust(version);
        assert_eq!(system.provide(&["1.89"]), (true, String::new()), "{version}");
    }
}

#[test]
fn without_rust_the_first_package_that_is_new_enough_is_installed() {
    for (cargo, packages) in [("1.85.1", "cargo-web rustc-web"), ("1.95.0", "cargo rustc")] {
        let (done, said) = System::new(cargo, "1.96.0").provide(&["1.89", "gcc"]);
        assert!(done, "{said}");
        assert!(said.contains(&format!("apt-get install -qy gcc {packages}\n")), "{said}");
    }
}

#[test]
fn packages_that_apt_would_remove_are_named_first() {
    for version in ["1.85.1", "1.9.0"] {
        let (done, said) = System::new("1.85.1", "1.96.0").with_rust(version).provide(&["1.89"]);
        assert!(done, "{said}");
        assert!(
            said.contains(&format!("/cargo is {version}, and mod_slot needs Rust 1.89")),
            "{said}"
        );
        let told = said.find("apt will remove: cargo 1.85.1+dfsg1-1, rustc 1.85.1+dfsg1-1\n");
        let begun = said.find("apt-get install -qy cargo-web rustc-web\n");
        assert!(told.is_some() && told < begun, "{said}");
    }
}

#[test]
fn without_root_nothing_is_installed_and_the_command_is_named() {
    let system = System::new("1.85.1", "1.96.0").unprivileged();
    let (done, said) = system.provide(&["1.89", "gcc"]);
    let line = "as root: apt-get install gcc cargo-web rustc-web\n";
    assert!(!done && said.contains(line) && said.contains("rustup"), "{said}");
    assert!(said.contains("apt will remove: cargo 1.85.1"), "{said}");
    assert!(!said.contains("apt-get update") && !said.contains("-qy"), "{said}");
    // The same for root with --say.
    let (done, said) = System::new("1.85.1", "1.96.0").provide(&["--say", "1.89"]);
    assert!(!done && said.contains("apt-get install cargo-web rustc-web\n"), "{said}");
    assert!(!said.contains("-qy"), "{said}");
}

#[test]
fn a_rust_that_no_package_owns_is_not_replaced() {
    for target in ["rustup", "foreign/cargo"] {
        let system = System::new("1.85.1", "1.96.0").with_links(target, "1.80.0");
        let (done, said) = system.provide(&["1.89"]);
        assert!(!done && said.contains("rustup update stable"), "{target}: {said}");
        assert!(!said.contains("apt-get"), "{target}: {said}");
    }
}

#[test]
fn without_a_new_enough_package_the_way_out_is_named() {
    let (done, said) = System::new("1.63.0", "1.85.0").provide(&["1.89"]);
    assert!(!done && said.contains("security updates") && said.contains("rustup"), "{said}");
    assert!(!said.contains("-qy"), "{said}");
}
