//! A group in place of a backend's address: each kind of route in each context, compared with an
//! Apache without mod_slot that has the address itself. Status, body and headers are the same.

use crate::apache;
use crate::backend::{Backend, ok};
use crate::http::Message;
use crate::older;
use crate::site::{Mpm, Site};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::{fs, thread};

/// Lines in which `URL` is the group for one Apache and the backend's address for the other;
/// `ADDRESS` is the backend's address for both, without a unix socket.
const ROUTES: &str = r#"
DocumentRoot ROOT/docs
<Directory ROOT/docs>
    Require all granted
    AllowOverride All
    Options +FollowSymLinks +Includes
</Directory>
AddOutputFilter INCLUDES .shtml

ProxyPass        "/pass/"     "URL/base/"
ProxyPass        "/pass-raw/" "URL/base/" nocanon
ProxyPass        "/pass-enc/" "URL/base/" mapping=encoded
ProxyPass        "/pass-servlet/" "URL/base/" mapping=servlet
ProxyPass        "/pass-not/" "!"
ProxyPass        "/plain"     "URL/plain"
ProxyPassMatch   "^/match/(.*)$" "URL/m/$1"
ProxyPassMatch   "^/bare(/.*\.jsp)$" "URL$1"
ProxyPassMatch   "\.idx$"     "URL"
ProxyPassMatch   "^/with-query/(.*)$" "URL/q/$1?fixed=1"
ProxyPassReverse "/pass/"     "URL/base/"
<Location "/loc/">
    ProxyPass "URL/l/"
</Location>
<LocationMatch "^/locmatch/(.*)$">
    ProxyPassMatch "URL/lm/$1"
</LocationMatch>

RewriteEngine On
RewriteRule "^/rule/(.*)$"    "URL/r/$1" [P]
RewriteRule "^/rule-ne/(.*)$" "URL/r/$1" [NE,P]
RewriteRule "^/rule-q/(.*)$"  "URL/r/$1?more=1" [P,QSA]
RewriteRule "^/rule-b/(.*)$"  "URL/r/?path=$1" [B,P,L]
RewriteRule "^/rule-all/"     "URL%{REQUEST_URI}" [P]
RewriteRule "^/rule-bare$"    "URL" [P]
RewriteRule "^/again/(.*)$"   "/pass/$1" [PT]
RewriteRule "^/forbidden/"    "-" [F]
<Location "/rloc">
    RewriteEngine On
    RewriteRule "^" "URL%{REQUEST_URI}" [P]
</Location>
<LocationMatch "^/rlm/">
    RewriteEngine On
    RewriteRule "^" "URL%{REQUEST_URI}?loc=1" [P]
</LocationMatch>
<Files "*.rf">
    RewriteEngine On
    RewriteRule "([^/]*)$" "URL/f/$1" [P]
</Files>
<FilesMatch "\.rfm$">
    RewriteEngine On
    RewriteRule "([^/]*)$" "URL/fm/$1" [P,NE]
</FilesMatch>
<If "%{REQUEST_URI} =~ m#^/rif/#">
    RewriteEngine On
    RewriteRule "([^/]*)$" "URL/i/$1" [P]
</If>
<Directory "ROOT/docs/rdir">
    RewriteEngine On
    RewriteRule "(.*)" "URL/d/$1" [P]
</Directory>
<DirectoryMatch "/docs/rdm">
    RewriteEngine On
    RewriteBase /rdm/
    RewriteRule "([^/]*)$" "URL/dm/$1" [P]
</DirectoryMatch>
<VirtualHost *>
    ServerName vhost.example
    DocumentRoot ROOT/docs
    RewriteEngine On
    RewriteRule "^/vrule/(.*)$" "URL/vr/$1" [P]
    ProxyPass "/vpass/" "URL/vp/"
    <Location "/vloc/">
        RewriteEngine On
        RewriteRule "^" "URL%{REQUEST_URI}" [P]
    </Location>
</VirtualHost>
<VirtualHost *>
    ServerName localhost
    DocumentRoot ROOT/docs
    RewriteEngine On
    RewriteOptions Inherit
</VirtualHost>

<Location "/index">
    DirectoryIndex a.idx
</Location>
<Directory "ROOT/docs/fallback">
    FallbackResource /pass/fallback
</Directory>
<Directory "ROOT/docs/fallback-rule">
    FallbackResource /rule/fallback
</Directory>
<Location "/gone">
    ErrorDocument 404 /pass/error
</Location>
<Location "/gone-rule">
    ErrorDocument 404 /rule/error
</Location>

<Proxy "ADDRESS/base/secret*">
    Require all denied
</Proxy>
<Proxy "ADDRESS/r/secret">
    Require all denied
</Proxy>
<Proxy "*">
    Header add X-All "1"
</Proxy>
<ProxyMatch "^(slot://app|(unix:[^|]*\|)?ADDRESS)/">
    Header add X-Both "1"
</ProxyMatch>
<ProxyMatch "^ADDRESS/(?<part>[a-z]+)/">
    Header add X-Part "%{MATCH_PART}e"
</ProxyMatch>
<Proxy "ADDRESS/m/">
    Header edit X-All "1" "2"
    RequestHeader set X-M "m"
</Proxy>
<Proxy "UNIX">
    Header add X-Unix "1"
</Proxy>
"#;

const HTACCESS: &str = "RewriteEngine On\nRewriteRule \"^file-(.*)\" \"URL/h/$1\" [P]\nRewriteRule \
                        \"^pass-(.*)\" \"/pass/$1\"\n<Files \"*.hf\">\nRewriteEngine On\nRewriteRule \
                        \"([^/]*)$\" \"URL/hf/$1\" [P]\n</Files>\n";

/// Paths, each requested with all of `ENDS`.
const PREFIXES: [&str; 27] = [
    "/pass-enc/",
    "/pass-servlet/",
    "/pass/",
    "/pass-raw/",
    "/pass-not/",
    "/plain/",
    "/match/",
    "/with-query/",
    "/loc/",
    "/locmatch/",
    "/rule/",
    "/rule-ne/",
    "/rule-q/",
    "/rule-b/",
    "/rule-all/",
    "/again/",
    "/forbidden/",
    "/rloc/",
    "/rlm/",
    "/rif/",
    "/rdir/",
    "/rdm/",
    "/rht/file-",
    "/rht/pass-",
    "/bare/",
    "/vpass/",
    "/nothing/",
];

const ENDS: [&str; 17] = [
    "",
    "x",
    "x?y=z",
    "x?y=%20a&b=%2F",
    "a%20b",
    "a%2525b",
    "a+b",
    "%e4%c3%a4",
    "secret",
    "secret/deep?x",
    "a.jsp",
    "a;v=1/b.jsp;s=2?q",
    "../x",
    "a//b",
    "x?u=slot://other/",
    "a%3Fb",
    "a:b",
];

const PATHS: [&str; 36] = [
    "/bare/a.jsp?x",
    "/bare.jsp",
    "/x/y.idx",
    "/x/y.idx?q=1",
    "/plain",
    "/rule-bare",
    "/rule-bare?x=y",
    "/rf/x.rf",
    "/rf/a%20b.rf?x",
    "/x.rfm",
    "/x.rfm?y=%2F",
    "/rht/x.hf",
    "/rht/sub/x.hf?y",
    "/index/",
    "/index/?x=y",
    "/index/sub/",
    "/index-none/",
    "/fallback/",
    "/fallback/x/y?z",
    "/fallback-rule/",
    "/fallback-rule/x?y",
    "/gone/x",
    "/gone-rule/x?y",
    "/ssi/pass.shtml",
    "/ssi/rule.shtml",
    "/ssi/index.shtml",
    "/ssi/deep.shtml",
    "/ssi/secret.shtml",
    "/ssi/htaccess.shtml",
    "/rloc",
    "/rlm/?a",
    "/static.txt",
    "/rdir/sub/x",
    "/rdir",
    "/rdm/sub/x?y",
    "/%2e%2e/pass/x",
];

/// The same in a virtual host.
const HOSTED: [&str; 8] = [
    "/vrule/x?y",
    "/vrule/a%20b",
    "/vpass/x",
    "/vpass/secret",
    "/vloc/x?y",
    "/vloc/a%20b",
    "/pass/x",
    "/rule/x",
];

/// The files of both.
fn files(site: &Site, url: &str) {
    site.write("docs/static.txt", "static\n");
    site.write("docs/rht/.htaccess", &HTACCESS.replace("URL", url));
    for dir in
        ["index/sub", "index-none", "fallback", "fallback-rule", "rdir/sub", "rdm/sub", "rht/sub"]
    {
        fs::create_dir_all(site.path().join("docs").join(dir)).unwrap();
    }
    for (name, path) in [
        ("pass", "/pass/included?a=b"),
        ("rule", "/rule/included"),
        ("index", "/index/"),
        ("deep", "/ssi/rule.shtml"),
        ("secret", "/pass/secret"),
        ("htaccess", "/rht/file-x"),
    ] {
        let page = format!("before <!--#include virtual=\"{path}\" --> after\n");
        site.write(&format!("docs/ssi/{name}.shtml"), &page);
    }
}

const MODULES: [&str; 2] = ["rewrite", "include"];

/// An Apache with the address itself.
fn plain(kind: &Kind) -> Site {
    plain_after(kind, |_| String::new())
}

/// The same, with these lines first.
fn plain_after(kind: &Kind, first: impl Fn(&Site) -> String) -> Site {
    let mut site = Site::new().without_slot().with(&MODULES).with(kind.modules);
    files(&site, &kind.address);
    // In a rule's URL, mod_proxy recognises a unix socket by itself.
    site.start(&format!("{}{}", first(&site), kind.lines(&kind.address)));
    site
}

/// An Apache with a group of one slot with this address.
fn slotted(kind: &Kind, mut site: Site, first: &str) -> Site {
    files(&site, "slot://app");
    let group = format!("<SlotGroup app>\nSlot only \"{}\"\n</SlotGroup>\n", kind.address);
    site.start(&format!("{first}{group}{}", kind.lines("slot://app")));
    site
}

/// The protocol of the backend.
struct Kind {
    name: &'static str,
    address: String,
    modules: &'static [&'static str],
}

impl Kind {
    fn lines(&self, url: &str) -> String {
        let bare = self.address.split('|').next_back().unwrap_or_default();
        let unix = format!("{}/r/", self.address);
        ROUTES.replace("URL", url).replace("ADDRESS", bare).replace("UNIX", &unix)
    }
}

/// The answer without text that depends on the directory of the Apache.
fn outcome(site: &Site, host: &str, path: &str) -> String {
    let answer = site.ask("GET", path, &[&format!("Host: {host}")]);
    let root = site.path().display().to_string();
    let shown = |name: &&str| {
        let all = answer.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        format!("{name}: {:?}", all.map(|(_, value)| value).collect::<Vec<_>>())
    };
    let names = ["X-All", "X-Both", "X-Part", "X-Unix", "Location", "Content-Type"];
    let fields: Vec<_> = names.iter().map(shown).collect();
    let text = answer.text().replace(&root, "ROOT");
    // A file in a directory that exists only in the request's path gets the same answer, except
    // that Apache names its port in some pages.
    let text = text.replace(&site.address.port().to_string(), "PORT");
    let fields = fields.join(" ").replace(&site.address.port().to_string(), "PORT");
    format!("{} {fields}\n    {text}", answer.status())
}

fn compare(kind: &Kind, [plain, slot]: [&Site; 2]) {
    let paths =
        PREFIXES.iter().flat_map(|prefix| ENDS.iter().map(move |end| format!("{prefix}{end}")));
    let paths = paths.chain(PATHS.iter().map(|path| (*path).to_owned()));
    let all = paths.map(|path| ("localhost", path));
    let all = all.chain(HOSTED.iter().map(|path| ("vhost.example", (*path).to_owned())));
    // Before 2.4.63, a per-directory rule cannot reach a unix socket, unless it is a slot's.
    let is_broken = kind.name == "unix" && plain.magic() < 135;
    let least = if is_broken { 200 } else { 250 };
    let (mut differences, mut reached, mut denied, mut count) = (Vec::new(), 0, 0, 0);
    for (host, path) in all {
        let [expected, got] = [plain, slot].map(|site| outcome(site, host, &path));
        count += 1;
        reached += usize::from(expected.contains("reached "));
        denied += usize::from(expected.starts_with("403"));
        let fails = expected.starts_with("500") || expected.contains("[an error occurred");
        let is_fault = is_broken && fails && got.contains("reached ");
        if expected != got && !is_fault {
            differences.push(format!("{host} {path}\n  plain {expected}\n  slot  {got}"));
        }
    }
    println!(
        "{}: {count} requests, {reached} reached the backend, {denied} were denied",
        kind.name
    );
    assert!(reached > least && denied > 10, "{}: {reached} {denied}\n{}", kind.name, plain.log());
    let first = &differences[..differences.len().min(12)];
    assert!(
        differences.is_empty(),
        "{}: {} differences\n{}\n{}",
        kind.name,
        differences.len(),
        first.join("\n"),
        slot.log().lines().filter(|line| line.contains("[slot:")).collect::<Vec<_>>().join("\n")
    );
}

/// A backend that answers with the request.
fn backend() -> Backend {
    Backend::start(apache::free_port().unwrap(), |request: &Message| {
        let host = request.field("host").unwrap_or("-");
        let header = request.field("x-m").unwrap_or("-");
        ok(&format!("reached {} host={host} m={header}\n", request.start))
    })
}

/// Forwards connections of a unix socket to a backend.
fn relay(path: &Path, to: SocketAddr) {
    let listener = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    let pump = |mut from: Box<dyn io::Read + Send>, mut to: Box<dyn io::Write + Send>| {
        let _ = io::copy(&mut from, &mut to);
    };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(to).unwrap();
            let (client_too, server_too): (UnixStream, TcpStream) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                pump(Box::new(client), Box::new(server_too));
                let _ = ends.1.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                pump(Box::new(server), Box::new(client_too));
                let _ = ends.0.shutdown(Shutdown::Both);
            });
        }
    });
}

#[test]
fn a_group_is_a_backend_in_every_context() {
    let backend = backend();
    let kind = Kind { name: "http", address: format!("http://{}", backend.address), modules: &[] };
    let plain = plain(&kind);
    for mpm in [Mpm::Event, Mpm::Prefork] {
        let slot = slotted(&kind, Site::of(mpm).with(&MODULES), "");
        compare(&kind, [&plain, &slot]);
    }
}

#[test]
fn a_group_is_a_backend_wherever_mod_slot_is_loaded() {
    let backend = backend();
    let kind = Kind { name: "order", address: format!("http://{}", backend.address), modules: &[] };
    let plain = plain(&kind);
    let late = ["proxy", "proxy_http", "dir", "alias", "headers", "mime"];
    let line = |name: &str| {
        let path = Site::modules().join(format!("mod_{name}.so"));
        format!("LoadModule {name}_module {}\n", path.display())
    };
    let first: String = late.iter().map(|name| line(name)).collect();
    let site = Site::new().with(&MODULES).without(&late);
    // Loaded after mod_slot; the lines that need them come after that.
    let types = "TypesConfig /dev/null\nAddType text/html .html .shtml\n";
    let slot = slotted(&kind, site.without_types(), &format!("{first}{types}"));
    compare(&kind, [&plain, &slot]);
}

#[test]
fn a_group_works_where_mod_proxy_canonicalises_less() {
    let backend = backend();
    let kind = Kind { name: "older", address: format!("http://{}", backend.address), modules: &[] };
    let first = |site: &Site| older::lines(site, 121, true);
    let plain = plain_after(&kind, first);
    let site = Site::new().with(&MODULES);
    let first = first(&site);
    compare(&kind, [&plain, &slotted(&kind, site, &first)]);
}

#[test]
fn a_group_is_a_backend_with_a_path_in_its_address() {
    let backend = backend();
    let address = format!("http://{}/ctx", backend.address);
    let kind = Kind { name: "path", address, modules: &[] };
    let slot = slotted(&kind, Site::new().with(&MODULES), "");
    compare(&kind, [&plain(&kind), &slot]);
}

#[test]
fn a_group_is_a_backend_behind_a_unix_socket() {
    let backend = backend();
    let dir = apache::directory("mod_slot-socket-").unwrap();
    let path = dir.path().join("app.sock");
    relay(&path, backend.address);
    let address = format!("unix:{}|http://localhost", path.display());
    let kind = Kind { name: "unix", address, modules: &[] };
    let slot = slotted(&kind, Site::new().with(&MODULES), "");
    compare(&kind, [&plain(&kind), &slot]);
}
