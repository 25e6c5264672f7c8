//! Clients that read their answer slowly or not at all, and clients that send the next request
//! before they have it.

use super::*;

/// A large answer of the backend, and a large file.
const PATHS: [&str; 2] = ["/api/large?size=33554432", "/large.bin"];

/// The head of an answer, and what follows it.
fn begun(stream: TcpStream) -> BufReader<TcpStream> {
    let mut from = BufReader::new(stream);
    assert_eq!(Message::read_head(&mut from).unwrap().unwrap().status(), 200);
    from
}

/// Reads `len` bytes and drops them; fewer at the end.
fn take(from: &mut BufReader<TcpStream>, len: u64) -> u64 {
    std::io::copy(&mut from.take(len), &mut std::io::sink()).unwrap()
}

fn a_slow_client_is_waited_for_on(mpm: Mpm) {
    let stage = Stage::of(mpm);
    for path in PATHS {
        let request = |to| send(to, &get(path));
        stage.waits_for(path, 1, request, |stream| {
            let mut from = begun(stream);
            assert_eq!(take(&mut from, LARGE / 4), LARGE / 4);
            thread::sleep(Duration::from_millis(200));
            assert_eq!(stage.in_flight(), 1, "{path}: most of it is still to come");
            assert_eq!(take(&mut from, LARGE * 3 / 4), LARGE * 3 / 4);
            // The connection stays open, and idle.
            from
        });
    }
}

#[test]
fn a_drain_waits_for_a_slow_client_and_not_for_an_idle_connection() {
    on_each(&[Mpm::Event, Mpm::Prefork], a_slow_client_is_waited_for_on);
}

/// The strictest check: after the drain, not even Apache is needed for the answer.
#[test]
fn an_uncounted_answer_has_left_apache() {
    for (mpm, path) in [(Mpm::Event, PATHS[1]), (Mpm::Event, PATHS[0]), (Mpm::Prefork, PATHS[1])] {
        let mut stage = Stage::of(mpm);
        let mut from = begun(send(stage.site.address, &get(path)));
        let mut taken = 0;
        while stage.in_flight() > 0 {
            taken += take(&mut from, LARGE / 128);
        }
        assert!(taken < LARGE, "{mpm:?} {path}: nothing was left, so nothing is shown");
        stage.site.kill();
        let left = LARGE - taken;
        println!("{mpm:?} {path}: {left} bytes were still to be read");
        assert_eq!(take(&mut from, LARGE), left, "{mpm:?} {path}");
    }
}

#[test]
fn each_request_of_a_kept_connection_follows_the_flip() {
    on_each(&[Mpm::Event, Mpm::Prefork], |mpm| {
        let stage = Stage::of(mpm);
        let both = get("/api/first?held") + &get("/api/second?held");
        let mut from = BufReader::new(send(stage.site.address, &both));
        until(|| stage.backends[0].busy() == 1).unwrap();
        stage.site.flip("green");
        // Apache buffers the first answer until it has the second.
        stage.backends.iter().for_each(|backend| backend.release(1));
        let mut answer = || Message::read(&mut from).unwrap().unwrap().text();
        assert!(answer().starts_with("slot=blue GET /api/first"));
        assert!(answer().starts_with("slot=green GET /api/second"));
        assert_eq!(stage.slotctl(&["drain", "app", "blue", "--timeout", "20"]).0, 0);
        assert_eq!(stage.backends.each_ref().map(Backend::busy), [0, 0]);
    });
}
