//! Requests that wait without a thread: their connections are parked at the MPM.
//!
//! # How does it work?
//!
//! httpd 2.4 has no call that gives a suspended connection back to mpm_event. But the MPM polls a connection that asks
//! for it (`CONN_STATE_ASYNC_WAITIO`), without a thread, and has a worker thread process the connection when its
//! descriptor is readable. So, while a request waits, the connection has another descriptor, which this process makes
//! readable: an eventfd.
//!
//! 1. [`on_process`] is the first of all process_connection hooks. It runs the others itself, so that it sees their end.
//! 2. The first of all handlers asks [`Request::parking`], and answers with [`Request::park`]: `SUSPENDED`. httpd
//!    leaves the request as it is, and returns to step 1.
//! 3. There, [`arm`] puts the eventfd into the connection's socket, asks the MPM to poll, and puts the request on the
//!    list of the [`waker`], as the last step.
//! 4. The waker makes the eventfd readable. The MPM stops polling, and has a thread process the connection.
//! 5. [`resume`] takes the request off the list, puts the client's descriptor back, and calls the handlers again. Our
//!    own comes first: it parks the request again, or lets the next handler answer.
//!
//! If the MPM closes the connection meanwhile, [`on_close`] puts the descriptor back and ends the request.
//!
//! # Why is it sound?
//!
//! A connection is always owned: by the worker thread that processes it, or by the MPM, which hands it over under its own
//! locks. The waker owns no connection, and touches none: it knows only two numbers of descriptors. They are open for as
//! long as the entry is on the list, because [`Parked::disarm`] takes the entry off under the list's lock first, and
//! closes or uses a descriptor after that. All other state is in the pools of the connection and the request, and only the
//! owner reads and writes it.
//!
//! The MPM adds the eventfd to its poll set when step 3 has returned, and removes it before step 5: it takes both from
//! the socket, which has the eventfd in between. If the waker is early, the eventfd is readable already when it is added.
//!
//! # Trade-offs
//!
//! No documented contract of httpd covers the exchange of the descriptor, so it is used only where the configuration asks
//! for it, and where [`possible`] finds what it needs. Each request costs a second descriptor. The MPM ends what it polls
//! after `Timeout`, so the waker has each request parked again in time.
//!
//! One case is not covered: if the kernel refuses to poll the eventfd, as without memory, the MPM may close the
//! connection without `pre_close_connection`. It then closes the eventfd, which stays on the waker's list until the
//! connection's pool is cleared.

pub(super) mod possible;
mod waker;

pub(crate) use possible::activate;
pub(crate) use waker::{Lanes, start};

use super::guard::guard_logged;
use super::module::place_in;
use super::{Answer, Hook, Kept, Order, Request, item, pool, sys};
use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};
use waker::{Entry, Ticket, Why};

/// `CONN_STATE_ASYNC_WAITIO`, which older headers do not have.
const ASYNC_WAITIO: sys::conn_state_e = 8;

#[cfg(mmn_137)]
const _: () = assert!(ASYNC_WAITIO == sys::CONN_STATE_ASYNC_WAITIO);

/// What is kept with a connection, in its pool.
#[derive(Debug, Default)]
struct Connection {
    /// Whether the other hooks process the connection at this moment, called by [`on_process`].
    is_inside: Cell<bool>,
    /// The request that is parked, or is about to be.
    parked: Cell<Option<Kept<Parked>>>,
}

/// A request that can be parked. It lies in the request's pool.
#[derive(Debug)]
pub(crate) struct Parked {
    request: NonNull<sys::request_rec>,
    /// The handler of the request, which other modules compare without a look. httpd takes the type of a file for it while
    /// it calls the handlers, and then sets it to null again.
    handler: NonNull<c_char>,
    /// The waker asks the module about this number.
    lane: usize,
    /// When it ends at the latest.
    end: Instant,
    /// How long the MPM may poll without a break.
    turn: Duration,
    /// What the MPM polls in place of the client's socket.
    event: OwnedFd,
    client: c_int,
    /// Its place on the waker's list, which it keeps when it is parked again.
    ticket: Ticket,
    /// Whether the socket has the eventfd.
    is_armed: Cell<bool>,
    /// Whether it was woken because its turn has come.
    has_turn: Cell<bool>,
}

impl Hook {
    /// Lets requests be parked. Without a function of the module.
    pub(crate) const fn parking() -> Self {
        Self::new(Order::BeforeAll, |after, order| {
            // SAFETY: a row is only registered while Apache registers hooks; the list is static.
            unsafe {
                sys::ap_hook_process_connection(Some(on_process), after, ptr::null(), order);
            }
        })
    }

    /// The connection of a parked request is about to be closed. The request ends with the answer of the function.
    pub(crate) const fn parked_close<F: Fn(&Request) -> Answer + Copy + 'static>(_: F) -> Self {
        Self::new(Order::BeforeAll, |after, order| {
            // SAFETY: as in `parking`.
            unsafe {
                sys::ap_hook_pre_close_connection(Some(on_close::<F>), after, ptr::null(), order);
            }
        })
    }
}

impl Request {
    /// Prepares to park the request until `end`. `None` if its connection cannot be parked.
    ///
    /// Only the client's own request can be: nobody else calls the handlers of a part of it again. Streams of HTTP/2
    /// share one connection, and a filter that reads in threads, or output that is not sent yet, needs the socket.
    pub(crate) fn parking(&self, lane: usize, end: Instant) -> Option<Kept<Parked>> {
        let (r, client) = (self.raw(), self.socket()?);
        if !self.is_root() || !possible::is_active() {
            return None;
        }
        // SAFETY: the request is live, and so are its connection and their servers.
        let (turn, handler) = unsafe {
            let c = (*r).connection;
            let is_free = !(*c).cs.is_null()
                && (*c).aborted == 0
                && (*c).clogging_input_filters() == 0
                && (*c).data_in_output_filters == 0;
            let is_inside = known(c).is_some_and(|connection| connection.is_inside.get());
            if !is_free || !is_inside {
                return None;
            }
            let timeout = (*(*c).base_server).timeout.min((*(*r).server).timeout);
            (turn(timeout), NonNull::new((*r).handler.cast_mut())?)
        };
        // SAFETY: the call takes no pointer. If it fails, as with too many open files, it returns -1.
        let event = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if event < 0 {
            return None;
        }
        // SAFETY: the descriptor is new, and nobody else has it.
        let event = unsafe { OwnedFd::from_raw_fd(event) };
        let request = NonNull::new(r)?;
        let (ticket, is_armed, has_turn) = (Ticket::next(), Cell::new(false), Cell::new(false));
        Some(self.keep_value(Parked {
            request,
            handler,
            lane,
            end,
            turn,
            event,
            client,
            ticket,
            is_armed,
            has_turn,
        }))
    }

    /// Parks the request: the handler has to return the answer at once. It is called again later.
    pub(crate) fn park(&self, parked: Kept<Parked>) -> Answer {
        // SAFETY: the request is live, and so is its connection.
        match unsafe { known((*self.raw()).connection) } {
            Some(connection) => {
                connection.parked.set(Some(parked));
                Answer::SUSPENDED
            }
            None => Answer::SERVER_ERROR,
        }
    }
}

/// How long the MPM may poll: half of `Timeout`, in microseconds.
fn turn(timeout: i64) -> Duration {
    let half = Duration::from_micros(u64::try_from(timeout).unwrap_or(0) / 2);
    half.max(Duration::from_millis(100))
}

/// What is kept with a connection, if anything.
///
/// # Safety
///
/// `c` is live, and this thread processes it.
unsafe fn known<'a>(c: *mut sys::conn_rec) -> Option<&'a Connection> {
    // SAFETY: the caller promises the connection; its vector has our place, which is null at first, and a
    // `Connection` from `on_process` on.
    unsafe { (*place_in((*c).conn_config)).cast::<Connection>().as_ref() }
}

/// process_connection.
unsafe extern "C" fn on_process(c: *mut sys::conn_rec) -> c_int {
    if !possible::is_active() {
        return sys::DECLINED;
    }
    // SAFETY: Apache passes a live connection, which this thread processes.
    guard_logged(|| unsafe { process(c) }, sys::DONE)
}

/// # Safety
///
/// `c` is live, and this thread processes it.
unsafe fn process(c: *mut sys::conn_rec) -> c_int {
    // SAFETY: the caller promises the connection. Its state, its pool and its vector live as long.
    unsafe {
        if (*c).cs.is_null() || !(*c).master.is_null() {
            return sys::DECLINED;
        }
        let connection = match known(c) {
            Some(connection) => connection,
            None => {
                let new = pool::place((*c).pool, Connection::default());
                *place_in((*c).conn_config) = new.cast();
                &*new
            }
        };
        if let Some(parked) = connection.parked.take() {
            return resume(c, connection, parked);
        }
        if connection.is_inside.replace(true) {
            return sys::DECLINED;
        }
        let answer = sys::ap_run_process_connection(c);
        connection.is_inside.set(false);
        match connection.parked.get() {
            Some(parked) if (*(*c).cs).state == sys::CONN_STATE_SUSPENDED => {
                arm(c, &parked);
                sys::OK as c_int
            }
            _ => {
                connection.parked.set(None);
                answer
            }
        }
    }
}

/// Has the MPM poll the eventfd in place of the client's socket.
///
/// # Safety
///
/// `c` is live, and this thread processes it; `parked` is a request of it that httpd has suspended.
unsafe fn arm(c: *mut sys::conn_rec, parked: &Parked) {
    let (event, mut counter) = (parked.event.as_raw_fd(), 0u64);
    // SAFETY: the caller promises the connection; the descriptor is open, and the buffer has 8 bytes.
    unsafe {
        // It may be readable since the last time.
        libc::read(event, (&raw mut counter).cast(), 8);
        put(c, event);
        (*(*c).cs).state = ASYNC_WAITIO;
        (*(*c).cs).sense = sys::CONN_SENSE_WANT_READ;
    }
    parked.is_armed.set(true);
    let again = Instant::now() + parked.turn;
    let Parked { lane, end, client, .. } = *parked;
    waker::add(parked.ticket, Entry { lane, end, again, event, client, woken: None });
}

/// Puts a descriptor into the connection's socket.
///
/// # Safety
///
/// `c` is live, and this thread processes it.
unsafe fn put(c: *mut sys::conn_rec, mut descriptor: c_int) {
    // SAFETY: the caller promises the connection, and with it the socket. The call only changes the socket's descriptor.
    unsafe {
        let mut socket = sys::ap_get_conn_socket(c);
        sys::apr_os_sock_put(&raw mut socket, &raw mut descriptor, (*c).pool);
    }
}

impl Parked {
    /// Whether the request was woken because its turn has come. If not, it has to be parked again, or to end.
    pub(crate) fn has_turn(&self) -> bool {
        self.has_turn.get()
    }

    /// Gives the connection its own descriptor back, if it has the eventfd.
    fn disarm(&self) {
        if self.is_armed.replace(false) {
            self.has_turn.set(waker::remove(self.ticket) == Some(Why::Turn));
            // SAFETY: the request is in its pool, so it is live, and so is its connection. This thread owns it: it
            // processes or closes the connection, or clears its pool.
            unsafe { put((*self.request.as_ptr()).connection, self.client) };
        }
    }
}

/// If the pool is cleared before the request has ended, as at the end of a child.
impl Drop for Parked {
    fn drop(&mut self) {
        self.disarm();
        waker::finish(self.ticket);
    }
}

/// Calls the handlers of a parked request again.
///
/// # Safety
///
/// `c` is live, and this thread processes it; `parked` is a request of it.
unsafe fn resume(c: *mut sys::conn_rec, connection: &Connection, parked: Kept<Parked>) -> c_int {
    parked.disarm();
    let r = parked.request.as_ptr();
    // SAFETY: the caller promises the connection, and with it the request. This does what httpd does around the handlers
    // of a request, but for what it has done already when it called them first.
    unsafe {
        (*r).handler = parked.handler.as_ptr();
        (*(*c).cs).state = sys::CONN_STATE_HANDLER;
        sys::ap_update_child_status((*c).sbh.cast(), sys::SERVER_BUSY_WRITE as c_int, r);
        sys::apr_thread_mutex_lock((*r).invoke_mtx);
        let answer = sys::ap_run_handler(r);
        sys::apr_thread_mutex_unlock((*r).invoke_mtx);
        if answer == sys::SUSPENDED {
            (*(*c).cs).state = sys::CONN_STATE_SUSPENDED;
            // Otherwise, another module has suspended it, which is none of ours.
            if connection.parked.get().is_some() {
                arm(c, &parked);
            }
            return sys::OK as c_int;
        }
        waker::finish(parked.ticket);
        let declined = sys::HTTP_INTERNAL_SERVER_ERROR as c_int;
        end(r, if answer == sys::DECLINED { declined } else { answer });
    }
    sys::OK as c_int
}

/// Ends a request with the answer of its handler, as httpd does.
///
/// # Safety
///
/// `r` is live; this thread processes its connection. It may be gone afterwards.
unsafe fn end(r: *mut sys::request_rec, answer: c_int) {
    // SAFETY: the caller promises the request.
    unsafe {
        if answer != sys::OK as c_int && answer != sys::DONE {
            // Otherwise, httpd takes the answer for an error in an error document.
            (*r).status = sys::HTTP_OK as c_int;
        }
        sys::ap_die(answer, r);
        sys::ap_process_request_after_handler(r);
    }
}

/// pre_close_connection.
unsafe extern "C" fn on_close<F>(c: *mut sys::conn_rec) -> c_int
where
    F: Fn(&Request) -> Answer + Copy + 'static,
{
    // SAFETY: Apache passes a live connection, which this thread closes. A parked request of it is live.
    guard_logged(
        || unsafe {
            if let Some(parked) = known(c).and_then(|connection| connection.parked.take()) {
                parked.disarm();
                waker::finish(parked.ticket);
                let r = parked.request.as_ptr();
                end(r, item::<F>()(Request::lend(r)).status());
                (*(*c).cs).state = sys::CONN_STATE_LINGER;
            }
        },
        (),
    );
    sys::OK as c_int
}
