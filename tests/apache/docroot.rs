//! Files below SlotDocumentRoot, compared with the core's DocumentRoot.

use crate::http::Client;
use crate::routing::site;
use crate::site::Site;
use std::os::unix::fs::symlink;

#[test]
fn a_docroot_needs_require_all_granted_as_any_directory() {
    let mut site = Site::new();
    site.docroots(&["blue", "green"]);
    let outside = site.write("outside.txt", "not to be seen");
    for slot in ["blue", "green"] {
        symlink(&outside, site.path().join(slot).join("link.txt")).unwrap();
    }
    site.start(
        "<SlotGroup app>\nSlot blue - docroot=ROOT/blue\nSlot green - docroot=ROOT/green\n\
         </SlotGroup>\nSlotDocumentRoot app\n<Directory />\nRequire all denied\nOptions None\n\
         </Directory>\n<Directory ROOT/blue>\nRequire all granted\n</Directory>\n",
    );
    assert_eq!(site.get("/name.txt").status(), 200);
    assert_eq!(site.get("/link.txt").status(), 403, "a link, without FollowSymLinks");
    for path in ["/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", "//../outside.txt"]
    {
        let mut client = Client::of(site.address);
        let answer = client.ask("GET", path, &[]).unwrap();
        assert!(matches!(answer.status(), 400 | 403 | 404), "{path}: {}", answer.start);
        assert!(!answer.text().contains("not to be seen"), "{path}");
    }
    site.flip("green");
    assert_eq!(site.get("/name.txt").status(), 403, "no <Directory> grants it");
}

#[test]
fn a_virtual_host_inherits_the_root_unless_it_has_its_own() {
    let (site, _backends) = site(
        Site::new(),
        r#"
SlotDocumentRoot app
<VirtualHost *>
    ServerName first.example
</VirtualHost>
<VirtualHost *>
    ServerName own.example
    DocumentRoot "ROOT/own"
</VirtualHost>
<VirtualHost *>
    ServerName other.example
    SlotDocumentRoot other
</VirtualHost>
<SlotGroup other>
    Slot one - docroot=ROOT/one
    Slot two - docroot=ROOT/two
</SlotGroup>
"#,
    );
    site.docroots(&["own", "one", "two"]);
    site.flip("green");
    site.run(&["flip", "other", "two"]);
    let cases = [("first", "green"), ("own", "own"), ("other", "two")];
    for (host, slot) in cases {
        let text = site.ask("GET", "/name.txt", &[&format!("Host: {host}.example")]).text();
        assert_eq!(text, format!("slot={slot}\n"), "{host}");
    }
}

#[test]
fn a_path_leads_to_the_file_that_a_document_root_would_give() {
    let (site, _backends) = site(
        Site::new(),
        r#"
<VirtualHost *>
    ServerName core.example
    ServerPath /legacy
    DocumentRoot "ROOT/blue"
</VirtualHost>
<VirtualHost *>
    ServerName slot.example
    ServerPath /legacy
    SlotDocumentRoot app
</VirtualHost>
<VirtualHost *>
    ServerName short.example
    DocumentRoot "ROOT/blue"
</VirtualHost>
<VirtualHost *>
    ServerName joined.example
    SlotDocumentRoot app
</VirtualHost>
"#,
    );
    site.write("blue/legacy/name.txt", "below legacy\n");
    site.write("blue/deep/er/.name.txt", "hidden\n");
    let long = |len: usize| format!("/{}", "x/".repeat(len / 2));
    let mut paths: Vec<_> = [
        "/name.txt",
        "/",
        "/legacy/name.txt",
        "/legacy/legacy/name.txt",
        "/legacy",
        "/legacyname.txt",
        "/legacy/",
        "/deep/er/.name.txt",
        "/deep/./er/.name.txt",
        "/deep//er/.name.txt",
        "/deep/er",
        "/deep/er/../../name.txt",
        "/name.txt/",
        "/name.txt/more",
        "/none",
        "/n",
        "/n%61me.txt",
        "/name.txt%00",
        "/name.txt%2f",
        "/deep/er/.name.txt?query",
    ]
    .map(String::from)
    .into();
    paths.extend((3900..4200).step_by(16).map(long));
    let mut seen = [0; 2];
    for path in &paths {
        for (core, ours) in [("core", "slot"), ("short", "joined")] {
            let [expected, found] = [core, ours].map(|host| {
                let answer = site.ask("GET", path, &[&format!("Host: {host}.example")]);
                (answer.status(), answer.text().replace(&format!("{host}.example"), "HOST"))
            });
            assert_eq!(found, expected, "{ours} {path}");
            seen[usize::from(expected.0 == 200)] += 1;
        }
    }
    assert!(seen.iter().all(|number| *number > 10), "{seen:?}");
}

/// What each kind of sub-request sees.
const PARTS: &str = r#"
AddOutputFilter INCLUDES .shtml
<Directory ROOT>
    Options +Includes +FollowSymLinks
    AllowOverride All
    RewriteEngine On
    RewriteRule "^(?:.*/)?rewritten\.txt$" "%{DOCUMENT_ROOT}/name.txt" [E=ROOT:%{DOCUMENT_ROOT}]
</Directory>
"#;

#[test]
fn a_sub_request_by_file_has_the_docroot_of_its_request() {
    let page = "file <!--#include file=\"deep/root.shtml\" --> virtual <!--#include \
                virtual=\"/deep/root.shtml\" --> rule <!--#include file=\"rewritten.txt\" --> deeper \
                <!--#include file=\"deep/more.shtml\" -->";
    let started = |mut site: Site, lines: &str| {
        for slot in ["blue", "green"] {
            site.write(&format!("{slot}/page.shtml"), page);
            site.write(&format!("{slot}/deep/root.shtml"), "<!--#echo var=\"DOCUMENT_ROOT\" -->");
            site.write(&format!("{slot}/deep/more.shtml"), "<!--#include file=\"root.shtml\" -->");
            site.write(&format!("{slot}/rewritten.txt"), "not rewritten");
        }
        site.docroots(&["blue", "green"]);
        let access = "<Directory ROOT>\nRequire all granted\n</Directory>\n";
        site.start(&format!("{access}{lines}{PARTS}"));
        site
    };
    let modules = ["include", "rewrite"];
    let slots = started(
        Site::new().with(&modules),
        "<SlotGroup app>\nSlot blue - docroot=ROOT/blue\nSlot green - docroot=ROOT/green\n</SlotGroup>\n\
         SlotDocumentRoot app\n",
    );
    for slot in ["blue", "green"] {
        slots.flip(slot);
        let plain = started(
            Site::new().with(&modules).without_slot(),
            &format!("DocumentRoot ROOT/{slot}\n"),
        );
        let text = |site: &Site| {
            site.get("/page.shtml").text().replace(&site.path().display().to_string(), "ROOT")
        };
        let (expected, got) = (text(&plain), text(&slots));
        assert_eq!(got, expected);
        assert_eq!(got.matches(&format!("ROOT/{slot}")).count(), 3, "{got}");
        assert!(got.contains(&format!("slot={slot}")), "the rule is applied: {got}");
    }
}

#[test]
fn a_docroot_is_normalised_as_a_document_root() {
    let site = Site::new();
    site.docroots(&["real", "blue"]);
    site.write("real/root.shtml", "<!--#echo var=\"DOCUMENT_ROOT\" -->");
    symlink(site.path().join("real"), site.path().join("current")).unwrap();
    let root = site.path().display().to_string();
    for (written, merged) in [
        ("ROOT/real", "ROOT/real"),
        ("ROOT//real", "ROOT/real"),
        ("ROOT/blue/../real", "ROOT/real"),
        ("ROOT/./real", "ROOT/real"),
        ("ROOT/current", "ROOT/current"),
        ("ROOT/real/", "ROOT/real/"),
    ] {
        let lines = "<SlotGroup app>\nSlot a - docroot=WRITTEN\n</SlotGroup>\nSlotDocumentRoot app\n\
                     AddOutputFilter INCLUDES .shtml\n<Directory BASE>\nRequire all granted\nOptions \
                     +Includes +FollowSymLinks\n</Directory>\n";
        let mut slot = Site::new().with(&["include"]);
        slot.start(
            &lines.replace("WRITTEN", &written.replace("ROOT", &root)).replace("BASE", &root),
        );
        let expected = merged.replace("ROOT", &root);
        assert_eq!(slot.get("/root.shtml").text(), expected, "{written}");
        let status = slot.run(&["status", "app", "--json"]);
        assert!(status.contains(&format!("\"{expected}\"")), "{written}: {status}");
    }
}

#[test]
fn file_etag_digest_tells_files_of_equal_size_and_time_apart() {
    for (lines, after_a_flip) in [("", 304), ("FileETag Digest\n", 200)] {
        let mut site = Site::new();
        let time =
            std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        for slot in ["blue", "green"] {
            let path = site.write(&format!("{slot}/a.txt"), &format!("{slot:5}"));
            std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        site.start(&format!(
            "<SlotGroup app>\nSlot blue - docroot=ROOT/blue\nSlot green - docroot=ROOT/green\n</SlotGroup>\n\
             SlotDocumentRoot app\n{lines}<Directory ROOT>\nRequire all granted\n</Directory>\n"
        ));
        let first = site.get("/a.txt");
        let tag = format!("If-None-Match: {}", first.field("etag").unwrap());
        let since = format!("If-Modified-Since: {}", first.field("last-modified").unwrap());
        let again = || site.ask("GET", "/a.txt", &[&tag, &since]).status();
        assert_eq!(again(), 304, "{lines}");
        site.flip("green");
        assert_eq!(again(), after_a_flip, "{lines}");
    }
}
