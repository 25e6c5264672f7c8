//! What the answers look like, and who gets another one.

use super::*;

#[test]
fn every_kind_of_request_gets_the_page_and_no_backend_is_connected() {
    let stage = Stage::new(WITH_PAGE, "");
    stage.maint("on");
    let address = stage.site.address;
    for (method, path, body) in [
        ("GET", "/api/x", &b""[..]),
        ("POST", "/api/x", &[b'x'; 300_000]),
        ("PUT", "/name.txt", b"y"),
        ("GET", "/page.jsp", b""),
        ("GET", "/", b""),
    ] {
        let mut client = Client::of(address);
        for turn in 0..2 {
            assert_page(
                &client.ask(method, path, body).unwrap(),
                &format!("{method} {path} {turn}"),
            );
        }
    }
    let head = Client::of(address).ask("HEAD", "/api/x", &[]).unwrap();
    assert_eq!((head.status(), head.field("retry-after")), (503, Some("120")));
    assert_eq!(head.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(head.text().is_empty());
    let refused = Live::open(address, 1).err().expect("no WebSocket is opened");
    assert!(refused.contains("503"), "{refused}");
    let answer = multiplexed::run(async {
        let connection = Connection::open(address).await.unwrap();
        let stream = connection.begin(http::Method::GET, "/api/x", 1).await.unwrap();
        stream.answer(None).await.unwrap()
    });
    assert_eq!((answer.status, answer.text.as_str()), (503, PAGE));
    assert_eq!(stage.backends.iter().map(Backend::connections).sum::<usize>(), 0);
    stage.maint("off");
    assert_eq!(stage.site.get("/api/x").status(), 200);
}

#[test]
fn an_expression_lets_requests_through() {
    let allow = "SlotMaintenance page=ROOT/page.html retryafter=7 \
                 \"allow=-R '192.0.2.0/24' || %{HTTP:X-Key} == 'open sesame'\"";
    let stage = Stage::new(allow, "");
    stage.maint("on");
    let key = "X-Key: open sesame";
    for path in ["/api/x", "/name.txt", "/x.jsp"] {
        let answer = stage.site.ask("GET", path, &[key]);
        assert_eq!((answer.status(), answer.field("retry-after")), (200, None), "{path}");
        assert!(answer.text().starts_with("slot=blue") && answer.field("vary").is_none());
        let refused = stage.site.get(path);
        assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("7")), "{path}");
    }
    until(|| stage.requests() == 3).expect("allowed requests count");
    let here = Stage::new("SlotMaintenance \"allow=-R '127.0.0.0/8'\"", "");
    here.maint("on");
    assert_eq!(here.site.get("/api/x").status(), 200);
}

#[test]
fn static_on_serves_files_and_refuses_the_backend() {
    let stage = Stage::new(&format!("{WITH_PAGE} static=on"), "");
    stage.maint("on");
    let file = stage.site.get("/name.txt");
    assert_eq!((file.status(), file.text().as_str()), (200, "slot=blue\n"));
    assert_page(&stage.site.get("/api/x"), "a route");
    assert_page(&stage.site.get("/x.jsp"), "a route beside files");
    // The index is found by a sub-request.
    stage.site.write("blue/sub/name.txt", "");
    assert_page(&stage.site.get("/sub/"), "an index of the backend");
    until(|| stage.requests() == 1).expect("the file counts");
    stage.site.write("blue/sub/index.html", "home");
    assert_eq!(stage.site.get("/sub/").text(), "home");
}

#[test]
fn without_a_line_in_the_configuration_it_is_apaches_own_page() {
    let stage = Stage::new("", "");
    stage.maint("on");
    for path in ["/api/x", "/name.txt"] {
        let answer = stage.site.get(path);
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("120")), "{path}");
        assert!(answer.text().contains("Service Unavailable"), "{}", answer.text());
    }
}

#[test]
fn an_error_document_outside_of_the_slots_is_served_and_one_inside_does_not_loop() {
    let stage = Stage::new("", "ErrorDocument 503 /sorry/page.html\nAlias /sorry/ ROOT/sorry/\n");
    stage.site.write("sorry/page.html", "sorry");
    stage.maint("on");
    for path in ["/api/x", "/name.txt"] {
        let answer = stage.site.get(path);
        assert_eq!((answer.status(), answer.text().as_str()), (503, "sorry"), "{path}");
        assert_eq!(answer.field("retry-after"), Some("120"), "{path}");
    }
    assert_eq!(stage.site.get("/sorry/page.html").status(), 503, "asked for by a client");
    for document in ["/name.txt", "/api/sorry", "/sorry.jsp"] {
        let inside = Stage::new("", &format!("ErrorDocument 503 {document}\n"));
        inside.maint("on");
        for path in ["/api/x", "/name.txt", document] {
            let answer = inside.site.get(path);
            assert_eq!(answer.status(), 503, "{path}");
            assert!(!answer.text().contains("slot="), "{path}: {}", answer.text());
        }
    }
    let both = Stage::new(WITH_PAGE, "ErrorDocument 503 /sorry/page.html\n");
    both.maint("on");
    assert_page(&both.site.get("/api/x"), "the page comes before an ErrorDocument");
}

#[test]
fn a_page_is_read_at_the_start_whatever_it_begins_with() {
    let stage = Stage::new(WITH_PAGE, "Header always set X-Always yes\n");
    let of = |text: &str| {
        stage.site.write("page.html", text);
        stage.site.graceful();
        stage.maint("on");
        let answer = stage.site.get("/api/x");
        assert_eq!((answer.status(), answer.field("x-always")), (503, Some("yes")));
        answer.text()
    };
    for text in ["/x", "http://example.com/", "\"quoted\" %s", ""] {
        assert_eq!(of(text).trim_start_matches('\n'), text);
    }
    let large = "x".repeat(1 << 20);
    assert!(of(&large) == large);
    stage.site.write("page.html", "changed");
    assert_eq!(stage.site.get("/api/x").text().len(), 1 << 20, "until the next reload");
}

#[test]
fn two_groups_are_maintained_apart() {
    let stage = Stage::new(
        WITH_PAGE,
        "<SlotGroup other>\nSlot one - docroot=ROOT/blue\nSlot two - docroot=ROOT/green\n\
         </SlotGroup>\n<VirtualHost *>\nServerName first.example\n</VirtualHost>\n\
         <VirtualHost *>\nServerName other.example\nSlotDocumentRoot other\n</VirtualHost>\n",
    );
    stage.maint("on");
    let of = |path: &str| stage.site.ask("GET", path, &["Host: other.example"]);
    assert_eq!(of("/name.txt").text(), "slot=blue\n");
    stage.site.run(&["maint", "other", "on"]);
    assert_eq!(of("/name.txt").status(), 503);
    stage.maint("off");
    assert_eq!(stage.site.get("/api/x").status(), 200);
    assert_eq!(of("/name.txt").status(), 503);
}
