//! Each kind of route to a group, and mod_proxy's features for routes.

use crate::backend::{Backend, ok};
use crate::http::Client;
use crate::site::{Mpm, Site, until};
use std::fs;
use std::os::unix::net::UnixListener;
use std::thread;

/// An Apache with the group `app` of two backends with docroots, and these lines.
pub(crate) fn site(mut site: Site, lines: &str) -> (Site, [Backend; 2]) {
    let backends = ["blue", "green"].map(Backend::named);
    site.docroots(&["blue", "green"]);
    let group = group(&backends);
    site.start(&format!("{group}\n<Directory ROOT>\nRequire all granted\n</Directory>\n{lines}"));
    (site, backends)
}

fn group([blue, green]: &[Backend; 2]) -> String {
    format!(
        "<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\nSlot green http://{} \
         docroot=ROOT/green\n</SlotGroup>",
        blue.address, green.address
    )
}

#[test]
fn each_kind_of_route_leads_to_the_active_slot() {
    let (site, _backends) = site(
        Site::new().with(&["rewrite"]),
        r#"
SlotDocumentRoot app
RewriteEngine On
RewriteRule "^/rewrite/(.*)$" "slot://app/$1" [P]
ProxyPass        "/pass/" "slot://app/"
ProxyPassMatch   "^/match/(.*)$" "slot://app/$1"
ProxyPassMatch   "\.jsp$" "slot://app"
<Location "/location/">
    ProxyPass "slot://app/"
</Location>
<LocationMatch "\.handled$">
    SetHandler "proxy:slot://app"
</LocationMatch>
Alias "/htaccess/" "ROOT/htaccess/"
<Directory "ROOT/htaccess">
    AllowOverride All
</Directory>
"#,
    );
    site.write(
        "htaccess/.htaccess",
        "RewriteEngine On\nRewriteRule \"(.*)\" \"slot://app/$1\" [P]",
    );
    let ways = [
        ("/pass/a?b=c", "/a?b=c"),
        ("/match/a?b=c", "/a?b=c"),
        ("/rewrite/a?b=c", "/a?b=c"),
        ("/location/a?b=c", "/a?b=c"),
        ("/htaccess/a?b=c", "/a?b=c"),
        ("/deep/x.jsp?b=c", "/deep/x.jsp?b=c"),
        ("/deep/x.handled?b=c", "/deep/x.handled?b=c"),
    ];
    for slot in ["blue", "green", "blue"] {
        site.flip(slot);
        for (path, seen) in ways {
            let text = site.get(path).text();
            assert!(text.starts_with(&format!("slot={slot} GET {seen} ")), "{path}: {text}");
        }
        assert_eq!(site.get("/name.txt").text(), format!("slot={slot}\n"));
    }
}

#[test]
fn a_path_excluded_from_proxying_is_served_from_the_docroot() {
    let (site, _backends) =
        site(Site::new(), "SlotDocumentRoot app\nProxyPass /name.txt !\nProxyPass / slot://app/\n");
    for slot in ["blue", "green"] {
        site.flip(slot);
        assert_eq!(site.get("/name.txt").text(), format!("slot={slot}\n"));
        assert!(site.get("/other.txt").text().starts_with(&format!("slot={slot} GET /other.txt")));
    }
}

#[test]
fn the_backend_sees_its_own_name_or_the_clients() {
    for (setting, preserved) in [("Off", false), ("On", true)] {
        let lines = format!("ProxyPreserveHost {setting}\nProxyPass / slot://app/\n");
        let (site, backends) = site(Site::new(), &lines);
        for (slot, backend) in ["blue", "green"].into_iter().zip(&backends) {
            site.flip(slot);
            let own = backend.address.to_string();
            let seen = if preserved { "shop.example" } else { &own };
            let text = site.ask("GET", "/", &["Host: shop.example"]).text();
            assert!(text.contains(&format!(" host={seen}\n")), "{setting}: {text}");
        }
    }
}

#[test]
fn answers_are_mapped_back_whatever_slot_gave_them() {
    let backends = [(); 2].map(|()| {
        let address = crate::apache::free_port().unwrap();
        Backend::start(address, move |request| {
            let dir = if request.start.contains("/in/") { "in" } else { "inner" };
            format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{address}/{dir}/next?x=1\r\n\
                 Content-Location: http://{address}/{dir}/here\r\nSet-Cookie: a=1; \
                 Domain=127.0.0.1; Path=/in/\r\nSet-Cookie: b=2; Path=/elsewhere/\r\n\
                 Content-Length: 0\r\n\r\n"
            )
            .into_bytes()
        })
    });
    let mut site = Site::new();
    site.start(&format!(
        r#"{}
ProxyPass        "/out/" "slot://app/in/"
ProxyPassReverse "/out/" "slot://app/in/"
ProxyPassReverseCookieDomain "slot://app" "www.example"
ProxyPassReverseCookiePath "/in/" "/out/"
<Location "/place/">
    ProxyPass "slot://app/inner/"
    ProxyPassReverse "slot://app/inner/"
</Location>
"#,
        group(&backends)
    ));
    for slot in ["blue", "green", "blue"] {
        site.flip_unchecked(slot);
        for prefix in ["/out/", "/place/"] {
            let answer = site.ask("GET", &format!("{prefix}x"), &["Host: www.example"]);
            let url = |rest: &str| format!("http://www.example{prefix}{rest}");
            assert_eq!(answer.status(), 302);
            assert_eq!(answer.field("location"), Some(&*url("next?x=1")), "{slot}");
            assert_eq!(answer.field("content-location"), Some(&*url("here")), "{slot}");
        }
        let answer = site.get("/out/x");
        let cookies: Vec<_> =
            answer.fields.iter().filter(|(name, _)| name == "Set-Cookie").map(|(_, v)| v).collect();
        assert_eq!(cookies, ["a=1; Domain=www.example; Path=/out/", "b=2; Path=/elsewhere/"]);
    }
}

#[test]
fn proxypassreverse_maps_the_path_of_each_slots_address() {
    let backends = ["one", "two"].map(|context| {
        let address = crate::apache::free_port().unwrap();
        Backend::start(address, move |request| {
            let dir = if request.start.contains("/in/") { "in" } else { "inner" };
            format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{address}/{context}/{dir}/next\r\nSet-Cookie: a=1; \
                 Path=/{context}/{dir}/\r\nContent-Length: 0\r\n\r\n"
            )
            .into_bytes()
        })
    });
    let mut site = Site::new();
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{}/one\nSlot green http://{}/two/\n</SlotGroup>\n\
         ProxyPass /out/ slot://app/in/\nProxyPassReverse /out/ slot://app/in/\n\
         ProxyPassReverseCookiePath slot://app/in/ /out/\n<Location /place/>\nProxyPass slot://app/inner/\n\
         ProxyPassReverse slot://app/inner/\nProxyPassReverseCookiePath slot://app/inner/ /place/\n</Location>\n",
        backends[0].address, backends[1].address
    ));
    for slot in ["blue", "green", "blue"] {
        site.flip(slot);
        for prefix in ["/out/", "/place/"] {
            let answer = site.ask("GET", &format!("{prefix}x"), &["Host: www.example"]);
            let location = format!("http://www.example{prefix}next");
            assert_eq!(answer.field("location"), Some(&*location), "{slot}");
            assert_eq!(answer.field("set-cookie"), Some(&*format!("a=1; Path={prefix}")), "{slot}");
        }
    }
}

#[test]
fn an_explicit_retry_works_as_without_slots() {
    let started = |lines: &str, mut site: Site| {
        // One process with many threads, so that each request meets the state that the one before it
        // left.
        let shape = "StartServers 1\nServerLimit 1\nMaxRequestWorkers 32\nMaxSpareThreads 32\n";
        site.start(&format!("{shape}{lines}\n"));
        site
    };
    let section = "<Proxy ADDRESS>\nProxySet retry=60\n</Proxy>\nProxyPass / URL/";
    for lines in
        [section, "ProxyPass / URL/ retry=60", "ProxyPass / URL/ retry=0", "ProxyPass / URL/"]
    {
        let backend = Backend::named("only");
        let (at, address) = (backend.address, format!("http://{}", backend.address));
        let lines = |url: &str| lines.replace("URL", url).replace("ADDRESS", &address);
        let plain = started(&lines(&address), Site::of(Mpm::Event).without_slot());
        let group = format!("<SlotGroup app>\nSlot only {address}\n</SlotGroup>\n");
        let slot = started(&(group + &lines("slot://app")), Site::of(Mpm::Event));
        drop(backend);
        until(|| std::net::TcpStream::connect(at).is_err()).unwrap();
        let both = || [&plain, &slot].map(|site| site.get("/").status());
        assert_eq!(both(), [503, 503], "{}", lines("URL"));
        let _backend = Backend::at(at, "only");
        let [expected, got] = both();
        if lines("").contains("retry=60") {
            assert_eq!(got, expected, "{}", lines("URL"));
        } else {
            assert_eq!(got, 200, "{}", lines("URL"));
        }
    }
}

#[test]
fn parameters_of_addresses_and_of_routes_are_obeyed() {
    let backends = ["blue", "green"].map(Backend::named);
    let mut site = Site::new();
    let lines = format!(
        "{}\n<Proxy http://{}>\nProxySet timeout=1\n</Proxy>\nProxyPass /route/ \
         slot://app/route/ timeout=1\nProxyPass / slot://app/\n",
        group(&backends),
        backends[0].address
    );
    site.start(&lines);
    let slow = |prefix: &str| site.get(&format!("{prefix}x?sleep=1800")).status();
    assert!(matches!(slow("/"), 502 | 504), "the address' parameters");
    site.flip_unchecked("green");
    assert_eq!(slow("/"), 200, "the other address has none");
    assert!(matches!(slow("/route/"), 502 | 504), "the route's parameters");
    // A timeout does not disable the backend: the next request is answered.
    assert_eq!(site.get("/route/x").status(), 200);
}

#[test]
fn a_slot_that_was_down_gets_requests_as_soon_as_it_is_up() {
    for lines in ["ProxyPass / slot://app/", "ProxyPass / slot://app/ timeout=5"] {
        let (site, [_blue, green]) = site(Site::new(), lines);
        let address = green.address;
        drop(green);
        until(|| std::net::TcpStream::connect(address).is_err()).expect("green is down");
        site.flip_unchecked("green");
        for _ in 0..3 {
            assert_eq!(site.get("/").status(), 503);
        }
        let _green = Backend::at(address, "green");
        for _ in 0..20 {
            assert_eq!(site.get("/").status(), 200, "{lines}");
        }
    }
}

#[test]
fn a_request_ends_in_the_slot_it_began_in_with_its_error_page() {
    let answer = |name: &'static str| {
        Backend::start(crate::apache::free_port().unwrap(), move |_| {
            let body = format!("slot={name}");
            String::from_utf8(ok(&body)).unwrap().replacen("200 OK", "404 No", 1).into_bytes()
        })
    };
    let backends = ["blue", "green"].map(answer);
    let mut site = Site::new().with(&["include"]);
    for slot in ["blue", "green"] {
        let page = format!("slot={slot} env=<!--#echo var=\"SLOT\" -->");
        site.write(&format!("{slot}/404.shtml"), &page);
    }
    site.start(&format!(
        "{}\nSlotDocumentRoot app\nProxyPass /app/ slot://app/\nProxyErrorOverride On\nErrorDocument \
         404 /404.shtml\n<Directory ROOT>\nRequire all granted\nOptions +Includes\n</Directory>\n\
         AddOutputFilter INCLUDES .shtml\nHeader always set X-Slot %{{SLOT}}e\n",
        group(&backends)
    ));
    thread::scope(|scope| {
        let asked = scope.spawn(|| site.get("/app/x?held"));
        until(|| backends[0].busy() == 1).unwrap();
        site.flip("green");
        backends[0].release(1);
        let answer = asked.join().unwrap();
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.text(), "slot=blue env=blue");
        assert_eq!(answer.field("x-slot"), Some("blue"));
    });
    assert_eq!(site.get("/app/x").text(), "slot=green env=green");
    let line = site.access_log().lines().next().unwrap().to_owned();
    assert_eq!(line, "404 slot=blue generation=1 blue GET /app/x");
}

#[test]
fn the_variables_are_set_for_every_consumer() {
    let (site, _backends) = site(
        Site::new().with(&["rewrite", "include"]),
        r#"
SlotDocumentRoot app
ProxyPreserveHost On
ProxyPass "/api/" "slot://app/"
Header set X-Slot "%{SLOT}e %{SLOT_GENERATION}e %{SLOT_ROLE}e"
RequestHeader set Host "%{SLOT}e.example"
<If "reqenv('SLOT') == 'green'">
    Header set X-If "green"
</If>
<Directory "ROOT">
    RewriteEngine On
    RewriteCond "%{ENV:SLOT}" "=green"
    RewriteRule "only-green$" "/name.txt"
</Directory>
"#,
    );
    for (slot, generation) in [("blue", 1), ("green", 2)] {
        site.flip(slot);
        let name = Some(format!("{slot} {generation} active"));
        for path in ["/name.txt", "/api/x"] {
            let answer = site.get(path);
            assert_eq!(answer.field("x-slot"), name.as_deref(), "{path}");
            assert_eq!(answer.field("x-if").is_some(), slot == "green", "{path}");
        }
        assert!(site.get("/api/x").text().contains(&format!("host={slot}.example")));
        let found = if slot == "green" { 200 } else { 404 };
        assert_eq!(site.get("/only-green").status(), found);
    }
}

#[test]
fn connections_to_a_slot_are_kept() {
    let (site, [blue, _green]) = site(Site::of(Mpm::Event), "ProxyPass / slot://app/");
    let mut client = Client::of(site.address);
    for _ in 0..50 {
        assert_eq!(client.ask("GET", "/", &[]).unwrap().status(), 200);
    }
    assert!(blue.connections() <= 2, "{} connections", blue.connections());
}

#[test]
fn only_slots_have_pools_of_connections() {
    let lines =
        "LogLevel proxy:debug\nProxyPass /a/ slot://app/ timeout=5\nProxyPass / slot://app/";
    let (site, backends) = site(Site::new(), lines);
    assert_eq!(site.get("/").status(), 200);
    let log = site.log();
    let made = |of: &str| log.matches(&format!("initializing worker {of}")).count();
    for backend in &backends {
        assert!(made(&format!("http://{}/ local", backend.address)) > 0, "{log}");
    }
    assert_eq!(made("slot://app/ local"), 0, "{log}");
}

#[test]
fn a_forward_proxy_passes_nothing_to_a_group() {
    let (site, _backends) =
        site(Site::new(), "ProxyRequests On\n<Proxy *>\nRequire all granted\n</Proxy>\n");
    let answer = Client::of(site.address).ask("GET", "slot://app/secret", &[]).unwrap();
    assert!(!answer.text().contains("slot=blue"), "{}", answer.text());
    assert!(answer.status() >= 400, "{}", answer.start);
}

#[test]
fn slots_are_balancers_sockets_or_static() {
    let mut site = Site::new().with(&["proxy_balancer", "slotmem_shm", "lbmethod_byrequests"]);
    let backends = ["one", "two"].map(Backend::named);
    let socket = site.path().join("app.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut seen = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut seen);
            let answer = String::from_utf8(ok("slot=socket")).unwrap();
            let answer = answer.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    site.docroots(&["static", "socket"]);
    site.start(&format!(
        r#"<Proxy "balancer://members">
    BalancerMember http://{} retry=0
    BalancerMember http://{} retry=0
</Proxy>
<SlotGroup app>
    Slot balancer balancer://members
    Slot socket   "unix:{}|http://localhost"
</SlotGroup>
<SlotGroup files>
    Slot static - docroot=ROOT/static
    Slot socket - docroot=ROOT/socket
</SlotGroup>
<Directory ROOT>
    Require all granted
</Directory>
SlotDocumentRoot files
ProxyPass "/app/" "slot://app/"
"#,
        backends[0].address,
        backends[1].address,
        socket.display()
    ));
    let said: Vec<_> = (0..4).map(|_| site.get("/app/x?y").text()).collect();
    for name in ["one", "two"] {
        let start = format!("slot={name} GET /x?y ");
        assert!(said.iter().any(|text| text.starts_with(&start)), "{said:?}");
    }
    site.flip("socket");
    assert_eq!(site.get("/app/x").text(), "slot=socket");
    assert_eq!(site.get("/name.txt").text(), "slot=static\n");
    site.run(&["flip", "files", "socket"]);
    assert_eq!(site.get("/name.txt").text(), "slot=socket\n");
}
