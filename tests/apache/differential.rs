//! What a backend receives through `slot://`, and what the client receives, is byte for byte the
//! same as with a plain ProxyPass to the backend's address.

mod cases;

use crate::apache;
use crate::backend::Backend;
use crate::http::{Message, exchange};
use crate::site::{Site, until};
use cases::{Case, answer};
use std::collections::BTreeSet;

/// A way to write a route. `URL` in the lines is `slot://app` for one Apache and the backend's
/// address for the other. `POOL` and `REUSE` give the latter the kept connections that a slot
/// always has.
struct Variant {
    name: &'static str,
    lines: &'static str,
    /// The path in the slot's address.
    base: &'static str,
}

const VARIANTS: [Variant; 14] = [
    Variant::of("a prefix", r#"ProxyPass "/" "URL/""#),
    Variant::of(
        "a prefix, not canonical",
        "AllowEncodedSlashes NoDecode\nMergeSlashes Off\nProxyPass / URL/ nocanon",
    ),
    Variant::of(
        "encoded slashes, decoded",
        "AllowEncodedSlashes On\nProxyPass / URL/\nProxyPassReverse / URL/",
    ),
    Variant::of(
        "encoded slashes, as they are",
        "AllowEncodedSlashes NoDecode\nProxyPass / URL/\nProxyPassReverse / URL/",
    ),
    Variant::of("another prefix", MAPPED),
    Variant::of(
        "a pattern with a path",
        "AllowEncodedSlashes NoDecode\nPOOL\nProxyPassMatch \"^/(.*)$\" \"URL/$1\" REUSE",
    ),
    Variant::of("a pattern alone", r#"ProxyPassMatch "(\.jsp|/p/.*)$" "URL""#),
    Variant::of(
        "the host preserved",
        "ProxyPreserveHost On\nProxyPass / URL/\nProxyPassReverse / URL/",
    ),
    Variant { base: "/base", ..Variant::of("a path in the address", BASED) },
    Variant::of("a location", "<Location />\nProxyPass URL/\nProxyPassReverse URL/\n</Location>"),
    Variant::of("a rule", "POOL\nRewriteEngine On\nRewriteRule \"^/(.*)$\" \"URL/$1\" [P]"),
    Variant::of(
        "a rule that escapes nothing",
        "POOL\nAllowEncodedSlashes NoDecode\nRewriteEngine On\nRewriteRule \"^/(.*)$\" \"URL/$1\" [P,NE,L]\n\
         ProxyPassReverse / URL/",
    ),
    Variant::of("upgrades", "ProxyPass / URL/ upgrade=websocket timeout=20 flushpackets=on"),
    Variant::of("other settings of mod_proxy", SETTINGS),
];

const MAPPED: &str = r#"ProxyPass "/a/" "URL/b/c/"
ProxyPassReverse "/a/" "URL/b/c/"
ProxyPassReverseCookiePath "/b/c/" "/a/"
ProxyPassReverseCookieDomain "127.0.0.1" "www.example.com"
ProxyPass "/p/not" "!"
ProxyPass "/p/" "URL/""#;

const BASED: &str = r#"ProxyPass "/" "URL/"
ProxyPassReverse "/" "URL/""#;

const SETTINGS: &str = r#"ProxyVia Full
ProxyAddHeaders Off
ProxyErrorOverride On
ErrorDocument 500 "an error of the backend"
RequestHeader set X-Request "expr=%{REQUEST_URI}"
Header edit Set-Cookie "$" "; edited"
SetEnv proxy-sendchunked 1
SetEnvIf Request_URI "nokeepalive" proxy-nokeepalive force-proxy-request-1.0
ProxyPass "/" "URL/""#;

impl Variant {
    const fn of(name: &'static str, lines: &'static str) -> Self {
        Self { name, lines, base: "" }
    }

    /// One Apache with the address itself, one with a slot of this address.
    fn sites(&self, backend: &Backend) -> [Site; 2] {
        let address = format!("http://{}{}", backend.address, self.base);
        let group = format!("<SlotGroup app>\nSlot only {address}\n</SlotGroup>\n");
        let pool = format!("<Proxy {address}>\nProxySet disablereuse=off\n</Proxy>");
        let lines = |url, pool, reuse| {
            let lines = self.lines.replace("URL", url).replace("POOL", pool);
            COMMON.to_owned() + &lines.replace("REUSE", reuse)
        };
        let mut plain = Site::new().without_slot().with(&["rewrite"]);
        plain.start(&lines(&address, &pool, "enablereuse=on"));
        let mut slot = Site::new().with(&["rewrite"]);
        slot.start(&(group + &lines("slot://app", "", "")));
        [plain, slot]
    }
}

/// The least number of requests that reach the backend.
const REACH: usize = 280;

const COMMON: &str = "HttpProtocolOptions Unsafe\nTraceEnable Extended\n";

/// The result of a request.
#[derive(PartialEq, Eq)]
struct Outcome {
    /// The bytes that the backend read.
    seen: Vec<u8>,
    /// The bytes that the client read, to the end of the connection.
    got: Vec<u8>,
}

impl Outcome {
    fn of(site: &Site, backend: &Backend, case: &Case) -> Self {
        let got = exchange(site.address, &case.bytes)
            .unwrap_or_else(|e| panic!("{}: {e}\n{}", case.name, site.log()));
        Self { seen: joined(backend.received()), got: settled(got) }
    }
}

/// The chunks of a long body depend on how fast the client sends it.
fn joined(request: Vec<u8>) -> Vec<u8> {
    let chunked = field(&request, b"\r\nTransfer-Encoding: chunked").is_some();
    if !chunked || request.len() < 50_000 {
        return request;
    }
    let head =
        request.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a header ends") + 4;
    let message = Message::read(&mut &request[..]).unwrap().expect("a request");
    [&request[..head], &message.body].concat()
}

/// Removes what differs between processes or moments: the clock may tick between the two, and the
/// methods that Apache allows come in any order.
fn settled(mut answer: Vec<u8>) -> Vec<u8> {
    while let Some((at, end)) = field(&answer, b"\r\nDate: ") {
        answer.drain(at..end);
    }
    if let Some((at, end)) = field(&answer, b"\r\nAllow: ") {
        let mut methods: Vec<_> = answer[at + 9..end].split(|b| *b == b',').collect();
        methods.sort_unstable();
        let sorted = methods.join(&b',');
        answer[at + 9..end].copy_from_slice(&sorted);
    }
    answer
}

fn field(answer: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let at = answer.windows(name.len()).position(|bytes| bytes == name)?;
    let len = answer[at + 2..].windows(2).position(|bytes| bytes == b"\r\n")?;
    Some((at, at + 2 + len))
}

/// Shows the place where two texts begin to differ.
fn difference(what: &str, [plain, slot]: [&[u8]; 2]) -> Option<String> {
    let same = plain.iter().zip(slot).take_while(|(a, b)| a == b).count();
    if plain == slot {
        return None;
    }
    let from = same.saturating_sub(300);
    let part = |bytes: &[u8]| {
        bytes[from..bytes.len().min(same + 300)]
            .escape_ascii()
            .to_string()
            .replace("\\n", "\\n\n    ")
    };
    Some(format!(
        "  {what}, from byte {from}; the difference is at byte {same}\n  plain:\n    {}\n  slot:\n    {}\n",
        part(plain),
        part(slot)
    ))
}

/// The parameters of a variant.
fn compare(variant: &Variant) -> Vec<String> {
    let address = apache::free_port().unwrap();
    let backend = Backend::start(address, move |request| answer(request, address));
    let sites = variant.sites(&backend);
    let cases = cases::all();
    let (mut reached, mut differences, mut statuses) = (0, Vec::new(), BTreeSet::new());
    for case in &cases {
        let [plain, slot] = sites.each_ref().map(|site| Outcome::of(site, &backend, case));
        reached += usize::from(!plain.seen.is_empty());
        let found = [
            difference("the backend saw", [&plain.seen, &slot.seen]),
            difference("the client got", [&plain.got, &slot.got]),
        ];
        let found = found.into_iter().flatten();
        let status = plain.got.get(9..12).unwrap_or_default();
        statuses.insert(String::from_utf8_lossy(status).into_owned());
        differences.extend(found.map(|text| format!("{}: {}\n{text}", variant.name, case.name)));
    }
    println!("{}: {} requests, {reached} reached the backend", variant.name, cases.len());
    let each = ["100", "103", "200", "204", "206", "301", "304", "400", "401", "404", "417", "500"];
    assert!(each.iter().all(|status| statuses.contains(*status)), "{}: {statuses:?}", variant.name);
    assert!(reached >= REACH, "{}: only {reached} reached the backend", variant.name);
    for (site, word) in sites.iter().zip(["slot=- ", "slot=only "]) {
        let logged = || site.access_log().lines().filter(|line| line.contains(word)).count();
        until(|| logged() >= reached)
            .unwrap_or_else(|| panic!("{}: {} with {word:?}", variant.name, logged()));
    }
    differences
}

#[test]
fn a_backend_sees_no_difference() {
    let differences: Vec<_> = VARIANTS.iter().flat_map(compare).collect();
    let (count, first) = (differences.len(), &differences[..differences.len().min(8)]);
    assert!(count == 0, "{count} differences, the first of them\n{}", first.join("\n"));
}
