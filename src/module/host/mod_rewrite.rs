//! mod_rewrite, which is found at run time: it may not be loaded.

use super::guard::guard_or;
use super::log::log_request;
use super::message::Message;
use super::module::is_ours;
use super::{Kept, Pool, Request, Server, item, pool, sys};
use std::ffi::{CStr, c_char, c_void};
use std::mem::transmute as typed;
use std::ptr::{self, NonNull};

/// mod_rewrite as it is loaded now. It is looked up at each start, never kept in a static.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewrite(NonNull<sys::module>);

type Function = unsafe extern "C" fn(*mut sys::request_rec, *mut c_char) -> *mut c_char;
type Register = unsafe extern "C" fn(*mut c_char, Function);

// The compiler compares our type with that of mod_rewrite.h.
const _: fn(Function) -> sys::rewrite_mapfunc_t = Some;

/// The answer of a map's function that panics. mod_rewrite does not take it for a URL, so a rule makes it a path of
/// this server, which refuses the request.
const PANICKED: &CStr = c"slot:/";

impl Rewrite {
    /// mod_rewrite as it is loaded now; `None` if it is not loaded.
    pub(crate) fn find() -> Option<Self> {
        // SAFETY: a C string; Apache's list of modules is not written while hooks and directives run.
        NonNull::new(unsafe { sys::ap_find_linked_module(c"mod_rewrite.c".as_ptr()) }).map(Self)
    }

    /// Whether this module was loaded after mod_rewrite, so that Apache gives it each line first.
    pub(crate) fn reads_after_us(self) -> bool {
        // SAFETY: Apache's list of modules, the last loaded one first, is not written while the configuration
        // is checked.
        let modules =
            std::iter::successors(NonNull::new(unsafe { sys::ap_top_module }), |module| {
                // SAFETY: as above: a module in the list is live, and so is the next one.
                NonNull::new(unsafe { (*module.as_ptr()).next })
            });
        let mut both = modules.filter(|module| *module == self.0 || is_ours(*module));
        both.next().is_some_and(is_ours)
    }

    /// Offers `F` as the function of `RewriteMap … int:NAME`. To be called in pre_config, because mod_rewrite looks the
    /// name up when it reads a RewriteMap.
    pub(crate) fn offer_map<F>(self, name: &'static CStr, _: F)
    where
        F: Fn(&Request, &[u8]) -> Kept<CStr> + Copy + 'static,
    {
        // SAFETY: a C string; the table of functions is not written while hooks run.
        let found =
            unsafe { sys::apr_dynamic_fn_retrieve(c"ap_register_rewrite_mapfunc".as_ptr()) };
        let Some(found) = found else { return };
        // SAFETY: the name is that of mod_rewrite.h, which declares the function with this type; it keeps
        // the pointer to the name, which is static, and does not write to it.
        unsafe {
            typed::<unsafe extern "C" fn(), Register>(found)(name.as_ptr().cast_mut(), on_map::<F>)
        }
    }

    /// Defines a map for the rules of `server`, as a line `RewriteMap NAME SOURCE` would.
    ///
    /// # Errors
    ///
    /// The message of mod_rewrite.
    pub(crate) fn define_map(
        self,
        server: Server,
        pool: Pool,
        scratch: Pool,
        name: &CStr,
        source: &CStr,
    ) -> Result<(), String> {
        let row = self.directive(c"RewriteMap").ok_or("mod_rewrite has no RewriteMap")?;
        // SAFETY: the parameters are integers and pointers, for which zeros are a value.
        let mut parms: sys::cmd_parms = unsafe { std::mem::zeroed() };
        parms.override_ = sys::RSRC_CONF;
        parms.pool = pool.raw();
        parms.temp_pool = scratch.raw();
        parms.server = server.raw();
        parms.cmd = row;
        // SAFETY: the row is mod_rewrite's own, and says how many words its function takes. Pools and server
        // are live, this is the only thread, and the words are literals that are not written to.
        let wrong = unsafe {
            parms.directive = sys::ap_conftree;
            let (parms, none) = (&raw mut parms, ptr::null_mut::<c_void>());
            match (*row).args_how {
                sys::TAKE23 => (*row)
                    .func
                    .take3
                    .map(|define| define(parms, none, name.as_ptr(), source.as_ptr(), ptr::null())),
                sys::TAKE2 => (*row)
                    .func
                    .take2
                    .map(|define| define(parms, none, name.as_ptr(), source.as_ptr())),
                _ => None,
            }
        };
        // SAFETY: null, or a C string in the pool.
        match wrong.map(|wrong| unsafe { pool::borrow(wrong) }) {
            Some(None) => Ok(()),
            Some(Some(wrong)) => Err(wrong.to_string_lossy().into_owned()),
            None => {
                Err("mod_rewrite's RewriteMap takes arguments that mod_slot does not know".into())
            }
        }
    }

    /// The row of a directive in mod_rewrite's table.
    fn directive(self, name: &CStr) -> Option<*const sys::command_rec> {
        // SAFETY: the table of a loaded module ends with a row without a name; names are C strings.
        unsafe {
            let mut row = (*self.0.as_ptr()).cmds;
            while let Some(known) = pool::borrow((*row).name) {
                if known == name {
                    return Some(row);
                }
                row = row.add(1);
            }
        }
        None
    }
}

unsafe extern "C" fn on_map<F>(r: *mut sys::request_rec, key: *mut c_char) -> *mut c_char
where
    F: Fn(&Request, &[u8]) -> Kept<CStr> + Copy + 'static,
{
    // SAFETY: mod_rewrite passes a live request, which no other thread works on, and a C string that nobody
    // writes meanwhile. It reads the answer, which lives as long as the request, and does not write to it.
    unsafe {
        let answer = guard_or(
            || {
                let key = pool::borrow(key).map_or(&b""[..], CStr::to_bytes);
                Some(item::<F>()(Request::lend(r), key))
            },
            |panic| {
                log_request(r, Message::Panic, panic);
                None
            },
        );
        match answer {
            Some(answer) => answer.as_ptr().cast_mut(),
            None => PANICKED.as_ptr().cast_mut(),
        }
    }
}
