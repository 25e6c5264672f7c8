//! The protocols that Apache can speak to a slot.

use crate::backend::Backend;
use crate::http::Client;
use crate::site::{Site, until};
use crate::tomcat::{self, Pending, SLOTS};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

const UPGRADE: &[u8] = b"GET /live/chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn live(name: &'static str) -> Backend {
    Backend::start(crate::apache::free_port().unwrap(), move |request| {
        let upgrade = request.field("upgrade").unwrap_or_default();
        assert!(upgrade.eq_ignore_ascii_case("websocket"), "{}", request.start);
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             X-Backend: {name}\r\n\r\n"
        )
        .into_bytes()
    })
}

/// Sends bytes over an upgraded connection, and reads them back.
fn echo(stream: &mut BufReader<std::net::TcpStream>, bytes: &[u8]) {
    stream.get_mut().write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
}

#[test]
fn a_websocket_stays_in_its_slot_until_it_is_closed() {
    let section = "<Proxy http://ADDRESS>\nProxySet upgrade=websocket\n</Proxy>\n";
    for (scheme, parameter, section, modules) in [
        ("http", "upgrade=websocket", "", &[][..]),
        ("http", "", section, &[]),
        ("ws", "", "", &["proxy_wstunnel"]),
    ] {
        let backends = ["blue", "green"].map(live);
        let mut site = Site::new().with(modules);
        let section = |backend: &Backend| section.replace("ADDRESS", &backend.address.to_string());
        site.start(&format!(
            "{}{}<SlotGroup app>\nSlot blue {scheme}://{}\nSlot green {scheme}://{}\n</SlotGroup>\n\
             ProxyPass /live/ slot://app/live/ {parameter}\n",
            section(&backends[0]),
            section(&backends[1]),
            backends[0].address,
            backends[1].address
        ));
        let open = || {
            let mut client = Client::of(site.address);
            let answer = client.send(UPGRADE).unwrap();
            assert_eq!(answer.status(), 101, "{scheme}: {}", site.log());
            (
                answer.field("x-backend").unwrap_or_default().to_owned(),
                client.into_stream().unwrap(),
            )
        };
        let in_flight = |slot: usize| {
            let status: serde_json::Value =
                serde_json::from_str(&site.run(&["status", "app", "--json"])).unwrap();
            status["groups"][0]["slots"][slot]["in_flight"].as_u64().unwrap()
        };
        let (name, mut old) = open();
        assert_eq!(name, "blue", "{scheme}");
        site.flip("green");
        let (name, mut new) = open();
        assert_eq!(name, "green", "{scheme}");
        for _ in 0..3 {
            echo(&mut old, b"still in blue");
            echo(&mut new, b"already in green");
        }
        assert_eq!((in_flight(0), in_flight(1)), (1, 1), "{scheme}");
        drop(old);
        until(|| in_flight(0) == 0).expect("a closed one has left its slot");
        echo(&mut new, b"the other one stays");
        assert_eq!(in_flight(1), 1, "{scheme}");
    }
}

#[test]
fn a_request_without_upgrade_falls_through_to_the_next_route() {
    let (live, plain) = (live("live"), Backend::named("plain"));
    let slots = |schemes: [&str; 2]| {
        let [one, two] = schemes.map(|scheme| match scheme {
            "ws" => format!("ws://{}", live.address),
            _ => format!("http://{}/second", plain.address),
        });
        format!("<SlotGroup live>\nSlot one {one}\nSlot two {two} docroot=/two\n</SlotGroup>\n")
    };
    for (schemes, seen) in [(["ws", "ws"], ["/x", "/x"]), (["ws", "http"], ["/x", "/second/x"])] {
        let mut site = Site::new().with(&["proxy_wstunnel"]);
        let next = format!("http://{}", plain.address);
        site.start(&format!(
            "{}<SlotGroup app>\nSlot a {next}\n</SlotGroup>\nProxyWebsocketFallbackToProxyHttp \
             Off\nProxyPass /live/ slot://live/\nProxyPass /live/ slot://app/\n",
            slots(schemes)
        ));
        for (slot, path) in ["one", "two"].into_iter().zip(seen) {
            site.run(&["flip", "live", slot, "--force"]);
            let text = site.get("/live/x").text();
            assert!(
                text.starts_with(&format!("slot=plain GET {path} ")),
                "{schemes:?} {slot}: {text}"
            );
        }
        site.run(&["flip", "live", "one", "--force"]);
        let answer = Client::of(site.address).send(UPGRADE).unwrap();
        assert_eq!(answer.status(), 101, "{}", site.log());
    }
}

#[test]
fn tomcat_is_asked_by_ajp() {
    let mut site = Site::new().with(&["proxy_ajp"]);
    let secret = tomcat::secret();
    let [one, two] = tomcat::pair();
    let address = |at: std::net::SocketAddr| {
        format!("<Proxy ajp://{at}>\nProxySet secret={secret}\n</Proxy>\n")
    };
    site.start(&format!(
        "{}{}<SlotGroup app>\nSlot resin ajp://{}\nSlot resin_standby ajp://{}\n</SlotGroup>\n\
         ProxyPass / slot://app/\nProxyPassReverse / slot://app/\n",
        address(one.ajp),
        address(two.ajp),
        one.ajp,
        two.ajp
    ));
    for slot in SLOTS.iter().cycle().take(4) {
        site.flip(slot);
        let text = site.ask("GET", "/name.jsp;jsessionid=1?a=%20b", &["Host: shop.example"]).text();
        let whole =
            format!("slot={slot} host=shop.example uri=/name.jsp;jsessionid=1 query=a=%20b");
        assert_eq!(text, whole);
        let body = vec![b'x'; 30_000];
        let echoed = Client::of(site.address).ask("POST", "/echo.jsp", &body).unwrap().text();
        assert_eq!(echoed, format!("slot={slot} bytes=30000"));
    }
    // A request under way ends in the slot in which it began.
    site.flip("resin");
    let pending = Pending::of(&site);
    site.flip("resin_standby");
    assert_eq!(pending.finish(), "slot=resin");
}

#[test]
fn sessions_of_a_tomcat_survive_a_flip_there_and_back() {
    let mut site = Site::new();
    let [one, two] = tomcat::pair();
    site.start(&format!(
        "<SlotGroup app>\nSlot resin http://{}\nSlot resin_standby http://{}\n</SlotGroup>\n\
         ProxyPass / slot://app/\n",
        one.http, two.http
    ));
    let mut cookie = String::new();
    let mut visit = || {
        let answer = site.ask("GET", "/session.jsp", &[&format!("Cookie: {cookie}")]);
        if let Some(set) = answer.field("set-cookie") {
            cookie = set.split(';').next().unwrap().to_owned();
        }
        answer.text().split(" id=").next().unwrap().to_owned()
    };
    assert_eq!([visit(), visit()], ["slot=resin n=1", "slot=resin n=2"]);
    site.flip("resin_standby");
    let _ = site.get("/session.jsp");
    site.flip("resin");
    assert_eq!(visit(), "slot=resin n=3");
}

#[test]
fn a_slot_speaks_scgi() {
    let address = crate::apache::free_port().unwrap();
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut length = Vec::new();
            stream.read_until(b':', &mut length).unwrap();
            // A flip only checks for a listener, and sends nothing.
            if length.pop().is_none() {
                continue;
            }
            let length: usize = String::from_utf8(length).unwrap().parse().unwrap();
            let mut words = vec![0; length];
            stream.read_exact(&mut words).unwrap();
            let words = String::from_utf8(words).unwrap();
            let words: Vec<_> = words.split('\0').collect();
            let word = |name| words.iter().skip_while(|word| **word != name).nth(1).unwrap();
            let body =
                format!("{} {} {}", word("REQUEST_METHOD"), word("REQUEST_URI"), word("SLOT"));
            let answer = format!("Status: 200\r\nContent-Type: text/plain\r\n\r\n{body}");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    let mut site = Site::new().with(&["proxy_scgi"]);
    site.start(&format!(
        "<SlotGroup app>\nSlot off scgi://127.0.0.1:1\nSlot on scgi://{address}\n</SlotGroup>\n\
         ProxyPass /app/ slot://app/\n"
    ));
    assert_eq!(site.get("/app/x").status(), 503);
    site.flip("on");
    assert_eq!(site.get("/app/x?y=z").text(), "GET /app/x?y=z on");
}

#[test]
fn a_slot_speaks_https_or_http_2() {
    let secure = backend("https", "SSLEngine on\nSSLCertificateFile ROOT/both.pem\n", &["ssl"]);
    let multiplexed = backend("h2c", "Protocols h2c http/1.1\n", &["http2"]);
    let mut site = Site::new().with(&["ssl", "proxy_http2"]);
    site.start(&format!(
        "SSLProxyEngine on\nSSLProxyCheckPeerName off\n<SlotGroup app>\nSlot https https://{}\nSlot \
         h2c h2c://{}\n</SlotGroup>\nProxyPass /app/ slot://app/\n",
        secure.address, multiplexed.address
    ));
    for slot in ["https", "h2c", "https"] {
        site.flip(slot);
        let answer = site.get("/app/name.txt");
        assert_eq!(answer.text(), format!("slot={slot}\n"), "{}", site.log());
    }
    // mod_http2 logs a request some time after its answer.
    until(|| multiplexed.access_log().contains("HTTP/2.0"))
        .unwrap_or_else(|| panic!("{}", multiplexed.access_log()));
}

#[test]
fn sections_for_an_https_address_verify_the_backend_as_without_slots() {
    let secure = backend("https", "SSLEngine on\nSSLCertificateFile ROOT/both.pem\n", &["ssl"]);
    let other = backend("other", "", &[]);
    let trusted = |site: &Site| site.path().join("certificate.pem").display().to_string();
    let lines = r#"
SSLProxyEngine on
SSLProxyCheckPeerName off
SSLProxyCheckPeerCN off
<Proxy "https://BACKEND">
    SSLProxyVerify require
    SSLProxyCACertificateFile CERTIFICATE
</Proxy>
ProxyPass "/pass/" "URL/"
ProxyPassMatch "^/match/(.*)$" "URL/$1"
RewriteEngine On
RewriteRule "^/rule/(.*)$" "URL/$1" [P]
<Location "/perdir">
    RewriteEngine On
    RewriteRule "([^/]*)$" "URL/$1" [P]
</Location>
"#;
    let address = format!("https://{}", secure.address);
    for (certificate, verified) in [(trusted(&secure), 200), (trusted(&other), 500)] {
        let lines = lines.replace("BACKEND", &secure.address.to_string());
        let lines = lines.replace("CERTIFICATE", &certificate);
        let mut plain = Site::new().with(&["ssl", "rewrite"]).without_slot();
        plain.start(&lines.replace("URL", &address));
        let mut slot = Site::new().with(&["ssl", "rewrite"]);
        let group = format!("<SlotGroup app>\nSlot only {address}\n</SlotGroup>\n");
        slot.start(&(group + &lines.replace("URL", "slot://app")));
        for way in ["pass", "match", "rule", "perdir"] {
            let path = format!("/{way}/name.txt");
            let [expected, got] = [&plain, &slot].map(|site| site.get(&path).status());
            assert_eq!(got, expected, "{path}: {}", slot.log());
            if way != "perdir" {
                assert_eq!(got, verified, "{path}: {}", plain.log());
            }
        }
    }
}

/// An Apache that serves the docroot `name`.
fn backend(name: &str, lines: &str, modules: &[&'static str]) -> Site {
    let mut site = Site::new().with(modules).without_slot();
    site.docroots(&[name]);
    site.certify();
    let part = |name: &str| std::fs::read_to_string(site.path().join(name)).unwrap();
    site.write("both.pem", &(part("certificate.pem") + &part("key.pem")));
    site.start(&format!(
        "DocumentRoot ROOT/{name}\n<Directory ROOT>\nRequire all granted\n</Directory>\n{lines}\
         CustomLog access.log %H\n"
    ));
    site
}
