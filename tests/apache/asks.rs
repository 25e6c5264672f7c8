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

/// What the configuration `lines` says of a request for a file, of one that a ProxyPass sends to a backend, and of one
/// that a SetHandler sends there: the field `X-Found` of the answers, which is `yes`, or else their status.
fn found(lines: &str) -> [String; 3] {
    let backends = backends();
    let handler = "<Location /handled/>\nSetHandler proxy:slot://app\n</Location>\n";
    let site = started(&backends, &format!("{handler}{lines}"));
    ["/name.txt", "/app/x", "/handled/x"].map(|path| {
        let answer = site.get(path);
        match answer.field("X-Found") {
            Some("yes") => "yes".into(),
            _ => answer.status().to_string(),
        }
    })
}

const TELL: &str = "Header always set X-Found %{FOUND}e\n";

/// Lines that look at the slot, each with the phase in which Apache evaluates it.
fn looks() -> [(&'static str, String); 7] {
    let rule = "RewriteEngine on\nRewriteCond %{ENV:SLOT} =blue\nRewriteRule . - [E=FOUND:yes]\n";
    let set = "SetEnvIfExpr \"reqenv('SLOT') == 'blue'\" FOUND=yes\n";
    [
        ("answer", "Header always set X-Found yes \"expr=reqenv('SLOT') == 'blue'\"\n".into()),
        (
            "section",
            "<If \"reqenv('SLOT') == 'blue'\">\nHeader always set X-Found yes\n</If>\n".into(),
        ),
        ("section", "<If \"%{SLOT} == 'blue'\">\nHeader always set X-Found yes\n</If>\n".into()),
        ("section", format!("<Location />\n{set}</Location>\n{TELL}")),
        ("fixups", format!("<Location />\n{rule}</Location>\n{TELL}")),
        ("server rule", format!("{rule}{TELL}")),
        ("first", format!("{set}{TELL}")),
    ]
}

#[test]
fn expressions_know_the_slot_once_the_request_has_entered() {
    for (phase, lines) in looks() {
        // With SlotDocumentRoot, a request enters before all rules and sections.
        let wanted = if phase == "first" { ["200"; 3] } else { ["yes"; 3] };
        assert_eq!(found(&format!("SlotDocumentRoot app\n{lines}")), wanted, "{phase}: {lines}");
        // Without it, it enters by a ProxyPass before the sections, by a SetHandler in fixups, and a file is in no slot.
        let wanted = match phase {
            "answer" | "fixups" => ["404", "yes", "yes"],
            "section" => ["404", "yes", "200"],
            _ => ["404", "200", "200"],
        };
        assert_eq!(found(&lines), wanted, "{phase}: {lines}");
    }
}

#[test]
fn a_variable_of_expressions_is_the_slot_and_a_function_that_of_a_group() {
    let backends = backends();
    let lines = "Header always set X-Var expr=[%{SLOT}]
Header always set X-Lower expr=[%{slot}]
Header always set X-App expr=[%{SLOT:app}]
Header always set X-Admin expr=[%{SLOT:ADMIN}]
Header always set X-Call \"yes\" \"expr=slot('App') == 'blue'\"
<If \"%{SLOT:app} == 'blue'\">
Header always set X-If yes
</If>
LogFormat \"%U %{X-Var}o\" seen
CustomLog slots.log seen \"expr=%{SLOT:admin} == 'only'\"
";
    let site = started(&backends, lines);
    let fields = |path: &str| {
        let answer = site.get(path);
        ["X-Var", "X-Lower", "X-App", "X-Admin", "X-Call", "X-If"]
            .map(|name| answer.field(name).unwrap_or("-").to_owned())
    };
    assert_eq!(fields("/app/x"), ["[blue]", "[blue]", "[blue]", "[]", "yes", "yes"]);
    assert_eq!(fields("/admin/x"), ["[only]", "[only]", "[]", "[only]", "-", "-"]);
    assert_eq!(fields("/none"), ["[]", "[]", "[]", "[]", "-", "-"], "it is in no slot");
    site.run(&["flip", "App", "green"]);
    assert_eq!(fields("/app/x"), ["[green]", "[green]", "[green]", "[]", "-", "-"]);
    site.run(&["maint", "App", "on"]);
    assert_eq!(fields("/app/x")[..3], ["[]", "[]", "[]"], "maintenance lets it in no slot");
    let log = fs::read_to_string(site.path().join("slots.log")).unwrap();
    assert_eq!(log, "/admin/x [only]\n", "the condition of the log");
}

#[test]
fn a_request_of_two_groups_has_a_variable_for_each() {
    let backends = backends();
    let lines = "SlotDocumentRoot app\nHeader always set X-All \"expr=%{SLOT}:%{SLOT:app}:%{SLOT:admin}\"\n";
    let site = started(&backends, lines);
    assert_eq!(site.get("/admin/x").field("X-All"), Some("blue:blue:only"));
    // A sub-request and a redirect ask for the client's request.
    let redirected = site.ask("GET", "/admin/x", &["X-Redirect: /name.txt"]);
    assert_eq!(redirected.field("X-All"), Some("blue:blue:only"));
}

#[test]
fn an_expression_sees_one_slot_before_and_after_a_flip() {
    let backends = backends();
    let lines = "SlotDocumentRoot app
<If \"%{SLOT} == 'blue'\">
Header always set X-Begin blue
</If>
Header always set X-Late expr=%{SLOT}
";
    let site = started(&backends, lines);
    let go = site.path().join("go");
    let wait = format!("X-Wait: {}", go.display());
    let seen = thread::scope(|scope| {
        // It waits in fixups, between the two.
        let asked = scope.spawn(|| site.ask("GET", "/app/x", &[&wait]));
        until(|| site.log().contains("asks: waits")).unwrap();
        site.run(&["flip", "App", "green"]);
        fs::write(&go, "").unwrap();
        asked.join().unwrap()
    });
    assert_eq!((seen.field("X-Begin"), seen.field("X-Late")), (Some("blue"), Some("blue")));
    let after = site.get("/app/x");
    assert_eq!((after.field("X-Begin"), after.field("X-Late")), (None, Some("green")));
}

#[test]
fn an_unknown_group_in_an_expression_is_logged_with_its_name() {
    let backends = backends();
    let site = started(&backends, "Header always set X-Slot expr=%{SLOT:nosuch}\n");
    assert_eq!(site.get("/app/x").status(), 200);
    until(|| site.log().contains("there is no <SlotGroup nosuch>")).unwrap();
}

#[test]
fn access_can_depend_on_the_slot() {
    let backends = backends();
    let lines =
        "SlotDocumentRoot app\n<Location />\nRequire expr reqenv('SLOT') == 'green'\n</Location>\n";
    let site = started(&backends, lines);
    let both = || ["/name.txt", "/app/x"].map(|path| site.get(path).status());
    assert_eq!(both(), [403; 2]);
    site.run(&["flip", "App", "green", "--force"]);
    assert_eq!(both(), [200; 2]);
}

#[test]
fn a_request_of_several_groups_lists_its_slots() {
    let backends = backends();
    let site = started(
        &backends,
        "SlotDocumentRoot app\nErrorDocument 404 /name.txt\nLogFormat \"asks: %U slots=%{SLOTS}e slot=%{SLOT}e\" slots\n\
         CustomLog slots.log slots\nHeader always set X-Slots %{SLOTS}e\n",
    );
    assert_eq!(site.get("/admin/x").field("X-Slots"), Some("App=blue admin=only"));
    assert_eq!(site.get("/app/x").field("X-Slots"), Some("(null)"));
    assert_eq!(site.get("/name.txt").field("X-Slots"), Some("(null)"));
    // The redirect has an environment of its own.
    let redirected = site.ask("GET", "/admin/x", &["X-Redirect: /name.txt"]);
    assert_eq!(
        (redirected.text().as_str(), redirected.field("X-Slots")),
        ("slot=blue\n", Some("App=blue admin=only"))
    );
    let later = site.ask("GET", "/index.html", &["X-Redirect: /admin/x"]);
    assert_eq!(later.field("X-Slots"), Some("App=blue admin=only"));
    let log = || fs::read_to_string(site.path().join("slots.log")).unwrap_or_default();
    until(|| log().lines().count() == 5).unwrap();
    assert!(log().contains("asks: /admin/x slots=App=blue admin=only slot=blue\n"), "{}", log());
    assert!(log().contains("asks: /app/x slots=- slot=blue\n"), "{}", log());
    assert!(log().contains("asks: /index.html slots=App=blue admin=only slot=blue\n"), "{}", log());
    // A group in maintenance has none.
    site.run(&["maint", "admin", "on"]);
    assert_eq!(site.get("/admin/x").status(), 503);
    until(|| log().lines().count() == 6).unwrap();
    assert!(!log().lines().last().unwrap().contains("admin="), "{}", log());
}

#[test]
fn an_error_document_inherits_the_list_of_slots() {
    let backends = backends();
    let site = started(
        &backends,
        "DocumentRoot ROOT/blue\nErrorDocument 503 /name.txt\nHeader always set X-Slots %{SLOTS}e\n",
    );
    let [_blue, _green, only] = backends;
    only.kill();
    let answer = site.ask("GET", "/app/x", &["X-Redirect: /admin/x"]);
    assert_eq!((answer.status(), answer.text().as_str()), (503, "slot=blue\n"));
    assert_eq!(answer.field("X-Slots"), Some("App=blue admin=only"));
}
