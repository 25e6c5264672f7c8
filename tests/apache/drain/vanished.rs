//! Clients and backends that vanish: no count stays, and none ends too early.

use super::*;
use crate::backend::ok;
use h2::Reason;

const SLOW: &str = "/api/slow?held";

/// Waits until the backend has seen it too.
fn settled(stage: &Stage) {
    until(|| stage.backends[0].busy() == 0).expect("the backend is let go");
}

fn clients_vanish_on(mpm: Mpm) {
    let stage = Stage::of(mpm);
    // Half of a head is not a request yet.
    let half = send(stage.site.address, "GET /api/x HTTP/1.1\r\nHost: loc");
    thread::sleep(Duration::from_millis(100));
    assert_eq!(stage.in_flight(), 0);
    drop(half);
    // Half of a body.
    stage.waits_for(
        "/api/upload",
        1,
        |to| send(to, UPLOAD),
        |stream| {
            drop(stream);
            settled(&stage);
        },
    );
    // A partly received answer: closing the connection is a reset.
    for path in ["/api/large?size=33554432", "/large.bin"] {
        stage.waits_for(path, 1, |to| send(to, &get(path)), drop);
    }
    // The backend goes on working, and Apache waits for it.
    stage.waits_for(
        SLOW,
        1,
        |to| send(to, &get(SLOW)),
        |stream| {
            drop(stream);
            thread::sleep(Duration::from_millis(100));
            assert_eq!((stage.in_flight(), stage.backends[0].busy()), (1, 1));
            stage.backends[0].release(1);
        },
    );
    // Without a GOAWAY.
    stage.waits_for(
        "/live/chat",
        1,
        |to| Live::open(to, 0).unwrap().0,
        |live| {
            drop(live);
            settled(&stage);
        },
    );
}

#[test]
fn a_request_of_a_vanished_client_is_counted_to_its_end() {
    on_each(&[Mpm::Event, Mpm::Prefork], clients_vanish_on);
}

#[test]
fn a_client_that_never_reads_is_counted_until_apaches_timeout() {
    on_each(&[Mpm::Event, Mpm::Prefork], |mpm| {
        let stage = Stage::with(mpm, "Timeout 3\n");
        for path in ["/api/large?size=33554432", "/large.bin"] {
            stage.waits_for(path, 1, |to| send(to, &get(path)), |stream| stream);
        }
    });
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Resets the second of three streams.
    Reset,
    /// Closes the connection.
    Dropped,
}

/// Three streams of one connection; the backend works on each.
fn streams(stage: &Stage, end: End) {
    multiplexed::run(async {
        let connection = Connection::open(stage.site.address).await.unwrap();
        let mut streams = Vec::new();
        for number in 0..3 {
            streams.push(connection.begin(Method::GET, SLOW, number).await.unwrap());
        }
        let counts = || (stage.in_flight(), stage.backends[0].busy());
        let all = async {
            while counts() != (3, 3) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), all).await;
        waited.expect("three are in blue");
        stage.site.flip("green");
        match end {
            End::Reset => streams[1].body.send_reset(Reason::CANCEL),
            End::Dropped => connection.drop_it(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The backend does not notice.
        assert_eq!(counts(), (3, 3));
        stage.backends[0].release(3);
        for (number, stream) in streams.into_iter().enumerate() {
            let answer = stream.answer(None).await;
            let right = end == End::Reset && number != 1;
            assert_eq!(answer.is_ok(), right, "{number}: {answer:?}");
        }
        let (code, said) = stage.slotctl(&["drain", "app", "blue", "--timeout", "20"]);
        assert_eq!((code, counts()), (0, (0, 0)), "{said}");
    });
}

#[test]
fn a_reset_stream_is_counted_until_its_backend_answers() {
    on_each(&[Mpm::Event, Mpm::Worker], |mpm| streams(&Stage::of(mpm), End::Reset));
}

#[test]
fn streams_of_a_closed_connection_are_counted_until_their_backends_answer() {
    on_each(&[Mpm::Event, Mpm::Worker], |mpm| streams(&Stage::of(mpm), End::Dropped));
}

#[test]
fn a_backend_that_vanishes_leaves_nothing_behind() {
    on_each(&[Mpm::Event, Mpm::Prefork], |mpm| {
        let mut stage = Stage::of(mpm);
        // While it computes the answer.
        let asked = asked(stage.site.address, SLOW);
        until(|| stage.backends[0].busy() == 1).unwrap();
        stage.site.flip("green");
        let [blue, green] = stage.backends;
        let address = blue.address;
        blue.kill();
        assert_eq!(asked.join().unwrap().status(), 502);
        // While it sends the answer.
        let cut = |_: &Message| {
            let whole = String::from_utf8(ok(&"x".repeat(9000))).unwrap();
            let whole = whole.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            whole.as_bytes()[..5000].to_vec()
        };
        stage.backends = [Backend::start(address, cut), green];
        stage.site.flip("blue");
        let mut answer = String::new();
        let mut stream = send(stage.site.address, &get("/api/x"));
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.len() < 6000, "{answer}");
        stage.site.flip("green");
        let (code, said) = stage.slotctl(&["drain", "app", "blue", "--timeout", "20"]);
        assert_eq!((code, stage.in_flight()), (0, 0), "{said}");
    });
}

/// mod_http2 may keep a request that has ended until the next one on its connection.
#[test]
fn an_idle_connection_of_http_2_is_in_no_slot() {
    on_each(&[Mpm::Event, Mpm::Worker], |mpm| {
        let stage = Stage::of(mpm);
        multiplexed::run(async {
            let connection = Connection::open(stage.site.address).await.unwrap();
            for _ in 0..100 {
                let mut streams = Vec::new();
                for number in 0..4 {
                    streams.push(connection.begin(Method::GET, "/api/x", number).await.unwrap());
                }
                for stream in streams {
                    assert!(stream.answer(None).await.unwrap().text.contains("slot=blue"));
                }
                until(|| stage.in_flight() == 0).expect("all have ended");
            }
            stage.site.flip("green");
            let (code, said) = stage.slotctl(&["drain", "app", "blue", "--timeout", "20"]);
            assert_eq!((code, stage.in_flight()), (0, 0), "{said}");
            drop(connection);
        });
    });
}

/// Apache reads the file from the docroot as long as the client receives it.
#[test]
fn a_file_over_http_2_is_waited_for_until_the_client_has_it() {
    on_each(&[Mpm::Event, Mpm::Worker], |mpm| {
        let stage = Stage::of(mpm);
        multiplexed::run(async {
            let connection = Connection::open(stage.site.address).await.unwrap();
            let stream = connection.begin(Method::GET, "/large.bin", 0).await.unwrap();
            let begun = async {
                while stage.in_flight() != 1 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let begun = tokio::time::timeout(Duration::from_secs(20), begun).await;
            begun.expect("it is in blue");
            stage.site.flip("green");
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(stage.in_flight(), 1, "the client has not taken it yet");
            let (code, said) = stage.slotctl(&["drain", "app", "blue", "--timeout", "200ms"]);
            assert_eq!(code, 124, "{said}");
            drop((stream, connection));
        });
        let (code, said) = stage.slotctl(&["drain", "app", "blue", "--timeout", "20"]);
        assert_eq!((code, stage.in_flight()), (0, 0), "{said}");
    });
}
