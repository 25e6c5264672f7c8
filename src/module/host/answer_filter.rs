//! The first bytes of a request's answer.

use super::single_call::register;
use super::{Hook, Order, Request};
use std::ffi::CStr;

const NAME: &CStr = c"SLOT_ANSWER";

impl Hook {
    /// The answer of a request begins, if [`Request::tell_answer`] asked for this. What is sent in a tunnel, and the 101
    /// before it, is no answer: mod_proxy passes both to the connection's filters.
    pub(crate) const fn answer<F: Fn(&Request) + Copy + 'static>(_: F) -> Self {
        // A filter is no hook, so its order has no effect.
        // SAFETY: a row is only registered while Apache registers hooks.
        Self::new(Order::Middle, |_, _| unsafe { register::<F>(NAME) })
    }
}

impl Request {
    /// Asks for one call of `answer`.
    pub(crate) fn tell_answer(&self) {
        self.add_single_call(NAME);
    }
}
