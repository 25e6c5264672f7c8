//! A request of a group that is held: before it is sent to the backend, it waits in no slot, and then enters again.
//!
//! A request chooses its slot before it is known whether it needs the backend, and before authorisation. If the group
//! is held then, the request is *set aside*: it counts in its slot, but a hold does not wait for its end. If it turns
//! out to be for the backend, it waits, with its body unread: with `park=on`, where that is possible, without a thread,
//! before the handlers are called; otherwise in its thread, at mod_proxy's pre_request.

mod after;
mod limits;
mod parked;
mod place;
mod threaded;

pub(super) use after::inherit_time;
pub(super) use limits::{Limits, prepare};
pub(super) use parked::{close, park, start};
pub(super) use place::Waiting;
pub(super) use threaded::wait;
