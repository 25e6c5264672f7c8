//! A worker of mod_proxy, and its parameters.

use super::sys;
#[cfg(any(mmn_124, mmn_130))]
use super::version;
use std::ffi::{CStr, c_uint};
use std::ptr::NonNull;

/// A worker of mod_proxy: a backend's address, its parameters, its pool of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Worker(pub(super) NonNull<sys::proxy_worker>);

// SAFETY: workers live as long as the configuration; mod_proxy itself uses them from all threads.
unsafe impl Send for Worker {}
// SAFETY: as above.
unsafe impl Sync for Worker {}

impl Worker {
    pub(super) fn raw(self) -> *mut sys::proxy_worker {
        self.0.as_ptr()
    }

    fn shared(self) -> *mut sys::proxy_worker_shared {
        // SAFETY: a live worker has its shared part.
        unsafe { (*self.raw()).s }
    }

    /// The URL that the worker was declared for. Before 2.4.53, mod_proxy kept 95 bytes of it.
    pub(super) fn name(&self) -> &CStr {
        let shared = self.shared();
        // SAFETY: arrays of characters that end with a NUL, in a live worker, which nobody writes any more. The longer
        // one is read only if this Apache has it.
        unsafe {
            #[cfg(mmn_124)]
            if version::has_whole_names() {
                return CStr::from_ptr((&raw const (*shared).name_ex).cast());
            }
            CStr::from_ptr((&raw const (*shared).name).cast())
        }
    }

    /// Its address as it is configured, with the unix socket.
    pub(super) fn url(self) -> String {
        // SAFETY: an array of characters that ends with a NUL.
        let socket = unsafe { CStr::from_ptr((&raw const (*self.shared()).uds_path).cast()) };
        let name = self.name().to_string_lossy();
        match socket.is_empty() || name.starts_with("unix:") {
            true => name.into_owned(),
            false => format!("unix:{}|{name}", socket.to_string_lossy()),
        }
    }

    /// Whether it lets requests become tunnels: by `upgrade=`, or because it takes only WebSockets.
    pub(crate) fn makes_tunnels(self) -> bool {
        let shared = self.shared();
        // SAFETY: arrays of characters that end with a NUL, in a live worker, which nobody writes any more.
        unsafe {
            let scheme = CStr::from_ptr((&raw const (*shared).scheme).cast()).to_bytes();
            (*shared).upgrade[0] != 0 || scheme == b"ws" || scheme == b"wss"
        }
    }

    /// Whether the administrator has disabled it: `status=+D`.
    pub(super) fn is_disabled(&self) -> bool {
        // SAFETY: a live worker has its shared part.
        unsafe { (*self.shared()).status & sys::PROXY_WORKER_DISABLED as c_uint != 0 }
    }

    /// Whether the worker uses this unix socket; `None` stands for no socket.
    pub(crate) fn has_socket(self, path: Option<&CStr>) -> bool {
        // SAFETY: an array of characters that ends with a NUL.
        let has = unsafe { CStr::from_ptr((&raw const (*self.shared()).uds_path).cast()) };
        has == path.unwrap_or_default()
    }

    /// Has mod_proxy send requests even after a failed connection, so that a backend is used as soon as it is up again.
    /// Does nothing if the administrator has set `retry=`.
    pub(crate) fn never_in_error(self) {
        // SAFETY: live, and the configuration is still being made.
        unsafe {
            let shared = self.shared();
            if has_own_retry(shared) {
                return;
            }
            (*shared).status |= sys::PROXY_WORKER_IGNORE_ERRORS as c_uint;
            (*shared).retry = 0;
            Shared::set_retry_set_raw(shared, 1);
        }
    }

    /// Marks a worker that is only a name in the configuration: mod_proxy makes no connection pool for it, which would
    /// take two pages in each child.
    pub(crate) fn never_connects(self) {
        // SAFETY: live, and the configuration is still being made.
        unsafe { (*self.raw()).local_status |= sys::PROXY_WORKER_INITIALIZED as c_uint }
    }

    /// Whether any parameter was set for the worker.
    pub(crate) fn has_parameters(self) -> bool {
        // SAFETY: a worker's shared part is numbers, characters and pointers, for which zeros are a
        // value; this worker's is live.
        unsafe {
            let mut other: Shared = std::mem::zeroed();
            transfer(self.shared(), &raw mut other)
        }
    }

    /// Copies the parameters that were set for `other`, and its `<Proxy>` section.
    pub(crate) fn inherit(self, other: Self) {
        // SAFETY: both live and two, and the configuration is still being made.
        unsafe {
            transfer(other.shared(), self.shared());
            let section = (*other.raw()).section_config;
            if !section.is_null() {
                (*self.raw()).section_config = section;
            }
        }
    }

    /// A number that all copies of a worker share: virtual hosts have copies of the main server's workers.
    pub(crate) fn identity(self) -> usize {
        self.shared().addr()
    }
}

/// The part of a worker that all processes share. It is never borrowed as a whole, because in an older Apache it is
/// shorter than in the headers.
type Shared = sys::proxy_worker_shared;

/// Whether the administrator has set `retry=`, and not [`Worker::never_in_error`].
///
/// # Safety
///
/// It is live, and nobody writes it.
unsafe fn has_own_retry(shared: *const Shared) -> bool {
    // SAFETY: the caller promises it.
    unsafe {
        let ignores_errors = (*shared).status & sys::PROXY_WORKER_IGNORE_ERRORS as c_uint != 0;
        Shared::retry_set_raw(shared) != 0 && !((*shared).retry == 0 && ignores_errors)
    }
}

/// Copies the parameters that were set. Returns whether there were any.
///
/// # Safety
///
/// Both are live, and two; nobody else writes them.
unsafe fn transfer(from: *const Shared, to: *mut Shared) -> bool {
    let mut any = false;
    macro_rules! flagged {
        ($($field:ident if $set:ident, $mark:ident;)+) => {$(
            if Shared::$set(from) != 0 {
                (*to).$field = (*from).$field;
                Shared::$mark(to, 1);
                any = true;
            }
        )+};
    }
    macro_rules! changed {
        ($($field:ident from $default:expr;)+) => {$(
            if (*from).$field != $default { (*to).$field = (*from).$field; any = true; }
        )+};
    }
    // SAFETY: the caller promises both, as far as this Apache has them; fields that it may lack are checked first.
    unsafe {
        flagged! {
            timeout if timeout_set_raw, set_timeout_set_raw;
            acquire if acquire_set_raw, set_acquire_set_raw;
            ping_timeout if ping_timeout_set_raw, set_ping_timeout_set_raw;
            conn_timeout if conn_timeout_set_raw, set_conn_timeout_set_raw;
            recv_buffer_size if recv_buffer_size_set_raw, set_recv_buffer_size_set_raw;
            io_buffer_size if io_buffer_size_set_raw, set_io_buffer_size_set_raw;
            response_field_size if response_field_size_set_raw, set_response_field_size_set_raw;
        }
        #[cfg(mmn_130)]
        if version::has_address_ttl() {
            flagged! { address_ttl if address_ttl_set_raw, set_address_ttl_set_raw; }
        }
        changed! {
            min from 0; smax from -1; hmax from 0; ttl from 0;
            flush_packets from sys::flush_off;
            upgrade from [0; _]; secret from [0; _];
        }
        if has_own_retry(from) {
            let ignores = sys::PROXY_WORKER_IGNORE_ERRORS as c_uint;
            (*to).retry = (*from).retry;
            Shared::set_retry_set_raw(to, 1);
            (*to).status = (*to).status & !ignores | (*from).status & ignores;
            any = true;
        }
        if (*from).flush_packets == sys::flush_auto {
            (*to).flush_wait = (*from).flush_wait;
        }
        if Shared::keepalive_set_raw(from) != 0 {
            Shared::set_keepalive_raw(to, Shared::keepalive_raw(from));
            Shared::set_keepalive_set_raw(to, 1);
            any = true;
        }
        if Shared::disablereuse_set_raw(from) != 0 {
            Shared::set_disablereuse_raw(to, Shared::disablereuse_raw(from));
            Shared::set_disablereuse_set_raw(to, 1);
            any = true;
        }
    }
    any
}
