//! Whether a slot is fit to become active: its check and its warm-up.

use crate::group::health::Health;
use crate::group::warm::WarmUp;
use crate::group::{Group, Slot};
use crate::ops::error::Error;
use crate::ops::probe::probe;
use crate::state::Dirs;

/// Why a slot is not fit.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The slot failed.
    Why(String),
    /// This process was interrupted.
    Interrupted,
    /// A file or a lock stops it.
    Core(Error),
}

pub(super) fn refuse_untrusted_program(_command: &[String]) -> Result<(), Error> {
    Ok(())
}

pub(super) fn takes_connections(slot: &Slot) -> bool {
    slot.address != "-" && probe(&slot.address).is_ok()
}

pub(crate) fn once(_dirs: &Dirs, group: &Group, slot: &str, _health: &Health) -> Result<(), Unfit> {
    group.slot(slot).map_or(Ok(()), |slot| probe(&slot.address).map_err(Unfit::Why))
}

pub(crate) fn until_healthy(
    dirs: &Dirs,
    group: &Group,
    slot: &str,
    health: &Health,
    _tell: &dyn Fn(&str),
    _stop: &(dyn Fn() -> bool + Sync),
) -> Result<String, Unfit> {
    once(dirs, group, slot, health).map(|()| String::new())
}

pub(super) fn warm(
    _dirs: &Dirs,
    _group: &Group,
    _slot: &str,
    _warm: &WarmUp,
    _health: &Health,
    _tell: &dyn Fn(&str),
    _stop: &(dyn Fn() -> bool + Sync),
) -> Result<String, Unfit> {
    Ok(String::new())
}
