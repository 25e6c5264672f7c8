//! What other modules learn from `include/mod_slot.h`, of a C module that includes it; and what expressions learn.

use crate::backend::Backend;
use crate::site::{Site, until};
use std::fs;
use std::thread;

const NAMES: [&str; 3] = ["blue", "green", "only"];

/// Two groups beside a module that asks. `more` is added to the configuration.
fn started(backends: &[Backend; 3], more: &str) -> Site {
    let mut site = Site::new().with(&["rewrite"]);
    site.docroots(&["blue", "green"]);
    let module = site.build_module("tests/apache/asks/asks.c");
    let [blue, green, only] = backends.each_ref().map(|backend| backend.address);
    site.start(&format!(
        "LoadModule asks_module {}\n<SlotGroup App>\nSlot blue http://{blue} docroot=ROOT/blue\nSlot \
         green http://{green} docroot=ROOT/green\n</SlotGroup>\n<SlotGroup admin>\nSlot only \
         http://{only}\n</SlotGroup>\nProxyPass /app/ slot://app/\nProxyPass /admin/ slot://admin/\n<Directory ROOT>\n\
         Require all granted\n</Directory>\n{more}",
        module.display()
    ));
    site
}

fn backends() -> [Backend; 3] {
    NAMES.map(Backend::named)
}

/// The answers to the module in fixups: the slot, its generation, the slot with a null group, that of an unknown group,
/// and the active slot.
fn answers(site: &Site, path: &str, fields: &[&str]) -> [String; 5] {
    let answer = site.ask("GET", path, fields);
    ["X-Slot", "X-Generation", "X-First", "X-Unknown", "X-Active"]
        .map(|name| answer.field(name).unwrap_or("missing").to_owned())
}

#[test]
fn a_module_learns_the_slot_and_the_generation_of_a_request() {
    let backends = backends();
    let site = started(&backends, "");
    assert_eq!(answers(&site, "/app/x", &[]), ["blue", "1", "blue", "null", "blue"]);
    // Before the request has entered.
    let answer = site.get("/app/x");
    assert_eq!(answer.field("X-Early"), Some("null 0 blue"));
    // A request of no slot, and one of another group.
    assert_eq!(answers(&site, "/none", &[]), ["null", "0", "null", "null", "blue"]);
    assert_eq!(answers(&site, "/admin/x", &[]), ["null", "0", "only", "null", "blue"]);
    assert_eq!(
        answers(&site, "/admin/x", &["X-Group: ADMIN"]),
        ["only", "1", "only", "null", "only"]
    );
    site.run(&["flip", "App", "green"]);
    assert_eq!(answers(&site, "/app/x", &[]), ["green", "2", "green", "null", "green"]);
    site.graceful();
    assert_eq!(answers(&site, "/app/x", &[]), ["green", "2", "green", "null", "green"]);
}

#[test]
fn a_request_stays_in_its_slot_while_the_active_one_changes() {
    let backends = backends();
    let site = started(&backends, "");
    let go = site.path().join("go");
    let wait = format!("X-Wait: {}", go.display());
    thread::scope(|scope| {
        let asked = scope.spawn(|| answers(&site, "/app/x", &[&wait]));
        until(|| site.log().contains("asks: waits")).unwrap();
        site.run(&["flip", "App", "green"]);
        fs::write(&go, "").unwrap();
        assert_eq!(asked.join().unwrap(), ["blue", "1", "blue", "null", "green"]);
    });
}

#[test]
fn sub_requests_and_internal_redirects_have_the_slot_of_the_client_s_request() {
    let backends = backends();
    let site = started(&backends, "SlotDocumentRoot app\nDirectoryIndex name.txt\n");
    let answer = site.ask("GET", "/index.html", &["X-Sub: /name.txt"]);
    assert_eq!(
        (answer.field("X-Slot"), answer.field("X-Sub-Slot")),
        (Some("blue"), Some("blue 1"))
    );
    let answer = site.ask("GET", "/index.html", &["X-Redirect: /name.txt"]);
    assert_eq!((answer.text().as_str(), answer.field("X-Slot")), ("slot=blue\n", Some("blue")));
    assert_eq!(answer.field("X-Is-Redirect"), Some("yes"));
    // The request is in app because of its docroot, and in admin because of its URL.
    let both = ["App", "admin"]
        .map(|group| answers(&site, "/admin/x", &[&format!("X-Group: {group}")])[..3].join(" "));
    assert_eq!(both, ["blue 1 blue", "only 1 blue"]);
}

#[test]
fn a_request_that_maintenance_refuses_is_in_no_slot() {
    let backends = backends();
    let site = started(&backends, "");
    site.run(&["maint", "App", "on"]);
    let answer = site.get("/app/x");
    assert_eq!(answer.status(), 503);
    // The module's hook of the log is called for each request.
    until(|| site.log().contains("asks: 503 null 0")).unwrap();
    site.run(&["maint", "App", "off"]);
    assert_eq!(site.get("/app/x").status(), 200);
    until(|| site.log().contains("asks: 200 blue 3")).unwrap();
}
