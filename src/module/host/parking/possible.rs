//! Whether connections can be parked in this Apache.

use crate::module::host::server::ask_mpm;
use crate::module::host::{pool, sys, version};
use std::sync::atomic::{AtomicBool, Ordering};

/// `AP_MPMQ_CAN_WAITIO`, which older headers do not have.
const CAN_WAITIO: i32 = 19;

#[cfg(mmn_137)]
const _: () = assert!(CAN_WAITIO == sys::AP_MPMQ_CAN_WAITIO);

/// Whether requests of this process may be parked.
static IS_ACTIVE: AtomicBool = AtomicBool::new(false);

/// Whether requests of this process may be parked.
pub(super) fn is_active() -> bool {
    IS_ACTIVE.load(Ordering::Relaxed)
}

/// From now on, no request of this process is parked.
pub(super) fn deactivate() {
    IS_ACTIVE.store(false, Ordering::Relaxed);
}

/// Lets requests be parked from now on, in the processes that this one makes, if they are `asked` for; otherwise no longer.
/// In post_config, after Apache has sorted its hooks.
///
/// # Errors
///
/// Why they cannot be parked, although they are asked for.
pub(crate) fn activate(asked: bool) -> Result<(), String> {
    let found = if asked { find() } else { Ok(()) };
    IS_ACTIVE.store(asked && found.is_ok(), Ordering::Relaxed);
    found
}

fn find() -> Result<(), String> {
    if !version::can_wait() {
        return Err("this needs Apache httpd 2.4.63 or newer".into());
    }
    if ask_mpm(CAN_WAITIO) != 1 {
        return Err("this needs mpm_event".into());
    }
    match first_hook() {
        Some(name) if name == "mod_slot.c" => Ok(()),
        Some(name) => Err(format!("{name} processes connections before mod_slot")),
        None => Err("Apache does not say which modules process connections".into()),
    }
}

/// The module whose process_connection hook comes first. One before ours would be called again each time that a request
/// is woken.
fn first_hook() -> Option<String> {
    // SAFETY: null, or the list of hooks, which nobody writes now; it has `nelts` entries, with C strings as names.
    unsafe {
        let hooks = sys::ap_hook_get_process_connection().as_ref()?;
        let first = hooks.elts.cast::<sys::ap_LINK_process_connection_t>();
        let first = if hooks.nelts > 0 { first.as_ref()? } else { return None };
        Some(pool::borrow(first.szName)?.to_string_lossy().into_owned())
    }
}
