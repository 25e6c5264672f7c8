//! No answer of a shipped site shows the source of a JSP, or what the container hides.

use super::*;

/// Spellings of a file's path, in which `/PATH` is that path. Apache and a container understand
/// some of them differently.
const WAYS: [&str; 58] = [
    "/PATH",
    "/PATH?x",
    "/PATH/",
    "/PATH/more",
    "/PATH/more.css",
    "/PATH/more.jsp",
    "/PATH/more.jsp;x",
    "/PATH.",
    "/PATH%20",
    "/PATH%00",
    "/PATH%00.css",
    "/PATH%0a",
    "/PATH%0a.jsp",
    "/PATH%2f",
    "/PATH%5c",
    "/PATH::$DATA",
    "/PATH;",
    "/PATH;x",
    "/PATH;jsessionid=1",
    "/PATH;jsessionid=1.css",
    "/PATH;.jsp",
    "/PATH;x.jsp",
    "/PATH;x=.jsp;y",
    "/PATH;.css",
    "/PATH;.css;x",
    "/PATH;/x.jsp",
    "/PATH;/.jsp/..",
    "/PATH;x/;y",
    "/PATH%3b",
    "/PATH%3Bjsessionid=1",
    "/PATH%3b.jsp",
    "/PATH%253b.jsp",
    "/PATH%23.jsp",
    "/PATH%3f.jsp",
    "/PATH%3f.css;x",
    "//PATH",
    "/./PATH",
    "/.;/PATH",
    "/;x/PATH",
    "/;/PATH;x",
    "/docs/../PATH",
    "/docs/..;/PATH",
    "/docs/..;/PATH;x",
    "/docs/%2e%2e/PATH",
    "/api/..;/PATH",
    "/api/..;x=y/PATH",
    "/api/..%3b/PATH",
    "/api/%2e%2e;/PATH",
    "/api/%2e.%3Bx/PATH",
    "/api/..%2f/PATH",
    "/api/..%252f/PATH",
    "/api/..%5c/PATH",
    "/api/x/..;/..;/PATH",
    "/name.jsp/..;/PATH",
    "/name.jsp;x/..;/PATH",
    "/all/PATH",
    "/.well-known/../PATH",
    "/.well-known/..;/PATH",
];

/// Returns every file that no client may have, in every spelling.
fn questions() -> Vec<String> {
    let hidden = tomcat::hidden();
    let mut questions: BTreeSet<_> = hidden
        .iter()
        .flat_map(|path| {
            let path = path.replace('#', "%23");
            let dots = path.replace('.', "%2e");
            let parameters = path.replace('/', ";x/");
            let doubled = path.replace('/', "//");
            let ways = WAYS.into_iter().map(move |way| way.replace("PATH", &path));
            let others = [dots, parameters.clone() + ";.jsp", parameters, doubled];
            ways.chain(others.map(|other| format!("/{other}")))
        })
        .collect();
    questions.extend(
        [
            "/console/",
            "/console/index.html",
            "/api/..;/console/",
            "/api/..;/console/index.html",
            "/api/..%3B/console/index.html",
            "/WEB-INF",
            "/WEB-INF/",
            "/WEB-INF;x",
            "/META-INF/",
            "/link.txt",
            "/link.txt;x",
            "/all/link.txt",
            "/name",
            "/page",
            "/index",
            "/dump",
            "/.git",
            "/docs/.svn/",
            "/images/",
        ]
        .map(String::from),
    );
    questions.into_iter().collect()
}

/// Tells whether an answer shows the source of a JSP, or what is hidden.
fn leaks(answer: &Message) -> bool {
    let text = answer.text();
    text.contains("<%") || text.contains("jsp:scriptlet") || text.contains(CANARY)
}

/// Returns the questions whose answers leak something.
fn leaking(site: &Site, methods: &[&str]) -> Vec<String> {
    let mut client = Client::of(site.address);
    let mut found = Vec::new();
    for path in questions() {
        for method in methods {
            let answer = client.ask_with(method, &path, &[HOST], b"").unwrap();
            if leaks(&answer) {
                found.push(format!("{} {method} {path}", answer.status()));
            }
        }
    }
    found
}

#[test]
fn no_shipped_site_shows_a_source_or_what_the_container_hides() {
    each(|name, site, _, slot| {
        let found = leaking(site, &["GET", "POST"]);
        assert_eq!(found, Vec::<String>::new(), "{name}, {slot}");
    });
}

#[test]
fn a_sitewide_grant_of_the_administrator_opens_nothing() {
    let rules = "AllowEncodedSlashes On\nMergeSlashes Off\n<Location \"/\">\nRequire all granted\nOptions +Indexes +MultiViews\n\
        AcceptPathInfo On\n</Location>\n</VirtualHost>";
    for (name, example) in shipped::sites() {
        let example = example.replace("</VirtualHost>", rules);
        let site = started(&example);
        assert_eq!(get(&site, "/name.jsp").status(), 200, "{name}");
        let found = leaking(&site, &["GET"]);
        assert_eq!(found, Vec::<String>::new(), "{name}");
        // Such a rule replaces those before it, so the protections do not rely on it.
        let site = started(&example.replace("Redirect 404 \"/\"", "Require all denied"));
        let found = leaking(&site, &["GET"]);
        assert!(found.contains(&"200 GET /WEB-INF/web.xml".into()), "{name}: {found:#?}");
        assert!(found.contains(&"200 GET /dump.sql".into()), "{name}: {found:#?}");
    }
}

/// Removes a section from a configuration.
fn without(section: &str, example: &str) -> String {
    let (head, rest) = example.split_once(&format!("<{section} ")).expect(section);
    let (_, tail) = rest.split_once(&format!("</{section}>\n")).expect(section);
    format!("{head}{tail}")
}

#[test]
fn each_protection_of_a_shipped_site_is_needed() {
    let [(_, example), ..] = shipped::sites();
    let site = |text: String| {
        assert_ne!(text, example, "something was changed");
        started(&text)
    };
    let leaking = |text: String, some: &[&str]| {
        let found = leaking(&site(text), &["GET"]);
        for path in some {
            assert!(found.contains(&format!("200 GET {path}")), "{path}: {found:#?}");
        }
    };
    leaking(
        without("FilesMatch", &example),
        &["/dump.sql", "/Secret.class", "/app.jar", "/name.tag", "/style.css~"],
    );
    leaking(
        without("LocationMatch", &example),
        &[
            "/WEB-INF/web.xml",
            "/META-INF/notes.html",
            "/web-inf/notes.txt",
            "/shop/WEB-INF/notes.txt",
            "/.git/index.html",
            "/api/..;/dump.sql",
            "/api/..;/console/",
            "/name.jsp.txt",
        ],
    );
    leaking(example.replace("^[^;]*\\.jspx?", "\\.jspx?"), &["/dump.sql;.jsp"]);
    leaking(example.replace("^[^;]*(/|", "(/|"), &["/dump.sql;.css;x"]);
    leaking(example.replace("Options None", ""), &["/link.txt"]);
    // Without both protections, and without each of them.
    let open = without("LocationMatch", &without("FilesMatch", &example));
    leaking(
        open.replace("([/;]|$)", "$"),
        &["/name.jsp~", "/name.jsp.bak", "/NAME.JSP", "/WEB-INF/web.xml", "/.env"],
    );
    let pages = site(open.replace("([/;]|$)", "$").replace("    ProxyPassMatch   \"(?i)", "#"));
    assert_eq!(get(&pages, "/name.jsp;jsessionid=1").status(), 404);
    assert_eq!(get(&pages, "/;jsessionid=1").status(), 404);
    let routes = site(example.replace("DirectoryIndex index.html index.jsp", ""));
    assert_ne!(get(&routes, "/").status(), 200);
    let answer = get(&site(example.replace("ProxyPassReverse", "#")), "/own.jsp");
    assert!(answer.field("location").unwrap().starts_with("http://127.0.0.1:"), "{answer:?}");
    let answer = get(&site(example.replace("ProxyPreserveHost", "#")), "/name.jsp");
    assert!(answer.text().contains("host=127.0.0.1:"), "{answer:?}");
}
