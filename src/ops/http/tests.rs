//! Backends that answer well, badly or not at all.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const LIMIT: Duration = Duration::from_millis(400);

/// Starts a backend that does `answer` with each connection. Returns its address.
fn backend(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(move || answer(stream));
        }
    });
    address
}

/// Reads a request up to its empty line; `None` if there is none.
fn request(from: impl Read) -> Option<String> {
    let mut lines = BufReader::new(from);
    let mut all = String::new();
    while !all.ends_with("\r\n\r\n") {
        if lines.read_line(&mut all).ok()? == 0 {
            return None;
        }
    }
    Some(all)
}

fn client(address: &str, host: Option<&str>, trust: &Trust, timeout: Duration) -> Client {
    Client::new(&Address::parse(address).unwrap(), host, None, trust, timeout).unwrap()
}

fn get(address: &str) -> Result<Answer, Why> {
    client(address, None, &Trust::System, LIMIT).get("/up?x=1", &[("X-More", "yes")])
}

#[test]
fn a_request_names_the_site_and_goes_to_the_address() {
    let address = backend(|mut stream| {
        let request = request(&stream).unwrap();
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: {}\r\n\r\n{request}",
            request.len()
        )
        .unwrap();
    });
    let address = format!("{address}/ctx/");
    let site = client(&address, Some("app.example.com:81"), &Trust::System, LIMIT);
    let answer = site.get("/up?x=1", &[("X-More", "yes"), ("Cookie", "a=b")]).unwrap();
    assert_eq!((answer.status, answer.location.as_deref()), (302, Some("/next")));
    let body = String::from_utf8(answer.body).unwrap().to_lowercase();
    for line in [
        "get /ctx/up?x=1 http/1.1\r\n",
        "\r\nhost: app.example.com:81\r\n",
        "\r\nx-forwarded-proto: http\r\n",
        "\r\nx-more: yes\r\n",
        "\r\ncookie: a=b\r\n",
        concat!("\r\nuser-agent: slotctl/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(body.contains(line), "{line:?} in {body}");
    }
    let own = client(&address, None, &Trust::System, LIMIT);
    let body = own.get_exactly("/next", &[("X-Forwarded-Proto", "https")]).unwrap().body;
    let body = String::from_utf8(body).unwrap().to_lowercase();
    let host = address.trim_start_matches("http://").trim_end_matches("/ctx/");
    assert!(body.starts_with("get /next http/1.1\r\n"), "{body}");
    assert!(body.contains(&format!("\r\nhost: {host}\r\n")), "{body}");
    assert!(body.contains("x-forwarded-proto: https") && !body.contains("proto: http\r"), "{body}");
}

#[test]
fn every_way_to_hang_ends_in_time_and_says_what_was_awaited() {
    let hang = || thread::sleep(Duration::from_secs(60));
    let drip = |mut stream: TcpStream, text: &'static str| {
        request(&stream).unwrap();
        for byte in text.bytes().cycle() {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    };
    let silent = backend(move |_stream| hang());
    let head =
        backend(move |stream| drip(stream, "HTTP/1.1 200 OK\r\nA: aaaaaaaaaaaaaaaaaaaaaa\r\n"));
    let body = backend(move |mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n").unwrap();
        drip(stream, "x");
    });
    let tls = silent.replace("http:", "https:");
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("full");
    let full = UnixListener::bind(&socket).unwrap();
    // As short a queue as there is.
    rustix::net::listen(&full, 0).unwrap();
    let _queued = UnixStream::connect(&socket).unwrap();
    let full_queue = format!("unix:{}|http://localhost", socket.display());
    for (address, what) in [
        (&silent, "no answer within 0.4s"),
        (&head, "no answer within 0.4s"),
        (&body, "no end of the answer within 0.4s"),
        (&tls, "no end of the TLS handshake within 0.4s"),
        (&full_queue, "no connection within 0.4s"),
    ] {
        let start = Instant::now();
        let why = get(address).unwrap_err();
        assert!(matches!(why, Why::Timeout { .. }), "{why}");
        assert_eq!(why.to_string(), format!("{address}: {what}"));
        assert!(start.elapsed() < LIMIT * 3, "{why}: {:?}", start.elapsed());
    }
}

#[test]
fn a_failure_says_what_the_backend_did() {
    // Nothing listens on this port.
    let refused = "http://127.0.0.1:1".to_owned();
    let at_once = backend(|stream| drop(request(&stream)));
    let in_the_body = backend(|mut stream| {
        request(&stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx").unwrap();
    });
    let other = backend(|mut stream| {
        request(&stream).unwrap();
        stream.write_all(b"220 mail.example.com ESMTP\r\n\r\n").unwrap();
    });
    for (address, what) in [
        (&refused, "refused"),
        (&at_once, "closed the connection before its answer"),
        (&in_the_body, "closed the connection before the end of its answer"),
        (&other, "does not answer in HTTP/1.1"),
    ] {
        let why = get(address).unwrap_err().to_string();
        assert!(why.contains(what) && why.contains(address.as_str()), "{why}");
    }
    let missing = get("unix:/nonexistent/sock|http://localhost").unwrap_err().to_string();
    assert!(missing.contains("No such file"), "{missing}");
    let ajp = Address::parse("ajp://127.0.0.1").unwrap();
    let made = Client::new(&ajp, None, None, &Trust::System, LIMIT);
    assert!(matches!(made, Err(Why::Scheme { .. })));
    let http = Address::parse("http://127.0.0.1").unwrap();
    let made = Client::new(&http, Some("[::1"), None, &Trust::System, LIMIT);
    assert!(matches!(made, Err(Why::Host { .. })), "{made:?}");
    let made = Client::new(&http, None, None, &Trust::Ca("/nonexistent.pem".into()), LIMIT);
    assert!(made.unwrap_err().to_string().contains("ca=/nonexistent.pem cannot be read: No such"));
    let made = Client::new(&http, None, None, &Trust::Ca("/dev/null".into()), LIMIT);
    assert!(made.unwrap_err().to_string().contains("no certificate in PEM form"));
}

#[test]
fn a_long_body_is_read_only_in_part() {
    let address = backend(|mut stream| {
        request(&stream).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let answer = client(&address, None, &Trust::System, Duration::from_secs(20)).get("/", &[]);
    assert_eq!(answer.unwrap().body.len() as u64, BODY);
}

#[test]
fn many_threads_share_the_kept_connections() {
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    let address = backend(move |mut stream| {
        seen.fetch_add(1, Ordering::Relaxed);
        while request(&stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let client = client(&address, None, &Trust::System, Duration::from_secs(20));
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                (0..20).for_each(|_| assert_eq!(client.get("/", &[]).unwrap().status, 200))
            });
        }
    });
    let made = connections.load(Ordering::Relaxed);
    assert!((1..=32).contains(&made), "{made} connections");
}

#[test]
fn a_kept_connection_that_the_backend_closes_is_replaced() {
    let address = backend(|mut stream| {
        // Closed only when the next request is there, as if both had met on the way.
        request(&stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        let _ = request(&stream);
    });
    let client = client(&address, None, &Trust::System, Duration::from_secs(20));
    (0..3).for_each(|_| assert_eq!(client.get("/", &[]).unwrap().status, 200));
}

#[test]
fn a_unix_socket_is_asked_for_its_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = request(&stream).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{asked}").unwrap();
    });
    let answer = get(&format!("unix:{}|http://localhost", path.display())).unwrap();
    let body = String::from_utf8(answer.body).unwrap().to_lowercase();
    assert!(body.contains("host: localhost\r\n"), "{body}");
}

/// `openssl s_server`, until it is dropped.
struct Secured {
    process: Child,
    address: String,
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn openssl(dir: &Path, arguments: &str) {
    let run = Command::new("openssl").current_dir(dir).args(arguments.split(' ')).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Starts a TLS server for `app.example.com`, and writes its authority to `ca.pem`.
fn secured(dir: &Path) -> (Secured, PathBuf) {
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(dir, &format!("req -x509 {new} -subj /CN=authority -keyout ca.key -out ca.pem"));
    openssl(dir, &format!("req {new} -subj /CN=app -keyout key.pem -out csr.pem"));
    fs::write(dir.join("ext"), "subjectAltName=DNS:app.example.com\n").unwrap();
    openssl(
        dir,
        "x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -extfile ext -out cert.pem",
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = Command::new("openssl")
        .current_dir(dir)
        .args(["s_server", "-quiet", "-www", "-cert", "cert.pem", "-key", "key.pem"])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Secured { process, address: format!("https://127.0.0.1:{port}") };
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "openssl s_server does not start");
        thread::sleep(Duration::from_millis(10));
    }
    (server, dir.join("ca.pem"))
}

#[test]
fn a_certificate_is_verified_against_the_host_that_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (server, ca) = secured(dir.path());
    let ca = Trust::Ca(ca.display().to_string());
    let limit = Duration::from_secs(20);
    let get = |host, trust: &Trust| client(&server.address, host, trust, limit).get("/", &[]);
    assert_eq!(get(Some("app.example.com"), &ca).unwrap().status, 200);
    for (host, trust) in
        [(Some("other.example.com"), &ca), (None, &ca), (Some("app.example.com"), &Trust::System)]
    {
        let why = get(host, trust).unwrap_err();
        let text = why.to_string();
        assert!(matches!(why, Why::Tls { .. }), "{why:?}");
        assert!(text.contains("certificate") && text.contains("insecure=on"), "{text}");
    }
    assert_eq!(get(Some("other.example.com"), &Trust::Insecure).unwrap().status, 200);
    let plain = backend(|mut stream| {
        let _ = stream.read(&mut [0; 99]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let plain = plain.replace("http:", "https:");
    let why = client(&plain, None, &ca, limit).get("/", &[]).unwrap_err();
    assert!(matches!(why, Why::Tls { .. }) && !why.to_string().contains("insecure"), "{why}");
}
