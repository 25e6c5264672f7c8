//! One line of an access log: the path of a GET that was answered well.

/// The longest path that is taken, in bytes.
const LONGEST: usize = 1024;

/// Endings of files that need no warm-up. They are so frequent that they would take all places.
const ASSETS: [&str; 24] = [
    "avif", "bmp", "css", "eot", "gif", "gz", "ico", "jpeg", "jpg", "js", "map", "mjs", "mp3",
    "mp4", "otf", "pdf", "png", "svg", "ttf", "webm", "webp", "woff", "woff2", "zip",
];

/// What becomes of query strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// They are cut off.
    Drop,
    /// They belong to the path.
    Keep,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A path that can be requested again, in origin form.
    Path(String),
    /// A request that warms nothing: not GET, not answered with 200 to 399, or a file such as a picture.
    Other,
    /// Not a line of the common or combined format, or a request that is not sent again.
    Odd,
}

/// Reads a line of the common or combined format. Anything may precede the time, as in the formats with a
/// virtual host or a list of forwarding proxies.
pub(super) fn read(line: &[u8], queries: Queries) -> Line {
    let Some((request, status)) = request_and_status(line) else { return Line::Odd };
    let Some(request) = unescaped(request) else { return Line::Odd };
    let mut parts = request.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, parts.next())
    else {
        return Line::Odd;
    };
    let is_token = |c: &u8| c.is_ascii_uppercase() || matches!(c, b'-' | b'_');
    if !version.starts_with(b"HTTP/") || method.is_empty() || !method.iter().all(is_token) {
        return Line::Odd;
    }
    if method != b"GET" || !(200..400).contains(&status) {
        return Line::Other;
    }
    match path(target, queries) {
        None => Line::Odd,
        Some(path) if is_asset(&path) => Line::Other,
        Some(path) => Line::Path(path),
    }
}

/// Finds the quoted request behind the time, which ends with a bracket, and the status behind it. Apache
/// escapes quotes in everything that clients send, so that none of it looks like the request.
fn request_and_status(line: &[u8]) -> Option<(&[u8], u16)> {
    let mut at = 0;
    loop {
        let open = at + quote(&line[at..])?;
        let close = open + 1 + quote(&line[open + 1..])?;
        let behind = &line[close + 1..];
        if line[..open].ends_with(b"] ")
            && let Some(status) = status(behind)
        {
            return Some((&line[open + 1..close], status));
        }
        at = close + 1;
    }
}

/// Finds the next quote that is not escaped.
fn quote(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|byte| {
        let found = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        found
    })
}

/// Parses ` 200 …` or ` 200`.
fn status(behind: &[u8]) -> Option<u16> {
    let (status, rest) = behind.strip_prefix(b" ")?.split_first_chunk::<3>()?;
    let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
    let is_number = status.iter().all(u8::is_ascii_digit);
    (ends && is_number)
        .then(|| status.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
}

/// Undoes the escapes of Apache's logs: `\"`, `\\`, `\xHH`, and letters for control characters.
fn unescaped(field: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'\\' {
            plain.push(*byte);
            continue;
        }
        plain.push(match rest.next()? {
            quoted @ (b'"' | b'\\') => *quoted,
            b'x' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'r' => b'\r',
            _ => return None,
        });
    }
    Some(plain)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Returns the path that is requested again; `None` for a target that is not sent to a backend: one that is
/// not in origin form, leaves its directory, or has bytes that no client should send.
fn path(target: &[u8], queries: Queries) -> Option<String> {
    let is_odd = |c: char| {
        !c.is_ascii_graphic() || matches!(c, '#' | '"' | '<' | '>' | '\\' | '`' | '{' | '}' | '|')
    };
    let target = std::str::from_utf8(target).ok()?;
    if target.contains(is_odd) {
        return None;
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut path = without_session(path);
    // Without the session id, because "/;jsessionid=1/host" begins with two slashes without it.
    if !path.starts_with('/') || path.starts_with("//") || !is_sane(&path) {
        return None;
    }
    if let (Some(query), Queries::Keep) = (query, queries) {
        path = format!("{path}?{query}");
    }
    (path.len() <= LONGEST).then_some(path)
}

/// Removes each `;jsessionid=…`.
fn without_session(path: &str) -> String {
    const ID: &str = ";jsessionid=";
    let mut kept = String::with_capacity(path.len());
    let mut rest = path;
    loop {
        let found =
            rest.as_bytes().windows(ID.len()).position(|w| w.eq_ignore_ascii_case(ID.as_bytes()));
        let Some(at) = found else { return kept + rest };
        kept += &rest[..at];
        let behind = &rest[at + ID.len()..];
        rest = &behind[behind.find(['/', ';']).unwrap_or(behind.len())..];
    }
}

/// Whether no segment is `.` or `..`, and the escapes are complete and hide no slash and no control character.
fn is_sane(path: &str) -> bool {
    let Some(decoded) = decoded(path) else { return false };
    let is_dots = |segment: &[u8]| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        name == b"." || name == b".."
    };
    !decoded.split(|byte| *byte == b'/').any(is_dots)
}

/// Decodes `%HH`; `None` for an escape that is torn, or hides what a path must not have.
fn decoded(path: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        match hex(rest.next()?)? << 4 | hex(rest.next()?)? {
            hidden if hidden.is_ascii_control() || matches!(hidden, b'/' | b'\\') => return None,
            shown => plain.push(shown),
        }
    }
    Some(plain)
}

/// Whether a path names a picture, a script or another file that needs no warm-up.
fn is_asset(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ASSETS.iter().any(|asset| ending.eq_ignore_ascii_case(asset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(request: &str) -> Line {
        read(line(request, 200).as_bytes(), Queries::Drop)
    }

    fn line(request: &str, status: u16) -> String {
        format!(r#"192.0.2.7 - - [27/Nov/2026:10:00:00 +0100] "{request}" {status} 12"#)
    }

    fn taken(path: &str) -> Line {
        Line::Path(path.into())
    }

    #[test]
    fn each_format_shows_its_path() {
        let time = "[27/Nov/2026:10:00:00 +0100]";
        for line in [
            format!(r#"192.0.2.7 - - {time} "GET /a HTTP/1.1" 200 12"#),
            format!(
                r#"192.0.2.7 - - {time} "GET /a HTTP/1.1" 200 12 "http://x/" "Agent \"1\" [x] ""#
            ),
            format!(r#"www.example.com:443 192.0.2.7 - - {time} "GET /a HTTP/2.0" 304 -"#),
            format!(r#"10.0.0.1, 192.0.2.7, unknown - - {time} "GET /a HTTP/1.1" 200 12"#),
            format!(r#""10.0.0.1, 192.0.2.7" - a b {time} "GET /a HTTP/1.1" 200 12 slot=resin"#),
            format!(r#"192.0.2.7 - eve] {time} "GET /a HTTP/1.1" 200"#),
            // Headers and user names that look like a request.
            format!(r#""GET /evil HTTP/1.1" 200 - - {time} "GET /a HTTP/1.1" 200 12"#),
            format!(r#"192.0.2.7 - x] \"GET /evil HTTP/1.1\" 200 {time} "GET /a HTTP/1.1" 200 12"#),
        ] {
            assert_eq!(read(line.as_bytes(), Queries::Drop), taken("/a"), "{line}");
        }
    }

    #[test]
    fn only_a_get_that_was_answered_well_is_taken() {
        for (request, status) in [
            ("POST /a HTTP/1.1", 200),
            ("HEAD /a HTTP/1.1", 200),
            ("GET /a HTTP/1.1", 199),
            ("GET /a HTTP/1.1", 404),
            ("GET /a HTTP/1.1", 500),
            ("GET /a.png HTTP/1.1", 200),
            ("GET /x/a.min.JS?v=1 HTTP/1.1", 200),
            ("OPTIONS * HTTP/1.1", 200),
            ("CONNECT h:443 HTTP/1.1", 200),
        ] {
            let line = line(request, status);
            assert_eq!(read(line.as_bytes(), Queries::Keep), Line::Other, "{line}");
        }
        assert_eq!(read(line("GET /a HTTP/1.0", 399).as_bytes(), Queries::Drop), taken("/a"));
        assert_eq!(of("GET /js HTTP/1.1"), taken("/js"));
    }

    #[test]
    fn queries_and_session_ids_are_dropped() {
        for (target, path, with_query) in [
            ("/a?b=1", "/a", "/a?b=1"),
            ("/a?", "/a", "/a?"),
            ("/a;jsessionid=0A1.node?b=/../x", "/a", "/a?b=/../x"),
            ("/a;v=1;JSESSIONID=0A1/b;jsessionid=;w", "/a;v=1/b;w", "/a;v=1/b;w"),
        ] {
            let line = line(&format!("GET {target} HTTP/1.1"), 200);
            assert_eq!(read(line.as_bytes(), Queries::Drop), taken(path));
            assert_eq!(read(line.as_bytes(), Queries::Keep), taken(with_query));
        }
    }

    #[test]
    fn hostile_requests_are_left_out() {
        for target in [
            "http://evil.example/",
            "//evil.example/",
            "/;jsessionid=1/evil.example/",
            "evil",
            "*",
            "/a/../b",
            "/..",
            "/a/%2e%2E/b",
            "/..;x/b",
            "/.;jsessionid=1./b",
            "/a%2fb",
            "/a%5cb",
            "/a%00",
            "/a%0d%0aX:%201",
            "/a%4",
            "/a%zz",
            r"/a\x00b",
            r"/a\n",
            r"/a\r\nHost: evil",
            r"/a\x7f",
            r"/\xc3\xa4",
            r"/a\\b",
            r#"/a\"b"#,
            r"/a\q",
            "/a#b",
            "/a|b",
            "/a b",
            "",
        ] {
            assert_eq!(of(&format!("GET {target} HTTP/1.1")), Line::Odd, "{target}");
        }
        for request in [
            "GET /a",
            "GET  /a HTTP/1.1",
            "GET /a HTTP/1.1 x",
            "-",
            "",
            r"\x16\x03\x01",
            "get /a HTTP/1.1",
        ] {
            assert_eq!(of(request), Line::Odd, "{request}");
        }
        let long = "a".repeat(LONGEST);
        assert_eq!(of(&format!("GET /{long} HTTP/1.1")), Line::Odd);
        assert_eq!(
            of(&format!("GET /{} HTTP/1.1", &long[1..])),
            taken(&format!("/{}", &long[1..]))
        );
    }

    #[test]
    fn escaped_bytes_are_read_as_they_were_sent() {
        assert_eq!(of(r"GET /\x61\x2fb HTTP/1.1"), taken("/a/b"));
        assert_eq!(of(r"GET\x20/a HTTP/1.1"), taken("/a"));
        assert_eq!(of("GET /a%20b%C3%A4 HTTP/1.1"), taken("/a%20b%C3%A4"));
    }

    #[test]
    fn a_torn_line_is_left_out() {
        let whole = r#"192.0.2.7 - - [27/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200"#;
        assert_eq!(read(whole.as_bytes(), Queries::Drop), taken("/a"));
        for end in 0..whole.len() {
            assert_eq!(
                read(&whole.as_bytes()[..end], Queries::Drop),
                Line::Odd,
                "{}",
                &whole[..end]
            );
        }
        assert_eq!(read(b"[x] \"GET /a HTTP/1.1\" 2000", Queries::Drop), Line::Odd);
        assert_eq!(read(b"[x] \"GET /a HTTP/1.1\" +20", Queries::Drop), Line::Odd);
    }

    /// Whether a client would send it to this backend and to no other, as one line.
    fn is_origin_form(path: &str) -> bool {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.bytes().all(|b| b.is_ascii_graphic())
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_path_that_is_not_in_origin_form(line in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Line::Path(path) = read(&line, Queries::Keep) {
                prop_assert!(is_origin_form(&path), "{path}");
            }
        }

        #[test]
        fn no_target_makes_a_path_that_is_not_in_origin_form(
            target in r#"(/|\.|%2e|%2f|;jsessionid=|;|\?|a|\\x2[ef]|\\n|\\"| |:|http:|\\\\|é){0,12}"#
        ) {
            for queries in [Queries::Keep, Queries::Drop] {
                if let Line::Path(path) = read(line(&format!("GET {target} HTTP/1.1"), 200).as_bytes(), queries) {
                    prop_assert!(is_origin_form(&path), "{path}");
                    let path = path.split('?').next().unwrap();
                    prop_assert!(!path.contains("/../") && !path.ends_with("/.."), "{path}");
                    prop_assert!(!path.to_lowercase().contains("jsessionid="), "{path}");
                }
            }
        }
    }
}
