//! A request that waits before its response is made: what its client does meanwhile, and how it goes on.

use super::{Request, sys};
use std::thread;
use std::time::Duration;

impl Request {
    /// Waits for `time`, which is short. Returns early if the client closes its connection, or resets it. What the
    /// client sends stays unread.
    ///
    /// A client that closes only its own direction counts as gone too: nobody can tell the two apart.
    pub(crate) fn pause(&self, time: Duration) {
        let Some(fd) = self.socket() else { return thread::sleep(time) };
        let mut polled = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
        let millis = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: there is one structure, which the call writes.
        let found = unsafe { libc::poll(&raw mut polled, 1, millis) };
        let gone = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;
        if found > 0 && polled.revents & gone != 0 {
            // SAFETY: the connection is live, and this thread works on it. Apache sends nothing on it from now on.
            unsafe { (*(*self.raw()).connection).aborted = 1 };
        } else if found < 0 {
            // A signal, such as that of a restart.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The client's socket; `None` for HTTP/2, where other streams share it.
    pub(super) fn socket(&self) -> Option<libc::c_int> {
        // SAFETY: the request is live, and so are its connection and the socket.
        unsafe {
            let connection = (*self.raw()).connection;
            if !(*connection).master.is_null() {
                return None;
            }
            let socket = sys::ap_get_conn_socket(connection);
            let mut fd = -1;
            let known = !socket.is_null()
                && sys::apr_os_sock_get(&raw mut fd, socket)
                    == sys::APR_SUCCESS as sys::apr_status_t;
            (known && fd >= 0).then_some(fd)
        }
    }

    /// Begins the request again, as an internal redirect to its own URL. Its body is unread.
    pub(crate) fn begin_again(&self) {
        let r = self.raw();
        // SAFETY: the request is live, and this thread works on it. The URL is the one that the client sent, without
        // the host, in the request's pool.
        unsafe {
            let url = sys::apr_uri_unparse(
                (*r).pool,
                &raw const (*r).parsed_uri,
                sys::APR_URI_UNP_OMITSITEPART as _,
            );
            sys::ap_internal_redirect(url, r);
        }
    }
}
