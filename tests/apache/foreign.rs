//! Beside other modules, which do with requests what Apache lets them do.

use crate::backend::Backend;
use crate::site::{Site, text};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a module of Apache's from a C file below `tests/apache`, in `dir`.
pub(crate) fn build(dir: &Path, source: &str) -> PathBuf {
    let apxs = |variable: &str| {
        let out = Command::new("apxs").args(["-q", variable]).output().unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
    let built = dir.join(format!("{name}.so"));
    let out = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"])
        .args(apxs("EXTRA_CPPFLAGS").split_whitespace())
        .args(["INCLUDEDIR", "APR_INCLUDEDIR"].map(|dir| format!("-I{}", apxs(dir))))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apache").join(source))
        .arg("-o")
        .arg(&built)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out));
    built
}

/// Two groups beside a module that meddles.
fn started(backends: &[Backend; 3]) -> Site {
    let mut site = Site::new();
    let module = build(site.path(), "foreign/foreign.c");
    let [blue, green, admin] = backends.each_ref().map(|backend| backend.address);
    site.start(&format!(
        "LoadModule foreign_module {}\n<SlotGroup app>\nSlot blue http://{blue}\nSlot green \
         http://{green}\n</SlotGroup>\n<SlotGroup admin>\nSlot only http://{admin}\n</SlotGroup>\n<Location \
         /admin/>\nRequire all denied\n</Location>\nProxyPass /admin/ slot://admin/\nProxyPass /plain/ \
         http://{green}/\nProxyPass /app/ slot://app/\n",
        module.display()
    ));
    site
}

fn backends() -> [Backend; 3] {
    ["blue", "green", "admin"].map(Backend::named)
}

#[test]
fn a_request_of_a_slot_with_a_worker_of_another_is_refused() {
    let backends = backends();
    let site = started(&backends);
    let other = format!("X-Steal: http://{}/", backends[1].address);
    assert!(site.get("/app/x").text().starts_with("slot=blue "));
    let answer = site.ask("GET", "/app/x", &[&other]);
    assert_eq!(answer.status(), 500, "{}", answer.text());
    assert!(site.log().contains("a worker that is not its slot's"), "{}", site.log());
    // It may do so with the slot's own worker, and with requests of no slot.
    let own = format!("X-Steal: http://{}/", backends[1].address);
    site.flip("green");
    assert!(site.ask("GET", "/app/x", &[&own]).text().starts_with("slot=green "), "{}", site.log());
    assert!(site.ask("GET", "/plain/x", &[&own]).text().starts_with("slot=green "));
}

#[test]
fn a_slot_url_that_a_rewrite_put_together_is_refused() {
    let backends = backends();
    let site = started(&backends);
    for name in ["proxy:slot://admin/x", "proxy:SLOT://admin/x", "proxy:slot://app/x"] {
        let answer = site.ask("GET", "/anything", &[&format!("X-Filename: {name}")]);
        assert_eq!(answer.status(), 500, "{name}: {}", answer.text());
    }
    assert!(site.log().contains("no rule and no route has this slot:// URL"), "{}", site.log());
    let plain = format!("X-Filename: proxy:http://{}/x", backends[0].address);
    assert!(site.ask("GET", "/anything", &[&plain]).text().starts_with("slot=blue "));
}
