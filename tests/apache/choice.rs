//! Only the configuration chooses: no request can name a group or make Apache proxy to itself, and
//! parameters of one route do not reach another.

use crate::backend::Backend;
use crate::http::{Client, Message};
use crate::routing;
use crate::site::{Mpm, Site, until};
use std::collections::BTreeSet;
use std::fs;
use std::thread;

/// Two groups, one of them closed to everybody, and rules that use text of the client.
const OPEN: &str = r#"
DocumentRoot ROOT/docs
LogLevel rewrite:trace8
<Directory ROOT/docs>
    Require all granted
    AllowOverride All
</Directory>
<Location "/admin/">
    Require all denied
</Location>
ProxyPass "/admin/" "slot://admin/"
ProxyPass "/public/" "slot://public/"
ProxyPass "/pub/" "http://OWN/" nocanon
ProxyPass "/canon/" "http://OWN/"
ProxyPassMatch "^/match/(.*)$" "http://OWN/$1"
<Location "/loc/">
    ProxyPass "http://OWN/x/"
</Location>
RewriteEngine On
RewriteMap names txt:ROOT/names.txt
RewriteMap whole txt:ROOT/whole.txt
RewriteMap slot int:slot
RewriteRule "^/named/([^/]*)/(.*)$" "slot://${names:$1}/$2" [P]
RewriteRule "^/called/([^/]*)/(.*)$" "${slot:${whole:$1}}/$2" [P]
RewriteRule "^/handed/(.*)$" "$1" [P]
RewriteRule "^/whole/([^/]*)/(.*)$" "WHOLE/$2" [P]
RewriteRule "^/to/(.*)$" "http://$1" [P,NE]
RewriteRule "^/both/(.*)$" "http://$1" [P,NE,E=X:${slot:admin}]
RewriteRule "^/unmarked/(.*)$" "$1"
RewriteRule "^/default/(.*)$" "slot://${names:$1|public}/d" [P]
<Directory ROOT/docs/dir>
    RewriteEngine On
    RewriteRule "(.*)" "$1" [P]
</Directory>
"#;

struct Open {
    site: Site,
    /// `admin` and `public`.
    _backends: [Backend; 2],
}

fn open() -> Open {
    open_on(Mpm::Event)
}

fn open_on(mpm: Mpm) -> Open {
    let backends = ["admin", "public"].map(Backend::named);
    let mut site = Site::of(mpm).with(&["rewrite"]);
    fs::create_dir_all(site.path().join("docs/dir")).unwrap();
    site.write("names.txt", "one public\ntwo admin\nslash public/x\n");
    site.write("whole.txt", "one slot://public/w\ntwo SLOT://public\nthree public/deep\n");
    // `-t` refuses a rule with a map of URLs if it sees the map; this one comes from an environment
    // variable.
    let lines = OPEN.replace("WHOLE", "%{ENV:WHOLE}").replace("OWN", &site.address.to_string());
    let group = |name: &str, backend: &Backend| {
        format!("<SlotGroup {name}>\nSlot only http://{}\n</SlotGroup>\n", backend.address)
    };
    let groups = group("admin", &backends[0]) + &group("public", &backends[1]);
    let env = "SetEnvIf Request_URI \"^/whole/one/\" WHOLE=slot://admin\nSetEnvIf Request_URI \
               \"^/whole/two/\" WHOLE=http://mod-slot-0123456789abcdef\n";
    site.start(&format!("{groups}{env}{lines}"));
    Open { site, _backends: backends }
}

fn send(site: &Site, target: &str, host: &str) -> Message {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    Client::of(site.address).send(request.as_bytes()).unwrap()
}

#[test]
fn no_text_of_a_request_names_a_group() {
    let Open { site, _backends } = open();
    let own = site.address.to_string();
    let wanted = [
        "slot://admin/secret",
        "SLOT://admin/secret",
        "slot:/admin/secret",
        "slot:admin/secret",
        "%73lot://admin/secret",
        "slot%3a//admin/secret",
        "x/slot://admin/secret",
        "proxy:slot://admin/secret",
        "mod-slot-0000000000000000/secret",
        "http://mod-slot-0000000000000000/secret",
        "${mod_slot:admin}/secret",
        "${slot:admin}/secret",
        "admin/secret",
    ];
    let ways = [
        "/pub/",
        "/canon/",
        "/match/",
        "/loc/",
        "/handed/",
        "/unmarked/",
        "/dir/",
        "/to/",
        "/both/",
        "/pub//",
        "/named/",
        "/called/",
        "/whole/one/",
        "/whole/two/",
        "/default/",
        "/",
    ];
    let hosts = [own.clone(), format!("slot://admin:{}", site.address.port()), "localhost".into()];
    let mut statuses = BTreeSet::new();
    for (way, what) in ways.iter().flat_map(|way| wanted.iter().map(move |what| (way, what))) {
        for (host, absolute) in hosts.iter().flat_map(|host| [(host, false), (host, true)]) {
            let target =
                if absolute { format!("http://{own}{way}{what}") } else { format!("{way}{what}") };
            let answer = send(&site, &target, host);
            assert!(!answer.text().contains("slot=admin"), "{target} {host}: {}", answer.text());
            statuses.insert(answer.status());
        }
    }
    assert!(statuses.contains(&500), "{statuses:?}");
    // Each request was logged once: Apache did not proxy to itself.
    let asked = site.access_log().lines().count();
    let sent = ways.len() * wanted.len() * hosts.len() * 2;
    assert!(asked < 4 * sent, "{asked} requests of {sent}");
    assert_eq!(site.get("/public/x").status(), 200);
    assert_eq!(site.get("/admin/x").status(), 403);
}

#[test]
fn slot_in_the_path_of_a_proxied_url_is_refused_and_logged() {
    let Open { site, _backends } = open();
    for path in ["/pub/slot://admin/x", "/canon/slot:/admin", "/match/a/SLOT://b", "/whole/one/x"] {
        assert_eq!(site.get(path).status(), 500, "{path}");
    }
    let says = "a path with \"/slot:\" in it. A slot:// URL comes from a route's own text";
    assert_eq!(site.log().matches(says).count(), 4, "{}", site.log());
    // A query may contain it, and so may a longer word, and a path below a group.
    for path in
        ["/pub/public/x?slot://admin/", "/canon/public/timeslot:5", "/public/slot://admin/x"]
    {
        assert!(site.get(path).text().starts_with("slot=public GET "), "{path}");
    }
}

#[test]
fn maps_of_names_choose_among_groups() {
    let Open { site, _backends } = open();
    for (path, seen) in [
        ("/named/one/a%20b?c", "slot=public GET /a%20b?c "),
        ("/named/two/x", "slot=admin GET /x "),
        ("/called/one/x", "slot=public GET /w/x "),
        ("/called/two/x?y", "slot=public GET /x?y "),
        ("/called/three/x", "slot=public GET /deep/x "),
        ("/default/one", "slot=public GET /d "),
        ("/default/none", "slot=public GET /d "),
    ] {
        let text = site.get(path).text();
        assert!(text.starts_with(seen), "{path}: {text}\n{}", site.log());
    }
    // A key that is not in the map names no group.
    for path in ["/named/none/x", "/called/none/x", "/named/slash/x"] {
        let status = site.get(path).status();
        assert!(matches!(status, 200 | 500), "{path}: {status}");
    }
    assert_eq!(site.get("/named/none/x").status(), 500);
    assert!(site.log().contains("SLOT0012: slot://: there is no <SlotGroup >"), "{}", site.log());
}

#[test]
fn a_token_seen_in_a_trace_is_useless_in_another_request() {
    for mpm in [Mpm::Event, Mpm::Prefork] {
        assert_trace_is_of_no_use(&open_on(mpm));
    }
}

fn assert_trace_is_of_no_use(Open { site, _backends }: &Open) {
    assert!(site.get("/named/two/x").text().starts_with("slot=admin"));
    let log = site.log();
    let shown: BTreeSet<_> = log
        .split(|c: char| c.is_whitespace() || "'\"()".contains(c))
        .filter_map(|word| {
            word.split_once("http://").map(|(_, rest)| rest.split('/').next().unwrap())
        })
        .filter(|host| host.starts_with("mod-slot-"))
        .collect();
    assert_eq!(shown.len(), 1, "{log}");
    for host in shown {
        // Many times, so that prefork's other processes are tried as well.
        for way in ["/to/", "/both/"].iter().cycle().take(60) {
            let answer = site.get(&format!("{way}{host}/secret"));
            assert_eq!(answer.status(), 500, "{}", answer.text());
        }
    }
    assert!(site.log().contains("no rule has named a group by it"), "{}", site.log());
}

#[test]
fn a_rule_of_a_location_asks_the_backend_once() {
    let lines = r#"
<Location "/api">
    RewriteEngine On
    RewriteRule "^" "slot://app%{REQUEST_URI}" [P]
</Location>
"#;
    let (site, backends) = routing::site(Site::new().with(&["rewrite"]), lines);
    for (slot, backend) in ["blue", "green"].into_iter().zip(&backends) {
        site.flip(slot);
        let text = site.get("/api/x?y").text();
        assert!(text.starts_with(&format!("slot={slot} GET /api/x?y ")), "{text}");
        let seen = String::from_utf8(backend.received()).unwrap();
        assert_eq!(seen.matches("GET /api/x?y ").count(), 1, "{seen}");
    }
    until(|| site.access_log().lines().count() >= 2).unwrap();
    assert_eq!(site.access_log().lines().count(), 2);
}

/// Every context of SetHandler, and the other directives that set a handler.
const HANDLERS: &str = r#"
DocumentRoot ROOT/docs
<Directory ROOT/docs>
    AllowOverride All
    Options +FollowSymLinks
</Directory>
RewriteEngine On
<Location "/loc/">
    SetHandler "proxy:slot://app"
</Location>
<LocationMatch "^/locmatch/">
    SetHandler "proxy:slot://app/"
</LocationMatch>
<Files "*.f">
    SetHandler "proxy:slot://app"
</Files>
<FilesMatch "\.fm$">
    SetHandler "proxy:slot://app"
</FilesMatch>
<If "%{REQUEST_URI} =~ m#^/if/#">
    SetHandler "proxy:slot://app"
</If>
<Directory "ROOT/docs/dir">
    SetHandler "proxy:slot://app"
</Directory>
<DirectoryMatch "/docs/dm">
    SetHandler "proxy:slot://app"
</DirectoryMatch>
AddHandler "proxy:slot://app" .added
RewriteRule "^/forced/" "-" [H=proxy:slot://app]
<Location "/index/">
    DirectoryIndex index.f
</Location>
<VirtualHost *>
    ServerName localhost
    DocumentRoot ROOT/docs
    RewriteEngine On
    RewriteOptions Inherit
</VirtualHost>
"#;

#[test]
fn a_handler_leads_to_the_group_in_every_context() {
    let mut site = Site::new().with(&["rewrite"]);
    let paths = [
        "/loc/x",
        "/locmatch/x",
        "/x.f",
        "/deep/x.f",
        "/x.fm",
        "/if/x",
        "/dir/x",
        "/dm/x",
        "/x.added",
        "/forced/x",
        "/ht/x",
        "/index/index.f",
    ];
    for path in paths {
        site.write(&format!("docs{path}"), "a file\n");
    }
    site.write("docs/ht/.htaccess", "SetHandler \"proxy:slot://app\"\n");
    let backends = ["blue", "green"].map(Backend::named);
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{}\nSlot green http://{}\n</SlotGroup>\n<Directory ROOT>\nRequire \
         all granted\n</Directory>\n{HANDLERS}",
        backends[0].address, backends[1].address
    ));
    for slot in ["blue", "green"] {
        site.flip(slot);
        for path in paths.iter().chain(&["/index/"]) {
            let text = site.get(&format!("{path}?q")).text();
            assert!(text.starts_with(&format!("slot={slot} GET /")), "{path}: {text}");
        }
    }
    let sites = |line: &str| line.contains("slot=- ");
    until(|| site.access_log().lines().count() == 2 * (paths.len() + 1)).unwrap();
    assert!(!site.access_log().lines().any(sites), "{}", site.access_log());
}

#[test]
fn htaccess_rules_name_groups_and_requests_cannot() {
    let mut site = Site::new().with(&["rewrite"]);
    site.write("docs/name.txt", "a file\n");
    let backend = Backend::named("blue");
    site.start(&format!(
        "DocumentRoot ROOT/docs\n<Directory ROOT/docs>\nRequire all granted\nAllowOverride \
         All\n</Directory>\n<SlotGroup app>\nSlot blue http://{}\n</SlotGroup>\n",
        backend.address
    ));
    let rules = |rule: &str| site.write("docs/.htaccess", &format!("RewriteEngine On\n{rule}\n"));
    for rule in [
        "RewriteRule (.*) slot://app/$1 [P]",
        "RewriteRule \"(.*)\" \"SLOT://App/$1\" [QSA,P]",
        "RewriteRule (.*) - [H=proxy:slot://app]",
        "SetHandler proxy:slot://app",
    ] {
        rules(rule);
        assert!(
            site.get("/name.txt?x").text().starts_with("slot=blue GET /"),
            "{rule}: {}",
            site.log()
        );
    }
    for rule in [
        "RewriteRule (.*) slot://$1 [P]",
        "RewriteRule (.*) slot://nobody/$1 [P]",
        "RewriteRule (.*) slot://app/$1",
        "RewriteRule (.*) - [H=proxy:slot://$1]",
        "RewriteRule (.*) - [H=proxy:slot://nobody]",
        "SetHandler proxy:slot://nobody",
        "SetHandler \"proxy:slot://%{HTTP:X}\"",
    ] {
        rules(rule);
        let answer = site.ask("GET", "/name.txt", &["X: app"]);
        assert_eq!(answer.status(), 500, "{rule}: {}", answer.text());
    }
    // Without a group, a rule cannot name one.
    site.configure(
        "DocumentRoot ROOT/docs\n<Directory ROOT/docs>\nRequire all granted\nAllowOverride All\n</Directory>\n",
    );
    rules("RewriteRule (.*) slot://app/$1 [P]");
    site.restart();
    assert_eq!(site.get("/name.txt").status(), 500);
    until(|| site.log().contains("this server has no <SlotGroup>")).unwrap();
    // Apache did not proxy to itself.
    let asked = || site.access_log().lines().filter(|line| line.contains("/name.txt")).count();
    until(|| asked() >= 12).unwrap();
    assert_eq!(asked(), 12);
}

/// Routes with parameters, and paths of requests that take longer than these allow.
const PARAMETERS: [(&str, &[&str]); 9] = [
    ("ProxyPass /a/ URL/a/\nProxyPass / URL/ timeout=1", &["/a/x", "/b/x"]),
    ("ProxyPass /a/ URL/a/ timeout=1\nProxyPass / URL/", &["/a/x", "/b/x"]),
    ("ProxyPass /b/ URL/ timeout=1\nProxyPass /a/ URL/a/", &["/a/x", "/b/x", "/b/a/x"]),
    ("ProxyPass /a/ URL/a/b/ timeout=1\nProxyPass / URL/a/ timeout=9", &["/a/x", "/b/x", "/x"]),
    ("ProxyPassMatch ^/a/(.*)$ URL/a/$1 timeout=1\nProxyPass / URL/", &["/a/x", "/b/x"]),
    (
        "<Location /a/>\nProxyPass URL/a/ timeout=1\n</Location>\nProxyPass / URL/",
        &["/a/x", "/b/x"],
    ),
    (
        "ProxyPass /p/ URL/a/ timeout=1\nRewriteEngine On\nRewriteRule ^/r/(.*)$ URL/a/$1 \
         [P]\nRewriteRule ^/s/(.*)$ URL/b/$1 [P]\n<Location /t>\nRewriteEngine On\nRewriteRule ([^/]*)$ \
         URL/a/$1 [P]\n</Location>",
        &["/p/x", "/r/x", "/s/x", "/t/x"],
    ),
    ("<Proxy URL/a/>\nProxySet timeout=1\n</Proxy>\nProxyPass / URL/", &["/a/x", "/b/x"]),
    (
        "DocumentRoot ROOT/docs\n<Location /d/>\nDirectoryIndex x.jsp\n</Location>\nProxyPass /d/x.jsp \
         URL/d/x.jsp timeout=1\nProxyPassMatch \\.jsp$ URL",
        &["/d/x.jsp", "/d/", "/x.jsp"],
    ),
];

#[test]
fn parameters_hold_for_the_routes_that_mod_proxy_gives_them_to() {
    let backend = Backend::named("only");
    let address = format!("http://{}", backend.address);
    let check = |(lines, paths): &(&str, &[&str])| {
        let start = |mut site: Site, first: &str, url: &str| {
            site.write("docs/d/page", "");
            let access = "<Directory ROOT>\nRequire all granted\n</Directory>\n";
            site.start(&format!("{first}{access}{}", lines.replace("URL", url)));
            site
        };
        let plain = start(Site::new().without_slot().with(&["rewrite"]), "", &address);
        let group = format!("<SlotGroup app>\nSlot only {address}\n</SlotGroup>\n");
        let slot = start(Site::new().with(&["rewrite"]), &group, "slot://app");
        let (mut answers, mut slow) = (Vec::new(), 0);
        for path in *paths {
            let path = format!("{path}?sleep=1700");
            let [expected, got] = thread::scope(|scope| {
                [&plain, &slot]
                    .map(|site| scope.spawn(|| site.get(&path).status()))
                    .map(|t| t.join().unwrap())
            });
            slow += usize::from(expected != 200);
            assert_eq!(got, expected, "{lines}: {path}");
            answers.push(expected);
        }
        assert!(slow > 0, "{lines}: {answers:?}");
    };
    // Stock Apache does not use a worker for a minute after a timeout, so each case has its own
    // Apache.
    thread::scope(|scope| {
        for case in &PARAMETERS {
            scope.spawn(|| check(case));
        }
    });
}

#[test]
fn a_plain_route_to_a_slots_address_works_beside_the_group() {
    let backends = ["blue", "green"].map(Backend::named);
    let mut site = Site::new();
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{0}\nSlot green http://{1}\n</SlotGroup>\nProxyPass /blue/ \
         http://{0}/\nProxyPass /green/ http://{1}/\nProxyPass /app/ slot://app/\n",
        backends[0].address, backends[1].address
    ));
    for slot in ["blue", "green", "blue"] {
        site.flip(slot);
        for path in ["blue", "green"] {
            assert!(
                site.get(&format!("/{path}/x")).text().starts_with(&format!("slot={path} GET /x "))
            );
        }
        assert!(site.get("/app/x").text().starts_with(&format!("slot={slot} GET /x ")));
    }
}
