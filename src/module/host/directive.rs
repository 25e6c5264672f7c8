//! The table of directives: a row for each, and a bridge for each form of arguments.

use super::guard::guard;
use super::log::log;
use super::message::Message;
use super::module::{Config, config_of};
use super::server::{Pool, is_serving, server_path};
use super::{Module, Server, hooks, item, pool, sys};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::ptr::{self, NonNull};

/// A row in the table of directives. The hooks that are [with](super::Hook::with) a directive are registered when
/// its first line is read.
#[repr(transparent)]
pub(crate) struct Directive<M>(sys::command_rec, PhantomData<fn() -> M>);

// SAFETY: a row points to literals and functions only.
unsafe impl<M> Sync for Directive<M> {}

/// The place of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In the main server.
    Global,
    /// In a `<VirtualHost>`.
    VirtualHost,
}

/// The section around a directive, as other modules know it: its vector of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(NonNull<sys::ap_conf_vector_t>);

// SAFETY: a place is only followed by `ReverseMap`, on the thread that reads the configuration.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    pub(super) fn raw(self) -> *mut sys::ap_conf_vector_t {
        self.0.as_ptr()
    }
}

/// A line of the configuration that is being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    /// The directive.
    pub(crate) name: &'a str,
    server: Server,
    parms: NonNull<sys::cmd_parms>,
}

impl<'a> Reading<'a> {
    /// # Safety
    ///
    /// `parms` is live for `'a`.
    unsafe fn of(name: &'a str, parms: *mut sys::cmd_parms) -> Self {
        // SAFETY: the caller promises the parameters, and with them the server.
        unsafe {
            let server = Server::lend((*parms).server);
            Self { name, server, parms: NonNull::new_unchecked(parms) }
        }
    }

    /// Resolves a path against `ServerRoot`; `None` if Apache cannot.
    pub(crate) fn server_path(&self, path: &str) -> Option<PathBuf> {
        // SAFETY: the parameters are live while the line is read, and so is their pool.
        let pool = unsafe { (*self.parms()).pool };
        server_path(Pool(NonNull::new(pool)?), path)
    }

    pub(super) fn parms(&self) -> *mut sys::cmd_parms {
        self.parms.as_ptr()
    }
}

impl Reading<'_> {
    /// Registers the hooks that come with `directive`, a name of [`Hook::with`](super::Hook::with) that need not be a
    /// directive's.
    pub(crate) fn add_hooks(&self, directive: &'static CStr) {
        if !self.is_in_htaccess() {
            // SAFETY: there is a `Reading` only in the handler of a directive, and Apache does not serve yet.
            unsafe { hooks::register_with(directive) };
        }
    }

    /// Whether Apache serves already, so the line is in a `.htaccess` file.
    pub(crate) fn is_in_htaccess(&self) -> bool {
        is_serving()
    }

    /// What the server of the line serves; `None` until Apache serves.
    pub(crate) fn serving<M: Module>(&self) -> Option<&M::Serving> {
        self.server.serving::<M>()
    }
}

/// What a directive does with its words.
pub(crate) type Outcome = Result<(), String>;

impl<M: Module> Directive<M> {
    /// Ends the table.
    pub(crate) const END: Self = Self::row(
        ptr::null(),
        sys::cmd_func { no_args: None },
        sys::RAW_ARGS,
        sys::RSRC_CONF,
        ptr::null(),
    );

    const fn row(
        name: *const c_char,
        func: sys::cmd_func,
        how: sys::cmd_how,
        places: c_int,
        help: *const c_char,
    ) -> Self {
        let row = sys::command_rec {
            name,
            func,
            cmd_data: ptr::null_mut(),
            req_override: places as _,
            args_how: how,
            errmsg: help,
        };
        Self(row, PhantomData)
    }

    const fn raw(name: &'static CStr, bridge: RawArgs, places: c_int, help: &'static CStr) -> Self {
        let func = sys::cmd_func { raw_args: Some(bridge) };
        Self::row(name.as_ptr(), func, sys::RAW_ARGS, places, help.as_ptr())
    }

    /// One argument or more, in the main server or a virtual host; inside a section of the module too.
    pub(crate) const fn words<F>(name: &'static CStr, _set: F, help: &'static CStr) -> Self
    where
        F: Fn(&mut M::Lines, Scope, &[&str]) -> Outcome + Copy + 'static,
    {
        let func = sys::cmd_func { take_argv: Some(on_words::<M, F>) };
        Self::row(name.as_ptr(), func, sys::TAKE_ARGV, sys::RSRC_CONF, help.as_ptr())
    }

    /// The same for a directive that needs to know its line.
    pub(crate) const fn line<F>(name: &'static CStr, _set: F, help: &'static CStr) -> Self
    where
        F: Fn(&mut M::Lines, &Reading<'_>, &[&str]) -> Outcome + Copy + 'static,
    {
        let func = sys::cmd_func { take_argv: Some(on_line::<M, F>) };
        Self::row(name.as_ptr(), func, sys::TAKE_ARGV, sys::RSRC_CONF, help.as_ptr())
    }

    /// `<Name argument>`: Apache calls `open`, then the directives in the section, then `close`.
    pub(crate) const fn section<O, C>(
        name: &'static CStr,
        _open: O,
        _close: C,
        help: &'static CStr,
    ) -> Self
    where
        O: Fn(&mut M::Lines, Scope, &[&str]) -> Outcome + Copy + 'static,
        C: Fn(&mut M::Lines) -> Outcome + Copy + 'static,
    {
        Self::raw(name, on_section::<M, O, C>, sys::RSRC_CONF, help)
    }

    /// A directive of another module, which Apache hands to that module as well: `see` only looks.
    pub(crate) const fn observed<F>(name: &'static CStr, _see: F, help: &'static CStr) -> Self
    where
        F: Fn(&mut M::Lines, &str, Place, &str) -> Outcome + Copy + 'static,
    {
        Self::raw(name, on_observed::<M, F>, sys::RSRC_CONF | sys::ACCESS_CONF, help)
    }

    /// A directive of another module, which `edit` reads first: it can refuse the line, or give the next module
    /// other arguments. `edit` is not given the lines of the server, because `.htaccess` files are read on any
    /// thread.
    pub(crate) const fn edited<F>(name: &'static CStr, _edit: F, help: &'static CStr) -> Self
    where
        F: Fn(&Reading<'_>, &[u8]) -> Result<Option<Vec<u8>>, String> + Copy + 'static,
    {
        Self::raw(name, on_edited::<F>, sys::OR_FILEINFO, help)
    }
}

type RawArgs =
    unsafe extern "C" fn(*mut sys::cmd_parms, *mut c_void, *const c_char) -> *const c_char;

/// Null, or a message in the configuration's pool.
///
/// # Safety
///
/// `parms` is live.
unsafe fn outcome(parms: *mut sys::cmd_parms, body: impl FnOnce() -> Outcome) -> *const c_char {
    match guard(body) {
        Ok(Ok(())) => ptr::null(),
        // SAFETY: the caller promises the parameters, and with them the pool.
        Ok(Err(why)) => unsafe { pool::c_string((*parms).pool, &why) },
        Err(panic) => {
            log(Message::Panic, &panic);
            c"internal error, see the error log".as_ptr()
        }
    }
}

/// # Safety
///
/// `parms` is live.
unsafe fn scope(parms: *mut sys::cmd_parms) -> Scope {
    // SAFETY: the caller promises the parameters, and with them the server.
    if unsafe { (*(*parms).server).is_virtual } == 0 { Scope::Global } else { Scope::VirtualHost }
}

/// Has `change` write the lines of the directive's server.
///
/// # Safety
///
/// `parms` is live, Apache reads the configuration, and nobody up the stack borrows the lines.
unsafe fn change<M: Module>(
    parms: *mut sys::cmd_parms,
    change: impl FnOnce(&mut M::Lines) -> Outcome,
) -> Outcome {
    // SAFETY: the caller promises that this is the only borrow.
    match unsafe { config_of::<M>((*parms).server).as_mut() } {
        Config::Lines(lines) => change(lines),
        Config::Serving(_) => Err("this directive is not allowed in a .htaccess file".into()),
    }
}

/// The directive as the table of directives names it.
///
/// # Safety
///
/// `parms` is live.
unsafe fn name<'a>(parms: *mut sys::cmd_parms) -> &'a CStr {
    // SAFETY: the caller promises the parameters; the name is a literal of our table.
    unsafe { CStr::from_ptr((*(*parms).cmd).name) }
}

fn utf8(word: &CStr) -> Result<&str, String> {
    word.to_str().map_err(|_| format!("{word:?} is not UTF-8"))
}

unsafe extern "C" fn on_words<M, F>(
    parms: *mut sys::cmd_parms,
    _directory: *mut c_void,
    count: c_int,
    words: *const *mut c_char,
) -> *const c_char
where
    M: Module,
    F: Fn(&mut M::Lines, Scope, &[&str]) -> Outcome + Copy + 'static,
{
    // SAFETY: Apache passes live parameters and `count` C strings. While it reads the configuration nobody else
    // looks at it, and no borrow of the lines is active up the stack (see `on_section`).
    unsafe {
        outcome(parms, || {
            let words = (0..count as usize).map(|i| utf8(CStr::from_ptr(*words.add(i))));
            let words = words.collect::<Result<Vec<_>, _>>()?;
            change::<M>(parms, |lines| item::<F>()(lines, scope(parms), &words))?;
            hooks::register_with(name(parms));
            Ok(())
        })
    }
}

unsafe extern "C" fn on_line<M, F>(
    parms: *mut sys::cmd_parms,
    _directory: *mut c_void,
    count: c_int,
    words: *const *mut c_char,
) -> *const c_char
where
    M: Module,
    F: Fn(&mut M::Lines, &Reading<'_>, &[&str]) -> Outcome + Copy + 'static,
{
    // SAFETY: as in `on_words`.
    unsafe {
        outcome(parms, || {
            let words = (0..count as usize).map(|i| utf8(CStr::from_ptr(*words.add(i))));
            let words = words.collect::<Result<Vec<_>, _>>()?;
            let reading = Reading::of(name(parms).to_str().unwrap_or_default(), parms);
            change::<M>(parms, |lines| item::<F>()(lines, &reading, &words))?;
            hooks::register_with(name(parms));
            Ok(())
        })
    }
}

unsafe extern "C" fn on_section<M, O, C>(
    parms: *mut sys::cmd_parms,
    _directory: *mut c_void,
    argument: *const c_char,
) -> *const c_char
where
    M: Module,
    O: Fn(&mut M::Lines, Scope, &[&str]) -> Outcome + Copy + 'static,
    C: Fn(&mut M::Lines) -> Outcome + Copy + 'static,
{
    // SAFETY: as in `on_words`. The borrow of the lines for `open` ends before the directives of the section are
    // read, and the one for `close` begins after it.
    unsafe {
        let opened = outcome(parms, || {
            let line = utf8(CStr::from_ptr(argument))?;
            let words = line.trim_end().strip_suffix('>').ok_or("the section's '>' is missing")?;
            let words: Vec<_> =
                words.split_whitespace().map(|word| word.trim_matches('"')).collect();
            change::<M>(parms, |lines| item::<O>()(lines, scope(parms), &words))?;
            hooks::register_with(name(parms));
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
        outcome(parms, || change::<M>(parms, item::<C>()))
    }
}

unsafe extern "C" fn on_observed<M, F>(
    parms: *mut sys::cmd_parms,
    _directory: *mut c_void,
    argument: *const c_char,
) -> *const c_char
where
    M: Module,
    F: Fn(&mut M::Lines, &str, Place, &str) -> Outcome + Copy + 'static,
{
    // SAFETY: as in `on_words`; the vector lives as long as the configuration.
    unsafe {
        outcome(parms, || {
            let Some(place) = NonNull::new((*parms).context) else { return Ok(()) };
            let (name, text) = (name(parms).to_string_lossy(), CStr::from_ptr(argument));
            let text = text.to_string_lossy();
            change::<M>(parms, |lines| item::<F>()(lines, &name, Place(place), &text))
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
            let name = name(parms).to_str().unwrap_or_default();
            let reading = Reading::of(name, parms);
            if let Some(edited) = item::<F>()(&reading, CStr::from_ptr(argument).to_bytes())? {
                (*(*parms).directive).args = pool::concat((*parms).pool, &[&edited]);
            }
            Ok(())
        })
    }
}
