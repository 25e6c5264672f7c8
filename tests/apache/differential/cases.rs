//! The requests, and the answers to them.

use crate::http::Message;
use std::net::SocketAddr;

/// A request, byte for byte.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(paths());
    cases.extend(methods_and_bodies());
    cases.extend(fields());
    cases.extend(answers());
    cases.extend(raw());
    cases
}

fn case(line: &str, fields: &[&str], body: &[u8]) -> Case {
    let mut bytes = format!("{line}\r\n").into_bytes();
    for field in fields {
        bytes.extend_from_slice(field.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    let shown: String = line.chars().take(100).collect();
    Case { name: format!("{shown:?} {fields:?} and {} bytes", body.len()), bytes }
}

const HOST: &str = "Host: www.example.com";

/// Each is requested with GET. Paths with `.jsp` or `/p/` match the pattern, those with `/a/` the
/// mapped prefix.
const PATHS: [&str; 83] = [
    "/",
    "/index.html",
    "/p/x.jsp",
    "/a/x.jsp",
    "/a/",
    "/a",
    "/a//b",
    "/a/%2e%2e/p/x",
    "/a/../p/x",
    "/a/x;jsessionid=0123.node1",
    "/a/b%20c?d=e%20f",
    "/p/",
    "/p/not/this",
    "/p/a/b/",
    "/p/a//b",
    "//p/a",
    "/p//",
    "/p/a///b.jsp",
    "/p/./a",
    "/p/a/.",
    "/p/a/./b",
    "/p/../a",
    "/p/a/..",
    "/p/a/../b.jsp",
    "/../p",
    "/p/../../a",
    "/p/.../a",
    "/p/..a",
    "/p/a..",
    "/p/%2e/a",
    "/p/%2e%2e/a",
    "/p/%2E%2E/a",
    "/p/.%2e/a",
    "/p/a%2Fb",
    "/p/%2F",
    "/p/%2f%2e%2e%2fa",
    "/p/a\\b",
    "/p/%0d%0aX:y",
    "/p/%0a",
    "/p/%00",
    "/p/a%00.jsp",
    "/p/a+b",
    "/p/a%2Bb",
    "/p/a%2525b",
    "/p/a%252fb",
    "/p/a%",
    "/p/a%z",
    "/p/a%2",
    "/p/a%3Fb=c?d",
    "/p/a#b",
    "/p/a;b",
    "/p/a;b=c;d",
    "/p/a;jsessionid=ABC",
    "/p;v=1/a;jsessionid=ABC?x=y",
    "/p/a%3bjsessionid=ABC",
    "/p/..;/a",
    "/p/a:b",
    "/p/a@b",
    "/p/http://other.example/",
    "/p/slot://app/x",
    "/p/a&b=c$d,e!f*g'h(i)j",
    "/p/a~b-c_d.e",
    "/p/%7euser",
    "/p/[a]|^`{b}",
    "/p/\"quoted\"<x>",
    "/p/%5ba%5d%7c%5e",
    "/p/ä",
    "/p/%c3%a4",
    "/p/%C3%A4",
    "/p/%e4",
    "/p/%ff%fe",
    "/p/日本語",
    "/p/%61%62%63",
    "/p/?",
    "/p/a?",
    "/p/a??",
    "/p/a?b=c&d=e&b=f",
    "/p/a?b=%2F%2f/../%2e",
    "/p/a?b=%00%0d%0a",
    "/p/a?b=[c]|^{d}`\"<>\\",
    "/p/a?ä=%c3%a4+%20;x",
    "/p/a?http://x.example/?y=z#w",
    "/p/a?%",
];

fn paths() -> impl Iterator<Item = Case> {
    let long = [
        format!("/p/{}", "long/".repeat(1600)),
        format!("/p/{}", "%e4".repeat(2600)),
        format!("/p/a?{}", "q".repeat(8000)),
        format!("/p/{}", "x".repeat(9000)),
    ];
    let get = |path: &str| case(&format!("GET {path} HTTP/1.1"), &[HOST], b"");
    // Each byte, among others that need no encoding.
    let marks = (1..=128u8).filter(|byte| !byte.is_ascii_alphanumeric());
    let marked = marks.map(|byte| format!("/p/a%{byte:02x}b"));
    PATHS.map(get).into_iter().chain(marked.chain(long).map(move |path| get(&path)))
}

const METHODS: [&str; 14] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "MKCOL", "REPORT",
    "TRACE", "UNKNOWN", "get", "M-SEARCH",
];

const CHUNKED: &str = "Transfer-Encoding: chunked";

fn methods_and_bodies() -> Vec<Case> {
    let long = vec![b'x'; 200_000];
    let mut chunked_long = Vec::new();
    for part in long.chunks(30_000) {
        chunked_long.extend(format!("{:x}\r\n", part.len()).into_bytes());
        chunked_long.extend([part, b"\r\n"].concat());
    }
    chunked_long.extend(b"0\r\n\r\n");
    let bodies: [(&[&str], &[u8]); 5] = [
        (&[HOST], b""),
        (&[HOST, "Content-Length: 0"], b""),
        (&[HOST, "Content-Type: text/plain", "Content-Length: 5"], b"hello"),
        (&[HOST, CHUNKED], b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
        (&[HOST, CHUNKED, "Trailer: X-T"], b"5;ext=1\r\nhello\r\n0\r\nX-T: t\r\n\r\n"),
    ];
    let mut cases = Vec::new();
    for method in METHODS {
        let line = format!("{method} /p/{method}?x=y HTTP/1.1");
        cases.extend(bodies.iter().map(|(fields, body)| case(&line, fields, body)));
    }
    let line = "POST /p/long HTTP/1.1";
    let expect = "Expect: 100-continue";
    cases.extend([
        case(line, &[HOST, "Content-Length: 200000"], &long),
        case(line, &[HOST, CHUNKED], &chunked_long),
        case(line, &[HOST, "Content-Length: 5", expect], b"hello"),
        case(line, &[HOST, CHUNKED, expect], b"5\r\nhello\r\n0\r\n\r\n"),
        case(line, &[HOST, "Content-Length: 200000", expect], &long),
        case(line, &[HOST, "Content-Length: 5", "Expect: something"], b"hello"),
        case(line, &[HOST, CHUNKED, "Content-Length: 5"], b"5\r\nhello\r\n0\r\n\r\n"),
        case(line, &[HOST, "Content-Length: 5", "Content-Length: 6"], b"hello"),
        case(line, &[HOST, "Content-Length: many"], b"hello"),
        case(line, &[HOST, "Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
        case(line, &[HOST, CHUNKED], b"z\r\n"),
        case(
            "POST /a/form HTTP/1.1",
            &[HOST, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 7"],
            b"a=b&c=%",
        ),
    ]);
    cases
}

/// Each is sent with `Host: www.example.com`.
const FIELDS: [&[&str]; 46] = [
    &["Connection: close"],
    &["Connection: keep-alive"],
    &["Connection: keep-alive", "Keep-Alive: timeout=5, max=10"],
    &["Connection: X-Mine, close", "X-Mine: 1", "X-Other: 2"],
    &["Connection: X-Mine", "Connection: X-Other", "X-Mine: 1", "X-Other: 2"],
    &["Connection: Host, Cookie", "Cookie: a=b"],
    &[
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: x",
        "Sec-WebSocket-Version: 13",
    ],
    &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
    &["Upgrade: websocket"],
    &["Proxy-Connection: keep-alive"],
    &["Proxy-Authorization: Basic dXNlcjpwYXNz"],
    &["Proxy: http://evil.example/"],
    &["Proxy-Authenticate: Basic"],
    &["TE: trailers"],
    &["TE: trailers, deflate;q=0.5", "Connection: TE"],
    &["Trailer: X-T"],
    &["Authorization: Basic dXNlcjpwYXNz"],
    &["Cookie: a=b; JSESSIONID=0123.node1"],
    &["Cookie: a=b", "Cookie: c=d"],
    &["X-Twice: 1", "X-Twice: 2", "x-twice: 3"],
    &["Accept: text/html", "Accept: */*;q=0.1"],
    &["Accept-Encoding: gzip, br;q=0.5, *;q=0"],
    &["Accept-Encoding:"],
    &["Accept-Language: de-DE,de;q=0.9"],
    &["User-Agent: odd \"agent\" (ä) \\ %20"],
    &["Referer: http://www.example.com/p/a?b=c#d"],
    &["X-Forwarded-For: 10.0.0.1"],
    &["X-Forwarded-For: 10.0.0.1, 10.0.0.2", "X-Forwarded-For: 10.0.0.3"],
    &["X-Forwarded-Host: h.example", "X-Forwarded-Server: s.example", "X-Forwarded-Proto: https"],
    &["X-Real-IP: 10.0.0.1", "Forwarded: for=10.0.0.1"],
    &["Max-Forwards: 0"],
    &["Max-Forwards: 10"],
    &["Via: 1.0 first"],
    &["Cache-Control: no-cache", "Pragma: no-cache"],
    &["If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT"],
    &["If-None-Match: \"tag\", W/\"other\""],
    &["If-Match: *"],
    &["If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT"],
    &["Range: bytes=0-4"],
    &["Range: bytes=-3", "If-Range: \"tag\""],
    &["Request-Range: bytes=0-4"],
    &["X-Empty:"],
    &["X-Space:   spaces   around   "],
    &["X-Folded: one", "  two"],
    &["X_Underscore: 1", "X.Dot: 2"],
    &["Origin: null", "Sec-Fetch-Mode: navigate", "DNT: 1", "Priority: u=1, i"],
];

/// In place of `Host: www.example.com`.
const HOSTS: [&[&str]; 9] = [
    &[],
    &["Host:"],
    &["Host: localhost"],
    &["Host: WWW.Example.COM"],
    &["Host: www.example.com:8080"],
    &["Host: www.example.com."],
    &["Host: [::1]:80"],
    &["Host: a.example", "Host: b.example"],
    &["Host: a_b.example"],
];

fn fields() -> impl Iterator<Item = Case> {
    let line = "GET /p/fields?answer=plain HTTP/1.1";
    let with_host = FIELDS.iter().map(move |fields| {
        let fields: Vec<_> = [HOST].iter().chain(*fields).copied().collect();
        case(line, &fields, b"")
    });
    with_host.chain(HOSTS.iter().map(move |fields| case(line, fields, b"")))
}

/// An answer that the query of a request asks for.
const ANSWERS: [(&str, &str); 25] = [
    (
        "plain",
        "200 OK\r\nContent-Type: text/plain\r\nETag: \"tag\"\r\nContent-Length: 6\r\n\r\nhello\n",
    ),
    ("empty", "200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("chunked", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
    (
        "trailers",
        "200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: t\r\n\r\n",
    ),
    ("until-closed", "200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>to the end"),
    ("closed", "200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
    ("http10", "200 OK\r\nContent-Length: 2\r\nX-Old: 1\r\n\r\nok"),
    ("reason", "299 Some  other reason\r\nContent-Length: 0\r\n\r\n"),
    ("no-content", "204 No Content\r\nX-A: b\r\n\r\n"),
    (
        "partial",
        "206 Partial Content\r\nContent-Range: bytes 0-4/10\r\nContent-Length: 5\r\n\r\nhello",
    ),
    ("unchanged", "304 Not Modified\r\nETag: \"tag\"\r\n\r\n"),
    ("moved", "301 Moved\r\nLocation: http://BACKEND/b/c/x?y=z\r\nContent-Length: 5\r\n\r\nmoved"),
    ("moved-home", "302 Found\r\nLocation: http://BACKEND\r\nContent-Length: 0\r\n\r\n"),
    ("moved-base", "307 Found\r\nLocation: http://BACKEND/base/x\r\nContent-Length: 0\r\n\r\n"),
    ("moved-path", "302 Found\r\nLocation: /b/c/x\r\nContent-Length: 0\r\n\r\n"),
    (
        "moved-away",
        "302 Found\r\nLocation: https://other.example/b/c/\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "locations",
        "201 Created\r\nContent-Location: http://BACKEND/b/c/d\r\nURI: http://BACKEND/b/c/e\r\n\
         Destination: http://BACKEND/f\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "login",
        "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 2\r\n\r\nno",
    ),
    ("missing", "404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<p>gone</p"),
    ("broken", "500 Oh\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nbroken"),
    ("unavailable", "503 Later\r\nRetry-After: 3\r\nContent-Length: 5\r\n\r\nlater"),
    (
        "cookies",
        "200 OK\r\nSet-Cookie: a=b; Path=/b/c/; HttpOnly\r\nSet-Cookie: c=d; Domain=127.0.0.1\r\n\
         Set-Cookie: JSESSIONID=0.node1; path=/; secure\r\nVary: A\r\nVary: B\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "hop-by-hop",
        "200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=7\r\nServer: mine/1\r\n\
         X-Powered-By: ä\r\nVia: 1.0 b\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "hints",
        "103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    ("nonsense", "nonsense\r\nConnection: close\r\nno field\r\n\r\n"),
];

fn answers() -> impl Iterator<Item = Case> {
    let ask = |(name, _): &(&str, &str)| {
        ["GET", "HEAD", "POST"].map(|method| {
            let length = if method == "POST" { "Content-Length: 0" } else { "X-None: 0" };
            case(&format!("{method} /p/x?answer={name} HTTP/1.1"), &[HOST, length], b"")
        })
    };
    let mapped = ["moved", "moved-home", "moved-path", "locations", "cookies"];
    let mapped = mapped.map(|name| case(&format!("GET /a/?answer={name} HTTP/1.1"), &[HOST], b""));
    ANSWERS.iter().flat_map(ask).chain(mapped)
}

fn raw() -> Vec<Case> {
    let kept = "Connection: keep-alive";
    vec![
        case("GET /p/old HTTP/1.0", &[], b""),
        case("GET /p/old HTTP/1.0", &[HOST, kept], b""),
        case("GET /p/old?answer=chunked HTTP/1.0", &[HOST], b""),
        case("POST /p/old HTTP/1.0", &[HOST, "Content-Length: 5"], b"hello"),
        case("GET /p/nokeepalive HTTP/1.1", &[HOST], b""),
        case("GET http://www.example.com/p/absolute?x HTTP/1.1", &[HOST], b""),
        case("GET http://other.example:81/p/absolute HTTP/1.1", &[HOST], b""),
        case("GET HTTP://WWW.EXAMPLE.COM HTTP/1.1", &[HOST], b""),
        case("GET https://www.example.com/p/x HTTP/1.1", &[HOST], b""),
        case("GET slot://app/p/x HTTP/1.1", &[HOST], b""),
        case("GET p/relative HTTP/1.1", &[HOST], b""),
        case("GET /p/a b HTTP/1.1", &[HOST], b""),
        case("GET  /p/a  HTTP/1.1", &[HOST], b""),
        case("GET /p/x", &[], b""),
        case("GET /p/x HTTP/2.5", &[HOST], b""),
        case("OPTIONS * HTTP/1.1", &[HOST], b""),
        case("GET * HTTP/1.1", &[HOST], b""),
        case("CONNECT www.example.com:443 HTTP/1.1", &[HOST], b""),
        // Two on one connection.
        case(
            "GET /p/first HTTP/1.1",
            &[HOST],
            b"GET /p/second HTTP/1.1\r\nHost: h.example\r\n\r\n",
        ),
    ]
}

/// The backend's answer: the one that the query asks for, or the request itself.
pub(super) fn answer(request: &Message, own: SocketAddr) -> Vec<u8> {
    let method = request.start.split(' ').next().unwrap_or_default();
    let asked = request.start.split_once("answer=").map(|(_, rest)| rest);
    let asked = asked.and_then(|rest| rest.split([' ', '&']).next());
    let upgrade = request.field("upgrade") == Some("websocket") && method == "GET";
    if upgrade && request.field("sec-websocket-key").is_some() {
        let head = "101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
        return format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
    }
    let named = ANSWERS.iter().find(|(name, _)| Some(*name) == asked);
    let text = named.map_or_else(
        || {
            let text = format!("{} and {} bytes\n", request.start, request.body.len());
            format!("200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
        },
        |(_, text)| text.replace("BACKEND", &own.to_string()),
    );
    let version = if asked == Some("http10") { "HTTP/1.0" } else { "HTTP/1.1" };
    let whole = format!("{version} {text}");
    let end = match whole.rfind("\r\n\r\n") {
        Some(at) if method == "HEAD" && asked != Some("chunked") && asked != Some("trailers") => {
            at + 4
        }
        _ if method == "HEAD" => whole.find("\r\n\r\n").map_or(whole.len(), |at| at + 4),
        _ => whole.len(),
    };
    whole.as_bytes()[..end].to_vec()
}
