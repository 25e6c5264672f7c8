//! Apache at its start: pools, servers, and questions about this Apache.

use super::module::{Config, config_of, place_in};
use super::{Module, pool, sys};
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// A pool of APR.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool(pub(super) NonNull<sys::apr_pool_t>);

impl Pool {
    pub(super) fn raw(self) -> *mut sys::apr_pool_t {
        self.0.as_ptr()
    }
}

/// A server: the main one, or a virtual host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server(NonNull<sys::server_rec>);

impl Server {
    /// # Safety
    ///
    /// `server` is live for as long as Apache's callback runs.
    pub(super) unsafe fn lend(server: *mut sys::server_rec) -> Self {
        // SAFETY: what is live is not null.
        Self(unsafe { NonNull::new_unchecked(server) })
    }

    pub(super) fn raw(self) -> *mut sys::server_rec {
        self.0.as_ptr()
    }

    /// The lines of its directives; `None` once it [serves](Self::serving).
    pub(crate) fn lines<M: Module>(&self) -> Option<&M::Lines> {
        // SAFETY: only Apache's callbacks lend a `Server`, and all servers are live there. Directives, which write
        // the lines, are not carried out meanwhile.
        unsafe { config_of::<M>(self.raw()).as_ref() }.lines()
    }

    /// What it serves; `None` until post_config has [set](Setup::serve) it.
    pub(crate) fn serving<M: Module>(&self) -> Option<&M::Serving> {
        // SAFETY: as in `lines`.
        unsafe { config_of::<M>(self.raw()).as_ref() }.serving()
    }

    /// Whether its DocumentRoot differs from that of `main`.
    pub(crate) fn has_document_root(&self, main: Server) -> bool {
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

    /// File and line of its `<VirtualHost>`; `None` for the main server.
    pub(super) fn defined_at(&self) -> Option<(&str, i32)> {
        // SAFETY: a live server; its texts are C strings of the configuration, or null.
        unsafe {
            let server = self.raw();
            let file = pool::borrow((*server).defn_name).filter(|_| (*server).is_virtual != 0)?;
            Some((file.to_str().ok()?, (*server).defn_line_number as i32))
        }
    }

    /// Its `ServerName` as Apache uses it: the scheme, if it has one, the host and the port; 0 if Apache does not know
    /// the port. The host may be a guess of Apache's.
    pub(crate) fn name(&self) -> (Option<String>, String, u16) {
        let text = |text: &CStr| text.to_string_lossy().into_owned();
        // SAFETY: a live server; its texts are C strings of the configuration, or null, and its list of addresses is
        // finished.
        unsafe {
            let server = &*self.raw();
            let [scheme, host] = [server.server_scheme, server.server_hostname.cast_const()]
                .map(|name| pool::borrow(name).map(text));
            let bound = server.addrs.as_ref().map_or(0, |address| address.host_port);
            let port = if server.port == 0 { bound } else { server.port };
            (scheme, host.unwrap_or_default(), port)
        }
    }

    /// Whether Apache gave it the name of `main`, because it has none of its own.
    pub(crate) fn has_name_of(&self, main: Server) -> bool {
        // SAFETY: live servers.
        unsafe { (*self.raw()).server_hostname == (*main.raw()).server_hostname }
    }

    /// A number that no other server has.
    pub(crate) fn key(&self) -> usize {
        self.raw().addr()
    }
}

/// A callback at the start. The pools and servers live at least until it returns.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Lives as long as the configuration; in a child, as long as the child.
    pub(crate) pool: Pool,
    /// Lives until the callback returns.
    pub(crate) scratch: Pool,
    /// The main server.
    pub(crate) main: Server,
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
                main: Server::lend(main),
            }
        }
    }

    /// The main server, and all virtual hosts.
    pub(crate) fn servers(&self) -> impl Iterator<Item = Server> {
        std::iter::successors(Some(self.main), |server| {
            // SAFETY: servers are a list that Apache has finished.
            NonNull::new(unsafe { (*server.raw()).next }).map(Server)
        })
    }

    /// Has `server` serve this until the next restart.
    pub(crate) fn serve<M: Module>(&self, server: Server, serving: M::Serving) {
        // SAFETY: the server is live, and Apache's vector has our place. The old configuration stays in its pool,
        // because other servers may share it.
        unsafe {
            let config = pool::place(self.pool.raw(), Config::<M>::Serving(serving));
            *place_in((*server.raw()).module_config) = config.cast();
        }
    }
}

/// Whether this is a restart, and not the start of the process.
pub(crate) fn restarts() -> bool {
    ask_mpm(sys::AP_MPMQ_GENERATION) > 0
}

/// Whether Apache will serve with this configuration: `false` in the first of the two passes at its start.
pub(crate) fn serves() -> bool {
    // SAFETY: a question without a precondition.
    let state = unsafe { sys::ap_state_query(sys::AP_SQ_MAIN_STATE as c_int) };
    state != sys::AP_SQ_MS_CREATE_PRE_CONFIG as c_int
}

/// Whether Apache serves requests. A line that it reads now is in a `.htaccess` file.
pub(super) fn is_serving() -> bool {
    // SAFETY: a question without a precondition.
    unsafe { sys::ap_state_query(sys::AP_SQ_MAIN_STATE as c_int) == sys::AP_SQ_MS_RUN_MPM }
}

/// Whether this process reads the configuration for the first time, to start, test or signal Apache. `false` for `-S`
/// and `-M`, which only print a part of it.
pub(crate) fn is_first_pass() -> bool {
    // SAFETY: a question without a precondition.
    let mode = unsafe { sys::ap_state_query(sys::AP_SQ_RUN_MODE as c_int) };
    !serves() && mode != sys::AP_SQ_RM_CONFIG_DUMP as c_int
}

/// The path of the PidFile, as httpd resolves it when it writes the file; `None` if httpd cannot.
pub(crate) fn pid_file(pool: Pool) -> Option<PathBuf> {
    // SAFETY: the MPM sets it to a C string of the configuration, or to a constant, before any hook of
    // this module runs.
    let name = unsafe { pool::borrow(sys::ap_pid_fname) }?;
    // SAFETY: a live pool and a C string.
    resolved(unsafe { sys::ap_server_root_relative(pool.raw(), name.as_ptr()) })
}

/// The user and the group of the children of an Apache that root starts.
pub(crate) fn children() -> (u32, u32) {
    // SAFETY: a static of plain values, written on the only thread while Apache reads the configuration.
    unsafe { (sys::ap_unixd_config.user_id, sys::ap_unixd_config.group_id) }
}

/// The most children that the MPM has at the same time.
pub(crate) fn max_daemons() -> usize {
    ask_mpm(sys::AP_MPMQ_HARD_LIMIT_DAEMONS).max(1) as usize
}

/// The children that may serve at once: `MaxRequestWorkers`, where each has one thread.
pub(crate) fn max_children() -> usize {
    ask_mpm(sys::AP_MPMQ_MAX_DAEMONS).max(1) as usize
}

/// The threads of a child that serve requests; 1 without threads.
pub(crate) fn threads() -> usize {
    ask_mpm(sys::AP_MPMQ_MAX_THREADS).max(1) as usize
}

pub(super) fn ask_mpm(question: i32) -> c_int {
    let mut answer: c_int = 0;
    // SAFETY: the MPM writes its answer, if it has one, to `answer`.
    unsafe { sys::ap_mpm_query(question, &raw mut answer) };
    answer
}

/// Whether a module is loaded. Its name is that of its source: `mod_proxy.c`.
pub(crate) fn has_module(name: &CStr) -> bool {
    // SAFETY: Apache's list of modules is not written while hooks and directives run.
    !unsafe { sys::ap_find_linked_module(name.as_ptr()) }.is_null()
}

/// Resolves a path against `ServerRoot`; `None` if Apache cannot.
pub(crate) fn server_path(pool: Pool, path: &str) -> Option<PathBuf> {
    resolve(path, |text| {
        // SAFETY: a live pool and a C string.
        unsafe { sys::ap_server_root_relative(pool.raw(), text) }
    })
}

/// Resolves a path against `DefaultRuntimeDir`; `None` if Apache cannot.
pub(crate) fn runtime_path(pool: Pool, path: &str) -> Option<PathBuf> {
    resolve(path, |text| {
        // SAFETY: a live pool and a C string.
        unsafe { sys::ap_runtime_dir_relative(pool.raw(), text) }
    })
}

/// Removes `.`, `..` and double slashes from a path, as DocumentRoot does. Links stay as they are. `None` if APR
/// refuses the path.
pub(crate) fn merged_path(path: &str) -> Option<String> {
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
