//! The table of directives: a row for each, and a bridge for each form of arguments.

use super::guard::guard;
use super::hooks::hook_once;
use super::log::{Level, log};
use super::module::config_of;
use super::server::is_serving;
use super::{Hooks, item, pool, sys};
use crate::module::config::Config;
use crate::module::site::Service;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

/// A row in the table of directives.
#[repr(transparent)]
pub(in crate::module) struct Directive(sys::command_rec);

// SAFETY: a row points to literals and functions only.
unsafe impl Sync for Directive {}

/// Where a directive may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::module) enum Scope {
    /// In the main server only, not in a `<VirtualHost>`.
    Global,
    /// In the main server and in a `<VirtualHost>`.
    Server,
}

/// Where a directive stands, as far as other modules' configuration goes: a section's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::module) struct Place(NonNull<sys::ap_conf_vector_t>);

// SAFETY: a place is only followed by `ReverseMap`, on the thread that reads the configuration.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// A line of the configuration that is being read.
#[derive(Clone, Copy, Debug)]
pub(in crate::module) struct Reading<'a> {
    /// The directive.
    pub(in crate::module) name: &'a str,
    /// Whether Apache serves already: the line stands in a `.htaccess` file.
    pub(in crate::module) serving: bool,
    server: &'a sys::server_rec,
}

impl Reading<'_> {
    /// What the line's server serves; `None` before Apache serves, or where it has no groups.
    pub(in crate::module) fn service(&self) -> Option<&Service> {
        if !self.serving {
            return None;
        }
        // SAFETY: the server is live; while Apache serves, nobody writes its configuration.
        unsafe { (*config_of(self.server)).service.as_ref() }
    }
}

impl Place {
    pub(super) fn raw(self) -> *mut sys::ap_conf_vector_t {
        self.0.as_ptr()
    }
}

impl Directive {
    /// Ends the table.
    pub(in crate::module) const END: Self = Self(sys::command_rec {
        name: ptr::null(),
        func: sys::cmd_func { no_args: None },
        cmd_data: ptr::null_mut(),
        req_override: 0,
        args_how: 0,
        errmsg: ptr::null(),
    });

    const fn row(
        name: &'static CStr,
        func: sys::cmd_func,
        how: sys::cmd_how,
        help: &'static CStr,
    ) -> Self {
        Self(sys::command_rec {
            name: name.as_ptr(),
            func,
            cmd_data: ptr::null_mut(),
            req_override: sys::RSRC_CONF as _,
            args_how: how,
            errmsg: help.as_ptr(),
        })
    }

    /// One argument or more, in the main server or a virtual host; inside our own section too.
    pub(in crate::module) const fn words<F>(
        name: &'static CStr,
        set: F,
        help: &'static CStr,
    ) -> Self
    where
        F: Fn(&mut Config, Scope, &[&str]) -> Result<(), String> + Copy + 'static,
    {
        Self::hooking(name, set, |_: &mut Hooks| {}, help)
    }

    /// As [`Directive::words`], of a directive that comes with hooks of its own.
    pub(in crate::module) const fn hooking<F, H>(
        name: &'static CStr,
        _set: F,
        _hook: H,
        help: &'static CStr,
    ) -> Self
    where
        F: Fn(&mut Config, Scope, &[&str]) -> Result<(), String> + Copy + 'static,
        H: Fn(&mut Hooks) + Copy + 'static,
    {
        Self::row(name, sys::cmd_func { take_argv: Some(on_words::<F, H>) }, sys::TAKE_ARGV, help)
    }

    /// `<Name argument>`, with hooks of its own: `open` is called first, then what stands in the section,
    /// then `close`.
    pub(in crate::module) const fn section<O, C, H>(
        name: &'static CStr,
        _open: O,
        _close: C,
        _hook: H,
        help: &'static CStr,
    ) -> Self
    where
        O: Fn(&mut Config, Scope, &[&str]) -> Result<(), String> + Copy + 'static,
        C: Fn(&mut Config) -> Result<(), String> + Copy + 'static,
        H: Fn(&mut Hooks) + Copy + 'static,
    {
        let func = sys::cmd_func { raw_args: Some(on_section::<O, C, H>) };
        Self::row(name, func, sys::RAW_ARGS, help)
    }

    /// A directive of another module, which is told of it as well: this one only looks.
    pub(in crate::module) const fn observed<F>(
        name: &'static CStr,
        _see: F,
        help: &'static CStr,
    ) -> Self
    where
        F: Fn(&mut Config, &str, Place, &str) -> Result<(), String> + Copy + 'static,
    {
        let func = sys::cmd_func { raw_args: Some(on_observed::<F>) };
        let Self(mut row) = Self::row(name, func, sys::RAW_ARGS, help);
        row.req_override = (sys::RSRC_CONF | sys::ACCESS_CONF) as _;
        Self(row)
    }

    /// A directive of another module, which `edit` reads first: it can refuse the line, or give it other
    /// arguments for the module that is asked next. In `.htaccess` files too, so on any thread: `edit` is not
    /// given the configuration.
    pub(in crate::module) const fn edited<F>(
        name: &'static CStr,
        _edit: F,
        help: &'static CStr,
    ) -> Self
    where
        F: Fn(&Reading<'_>, &[u8]) -> Result<Option<Vec<u8>>, String> + Copy + 'static,
    {
        let func = sys::cmd_func { raw_args: Some(on_edited::<F>) };
        let Self(mut row) = Self::row(name, func, sys::RAW_ARGS, help);
        row.req_override = sys::OR_FILEINFO as _;
        Self(row)
    }
}

/// Null, or a message in the configuration's pool.
///
/// # Safety
///
/// `parms` is live.
unsafe fn outcome(
    parms: *mut sys::cmd_parms,
    body: impl FnOnce() -> Result<(), String>,
) -> *const c_char {
    match guard(body) {
        Ok(Ok(())) => ptr::null(),
        // SAFETY: the caller promises the parameters, and with them the pool.
        Ok(Err(why)) => unsafe { pool::c_string((*parms).pool, &why) },
        Err(panic) => {
            log(Level::Emergency, &panic);
            c"internal error, see the error log".as_ptr()
        }
    }
}

/// # Safety
///
/// `parms` is live.
unsafe fn scope(parms: *mut sys::cmd_parms) -> Scope {
    // SAFETY: the caller promises the parameters, and with them the server.
    if unsafe { (*(*parms).server).is_virtual } == 0 { Scope::Global } else { Scope::Server }
}

fn utf8(word: &CStr) -> Result<&str, String> {
    word.to_str().map_err(|_| format!("{word:?} is not UTF-8"))
}

unsafe extern "C" fn on_words<F, H>(
    parms: *mut sys::cmd_parms,
    _directory: *mut c_void,
    count: c_int,
    words: *const *mut c_char,
) -> *const c_char
where
    F: Fn(&mut Config, Scope, &[&str]) -> Result<(), String> + Copy + 'static,
    H: Fn(&mut Hooks) + Copy + 'static,
{
    // SAFETY: Apache passes live parameters and `count` C strings; while it reads the configuration
    // nobody else looks at it, and no handler of ours is active further up (see `on_section`).
    unsafe {
        outcome(parms, || {
            let words = (0..count as usize).map(|i| utf8(CStr::from_ptr(*words.add(i))));
            let words = words.collect::<Result<Vec<_>, _>>()?;
            item::<F>()(&mut *config_of((*parms).server), scope(parms), &words)?;
            hook_once::<H>();
            Ok(())
        })
    }
}

unsafe extern "C" fn on_section<O, C, H>(
    parms: *mut sys::cmd_parms,
    _directory: *mut c_void,
    argument: *const c_char,
) -> *const c_char
where
    O: Fn(&mut Config, Scope, &[&str]) -> Result<(), String> + Copy + 'static,
    C: Fn(&mut Config) -> Result<(), String> + Copy + 'static,
    H: Fn(&mut Hooks) + Copy + 'static,
{
    // SAFETY: as in `on_words`. The borrow of the configuration for `open` ends before the section's
    // directives are read, and the one for `close` begins after it.
    unsafe {
        let opened = outcome(parms, || {
            let line = utf8(CStr::from_ptr(argument))?;
            let words = line.trim_end().strip_suffix('>').ok_or("the section's '>' is missing")?;
            let words: Vec<_> =
                words.split_whitespace().map(|word| word.trim_matches('"')).collect();
            item::<O>()(&mut *config_of((*parms).server), scope(parms), &words)?;
            hook_once::<H>();
            Ok(())
        });
        if !opened.is_null() {
            return opened;
        }
        let section = (*parms).directive;
        let wrong = sys::ap_walk_config((*section).first_child, parms, (*parms).context);
        if !wrong.is_null() {
            return wrong;
        }
        (*parms).directive = section;
        outcome(parms, || item::<C>()(&mut *config_of((*parms).server)))
    }
}

unsafe extern "C" fn on_observed<F>(
    parms: *mut sys::cmd_parms,
    _directory: *mut c_void,
    argument: *const c_char,
) -> *const c_char
where
    F: Fn(&mut Config, &str, Place, &str) -> Result<(), String> + Copy + 'static,
{
    // SAFETY: as in `on_words`; the vector lives as long as the configuration.
    unsafe {
        outcome(parms, || {
            let Some(place) = NonNull::new((*parms).context) else { return Ok(()) };
            let name = CStr::from_ptr((*(*parms).cmd).name).to_string_lossy();
            let text = CStr::from_ptr(argument).to_string_lossy();
            item::<F>()(&mut *config_of((*parms).server), &name, Place(place), &text)
        })
    }
}

unsafe extern "C" fn on_edited<F>(
    parms: *mut sys::cmd_parms,
    _directory: *mut c_void,
    argument: *const c_char,
) -> *const c_char
where
    F: Fn(&Reading<'_>, &[u8]) -> Result<Option<Vec<u8>>, String> + Copy + 'static,
{
    // SAFETY: Apache passes live parameters and a C string. The directive is a node of the tree that this
    // thread reads: nobody else looks at it, and Apache takes its arguments from there for the next module.
    unsafe {
        outcome(parms, || {
            let name = CStr::from_ptr((*(*parms).cmd).name).to_str().unwrap_or_default();
            let reading = Reading { name, serving: is_serving(), server: &*(*parms).server };
            if let Some(edited) = item::<F>()(&reading, CStr::from_ptr(argument).to_bytes())? {
                (*(*parms).directive).args = pool::concat((*parms).pool, &[&edited]);
            }
            Ok(())
        })
    }
}
