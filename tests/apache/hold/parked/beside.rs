//! Parked requests beside other modules and limits of httpd.

use super::super::{Asked, LONG, Stage};
use super::{FOUR, is_event, open, read};
use crate::backend::{Backend, ok};
use crate::multiplexed::{self, Connection};
use crate::site::{Mpm, Site, until};
use http::Method;
use std::fs;
use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const SLOTS: [&str; 2] = ["blue", "green"];

/// One child with four threads, these modules, and a group `app` that is parked.
fn with(modules: &[&'static str], lines: &str) -> Stage {
    beside(Site::of(Mpm::Event).with(modules), "", lines)
}

fn beside(mut site: Site, words: &str, lines: &str) -> Stage {
    let backends = SLOTS.map(Backend::named);
    site.docroots(&SLOTS);
    site.start(&format!(
        "{FOUR}<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\nSlot green http://{} docroot=ROOT/green\n\
         SlotHold park=on {words}\n</SlotGroup>\nSlotDocumentRoot app\n<Directory ROOT>\nRequire all granted\n</Directory>\n\
         ProxyPass /api/ slot://app/api/\n{lines}",
        backends[0].address, backends[1].address
    ));
    Stage { site, backends }
}

#[test]
fn times_of_mod_reqtimeout_do_not_count_while_a_request_waits() {
    if !is_event() {
        return;
    }
    let stage = with(&["reqtimeout"], "RequestReadTimeout header=2 body=2\n");
    let _holding = stage.hold(LONG);
    let head = "POST /api/late HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
    let mut stream = open(&stage, head);
    stage.waits(1);
    thread::sleep(Duration::from_secs(3));
    stage.waits(1);
    stage.unhold();
    stream.write_all(b"world").unwrap();
    let mut stream = BufReader::new(stream);
    assert!(read(&mut stream).text().contains("bytes=10"));
    // Its time counts after the hold as without one.
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    assert_eq!(read(&mut stream).status(), 408);
}

#[test]
fn what_mod_cache_has_is_parked_and_answered_from_the_cache() {
    if !is_event() {
        return;
    }
    let (asked, address) = (Arc::new(AtomicUsize::new(0)), crate::apache::free_port().unwrap());
    let count = Arc::clone(&asked);
    let backend = Backend::start(address, move |_| {
        let number = count.fetch_add(1, SeqCst);
        let answer = String::from_utf8(ok(&format!("answer {number}"))).unwrap();
        answer.replace("\r\n\r\n", "\r\nCache-Control: max-age=100\r\n\r\n").into_bytes()
    });
    let mut site = Site::of(Mpm::Event).with(&["cache", "cache_disk"]);
    fs::create_dir(site.path().join("cache")).unwrap();
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(site.path().join("cache"), everyone).unwrap();
    site.start(&format!(
        "{FOUR}<SlotGroup app>\nSlot blue http://{address}\nSlotHold park=on\n</SlotGroup>\n\
         ProxyPass / slot://app/\nCacheQuickHandler off\nCacheRoot ROOT/cache\nCacheHeader on\n\
         <Location />\nCacheEnable disk\n</Location>\n"
    ));
    let stage = Stage { site, backends: [backend, Backend::named("green")] };
    let first = stage.site.get("/a");
    assert_eq!(first.text(), "answer 0");
    let kept = || stage.site.get("/a");
    until(|| kept().field("x-cache").is_some_and(|field| field.starts_with("HIT"))).unwrap();
    let before = asked.load(SeqCst);
    let _holding = stage.hold(LONG);
    let old = stage.begin("GET", "/a", vec![]);
    let new = stage.begin("GET", "/b", vec![]);
    stage.waits(2);
    stage.unhold();
    let (old, new) = (old.answer(), new.answer());
    assert_eq!(asked.load(SeqCst), before + 1, "{old:?} {new:?}");
    assert!(old.field("x-cache").unwrap().starts_with("HIT"), "{old:?}");
    assert!(new.text().starts_with("answer "), "{new:?}");
}

#[test]
fn streams_of_http_2_wait_in_threads_beside_parked_requests() {
    if !is_event() {
        return;
    }
    let stage = Stage::with("SlotHold park=on\n", "");
    let _holding = stage.hold(LONG);
    let address = stage.site.address;
    let streams = thread::spawn(move || {
        multiplexed::run(async {
            let connection = Connection::open(address).await.unwrap();
            let mut answers = vec![];
            for number in 0..3 {
                answers.push(connection.begin(Method::GET, "/api/h2", number).await.unwrap());
            }
            let mut texts = vec![];
            for answer in answers {
                texts.push(answer.answer(None).await.unwrap().text);
            }
            texts
        })
    });
    let asked: Vec<_> = (0..20).map(|_| stage.begin("GET", "/api/h1", vec![])).collect();
    stage.waits(23);
    stage.site.flip_unchecked("green");
    stage.unhold();
    assert!(
        asked.into_iter().all(|asked| asked.answer().text().starts_with("slot=green GET /api/h1"))
    );
    let texts = streams.join().unwrap();
    assert!(texts.iter().all(|text| text.starts_with("slot=green GET /api/h2")), "{texts:?}");
}

#[test]
fn mod_status_shows_no_busy_thread_for_a_parked_request() {
    if !is_event() {
        return;
    }
    let stage = with(&["status"], "<Location /status>\nSetHandler server-status\n</Location>\n");
    let holding = stage.hold(LONG);
    let asked: Vec<_> = (0..20).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(20);
    let status = |field: &str| {
        let text = stage.site.get("/status?auto").text();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{field}: {text}")).trim().to_owned()
    };
    // Only the request for the status itself is busy.
    until(|| status("BusyWorkers") == "1").unwrap_or_else(|| panic!("{}", status("BusyWorkers")));
    stage.unhold();
    assert!(asked.into_iter().all(|asked| asked.answer().status() == 200));
    assert_eq!(holding.end().0, 0);
}

#[test]
fn without_descriptors_requests_wait_in_threads_and_no_client_hangs() {
    if !is_event() {
        return;
    }
    let site = Site::of(Mpm::Event).with_script("ulimit -n 64\nexec");
    let stage = beside(site, "", "SetEnv proxy-nokeepalive 1\nKeepAliveTimeout 60\n");
    let [child] = stage.site.children()[..] else { panic!("one child") };
    let files = || {
        let files = fs::read_dir(format!("/proc/{child}/fd")).unwrap().flatten();
        let numbers = files.filter_map(|file| file.file_name().to_str()?.parse::<usize>().ok());
        // Others are inherited from the test.
        numbers.filter(|number| *number < 64).count()
    };
    assert_eq!(stage.site.get("/api/first").status(), 200);
    // The connections of the start, and of this request, are closed after a while.
    let is_settled = || {
        let before = files();
        thread::sleep(Duration::from_millis(300));
        files() == before
    };
    until(is_settled).unwrap();
    let before = files();
    let holding = stage.hold(LONG);
    // Clients that keep their connections, until five descriptors are free: two parked requests have four of them, and
    // the third request has the last one for its connection.
    let file = "GET /name.txt HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut idle = vec![];
    // The file of the last answer may be open for a moment more.
    let is_full = || files() >= 64 - 5;
    let stays_full = || is_full() && until(is_settled).is_some() && is_full();
    while !stays_full() {
        let mut stream = BufReader::new(open(&stage, file));
        assert_eq!(read(&mut stream).status(), 200);
        idle.push(stream);
    }
    let mut asked = vec![];
    for (number, used) in [(1, 61), (2, 63), (3, 64)] {
        asked.push(stage.begin("GET", "/api/a", vec![]));
        stage.waits(number);
        assert_eq!(files(), used);
    }
    drop(idle);
    until(|| files() <= before + 5).unwrap();
    stage.unhold();
    let answers = asked.into_iter().map(|asked| asked.answer().status());
    assert!(answers.into_iter().all(|status| status == 200));
    assert_eq!(holding.end().0, 0);
    until(|| files() <= before).unwrap_or_else(|| panic!("{} files, {before} before", files()));
    assert_eq!(stage.site.children(), [child], "{}", stage.site.log());
}

#[test]
fn error_documents_of_refused_requests_never_come_from_the_backend() {
    if !is_event() {
        return;
    }
    let stage = beside(
        Site::of(Mpm::Event),
        "timeout=1s",
        "Alias /errors ROOT/errors\nErrorDocument 503 /errors/busy.html\n\
         <Location /api/other>\nErrorDocument 503 /api/sorry\n</Location>\n\
         <Location /api/file>\nErrorDocument 503 /name.txt\n</Location>\n",
    );
    stage.site.write("errors/busy.html", "come again");
    let _holding = stage.hold(LONG);
    let paths = ["/api/a", "/api/other", "/api/file"];
    let asked = paths.map(|path| stage.begin("GET", path, vec![]));
    stage.waits(3);
    let answers = asked.map(Asked::answer);
    for answer in &answers {
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("5")));
    }
    assert_eq!(answers[0].text(), "come again");
    assert_eq!(stage.backends[0].received(), b"");
    // The connection is kept, or closed in order: the next request is answered.
    stage.unhold();
    assert_eq!(stage.site.get("/api/a").status(), 200);
}

#[test]
fn every_line_of_a_trace_can_be_written_while_requests_are_parked() {
    if !is_event() {
        return;
    }
    let stage = with(&[], "LogLevel trace8\n");
    let holding = stage.hold(LONG);
    let asked: Vec<_> = (0..10).map(|_| stage.begin("POST", "/api/a", vec![b'x'; 5])).collect();
    stage.waits(10);
    stage.unhold();
    assert!(asked.into_iter().all(|asked| asked.answer().status() == 200));
    assert_eq!(holding.end().0, 0);
    assert_eq!(stage.site.children().len(), 1);
}

#[test]
fn a_handler_that_is_the_type_of_a_file_survives_the_wait() {
    if !is_event() {
        return;
    }
    // httpd takes the type for the handler while it calls handlers, and forgets it afterwards.
    let stage = with(&["status", "info"], "AddType proxy:slot://app .typed\n");
    for slot in SLOTS {
        stage.site.write(&format!("{slot}/a.typed"), "source");
    }
    let [child] = stage.site.children()[..] else { panic!("one child") };
    let before = stage.site.get("/a.typed").text();
    assert!(before.starts_with("slot=blue GET /a.typed"), "{before}");
    let holding = stage.hold(LONG);
    let asked = stage.begin("GET", "/a.typed", vec![]);
    stage.waits(1);
    stage.site.flip_unchecked("green");
    stage.unhold();
    let answer = asked.answer();
    assert!(answer.text().starts_with("slot=green GET /a.typed"), "{answer:?}");
    assert_eq!(stage.site.children(), [child]);
    assert_eq!(holding.end().0, 0);
}

#[test]
fn without_a_thread_that_wakes_them_requests_wait_in_their_own() {
    if !is_event() {
        return;
    }
    let site = Site::of(Mpm::Event);
    let preloaded = site.build_module("tests/apache/hold/parked/no_thread.c");
    let site = site.with_script(&format!("LD_PRELOAD={} exec", preloaded.display()));
    let stage = beside(site, "", "");
    let holding = stage.hold(LONG);
    // Half of four threads.
    let asked: Vec<_> = (0..2).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(2);
    stage.unhold();
    assert!(asked.into_iter().all(|asked| asked.answer().status() == 200));
    assert_eq!(holding.end().0, 0);
    assert!(stage.site.log().contains("SLOT0027"), "{}", stage.site.log());
}

#[test]
fn connections_pay_for_parking_only_where_a_group_asks_for_it() {
    if !is_event() {
        return;
    }
    let hooks = |words: &str| {
        let mut site = Site::of(Mpm::Event).with(&["info"]);
        site.start(&format!(
            "<SlotGroup app>\nSlot a http://127.0.0.1:1\nSlotHold {words}\n</SlotGroup>\n\
             <Location /info>\nSetHandler server-info\n</Location>\n"
        ));
        let page = site.get("/info?hooks").text();
        ["Process Connection:", "Content Handlers:"].map(|hook| {
            let (_, after) = page.split_once(hook).unwrap_or_else(|| panic!("{hook}: {page}"));
            let before = after.find("<dt>").map_or(after, |end| &after[..end]);
            before.matches(">mod_slot.c<").count()
        })
    };
    assert_eq!((hooks("timeout=30s"), hooks("park=on")), ([0, 0], [1, 1]));
}
