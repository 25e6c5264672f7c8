//! The safe face of Apache: its C API ends in this directory, and so does `unsafe`.
//!
//! Nothing here knows of slots: the host is generic over [`Module`]. Nothing outside names [`sys`].
#![allow(unsafe_code, reason = "this is the border to C")]

mod answer_filter;
mod bridge;
mod decimal;
mod directive;
mod error_page;
mod expression;
mod filter;
mod guard;
mod hooks;
mod kept;
mod loaded;
mod log;
mod message;
mod mod_proxy;
mod mod_rewrite;
mod module;
mod notes;
mod offer;
mod parking;
mod path;
mod pool;
mod request;
mod retained;
mod reverse;
mod sections;
mod server;
mod single_call;
mod symbol;
mod sys;
mod target;
mod tree;
mod variable;
mod version;
mod wait;
mod worker;

pub(super) use bridge::{Answer, Choice};
pub(super) use decimal::Decimal;
pub(super) use directive::{Directive, Outcome, Place, Reading, Scope};
pub(super) use expression::Expression;
pub(super) use hooks::{Hook, Order};
pub(super) use kept::Kept;
pub(super) use loaded::{Loaded, ModuleData};
pub(super) use log::log;
pub(super) use message::Message;
pub(super) use mod_proxy::{Filename, Proxy};
pub(super) use mod_rewrite::Rewrite;
pub(super) use module::Module;
pub(super) use offer::Offer;
pub(super) use parking::{Lanes, Parked, activate as activate_parking, start as start_waker};
pub(super) use pool::{Held, Text};
pub(super) use request::Request;
pub(super) use retained::{release_inherited, retain, retained};
pub(super) use reverse::ReverseMap;
pub(super) use server::{
    Pool, Server, Setup, children, has_module, is_first_pass, max_children, max_daemons,
    merged_path, pid_file, restarts, runtime_path, server_path, serves, threads,
};
pub(super) use tree::{Line, edit_directives, for_each_directive};
pub(super) use variable::Variable;
pub(super) use version::check_version;
pub(super) use worker::Worker;

/// Makes a function again from its type: a function has no size, so its type says everything.
///
/// This is how one generic `extern "C"` bridge serves every hook without a macro or a table.
fn item<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "a hook is a function, or a closure that holds nothing") };
    // SAFETY: `F` has no bytes to get wrong. A bridge for `F` is only named where there is an `F`, so the
    // type is inhabited; and it is `Copy`, so one more of it does no harm.
    unsafe { std::mem::transmute_copy(&()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_function_is_named_by_its_type() {
        fn conjured<F: Fn(u8) -> u8 + Copy + 'static>(_: F) -> u8 {
            super::item::<F>()(20)
        }
        assert_eq!(conjured(|n| n + 1), 21);
        assert_eq!(conjured(u8::isqrt), 4);
    }
}
