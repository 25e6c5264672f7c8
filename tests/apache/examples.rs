//! The sites of README, manual and example files, as they are shipped: only ports, paths and
//! Debian's variables are replaced. The slots are two real Tomcats, and the directories of their
//! web applications are the docroots.

use crate::http::{Client, Message};
use crate::shipped;
use crate::site::{Site, text, until};
use crate::tomcat::{self, CANARY, SLOTS, Tomcat};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

mod debian;
mod leaks;
mod variants;

const HOST: &str = "Host: app.example.com";

/// What Debian's Apache has before every site, with all modules that might serve more files.
const DEBIAN: &str = "<Directory />\nOptions FollowSymLinks\nAllowOverride None\nRequire all \
    denied\n</Directory>\n<FilesMatch \"^\\.ht\">\nRequire all denied\n</FilesMatch>\nDirectoryIndex \
    index.html index.cgi index.pl index.php index.xhtml index.htm\n";

/// Returns a shipped configuration with this machine's ports and paths in it.
fn fitted(example: &str, site: &Site) -> String {
    let [one, two] = tomcat::pair();
    let home = one.docroot.parent().unwrap().to_str().unwrap();
    let fitted = example
        .replace("127.0.0.1:8081", &one.http.to_string())
        .replace("127.0.0.1:8082", &two.http.to_string())
        .replace("/home/httpd", home)
        .replace("*:80>", &format!("*:{}>", site.address.port()))
        .replace("${APACHE_LOG_DIR}", "ROOT");
    let replaced = |part: &str| !fitted.contains(part);
    assert!(["8081", "8082", "/home/httpd", ":80>"].into_iter().all(replaced), "{fitted}");
    format!("{DEBIAN}{fitted}")
}

/// Starts a shipped configuration.
fn started(example: &str) -> Site {
    let mut site = Site::new().with(&["negotiation", "autoindex"]);
    let lines = fitted(example, &site);
    site.start(&lines);
    site
}

/// Calls a function with each shipped site and slot: before a flip, after it, and after the way
/// back.
fn each(mut check: impl FnMut(&str, &Site, &Tomcat, &str)) {
    for (name, example) in shipped::sites() {
        let site = started(&example);
        for (at, slot) in ["resin", "resin_standby", "resin"].into_iter().enumerate() {
            if at > 0 {
                site.flip(slot);
            }
            let tomcat = &tomcat::pair()[usize::from(slot == SLOTS[1])];
            check(name, &site, tomcat, slot);
        }
        assert!(!site.log().contains("AH00111"), "a variable is not defined: {}", site.log());
    }
}

fn get(site: &Site, path: &str) -> Message {
    site.ask("GET", path, &[HOST])
}

/// The path that a redirect leads to; it must be on the host that the client asked for.
fn redirect(answer: &Message, what: &str) -> String {
    let location = answer.field("location").unwrap_or_else(|| panic!("{what}: {answer:?}"));
    match location.strip_prefix("http://app.example.com") {
        Some(path) => path.to_owned(),
        None => {
            assert!(location.starts_with('/'), "{what} leads to {location}");
            location.to_owned()
        }
    }
}

/// Tomcat's ETags of files are weak; Apache's are not.
fn is_from_apache(answer: &Message) -> bool {
    answer.field("etag").is_some_and(|tag| tag.starts_with('"'))
}

#[test]
fn a_page_answers_through_each_shipped_site_as_it_does_directly() {
    each(|name, site, tomcat, slot| {
        let mut direct = Client::of(tomcat.http);
        let asked: [(&str, &str, &[u8]); 23] = [
            ("GET", "/", b""),
            ("GET", "/?a=b", b""),
            ("POST", "/", b"a=b"),
            ("GET", "/index.jsp", b""),
            ("GET", "/;jsessionid=1", b""),
            ("GET", "/;jsessionid=1?a=b", b""),
            ("GET", "/docs/;jsessionid=1", b""),
            ("GET", "/docs/page.jsp", b""),
            ("GET", "/docs/../docs/./page.jsp", b""),
            ("GET", "/name.jsp?a=b%20c&d=%3Cx%3E", b""),
            ("HEAD", "/name.jsp", b""),
            ("GET", "/name.jsp;jsessionid=1?a=b", b""),
            ("GET", "/name.jsp;a=b;jsessionid=1.resin", b""),
            ("GET", "/page.jspx", b""),
            ("GET", "/page.jspx;jsessionid=1", b""),
            ("POST", "/echo.jsp", &[b'x'; 30_000]),
            ("POST", "/echo.jsp;jsessionid=1", b"xyz"),
            ("GET", "/api/orders/7?x=y", b""),
            ("GET", "/api/orders;jsessionid=1", b""),
            ("POST", "/api/v1.2/orders", b"{}"),
            ("GET", "/shop/name.jsp?a=b", b""),
            ("GET", "/style.css;jsessionid=1", b""),
            ("GET", "/images/LOGO.v2.PNG;jsessionid=1", b""),
        ];
        for (method, path, body) in asked {
            let what = format!("{name}, {slot}: {method} {path}");
            let mut through = Client::of(site.address);
            let found = through.ask_with(method, path, &[HOST], body).unwrap();
            let expected = direct.ask_with(method, path, &[HOST], body).unwrap();
            assert_eq!(expected.status(), 200, "{what}");
            assert_eq!((found.status(), found.text()), (200, expected.text()), "{what}");
            let of = |answer: &Message| answer.field("content-type").map(str::to_owned);
            assert_eq!(of(&found), of(&expected), "{what}");
            assert!(!is_from_apache(&found), "{what}");
            assert!(
                method == "HEAD" || path.contains("jspx") || found.text().contains(slot),
                "{what}"
            );
        }
        // These do not exist in either of them.
        for path in ["/none.jsp", "/none.jsp;jsessionid=1", "/none.css", "/none/", "/name.jsp/more"]
        {
            let found = get(site, path).status();
            assert_eq!(found, direct.ask("GET", path, b"").unwrap().status(), "{name} {path}");
            assert_eq!(found, 404, "{name} {path}");
        }
    });
}

#[test]
fn static_files_of_each_shipped_site_come_from_apache_byte_by_byte() {
    each(|name, site, tomcat, slot| {
        for (path, file) in [
            ("/name.txt", "name.txt"),
            ("/style.css?v=2", "style.css"),
            ("/docs/", "docs/index.html"),
            ("/docs/index.html", "docs/index.html"),
            ("/images/LOGO.v2.PNG", "images/LOGO.v2.PNG"),
            ("/shop/style.css", "shop/style.css"),
            ("/.well-known/security.txt", ".well-known/security.txt"),
        ] {
            let answer = get(site, path);
            assert_eq!(answer.status(), 200, "{name}, {slot}: {path}");
            assert!(is_from_apache(&answer), "{name}, {slot}: {path}: {answer:?}");
            assert_eq!(answer.body, fs::read(tomcat.docroot.join(file)).unwrap(), "{name}: {path}");
        }
    });
}

#[test]
fn redirects_of_each_shipped_site_stay_on_the_public_host() {
    each(|name, site, _, slot| {
        for (path, to) in [
            ("/go.jsp", "/name.jsp"),
            ("/own.jsp", "/name.jsp"),
            ("/go.jsp;jsessionid=1", "/name.jsp;jsessionid=1"),
            ("/docs", "/docs/"),
            ("/shop", "/shop/"),
        ] {
            let what = format!("{name}, {slot}: {path}");
            let answer = get(site, path);
            assert!(matches!(answer.status(), 301 | 302), "{what}: {}", answer.start);
            let target = redirect(&answer, &what);
            assert_eq!(target, to, "{what}");
        }
        let fields = get(site, "/go.jsp").fields;
        let cookies = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        let cookies: Vec<_> = cookies.map(|(_, value)| value.as_str()).collect();
        assert!(cookies.contains(&format!("k={slot}").as_str()), "{name}: {cookies:?}");
        let below = get(site, "/shop/name.jsp");
        let cookie = below.field("set-cookie").unwrap_or_default();
        assert!(cookie.contains("; Path=/shop;"), "{name}: {cookie}");
    });
}

#[test]
fn a_client_without_cookies_keeps_its_session_in_each_shipped_site() {
    each(|name, site, _, slot| {
        let links = get(site, "/links.jsp").text();
        let links: Vec<_> = links.split_whitespace().collect();
        assert_eq!(links.len(), 5, "{name}: {links:?}");
        for link in &links {
            assert!(link.contains(";jsessionid="), "{name}: {link}");
            let answer = get(site, link);
            assert_eq!(answer.status(), 200, "{name}, {slot}: {link}: {}", site.log());
        }
        let text = get(site, links[0]).text();
        assert!(text.starts_with(&format!("slot={slot} n=9 ")), "{name}: {text}");
    });
}

#[test]
fn the_container_is_told_the_scheme_by_apache_and_not_by_a_client() {
    let site = started(&shipped::file("apache/example-vhost.conf"));
    let answer = site.ask("GET", "/scheme.jsp", &[HOST, "X-Forwarded-Proto: https"]);
    assert_eq!(answer.text(), "http false");
    // With TLS in front of Apache, as in the last comment of the file.
    drop(site);
    let https = "RequestHeader set X-Forwarded-Proto \"https\"";
    let shipped = shipped::file("apache/example-vhost.conf");
    assert!(shipped.contains(&format!("# {https}.")), "the comment is there");
    let site = started(
        &shipped.replace("RequestHeader set X-Forwarded-Proto \"expr=%{REQUEST_SCHEME}\"", https),
    );
    assert_eq!(get(&site, "/scheme.jsp").text(), "https true");
    let answer = get(&site, "/go.jsp");
    assert_eq!(answer.field("location"), Some("https://app.example.com/name.jsp"));
}

#[test]
fn the_log_and_the_header_of_the_example_name_the_slot() {
    let site = started(&shipped::file("apache/example-vhost.conf"));
    for slot in ["resin", "resin_standby"] {
        site.flip(slot);
        for path in ["/", "/name.txt", "/name.jsp"] {
            assert_eq!(get(&site, path).field("x-slot"), Some(slot), "{path}");
        }
    }
    // Apache writes the log line after the answer.
    let lines = |slot: &str| {
        let log = fs::read_to_string(site.path().join("app_access.log")).unwrap();
        log.matches(&format!(" slot={slot} generation=")).count()
    };
    until(|| SLOTS.map(lines) == [3, 3]).unwrap_or_else(|| panic!("{:?}", SLOTS.map(lines)));
}
