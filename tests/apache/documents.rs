//! Each block of Apache's configuration in the manual, the guides, README and mod_slot.xml passes `apachectl -t`. What a
//! guide promises of its blocks holds.

use crate::shipped;
use crate::site::Site;
use std::collections::BTreeSet;

/// The modules that the blocks use, besides those of each site.
const MODULES: [&str; 10] = [
    "rewrite",
    "proxy_ajp",
    "proxy_balancer",
    "slotmem_shm",
    "lbmethod_byrequests",
    "proxy_fcgi",
    "proxy_wstunnel",
    "remoteip",
    "status",
    "env",
];

/// The groups that a block without a group refers to.
const GROUPS: &str = "<SlotGroup app>\nSlot resin http://127.0.0.1:8081 docroot=/home/httpd/app\nSlot \
    resin_standby http://127.0.0.1:8082 docroot=/home/httpd/app_standby\n</SlotGroup>\n";

/// Returns a block as a whole configuration, with the paths of this site.
fn whole(block: &str, site: &Site) -> String {
    // The common lines of a site have these already.
    let own = |line: &str| {
        let line = line.trim_start();
        ["LoadModule slot_module", "SlotStateDir ", "SlotRuntimeDir "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let lines: String =
        block.lines().filter(|line| !own(line)).map(|l| l.to_owned() + "\n").collect();
    let groups = if lines.contains("<SlotGroup") { "" } else { GROUPS };
    let port = site.address.port();
    let host = |line: &str| line.replace("*:80>", &format!("*:{port}>"));
    let lines: String = lines.lines().map(|line| host(line) + "\n").collect();
    format!("{groups}{lines}")
        .replace("/home/httpd", "ROOT/home")
        .replace("/etc/apache2/", "ROOT/")
        // A group that each system has, and of which Apache is no member.
        .replace("group=deploy", "group=bin")
        .replace("${APACHE_LOG_DIR}", "ROOT")
}

#[test]
fn each_block_of_the_documents_passes_the_check_of_apache() {
    let site = Site::new().with(&MODULES);
    for (name, content) in [
        ("home/maintenance.html", "<!DOCTYPE html>"),
        ("logs/.keep", ""),
        ("tenants.txt", "one app\n"),
        ("whole.txt", "one slot://app/one\n"),
    ] {
        site.write(name, content);
    }
    let mut faults = Vec::new();
    let mut checked = BTreeSet::new();
    for (name, blocks) in shipped::documents() {
        for block in blocks {
            let (passed, said) = site.configtest(&whole(&block, &site));
            if !passed {
                faults.push(format!("{name}:\n{block}{said}"));
            }
            checked.insert(name.clone());
        }
    }
    assert!(
        checked.contains("README.md") && checked.contains("apache/mod_slot.xml"),
        "{checked:?}"
    );
    assert!(faults.is_empty(), "{} fail:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_single_page_application_answers_paths_with_its_page_and_missing_files_with_404() {
    let mut site = Site::new();
    for slot in ["app", "app_standby"] {
        site.write(&format!("home/{slot}/index.html"), slot);
        site.write(&format!("home/{slot}/assets/{slot}.js"), slot);
    }
    let blocks = shipped::blocks("apache/guides/single-page-apps.md");
    let [files, _, assets] = blocks.as_slice() else { panic!("{} blocks", blocks.len()) };
    site.start(&whole(&format!("{files}{assets}"), &site));
    for (slot, home, other) in [("blue", "app", "app_standby"), ("green", "app_standby", "app")] {
        site.run(&["flip", "app", slot]);
        let ask = |path: &str| site.ask("GET", path, &["Host: app.example.com"]);
        for path in ["/", "/orders/7", "/index.html"] {
            let answer = ask(path);
            assert_eq!((answer.status(), answer.text()), (200, home.to_owned()), "{slot} {path}");
            assert_eq!(answer.field("cache-control"), Some("no-cache"), "{slot} {path}");
        }
        assert_eq!(ask(&format!("/assets/{home}.js")).text(), home);
        assert_eq!(ask(&format!("/assets/{other}.js")).status(), 404);
    }
}

/// Returns the words in the first column of a directive's tables in mod_slot.xml.
fn described(directive: &str) -> BTreeSet<String> {
    let synopsis = shipped::file("apache/mod_slot.xml");
    let (_, rest) = synopsis.split_once(&format!("<name>{directive}</name>")).unwrap();
    let (own, _) = rest.split_once("</directivesynopsis>").unwrap();
    let cells = own.split("<tr><td><code>").skip(1).filter_map(|cell| cell.split_once('='));
    let words = cells.map(|(word, _)| word.trim_matches('"').to_owned());
    words.filter(|word| word.chars().all(|char| char.is_ascii_alphanumeric())).collect()
}

#[test]
fn the_synopsis_describes_exactly_the_words_of_each_directive() {
    let site = Site::new();
    for directive in [
        "SlotHealthCheck",
        "SlotWarmUp",
        "SlotAutoRollback",
        "SlotDrain",
        "SlotMaintenance",
        "SlotHold",
    ] {
        let line = format!("{directive} xyzzy=1");
        let (_, said) = site.configtest(&GROUPS.replace("</Slot", &format!("{line}\n</Slot")));
        let (_, list) = said.split_once("it takes ").unwrap_or_else(|| panic!("{said}"));
        let list = list.lines().next().unwrap().split(';').next().unwrap();
        let known = list.split([',', ' ']).filter_map(|word| word.split_once('='));
        let known: BTreeSet<_> = known.map(|(word, _)| word.to_owned()).collect();
        assert!(!known.is_empty(), "{said}");
        assert_eq!(described(directive), known, "{directive}: {said}");
    }
}
