//! Functions that other modules can call: optional functions of APR, which they find by name.

use super::guard::guard_logged;
use super::{Hook, Order, Request, Server, pool, sys};
use std::ffi::{CStr, c_char};
use std::mem::transmute;
use std::ptr::{self, NonNull};

/// A function for other modules. In C it takes a pointer to its subject and a C string that may be null.
pub(crate) trait Offer: 'static {
    /// A request or a server.
    type Subject: Subject;
    /// What it returns in C.
    type Raw: Raw;
    /// What it returns: a text that lives as long as the subject, or a number.
    type Answer<'a>: Answers<Raw = Self::Raw>;
    /// Its name, under which other modules look it up.
    const NAME: &'static CStr;

    /// Answers another module.
    fn answer<'a>(subject: &'a Self::Subject, name: Option<&CStr>) -> Self::Answer<'a>;
}

/// What a function for other modules is about.
pub(crate) trait Subject {
    /// Apache's structure.
    type Raw;

    /// Calls `body` with the structure.
    ///
    /// # Safety
    ///
    /// The structure is live, and stays so for as long as the result is used.
    unsafe fn with<T>(raw: NonNull<Self::Raw>, body: impl FnOnce(&Self) -> T) -> T;
}

impl Subject for Request {
    type Raw = sys::request_rec;

    unsafe fn with<T>(raw: NonNull<Self::Raw>, body: impl FnOnce(&Self) -> T) -> T {
        // SAFETY: the caller promises the request.
        body(unsafe { Self::lend(raw.as_ptr()) })
    }
}

impl Subject for Server {
    type Raw = sys::server_rec;

    unsafe fn with<T>(raw: NonNull<Self::Raw>, body: impl FnOnce(&Self) -> T) -> T {
        // SAFETY: the caller promises the server.
        body(&unsafe { Self::lend(raw.as_ptr()) })
    }
}

/// The answer of a function for other modules, in C.
pub(crate) trait Raw {
    /// Where there is no answer.
    const NONE: Self;
}

impl Raw for *const c_char {
    const NONE: Self = ptr::null();
}

impl Raw for u32 {
    const NONE: Self = 0;
}

/// The answer of a function for other modules.
pub(crate) trait Answers {
    /// The same in C.
    type Raw;

    /// Converts the answer.
    fn raw(self) -> Self::Raw;
}

impl Answers for Option<&CStr> {
    type Raw = *const c_char;

    fn raw(self) -> Self::Raw {
        self.map_or(ptr::null(), CStr::as_ptr)
    }
}

impl Answers for u32 {
    type Raw = Self;

    fn raw(self) -> Self {
        self
    }
}

/// The type of [`on_call`].
type Function<O> = unsafe extern "C" fn(
    *mut <<O as Offer>::Subject as Subject>::Raw,
    *const c_char,
) -> <O as Offer>::Raw;

impl Hook {
    /// Offers a function to other modules, each time that Apache loads the module: APR forgets it at a restart.
    pub(crate) const fn offer<O: Offer>() -> Self {
        // A function is no hook, so its order has no effect.
        Self::new(Order::Middle, |_, _| {
            let function: Function<O> = on_call::<O>;
            // SAFETY: a row is only registered while Apache registers hooks. APR keeps the name, which is static, and the
            // function under a type without arguments, from which the macro of other modules casts it back.
            unsafe {
                let function = transmute::<Function<O>, unsafe extern "C" fn()>(function);
                sys::apr_dynamic_fn_register(O::NAME.as_ptr(), Some(function));
            }
        })
    }
}

unsafe extern "C" fn on_call<O: Offer>(
    subject: *mut <O::Subject as Subject>::Raw,
    name: *const c_char,
) -> O::Raw {
    let Some(subject) = NonNull::new(subject) else { return O::Raw::NONE };
    // SAFETY: the header that other modules include asks for a live subject, on the right thread, and for a C string
    // or null. The answer lives as long as the subject.
    let answer = || unsafe {
        let name = pool::borrow(name);
        O::Subject::with(subject, |subject| O::answer(subject, name).raw())
    };
    guard_logged(answer, O::Raw::NONE)
}
