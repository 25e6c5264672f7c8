//! A worker of mod_proxy, and its parameters.

use super::sys;
use std::ffi::{CStr, c_uint};
use std::ptr::NonNull;

/// A worker of mod_proxy: a backend's address, its parameters, its pool of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::module) struct Worker(pub(super) NonNull<sys::proxy_worker>);

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

    /// Whether it talks to this unix socket (`None`: to none).
    pub(in crate::module) fn has_socket(self, path: Option<&CStr>) -> bool {
        // SAFETY: an array of characters that ends with a NUL.
        let has = unsafe { CStr::from_ptr((&raw const (*self.shared()).uds_path).cast()) };
        has == path.unwrap_or_default()
    }

    /// A refused connection must not keep requests from a backend that is up again, unless the administrator has
    /// written `retry=`.
    pub(in crate::module) fn never_in_error(self) {
        // SAFETY: live, and the configuration is still being made.
        unsafe {
            let shared = &mut *self.shared();
            if has_own_retry(shared) {
                return;
            }
            shared.status |= sys::PROXY_WORKER_IGNORE_ERRORS as c_uint;
            shared.retry = 0;
            shared.set_retry_set(1);
        }
    }

    /// It is a name in the configuration and no backend: mod_proxy makes no pool of connections for it in
    /// the children, which takes two pages in each.
    pub(in crate::module) fn never_connects(self) {
        // SAFETY: live, and the configuration is still being made.
        unsafe { (*self.raw()).local_status |= sys::PROXY_WORKER_INITIALIZED as c_uint }
    }

    /// Whether any parameter was set for it.
    pub(in crate::module) fn has_parameters(self) -> bool {
        // SAFETY: a worker's shared part is numbers, characters and pointers, for which zeros are a
        // value; this worker's is live.
        unsafe { transfer(&*self.shared(), &mut std::mem::zeroed()) }
    }

    /// Takes over the parameters that were set for `other`, and the `<Proxy>` section that it stands in.
    pub(in crate::module) fn inherit(self, other: Self) {
        // SAFETY: both live and two, and the configuration is still being made.
        unsafe {
            transfer(&*other.shared(), &mut *self.shared());
            let section = (*other.raw()).section_config;
            if !section.is_null() {
                (*self.raw()).section_config = section;
            }
        }
    }

    /// What is the same for all copies of a worker: virtual hosts have copies of the main server's.
    pub(in crate::module) fn identity(self) -> usize {
        self.shared().addr()
    }
}

/// Whether the administrator has written `retry=`, and not [`Worker::never_in_error`] set it.
fn has_own_retry(shared: &sys::proxy_worker_shared) -> bool {
    let ignores_errors = shared.status & sys::PROXY_WORKER_IGNORE_ERRORS as c_uint != 0;
    shared.retry_set() != 0 && !(shared.retry == 0 && ignores_errors)
}

/// Copies the parameters that were set, and tells whether there were any.
fn transfer(from: &sys::proxy_worker_shared, to: &mut sys::proxy_worker_shared) -> bool {
    let mut any = false;
    macro_rules! flagged {
        ($($field:ident if $set:ident, $mark:ident;)+) => {$(
            if from.$set() != 0 { to.$field = from.$field; to.$mark(1); any = true; }
        )+};
    }
    macro_rules! changed {
        ($($field:ident from $default:expr;)+) => {$(
            if from.$field != $default { to.$field = from.$field; any = true; }
        )+};
    }
    flagged! {
        timeout if timeout_set, set_timeout_set;
        acquire if acquire_set, set_acquire_set;
        ping_timeout if ping_timeout_set, set_ping_timeout_set;
        conn_timeout if conn_timeout_set, set_conn_timeout_set;
        recv_buffer_size if recv_buffer_size_set, set_recv_buffer_size_set;
        io_buffer_size if io_buffer_size_set, set_io_buffer_size_set;
        response_field_size if response_field_size_set, set_response_field_size_set;
        address_ttl if address_ttl_set, set_address_ttl_set;
    }
    changed! {
        min from 0; smax from -1; hmax from 0; ttl from 0;
        flush_packets from sys::flush_off;
        upgrade from [0; _]; secret from [0; _];
    }
    if has_own_retry(from) {
        let ignores = sys::PROXY_WORKER_IGNORE_ERRORS as c_uint;
        to.retry = from.retry;
        to.set_retry_set(1);
        to.status = to.status & !ignores | from.status & ignores;
        any = true;
    }
    if from.flush_packets == sys::flush_auto {
        to.flush_wait = from.flush_wait;
    }
    if from.keepalive_set() != 0 {
        to.set_keepalive(from.keepalive());
        to.set_keepalive_set(1);
        any = true;
    }
    if from.disablereuse_set() != 0 {
        to.set_disablereuse(from.disablereuse());
        to.set_disablereuse_set(1);
        any = true;
    }
    any
}
