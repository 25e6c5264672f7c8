//! The build accepts the headers of Apache 2.4.52 and newer. `make install` and `make uninstall`
//! ask the apxs that APXS names, and stop if it prints nothing. The tests find an Apache by HTTPD
//! and APXS.

#[path = "../include/layout.rs"]
mod layout;
#[path = "../include/magic.rs"]
mod magic;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::apache;
use support::apache::find_apache;
use tempfile::TempDir;

/// A directory with what `make` would have built, and the programs that a test writes.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        for built in ["libmod_slot.so", "slotctl"] {
            place.write(&format!("target/release/{built}"), built);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// An apxs that answers `LIBEXECDIR` and other variables with these.
    fn apxs(&self, answers: &[(&str, &str)]) -> PathBuf {
        let cases = answers.iter().map(|(name, value)| format!("{name}) echo '{value}';;\n"));
        self.script("bin/apxs", &format!("case $2 in\n{}esac", cases.collect::<String>()))
    }

    fn make(&self, target: &str, apxs: &Path) -> Output {
        Command::new("make")
            .args(["--no-print-directory", target])
            .arg(format!("APXS={}", apxs.display()))
            .arg(format!("DESTDIR={}", self.path("stage").display()))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env_remove("MAKEFLAGS")
            .output()
            .unwrap()
    }
}

const ALL: [(&str, &str); 4] = [
    ("PROGNAME", "httpd"),
    ("LIBEXECDIR", "/opt/httpd/modules"),
    ("INCLUDEDIR", "/opt/httpd/include"),
    ("SYSCONFDIR", "/opt/httpd/conf"),
];

#[test]
fn nothing_is_touched_if_apxs_prints_nothing() {
    let place = Place::new();
    let kept = place.write("stage/mod_slot.so", "another file");
    for (missing, (asked, _)) in ALL.iter().enumerate() {
        let answers: Vec<_> =
            ALL.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, all)| *all).collect();
        let apxs = place.apxs(&answers);
        for target in ["install", "uninstall"] {
            let out = place.make(target, &apxs);
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(!out.status.success(), "{target} {missing}: {said}");
            let words = format!("apxs -q {asked} prints nothing: set APXS to");
            assert!(said.contains(&words), "{target} {missing}: {said}");
            let found: Vec<_> = fs::read_dir(place.path("stage")).unwrap().flatten().collect();
            assert!(found.len() == 1 && kept.exists(), "{target} {missing}: {found:?}");
        }
    }
}

#[test]
fn module_and_documents_are_installed_and_removed() {
    let place = Place::new();
    let apxs = place.apxs(&ALL);
    let module = place.path("stage/opt/httpd/modules/mod_slot.so");
    let documents = place.path("stage/usr/local/share/doc/mod_slot");
    let out = place.make("install", &apxs);
    assert!(out.status.success() && module.exists(), "{out:?}");
    for document in ["manual.md", "mod_slot.xml", "guides/quick-start.md"] {
        assert!(documents.join(document).exists(), "{document}: {out:?}");
    }
    let out = place.make("uninstall", &apxs);
    assert!(out.status.success() && !module.exists() && !documents.exists(), "{out:?}");
}

#[test]
fn the_module_and_its_header_go_where_apxs_says() {
    let place = Place::new();
    let apxs = place.apxs(&ALL);
    let module = place.path("stage/opt/httpd/modules/mod_slot.so");
    let header = place.path("stage/opt/httpd/include/mod_slot.h");
    let out = place.make("install", &apxs);
    assert!(out.status.success() && module.exists() && header.exists(), "{out:?}");
    let out = place.make("uninstall", &apxs);
    assert!(out.status.success() && !module.exists() && !header.exists(), "{out:?}");
}

#[test]
fn an_httpd_has_its_own_modules_and_not_those_of_the_apxs_in_path() {
    let place = Place::new();
    let modules = place.path("root/modules");
    place.write("root/modules/mod_proxy.so", "");
    let said = format!("echo ' -D HTTPD_ROOT=\"{}\"'", place.path("root").display());
    let httpd = place.script("sbin/httpd", &said);
    assert_eq!(find_apache(Some(httpd.clone()), None), Ok((httpd.clone(), modules)));

    // With an apxs, its modules are used; without HTTPD, it names the program too.
    let apxs = place.apxs(&[ALL[0], ALL[1], ("SBINDIR", "/opt/httpd/bin")]);
    let there = PathBuf::from("/opt/httpd/modules");
    assert_eq!(find_apache(Some(httpd.clone()), Some(apxs.clone())), Ok((httpd, there.clone())));
    assert_eq!(find_apache(None, Some(apxs)), Ok(("/opt/httpd/bin/httpd".into(), there)));

    // A program without known modules is an error, and so is an apxs without answers.
    let bare = place.script("bare/httpd", "echo");
    let said = find_apache(Some(bare), None).unwrap_err();
    assert!(said.contains("no directory of its modules found; set APXS"), "{said}");
    let silent = place.script("bare/apxs", "exit 1");
    let said = find_apache(None, Some(silent)).unwrap_err();
    assert!(said.contains("apxs -q PROGNAME prints nothing"), "{said}");
}

#[test]
fn headers_before_2_4_52_are_refused_with_a_way_out() {
    let header = |major: u32, minor: u32| {
        let text = format!(
            " * MODULE_MAGIC_NUMBER_MINOR\n#define MODULE_MAGIC_NUMBER_MAJOR {major}\n#endif\n\
             #define MODULE_MAGIC_NUMBER_MINOR {minor}                 /* 0...n */\n"
        );
        magic::read("ap_mmn.h", &text)
    };
    assert_eq!(header(20_120_211, 121), Ok(121));
    assert_eq!(header(20_120_211, 142), Ok(142));
    for (major, minor) in [(20_120_211, 120), (20_051_115, 200), (20_211_221, 10)] {
        let said = header(major, minor).unwrap_err();
        for words in
            [&*format!("{major}:{minor};"), "needs Apache httpd 2.4.52", "set APXS to the apxs"]
        {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    assert!(magic::read("ap_mmn.h", "").unwrap_err().contains("does not say"));
}

#[test]
fn slotctl_looks_for_the_counts_where_apache_has_them() {
    let apxs = std::env::var("APXS").ok().filter(|apxs| !apxs.is_empty());
    let apxs = apxs.unwrap_or_else(|| "apxs".into());
    let asked = |variable| apache::ask_apxs(Path::new(&apxs), variable);
    let layout = layout::of(&asked("PROGNAME").unwrap(), asked("RUNTIMEDIR").ok().as_deref());
    let out = Command::new(env!("CARGO_BIN_EXE_slotctl")).arg("--help").output().unwrap();
    let help = String::from_utf8(out.stdout).unwrap();
    for dir in [&*layout.runtime, layout.state] {
        assert!(help.contains(&format!("{dir}]")), "{dir}: {help}");
    }
}

#[test]
fn the_default_directories_can_be_entered_by_operators() {
    let layout = |progname, runtime| {
        let of = layout::of(progname, runtime);
        (of.state, of.configured, of.runtime)
    };
    let own = ("/var/lib/mod_slot", "/run/mod_slot", "/run/mod_slot".to_owned());
    for red_hat in ["/run/httpd", "/run/httpd/", "/var/run/httpd"] {
        assert_eq!(layout("httpd", Some(red_hat)), own);
    }
    assert_eq!(layout("httpd", None), own);
    let debian = ("/var/lib/apache2/slots", "slots", "/var/run/apache2/slots".to_owned());
    assert_eq!(layout("apache2", Some("/var/run/apache2")), debian);
    let built = ("/var/lib/mod_slot", "slots", "/opt/httpd/logs/slots".to_owned());
    assert_eq!(layout("httpd", Some("/opt/httpd/logs")), built);
}
