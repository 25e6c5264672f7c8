//! Files that versions of mod_slot have written: today's Apache serves what they recorded. `tests/golden/README.md` says
//! how a version is added.

use crate::backend::Backend;
use crate::site::Site;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// The groups of the golden files: `app` is used, `kept` is locked and in maintenance.
fn groups(backends: &[Backend; 2]) -> String {
    let [blue, green] = backends.each_ref().map(|backend| backend.address);
    format!(
        "<SlotGroup app>\nSlot blue http://{blue} docroot=ROOT/blue\nSlot green http://{green} \
         docroot=ROOT/green\nSlotDefault blue\nSlotHealthCheck uri=/up expect=200\nSlotWarmUp uri=/ \
         count=5\nSlotAutoRollback window=60s max5xx=5% minrequests=20\nSlotDrain timeout=30s \
         tunnels=10s\nSlotHold timeout=20s queue=50\nSlotHook before-flip timeout=5s /bin/true\n\
         </SlotGroup>\n<SlotGroup kept>\nSlot a - docroot=ROOT/blue\nSlot b - docroot=ROOT/green\nSlotMaintenance \
         retryafter=60\n</SlotGroup>\n<Directory ROOT>\nRequire all granted\n</Directory>\nProxyPass /app/ slot://app/\n"
    )
}

/// An Apache with these groups; `before` is called before it starts.
fn started(before: impl FnOnce(&Site)) -> (Site, [Backend; 2]) {
    let backends = ["blue", "green"].map(Backend::named);
    let mut site = Site::new();
    site.docroots(&["blue", "green"]);
    before(&site);
    site.start(&groups(&backends));
    (site, backends)
}

/// The files of both groups in the state directory.
fn recorded() -> impl Iterator<Item = String> {
    let endings = ["slot", "history", "lock"];
    ["app", "kept"].into_iter().flat_map(move |app| endings.map(|ending| format!("{app}.{ending}")))
}

/// Writes the files of this version to a new folder of it.
fn record() {
    let folder = Path::new(GOLDEN).join(env!("CARGO_PKG_VERSION"));
    assert!(!folder.exists(), "{} is there: files of a version never change", folder.display());
    let (site, backends) = started(|_| ());
    for args in [
        &["flip", "app", "green", "--reason", "v2"][..],
        &["lock", "app", "--reason", "freeze", "--for", "1h"],
        &["unlock", "app"],
        &["maint", "app", "on", "--reason", "database"],
        &["maint", "app", "off"],
        &["hold", "app", "--timeout", "500ms"],
        &["rollback", "app"],
        &[
            "deploy",
            "app",
            "green",
            "--start",
            "true",
            "--stop",
            "true",
            "--watch=window=1s",
            "--reason",
            "v3",
        ],
        &["flip", "kept", "b"],
        &["maint", "kept", "on", "--reason", "moving"],
        &["lock", "kept", "--reason", "moving"],
    ] {
        site.run(args);
    }
    fs::create_dir_all(folder.join("files")).unwrap();
    let of_state = recorded().map(|name| ("state", name));
    let of_run = ["app.json", "kept.json"].map(|name| ("run", name.to_owned()));
    for (dir, name) in of_state.chain(of_run) {
        let bytes = fs::read(site.path().join(dir).join(&name)).unwrap();
        let is_binary = name.ends_with(".slot");
        let bytes = if is_binary { bytes } else { neutral(&site, &backends, bytes) };
        fs::write(folder.join("files").join(name), bytes).unwrap();
    }
}

/// The same file without what belongs to this machine: directories, ports, processes, inodes and the user.
fn neutral(site: &Site, backends: &[Backend; 2], bytes: Vec<u8>) -> Vec<u8> {
    let old = String::from_utf8(bytes).unwrap();
    let mut text = old.replace(site.path().to_str().unwrap(), "SITE");
    for (backend, address) in backends.iter().zip(["127.0.0.1:1", "127.0.0.1:2"]) {
        text = text.replace(&backend.address.to_string(), address);
    }
    let user = format!("\"uid\":{},\"user\":\"root\"", nix::unistd::getuid());
    text = text.replace(&user, "\"uid\":4242,\"user\":\"alice\"");
    if old.len().is_multiple_of(4096) && !old.is_empty() {
        // A lock file has two halves, filled up with blanks.
        let end = text.find('\n').unwrap() + 1;
        text.drain(end..end + text.len() - old.len());
    }
    if text.starts_with("{\n") {
        let mut group: serde_json::Value = serde_json::from_str(&text).unwrap();
        (group["pid"], group["inode"]) = (0.into(), 0.into());
        group.as_object_mut().unwrap().remove("segment");
        text = serde_json::to_string_pretty(&group).unwrap() + "\n";
    }
    text.into_bytes()
}

/// The folders of the versions.
fn versions() -> Vec<PathBuf> {
    let entries = fs::read_dir(GOLDEN).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[test]
fn apache_goes_on_where_each_version_has_stopped() {
    if std::env::var_os("MOD_SLOT_GOLDEN").is_some() {
        record();
    }
    let versions = versions();
    assert!(!versions.is_empty());
    for version in versions {
        let (site, _backends) = started(|site| {
            let state = site.path().join("state");
            fs::create_dir(&state).unwrap();
            for name in recorded() {
                fs::copy(version.join("files").join(&name), state.join(&name)).unwrap();
                let mode = if name.ends_with(".slot") { 0o644 } else { 0o600 };
                fs::set_permissions(state.join(&name), fs::Permissions::from_mode(mode)).unwrap();
            }
        });
        let shown = version.display();
        assert!(site.get("/app/x").text().starts_with("slot=green "), "{shown}: {}", site.log());
        assert_eq!(site.run(&["active", "kept"]), "b\n", "{shown}");
        let history = site.run(&["history", "app"]);
        for word in ["blue -> green", "green -> blue", "maintenance off", "alice", "v2", "v3"] {
            assert!(history.contains(word), "{shown}: {word}: {history}");
        }
        let status = site.run(&["status", "kept"]);
        for words in ["in maintenance", "locked by alice"] {
            assert!(status.contains(words), "{shown}: {status}");
        }
        site.flip("blue");
        assert!(site.get("/app/x").text().starts_with("slot=blue "), "{shown}");
        assert!(!site.log().contains("[slot:error]"), "{shown}: {}", site.log());
    }
}
