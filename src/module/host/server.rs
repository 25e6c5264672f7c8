//! Apache at its start: pools, servers, and what it says of itself.

use super::module::{config_of, place_in};
use super::{pool, sys};
use crate::module::config::Config;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// A pool of APR's.
#[derive(Clone, Copy, Debug)]
pub(in crate::module) struct Pool(pub(super) NonNull<sys::apr_pool_t>);

impl Pool {
    pub(super) fn raw(self) -> *mut sys::apr_pool_t {
        self.0.as_ptr()
    }
}

/// A server: the main one, or a virtual host.
#[derive(Clone, Copy, Debug)]
pub(in crate::module) struct Server(NonNull<sys::server_rec>);

impl Server {
    pub(super) fn raw(self) -> *mut sys::server_rec {
        self.0.as_ptr()
    }

    /// Its configuration.
    pub(in crate::module) fn config(&self) -> &Config {
        // SAFETY: a `Server` is lent by Apache's callbacks only, where all servers are live.
        unsafe { &*config_of(self.raw()) }
    }

    /// Whether it has a DocumentRoot of its own, and not that of `main`.
    pub(in crate::module) fn has_document_root(&self, main: Server) -> bool {
        let root = |server: &Server| {
            // SAFETY: live servers; the core makes a configuration for each.
            unsafe {
                let core = &raw const sys::core_module;
                let conf = sys::ap_get_module_config((*server.raw()).module_config, core);
                (*conf.cast::<sys::core_server_config>()).ap_document_root
            }
        };
        root(self) != root(&main)
    }

    /// What tells it from other servers.
    pub(in crate::module) fn key(&self) -> usize {
        self.raw().addr()
    }
}

/// A callback at the start: the pools and servers are there for its length.
#[derive(Debug)]
pub(in crate::module) struct Setup {
    /// As long as the configuration; in a child, as long as the child.
    pub(in crate::module) pool: Pool,
    /// As long as the callback.
    pub(in crate::module) scratch: Pool,
    /// The main server.
    pub(in crate::module) main: Server,
}

impl Setup {
    /// # Safety
    ///
    /// All three are live, and this is the only thread.
    pub(super) unsafe fn lend(
        pool: *mut sys::apr_pool_t,
        scratch: *mut sys::apr_pool_t,
        main: *mut sys::server_rec,
    ) -> Self {
        // SAFETY: what is live is not null.
        unsafe {
            Self {
                pool: Pool(NonNull::new_unchecked(pool)),
                scratch: Pool(NonNull::new_unchecked(scratch)),
                main: Server(NonNull::new_unchecked(main)),
            }
        }
    }

    /// The main server, and all virtual hosts.
    pub(in crate::module) fn servers(&self) -> impl Iterator<Item = Server> {
        std::iter::successors(Some(self.main), |server| {
            // SAFETY: servers are a list that Apache has finished.
            NonNull::new(unsafe { (*server.raw()).next }).map(Server)
        })
    }

    /// Gives `server` this configuration, until the next restart.
    pub(in crate::module) fn configure(&self, server: Server, config: Config) {
        // SAFETY: the server is live, and Apache's vector has our place. What was there stays in
        // its pool, for whoever else shares it.
        unsafe {
            let config = pool::place(self.pool.raw(), config);
            *place_in((*server.raw()).module_config) = config.cast();
        }
    }
}

/// The file that [`retain`] was given by an earlier configuration of this process, or of the one that
/// it is a fork of.
pub(in crate::module) fn retained() -> Option<ManuallyDrop<File>> {
    let kept = kept().filter(|kept| kept.fd >= 0)?;
    // SAFETY: nobody but `retain` and `release_inherited` closes the descriptor, and then replaces its
    // number; their callers, on the only thread, hold no other face of it.
    Some(ManuallyDrop::new(unsafe { File::from_raw_fd(kept.fd) }))
}

/// Keeps a file open for as long as the process lives, over all restarts, in place of the last one.
pub(in crate::module) fn retain(file: File) {
    release();
    // SAFETY: a C string that lives for ever; created, it is as large as asked for, and aligned for
    // any type.
    unsafe {
        if sys::ap_retained_data_get(RETAINED.as_ptr()).is_null() {
            sys::ap_retained_data_create(RETAINED.as_ptr(), size_of::<Retained>());
        }
    }
    keep(Retained { fd: file.into_raw_fd(), by: std::process::id() });
}

/// Closes the retained file in a fork of the process that retained it; not in that process itself, which
/// with `httpd -X` serves requests as well.
pub(in crate::module) fn release_inherited() {
    if kept().is_some_and(|kept| kept.by != std::process::id()) {
        release();
    }
}

fn release() {
    if let Some(file) = retained() {
        drop(ManuallyDrop::into_inner(file));
        keep(Retained { fd: -1, by: 0 });
    }
}

#[derive(Clone, Copy)]
struct Retained {
    /// -1: none.
    fd: RawFd,
    /// The process that retained it.
    by: u32,
}

fn kept() -> Option<Retained> {
    // SAFETY: null, or what `retain` has made of this size, which restarts leave alone, and only the
    // thread of the start and of child_init uses.
    unsafe { sys::ap_retained_data_get(RETAINED.as_ptr()).cast::<Retained>().as_ref() }.copied()
}

fn keep(retained: Retained) {
    // SAFETY: as in `kept`; `retain` has made it.
    unsafe { sys::ap_retained_data_get(RETAINED.as_ptr()).cast::<Retained>().write(retained) }
}

const RETAINED: &CStr = c"mod_slot";

/// Whether this is a restart, and not the start of the process.
pub(in crate::module) fn restarts() -> bool {
    ask_mpm(sys::AP_MPMQ_GENERATION) > 0
}

/// Whether Apache is on its way to serve: not in the first of the two passes at its start.
pub(in crate::module) fn serves() -> bool {
    // SAFETY: a question without a precondition.
    let state = unsafe { sys::ap_state_query(sys::AP_SQ_MAIN_STATE as c_int) };
    state != sys::AP_SQ_MS_CREATE_PRE_CONFIG as c_int
}

/// Whether Apache serves requests: its configuration is read, and a line that is read now stands in a
/// `.htaccess` file.
pub(super) fn is_serving() -> bool {
    // SAFETY: a question without a precondition.
    unsafe { sys::ap_state_query(sys::AP_SQ_MAIN_STATE as c_int) == sys::AP_SQ_MS_RUN_MPM }
}

/// Whether this process reads the configuration for the first time, to start, to test it or to signal a
/// running Apache by `httpd -k`, and not to print a part of it, as `-S` and `-M` do.
pub(in crate::module) fn is_first_pass() -> bool {
    // SAFETY: a question without a precondition.
    let mode = unsafe { sys::ap_state_query(sys::AP_SQ_RUN_MODE as c_int) };
    !serves() && mode != sys::AP_SQ_RM_CONFIG_DUMP as c_int
}

/// The path of the PidFile, as httpd resolves it when it writes the file; `None` where it is no path.
pub(in crate::module) fn pid_file(pool: Pool) -> Option<PathBuf> {
    // SAFETY: the MPM sets it to a C string of the configuration, or of a constant, before any hook
    // of ours runs.
    let name = unsafe { pool::borrow(sys::ap_pid_fname) }?;
    // SAFETY: a live pool and a C string.
    resolved(unsafe { sys::ap_server_root_relative(pool.raw(), name.as_ptr()) })
}

/// The user and the group that children become when Apache is started by root.
pub(in crate::module) fn children() -> (u32, u32) {
    // SAFETY: a static of plain values, written while the configuration is read, on the only thread.
    unsafe { (sys::ap_unixd_config.user_id, sys::ap_unixd_config.group_id) }
}

/// How many children the MPM may have at a time.
pub(in crate::module) fn max_daemons() -> usize {
    ask_mpm(sys::AP_MPMQ_HARD_LIMIT_DAEMONS).max(1) as usize
}

fn ask_mpm(question: i32) -> c_int {
    let mut answer: c_int = 0;
    // SAFETY: the MPM writes its answer to where it is told to, if it has one.
    unsafe { sys::ap_mpm_query(question, &raw mut answer) };
    answer
}

/// Whether a module is loaded, by its source's name, as in `mod_proxy.c`.
pub(in crate::module) fn has_module(name: &CStr) -> bool {
    // SAFETY: Apache's list of modules is not written while hooks and directives run.
    !unsafe { sys::ap_find_linked_module(name.as_ptr()) }.is_null()
}

/// A path as `ServerRoot` understands it; `None` when it is none.
pub(in crate::module) fn server_path(pool: Pool, path: &str) -> Option<PathBuf> {
    resolve(path, |text| {
        // SAFETY: a live pool and a C string.
        unsafe { sys::ap_server_root_relative(pool.raw(), text) }
    })
}

/// A path as `DefaultRuntimeDir` understands it; `None` when it is none.
pub(in crate::module) fn runtime_path(pool: Pool, path: &str) -> Option<PathBuf> {
    resolve(path, |text| {
        // SAFETY: a live pool and a C string.
        unsafe { sys::ap_runtime_dir_relative(pool.raw(), text) }
    })
}

/// A path as DocumentRoot has it: without `.`, `..` and double slashes. Links stay as they are. `None` when it is no
/// path.
pub(in crate::module) fn merged_path(path: &str) -> Option<String> {
    let (text, mut merged) = (CString::new(path).ok()?, std::ptr::null_mut());
    // SAFETY: a pool of this call's own, which it destroys when the merged path, a C string in it, is copied.
    unsafe {
        let (mut pool, none) = (std::ptr::null_mut(), std::ptr::null_mut());
        sys::apr_pool_create_ex(&raw mut pool, none, None, std::ptr::null_mut());
        let how = sys::APR_FILEPATH_TRUENAME as _;
        let done =
            sys::apr_filepath_merge(&raw mut merged, std::ptr::null(), text.as_ptr(), how, pool);
        let merged =
            (done == sys::APR_SUCCESS as sys::apr_status_t).then(|| pool::borrow(merged)).flatten();
        let merged = merged.and_then(|merged| merged.to_str().ok()).map(str::to_owned);
        sys::apr_pool_destroy(pool);
        merged
    }
}

fn resolve(path: &str, with: impl FnOnce(*const c_char) -> *mut c_char) -> Option<PathBuf> {
    let text = CString::new(path).ok()?;
    resolved(with(text.as_ptr()))
}

fn resolved(path: *const c_char) -> Option<PathBuf> {
    // SAFETY: null, or a C string in the pool of the caller; it is copied at once.
    let found = unsafe { pool::borrow(path) }?;
    Some(Path::new(OsStr::from_bytes(found.to_bytes())).to_owned())
}
