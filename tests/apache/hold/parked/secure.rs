//! Requests that are parked on connections with TLS.

use super::super::{LONG, Stage};
use super::{FOUR, is_event, read_from};
use crate::backend::Backend;
use crate::site::{Mpm, Site, until};
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A client with TLS: openssl passes on what is written and read.
struct Secure {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Secure {
    fn open(address: SocketAddr, request: &str) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut client = Self { child, to, from: BufReader::new(from) };
        client.send(request.as_bytes());
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Err(e) = self.to.write_all(bytes) {
            let _ = self.child.kill();
            let mut said = String::new();
            std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut said)
                .unwrap();
            panic!("{e}: {said} {:?}", self.child.wait());
        }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An Apache with four threads, which also listens with TLS.
fn secure() -> (Stage, SocketAddr) {
    let mut site = Site::of(Mpm::Event).with(&["ssl"]);
    site.certify();
    let address = crate::apache::free_port().unwrap();
    let backends = ["blue", "green"].map(Backend::named);
    site.start(&format!(
        "{FOUR}Listen {address}\n<SlotGroup app>\nSlot blue http://{}\nSlot green http://{}\nSlotHold park=on\n\
         </SlotGroup>\nLogFormat \"%s %U held=%{{SLOT_HELD_MS}}e\" held\nCustomLog held.log held\n\
         <VirtualHost {address}>\nServerName localhost\nSSLEngine on\nSSLCertificateFile ROOT/certificate.pem\n\
         SSLCertificateKeyFile ROOT/key.pem\nProxyPass /api/ slot://app/api/\n\
         ProxyPass /live/ slot://app/live/ upgrade=websocket\nCustomLog held.log held\n</VirtualHost>\n",
        backends[0].address, backends[1].address
    ));
    (Stage { site, backends }, address)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn requests_and_websockets_by_tls_are_parked_and_answered() {
    if !is_event() {
        return;
    }
    let (stage, address) = secure();
    let holding = stage.hold(LONG);
    let mut kept: Vec<_> = (0..4).map(|_| Secure::open(address, &get("/api/a"))).collect();
    let post = "POST /api/post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    let mut posts: Vec<_> = (0..4).map(|_| Secure::open(address, post)).collect();
    posts.iter_mut().for_each(|client| client.send(&[b'x'; 50_000]));
    // The second request comes in the record of the first.
    let mut pipelined = Secure::open(address, &["/api/1", "/api/2"].map(get).concat());
    let upgrade = "GET /live/chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut socket = Secure::open(address, upgrade);
    stage.waits(10);
    stage.site.flip_unchecked("green");
    stage.unhold();
    posts.iter_mut().for_each(|client| client.send(&[b'x'; 50_000]));
    for client in &mut posts {
        assert!(
            read_from(&mut client.from)
                .text()
                .starts_with("slot=green POST /api/post bytes=100000 ")
        );
    }
    for path in ["/api/1", "/api/2"] {
        let answer = read_from(&mut pipelined.from);
        assert!(answer.text().starts_with(&format!("slot=green GET {path} ")), "{answer:?}");
    }
    assert_eq!(read_from(&mut socket.from).status(), 101);
    // "hello" in a frame of a client, with a mask of zeros, and its echo.
    socket.send(b"\x81\x85\0\0\0\0hello");
    let mut echo = [0; 18];
    socket.from.read_exact(&mut echo).unwrap();
    assert_eq!(&echo[..], b"\x81\x10slot=green hello");
    for client in &mut kept {
        assert!(read_from(&mut client.from).text().starts_with("slot=green GET /api/a "));
    }
    assert_eq!(holding.end().0, 0);
    // A connection that was parked is parked again. Not one of those: Apache closes kept connections when all of its
    // threads are busy, as they were just now.
    let holding = stage.hold(LONG);
    let mut again = Secure::open(address, &get("/api/once"));
    stage.waits(1);
    stage.unhold();
    assert!(read_from(&mut again.from).text().starts_with("slot=green GET /api/once "));
    assert_eq!(holding.end().0, 0);
    let _holding = stage.hold(LONG);
    again.send(get("/api/again").as_bytes());
    stage.waits(1);
    stage.unhold();
    assert!(read_from(&mut again.from).text().starts_with("slot=green GET /api/again "));
}

#[test]
fn clients_that_give_up_in_tls_are_noticed_and_nothing_is_left() {
    if !is_event() {
        return;
    }
    let (stage, address) = secure();
    let [child] = stage.site.children()[..] else { panic!("one child") };
    let files = || fs::read_dir(format!("/proc/{child}/fd")).unwrap().count();
    let mut first = Secure::open(address, &get("/api/first"));
    assert_eq!(read_from(&mut first.from).status(), 200);
    drop(first);
    std::thread::sleep(Duration::from_millis(300));
    let before = files();
    let _holding = stage.hold(LONG);
    let clients: Vec<_> = (0..20).map(|_| Secure::open(address, &get("/api/gone"))).collect();
    stage.waits(20);
    drop(clients);
    stage.waits(0);
    until(|| files() <= before).unwrap_or_else(|| panic!("{} files, {before} before", files()));
    stage.unhold();
    let received = stage.backends[0].received();
    assert!(!received.windows(9).any(|bytes| bytes == b"/api/gone"));
    let lines = || stage.held_log().matches("/api/gone").count();
    until(|| lines() == 20).unwrap_or_else(|| panic!("{}", stage.held_log()));
}
