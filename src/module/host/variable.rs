//! Variables and functions for expressions, in every directive that takes one: `%{NAME}` and `%{NAME:argument}`.

use super::guard::guard_logged;
use super::{Hook, Order, Request, pool, sys};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

/// A variable of expressions, and a function of the same name with one argument.
pub(crate) trait Variable: 'static {
    /// Its name, in any case of its letters.
    const NAME: &'static CStr;

    /// Returns the value for a request. `None` is an empty text.
    ///
    /// # Errors
    ///
    /// Why there is no value: the evaluation then fails, which Apache logs.
    fn value<'a>(request: &'a Request, arg: Option<&CStr>) -> Result<Option<&'a CStr>, String>;
}

impl Hook {
    /// Offers a variable to the expressions that Apache parses from now on.
    pub(crate) const fn variable<V: Variable>() -> Self {
        Self::new(Order::Middle, |after, order| {
            // SAFETY: a row is only registered while Apache registers hooks; the list is static.
            unsafe { sys::ap_hook_expr_lookup(Some(on_lookup::<V>), after, ptr::null(), order) }
        })
    }
}

/// Apache's `ap_expr_var_func_t`.
type OfVariable =
    unsafe extern "C" fn(*mut sys::ap_expr_eval_ctx_t, *const c_void) -> *const c_char;
/// Apache's `ap_expr_string_func_t`.
type OfFunction = unsafe extern "C" fn(
    *mut sys::ap_expr_eval_ctx_t,
    *const c_void,
    *const c_char,
) -> *const c_char;

/// Apache parses an expression, and asks each module for a name in it.
unsafe extern "C" fn on_lookup<V: Variable>(parms: *mut sys::ap_expr_lookup_parms) -> c_int {
    let look_up = || {
        // SAFETY: Apache passes live parameters; the name is a C string.
        let (parms, name) = unsafe { (&*parms, pool::borrow((*parms).name)) };
        let is_ours =
            name.is_some_and(|name| name.to_bytes().eq_ignore_ascii_case(V::NAME.to_bytes()));
        let function = match parms.type_ {
            sys::AP_EXPR_FUNC_VAR if is_ours => on_variable::<V> as OfVariable as *const c_void,
            sys::AP_EXPR_FUNC_STRING if is_ours => on_function::<V> as OfFunction as *const c_void,
            _ => return sys::DECLINED,
        };
        // SAFETY: the places are the caller's. Apache casts the function back to the type that belongs to the kind of
        // lookup; it takes no data.
        unsafe {
            *parms.func = function;
            *parms.data = ptr::null();
        }
        sys::OK
    };
    guard_logged(look_up, sys::DECLINED)
}

unsafe extern "C" fn on_variable<V: Variable>(
    context: *mut sys::ap_expr_eval_ctx_t,
    _: *const c_void,
) -> *const c_char {
    // SAFETY: Apache passes a live context.
    unsafe { value::<V>(context, ptr::null()) }
}

unsafe extern "C" fn on_function<V: Variable>(
    context: *mut sys::ap_expr_eval_ctx_t,
    _: *const c_void,
    arg: *const c_char,
) -> *const c_char {
    // SAFETY: Apache passes a live context and a C string.
    unsafe { value::<V>(context, arg) }
}

/// # Safety
///
/// `context` is that of an evaluation under way; `arg` is null or a C string that lives as long.
unsafe fn value<V: Variable>(
    context: *mut sys::ap_expr_eval_ctx_t,
    arg: *const c_char,
) -> *const c_char {
    let body = || {
        // SAFETY: the caller promises the context, whose request is live or null, and the argument. A value lives as long
        // as the request.
        let (context, arg) = unsafe { (&*context, pool::borrow(arg)) };
        if context.r.is_null() {
            // An expression about a connection only.
            return c"".as_ptr();
        }
        // SAFETY: as above.
        let request = unsafe { Request::lend(context.r) };
        match V::value(request, arg) {
            Ok(value) => value.unwrap_or(c"").as_ptr(),
            Err(why) => {
                // SAFETY: the place is the caller's, and the text lives as long as the request.
                unsafe { *context.err = pool::c_string(context.p, &why) };
                c"".as_ptr()
            }
        }
    };
    guard_logged(body, c"".as_ptr())
}
