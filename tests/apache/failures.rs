//! With SlotAutoRollback, answers with 5xx are told apart: the backend's own, those that mod_proxy made because the
//! backend did not answer, and those whose client had gone.

use crate::apache;
use crate::backend::{Backend, ok};
use crate::site::{Mpm, Site, until};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// An Apache, whose slot `a` answers as the path says, and whose slot `b` has no backend.
struct Stage {
    site: Site,
    backend: Backend,
}

fn stage(mpm: Mpm) -> Stage {
    let backend = Backend::start(apache::free_port().unwrap(), |request| {
        let (_, path) = request.method_and_path();
        if path.contains("/silent") {
            return Vec::new();
        }
        if path.contains("/late") {
            thread::sleep(Duration::from_millis(1500));
        }
        let status = ["500", "502", "503", "504"].into_iter().find(|s| path.contains(s));
        let Some(status) = status else { return ok("fine") };
        format!("HTTP/1.1 {status} Own\r\nContent-Length: 3\r\n\r\nown").into_bytes()
    });
    let mut site = Site::of(mpm);
    site.docroots(&["a", "b"]);
    site.write("a/sorry.html", "sorry");
    site.start(&format!(
        "<SlotGroup app>\nSlot a http://{} docroot=ROOT/a\nSlot b http://{} docroot=ROOT/b\nSlotAutoRollback\n\
         </SlotGroup>\n<SlotGroup plain>\nSlot a http://{}\n</SlotGroup>\n\
         SlotDocumentRoot app\n<Directory ROOT>\nRequire all granted\n</Directory>\n\
         ProxyPass /plain/ slot://plain/\nProxyPass /fixed/ http://{}/\n\
         <Location /over/>\nProxyPass slot://app/\nProxyErrorOverride On\n</Location>\n\
         <Location /sorry/>\nProxyPass slot://app/\nErrorDocument 502 /sorry.html\n</Location>\n\
         ProxyPass /app/ slot://app/\nProxyTimeout 1",
        backend.address,
        apache::free_port().unwrap(),
        apache::free_port().unwrap(),
        apache::free_port().unwrap(),
    ));
    Stage { site, backend }
}

impl Stage {
    fn slots(&self, group: &str) -> Value {
        let said: Value =
            serde_json::from_str(&self.site.run(&["status", group, "--json"])).unwrap();
        said["groups"][0]["slots"].clone()
    }

    /// What the slot has counted of 5xx: all, those of mod_proxy, and those without a client.
    fn errors(&self, slot: usize) -> [Option<u64>; 3] {
        let slot = &self.slots("app")[slot];
        [&slot["classes"]["5xx"], &slot["failed"], &slot["aborted"]].map(Value::as_u64)
    }

    /// Asserts what the slot counts for a request, which is counted when it is over.
    fn assert_adds(&self, slot: usize, path: &str, status: u16, added: [u64; 3]) {
        let before = self.errors(slot).map(Option::unwrap);
        let answered = self.site.get(path).status();
        // mod_proxy's answer to a backend that is too late depends on its version.
        assert!(answered == status || (answered, status) == (502, 504), "{path}: {answered}");
        self.await_errors(slot, path, [0, 1, 2].map(|at| before[at] + added[at]));
    }

    fn await_errors(&self, slot: usize, what: &str, wanted: [u64; 3]) {
        let seen = || self.errors(slot).map(Option::unwrap);
        until(|| seen() == wanted)
            .unwrap_or_else(|| panic!("{what}: {:?}, not {wanted:?}", seen()));
    }
}

#[test]
fn only_answers_that_mod_proxy_makes_itself_count_as_failed() {
    for mpm in [Mpm::Event, Mpm::Prefork] {
        let stage = stage(mpm);
        stage.assert_adds(0, "/app/fine", 200, [0, 0, 0]);
        for status in [500, 502, 503, 504] {
            stage.assert_adds(0, &format!("/app/{status}"), status, [1, 0, 0]);
            stage.assert_adds(0, &format!("/over/{status}"), status, [1, 0, 0]);
        }
        stage.assert_adds(0, "/app/silent", 502, [1, 1, 0]);
        stage.assert_adds(0, "/over/silent", 502, [1, 1, 0]);
        stage.assert_adds(0, "/sorry/silent", 502, [1, 1, 0]);
        stage.assert_adds(0, "/app/late", 504, [1, 1, 0]);
        // Another backend's failures are not the slot's, although its docroot is the request's.
        stage.assert_adds(0, "/fixed/x", 503, [1, 0, 0]);
        stage.site.flip_unchecked("b");
        stage.assert_adds(1, "/app/x", 503, [1, 1, 0]);
        let slots = stage.slots("app");
        assert_eq!(
            slots[1]["since_flip"],
            json!({"requests": 1, "5xx": 1, "failed": 1, "aborted": 0})
        );
        // A group without SlotAutoRollback pays for none of this.
        assert_eq!(stage.site.get("/plain/x").status(), 503);
        until(|| stage.slots("plain")[0]["classes"]["5xx"] == 1).unwrap();
        assert_eq!(stage.slots("plain")[0]["failed"], Value::Null);
    }
}

#[test]
fn an_error_whose_client_has_gone_counts_as_aborted_and_not_as_failed() {
    for mpm in [Mpm::Event, Mpm::Prefork] {
        let stage = stage(mpm);
        let mut aborted = 0;
        stage.assert_adds(0, "/app/late", 504, [1, 1, 0]);
        until(|| stage.backend.busy() == 0).expect("it has answered, too late");
        // The backend's own answer, and mod_proxy's when its time is over.
        for (path, is_own) in [("/app/500?held", true), ("/app/x?held", false)] {
            let mut stream = TcpStream::connect(stage.site.address).unwrap();
            // The first answer stays unread, so that closing the connection resets it.
            for path in ["/name.txt", path] {
                write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            }
            until(|| stage.backend.busy() == 1).expect("the backend works on it");
            drop(stream);
            if is_own {
                stage.backend.release(1);
            }
            aborted += 1;
            stage.await_errors(0, path, [1 + aborted, 1, aborted]);
        }
    }
}
