//! A request of a group that is held: before it is sent to the backend, it waits in no slot, and then enters again.
//!
//! A request chooses its slot before it is known whether it needs the backend, and before authorisation. If the group
//! is held then, the request is *set aside*: it counts in its slot, but a hold does not wait for its end. If it turns
//! out to be for the backend, it comes here from mod_proxy's pre_request, with its body unread.

use super::group::Group;
use super::host::{Answer, Kept, Message, Request, max_children, threads};
use super::kept::{ASIDE, After, NOTE, Pin, State};
use crate::state::os::monotonic;
use crate::sync::Ordering;
use std::ffi::CStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The requests of this process that wait, of all groups.
static WAITING: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// How often a request that waits looks whether the hold is over.
const PAUSE: Duration = Duration::from_millis(25);
/// What a client that cannot wait is asked to do, in seconds.
const RETRY_AFTER: &CStr = c"5";
const HELD_MS: &CStr = c"SLOT_HELD_MS";
/// The note of a client's request that was held, with the same value.
const HELD_NOTE: &CStr = c"mod_slot-held";

/// pre_request: waits while the group of the request is held. `None`: the request goes on to the backend; otherwise it
/// ends with this answer.
#[cold]
#[inline(never)]
pub(super) fn wait(request: &Request) -> Option<Answer> {
    let root = request.root();
    let pin = held_pin(request, root)?;
    if pin.is_refused() {
        return Some(Answer::UNAVAILABLE);
    }
    let began = Instant::now();
    let Some(place) = Place::take(pin.group) else {
        return Some(refuse(request, root, pin, began, "no room is left in this process (queue=)"));
    };
    // A part of a response that has begun stays in its slot, and so does an internal redirect: both have used it.
    let answer = match request.is(root) {
        true => wait_outside(request, pin, began),
        false => wait_inside(request, root, pin, began),
    };
    drop(place);
    answer
}

/// The pin of the group whose backend the request is for, if it is set aside.
fn held_pin<'a>(request: &Request, root: &'a Request) -> Option<&'a Pin> {
    let bound = State::known(request).map_or(0, |state| match state.routed.get() {
        Some(routed) => routed.group.at + 1,
        None => state.bound.get() as usize,
    });
    if bound == 0 && request.note(NOTE).is_none() {
        return None;
    }
    let pins = State::known(root)?.pins.iter();
    // One that has replaced another request has only its note.
    pins.filter(|pin| bound == 0 || pin.group.at + 1 == bound)
        .map(|pin| pin.now().unwrap_or(pin))
        .find(|pin| pin.is_aside() || pin.is_refused())
}

/// How a wait ended.
enum End {
    /// The hold is over.
    Free,
    /// The time of the request is over.
    Late,
    /// The client has gone.
    Gone,
}

/// Waits until the group is not held.
fn until_free(request: &Request, group: &Group, began: Instant) -> End {
    while group.is_held() {
        if request.is_aborted() {
            return End::Gone;
        }
        if began.elapsed() >= group.hold.timeout {
            return End::Late;
        }
        request.pause(PAUSE);
    }
    pace(request, group);
    if request.is_aborted() { End::Gone } else { End::Free }
}

/// Waits for the request's turn, with `rate=`.
fn pace(request: &Request, group: &Group) {
    let Some(rate) = group.hold.rate else { return };
    let (now, gap) = (monotonic() * 1000, 1_000_000 / u64::from(rate.max(1)));
    let turn = |next: u64| next.max(now);
    let mut next = group.next.load(Ordering::Relaxed);
    let mine = loop {
        let with = turn(next) + gap;
        match group.next.compare_exchange(next, with, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => break turn(next),
            Err(other) => next = other,
        }
    };
    while !request.is_aborted() {
        let left = mine.saturating_sub(monotonic() * 1000) / 1000;
        if left == 0 {
            return;
        }
        request.pause(Duration::from_millis(left).min(PAUSE));
    }
}

/// Waits in no slot, and enters again. If another slot is active then, begins the request again.
fn wait_outside(request: &Request, pin: &Pin, began: Instant) -> Option<Answer> {
    pin.step_out();
    loop {
        match until_free(request, &pin.group, began) {
            End::Free => {}
            End::Late => return Some(refuse(request, request, pin, began, LATE)),
            End::Gone => return Some(give_up(request, request, pin, began)),
        }
        let entered = pin.enter_again(request);
        if entered.is_aside() {
            // Another hold has begun.
            entered.step_out();
            continue;
        }
        let (before, now) = (pin.entered.slot, entered.entered.slot);
        let known = entered.slot.is_some();
        // It is to meet the maintenance that has begun meanwhile as a new request does.
        let goes_on = before == now && !entered.entered.word.is_maintained();
        pin.settle(request, After::Entered(entered));
        if let Some(pin) = pin.now() {
            pin.mark_again(request);
        }
        note_time(request, request, began);
        return match goes_on {
            true => None,
            false if !known => Some(Answer::UNAVAILABLE),
            false => {
                request.begin_again();
                Some(Answer::DONE)
            }
        };
    }
}

/// Waits in the slot, set aside, and comes back into it.
fn wait_inside(request: &Request, root: &Request, pin: &Pin, began: Instant) -> Option<Answer> {
    loop {
        match until_free(request, &pin.group, began) {
            End::Free if pin.come_back() => {
                note_time(request, root, began);
                return None;
            }
            End::Free => {}
            End::Late => return Some(refuse_part(request, root, began, LATE)),
            End::Gone => return Some(refuse_part(request, root, began, GONE)),
        }
    }
}

const LATE: &str = "the group was still held after its timeout= of SlotHold";
const GONE: &str = "the client has closed the connection";

/// Ends a request that was in no slot, so that no slot counts it.
fn refuse(request: &Request, root: &Request, pin: &Pin, began: Instant, why: &str) -> Answer {
    if request.is(root) {
        pin.step_out();
        pin.settle(root, After::Refused);
    }
    refuse_part(request, root, began, why)
}

fn refuse_part(request: &Request, root: &Request, began: Instant, why: &str) -> Answer {
    note_time(request, root, began);
    request.set_error_field(c"Retry-After", RETRY_AFTER);
    request.log(Message::Held, &format!("a request was held, and got a 503: {why}"));
    Answer::UNAVAILABLE
}

fn give_up(request: &Request, root: &Request, pin: &Pin, began: Instant) -> Answer {
    pin.settle(root, After::Refused);
    note_time(request, root, began);
    Answer::UNAVAILABLE
}

/// Leaves the time that the request was held in its environment, for the logs.
fn note_time(request: &Request, root: &Request, began: Instant) {
    let millis = root.keep_text(&[began.elapsed().as_millis().to_string().as_bytes()]);
    root.set_note(HELD_NOTE, Some(millis));
    root.set_env([(HELD_MS, &*millis)]);
    inherit_time(request);
}

/// Leaves the time that the client's request was held in the environment of a part of it.
pub(super) fn inherit_time(request: &Request) {
    let root = request.root();
    if !request.is(root)
        && ASIDE.load(Ordering::Relaxed) != 0
        && let Some(millis) = root.note(HELD_NOTE)
    {
        request.set_env([(HELD_MS, millis)]);
    }
}

/// A place among the requests that may wait.
struct Place(Kept<Group>);

impl Place {
    /// Takes a place. `None` if as many requests wait as may: `queue=` for a group, and half of the threads for all
    /// groups, unless a `queue=` allows more.
    fn take(group: Kept<Group>) -> Option<Self> {
        let half = half();
        let own = group.hold.queue.map_or(half, u64::from);
        let place = Self(group);
        let in_group = group.waiting.fetch_add(1, Ordering::Relaxed);
        let in_all = WAITING.fetch_add(1, Ordering::Relaxed);
        group.own_row().held().fetch_add(1, Ordering::Relaxed);
        let has_room = in_group < own && in_all < own.max(half);
        (has_room && !is_half_of_processes(&group)).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.own_row().held().fetch_sub(1, Ordering::Relaxed);
        WAITING.fetch_sub(1, Ordering::Relaxed);
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Half of this process's threads, and at least 1. HTTP/2 has as many workers as there are threads, or more.
fn half() -> u64 {
    static HALF: OnceLock<u64> = OnceLock::new();
    *HALF.get_or_init(|| (threads() as u64 / 2).max(1))
}

/// Whether half of all processes wait, where each has one thread. Those of dead processes do not count.
fn is_half_of_processes(group: &Group) -> bool {
    threads() == 1 && group.counts().waiting_processes() > (max_children() as u64 / 2).max(1)
}
