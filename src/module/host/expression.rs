//! An expression of Apache, as in `<If>`.

use super::{Reading, Request, pool, sys};
use std::ffi::CStr;
use std::ptr::{self, NonNull};

/// A parsed expression. It lives as long as the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expression(NonNull<sys::ap_expr_info_t>);

// SAFETY: nobody writes a parsed expression; what its evaluation needs lies in the request.
unsafe impl Send for Expression {}
// SAFETY: as above.
unsafe impl Sync for Expression {}

impl Reading<'_> {
    /// Parses an expression in the line that is being read.
    ///
    /// # Errors
    ///
    /// What Apache says is wrong with it.
    pub(crate) fn expression(&self, text: &str) -> Result<Expression, String> {
        let (mut wrong, parms) = (ptr::null(), self.parms());
        // SAFETY: the parameters are live while the line is read; the copy of the text lies in the configuration's pool,
        // as the expression does.
        unsafe {
            let text = pool::c_string((*parms).pool, text);
            let flags = sys::AP_EXPR_FLAG_DONT_VARY as _;
            let info =
                sys::ap_expr_parse_cmd_mi(parms, text, flags, &raw mut wrong, None, NO_MODULE);
            match (NonNull::new(info), pool::borrow(wrong)) {
                (Some(info), None) => Ok(Expression(info)),
                (_, wrong) => {
                    Err(wrong.map_or("it is wrong".into(), |why| why.to_string_lossy().into()))
                }
            }
        }
    }
}

/// The expression belongs to the log level of no module.
const NO_MODULE: i32 = -1;

impl Request {
    /// Whether an expression is true for the request.
    ///
    /// # Errors
    ///
    /// What Apache says about an evaluation that failed.
    pub(crate) fn is_true(&self, expression: Expression) -> Result<bool, String> {
        let mut wrong = ptr::null();
        // SAFETY: the request is live, and the expression lives as long as the configuration.
        let result =
            unsafe { sys::ap_expr_exec(self.raw(), expression.0.as_ptr(), &raw mut wrong) };
        // SAFETY: Apache's message is a literal, or lies in the request's pool.
        match unsafe { pool::borrow(wrong) }.map(CStr::to_string_lossy) {
            Some(wrong) => Err(wrong.into()),
            None if result < 0 => Err("it cannot be evaluated".into()),
            None => Ok(result > 0),
        }
    }
}
