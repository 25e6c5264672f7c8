//! Warm-ups of backends that are functions.

use super::*;
use crate::group::share::Share;
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

struct Fake<F>(F);

impl<F: Fn(&str) -> Result<u16, String> + Send + Sync> Get for Fake<F> {
    fn get(&self, path: &str) -> Result<u16, String> {
        self.0(path)
    }
}

type Backend = (String, Arc<dyn Get>);

fn backend(get: impl Fn(&str) -> Result<u16, String> + Send + Sync + 'static) -> Backend {
    ("http://b".into(), Arc::new(Fake(get)))
}

fn warm_up(words: &[&str]) -> WarmUp {
    let mut warm = WarmUp::default();
    warm.set("warm", &[&["uri=/"], words].concat()).unwrap();
    warm
}

fn paths(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("/{n}")).collect()
}

fn warmed(backend: Backend, paths: &[String], words: &[&str]) -> Warmed {
    run(&[backend], paths, &warm_up(words), |_| {}, || false)
}

#[test]
fn each_path_is_requested_from_each_backend_in_turn() {
    let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let backends = ["a", "b"].map(|name| {
        let asked = Arc::clone(&asked);
        let get = move |path: &str| {
            *asked.lock().entry(format!("{name}{path}")).or_default() += 1;
            Ok::<u16, String>(200)
        };
        (name.to_owned(), Arc::new(Fake(get)) as Arc<dyn Get>)
    });
    let warmed = run(&backends, &paths(25), &warm_up(&["count=100"]), |_| {}, || false);
    assert!(matches!(warmed.ended, Ended::Count | Ended::Settled), "{warmed:?}");
    let asked = asked.lock();
    assert_eq!(asked.len(), 50);
    assert!(asked.values().all(|times| *times == 2), "{asked:?}");
}

#[test]
fn it_ends_when_the_answers_no_longer_become_faster() {
    let turn = AtomicUsize::new(0);
    let get = move |_: &str| {
        let slow = turn.fetch_add(1, Ordering::Relaxed) < 20;
        thread::sleep(Duration::from_millis(if slow { 150 } else { 4 }));
        Ok(200)
    };
    let warmed = warmed(backend(get), &paths(1), &[]);
    assert_eq!((warmed.ended, warmed.has_failed), (Ended::Settled, false));
    let (first, last) = (warmed.first.unwrap(), warmed.last.unwrap());
    assert!(first.p95 >= Duration::from_millis(150) && last.p95 < first.p95, "{warmed:?}");
    assert!((60..2000).contains(&warmed.requests), "{warmed:?}");
    assert_eq!(warmed.classes, [0, warmed.requests, 0, 0, 0]);
}

#[test]
fn fast_answers_settle_only_after_two_passes() {
    let warmed = warmed(backend(|_| Ok(200)), &paths(50), &["concurrency=1"]);
    assert_eq!(warmed.ended, Ended::Settled);
    assert!(warmed.requests >= 100, "{warmed:?}");
}

#[test]
fn no_more_requests_are_under_way_than_allowed() {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let get = move |_: &str| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(200)
    };
    let warmed = warmed(backend(get), &paths(3), &["count=60", "concurrency=7"]);
    assert_eq!(warmed.requests, 60);
    assert_eq!(seen.load(Ordering::SeqCst), 7);
}

#[test]
fn a_backend_that_refuses_ends_it_soon() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let get = move |_: &str| {
        asked.fetch_add(1, Ordering::Relaxed);
        Err("refused".to_owned())
    };
    let warmed = warmed(backend(get), &paths(2), &["max5xx=100%"]);
    assert_eq!((warmed.ended, warmed.has_failed), (Ended::NoAnswer, true));
    assert_eq!((warmed.requests, warmed.failed), (20, 20));
    assert!(seen.load(Ordering::Relaxed) < 40);
    assert_eq!(warmed.examples[0].why, "refused");
    assert_eq!((warmed.first, warmed.last), (None, None));
}

#[test]
fn too_many_bad_answers_fail_and_the_worst_paths_are_named() {
    let get = |path: &str| match path {
        "/3" | "/7" => Ok(503),
        "/5" => Err("closed".to_owned()),
        "/9" => Ok(404),
        _ => Ok(200),
    };
    // Too few answers for a window, so that it does not settle before.
    let words = ["count=20", "concurrency=1"];
    let warmed = |max: &str| warmed(backend(get), &paths(10), &[&words[..], &[max]].concat());
    let bad = warmed("max5xx=29%");
    assert!(bad.has_failed, "{bad:?}");
    assert!(!warmed("max5xx=30%").has_failed);
    let named: Vec<_> = bad.examples.iter().map(|e| (e.path.as_str(), e.why.as_str())).collect();
    assert_eq!(named, [("/3", "503"), ("/5", "closed"), ("/7", "503")]);
    assert_eq!((bad.requests, bad.failed, bad.classes), (20, 2, [0, 12, 0, 2, 4]));
    assert_eq!(Share::of(bad.failed + bad.classes[4], bad.requests), Share::percent(30));
}

#[test]
fn it_ends_in_time_although_requests_hang() {
    let get = |path: &str| {
        if path == "/1" {
            thread::sleep(Duration::from_secs(30));
        }
        thread::sleep(Duration::from_millis(5));
        Ok(200)
    };
    let start = Instant::now();
    let some = warmed(backend(get), &paths(4), &["timeout=1500ms", "concurrency=2"]);
    assert!(start.elapsed() < Duration::from_secs(10));
    // Both threads hang, after a few answers.
    assert_eq!((some.ended, some.failed, some.has_failed), (Ended::Timeout, 2, true), "{some:?}");
    assert_eq!(some.examples[0].path, "/1");
    assert!(some.examples[0].why.starts_with("no answer within "), "{some:?}");
    let none = warmed(backend(get), &["/1".into()], &["timeout=100ms"]);
    assert_eq!((none.requests, none.has_failed), (0, true));
}

#[test]
fn requests_under_way_at_the_end_do_not_fail_it() {
    let get = |_: &str| {
        thread::sleep(Duration::from_millis(300));
        Ok(200)
    };
    let warmed = warmed(backend(get), &paths(4), &["timeout=450ms"]);
    assert_eq!((warmed.ended, warmed.failed, warmed.has_failed), (Ended::Timeout, 0, false));
}

#[test]
fn the_caller_can_stop_it_and_sees_how_far_it_is() {
    let get = |_: &str| {
        thread::sleep(Duration::from_millis(5));
        Ok(503)
    };
    let mut seen = Vec::new();
    let mut looks = 0;
    let stop = || {
        looks += 1;
        looks > 3
    };
    let warm = warm_up(&["max5xx=100%", "concurrency=1"]);
    let warmed = run(&[backend(get)], &paths(100), &warm, |p| seen.push(p.requests), stop);
    assert_eq!((warmed.ended, warmed.has_failed), (Ended::Stopped, false));
    assert_eq!(seen.len(), 4);
    assert!(seen.is_sorted() && seen[0] == 0 && seen[3] == warmed.requests, "{seen:?}");
}
