//! A file that stays open for as long as the process lives, over all restarts.

use super::sys;
use std::ffi::CStr;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};

/// The file that this process, or the one that it was forked from, has retained.
pub(crate) fn retained() -> Option<ManuallyDrop<File>> {
    let kept = kept().filter(|kept| kept.fd >= 0)?;
    // SAFETY: only `retain` and `release_inherited` close the descriptor, and then they replace its number. Their
    // callers, on the only thread, hold no other `File` of it.
    Some(ManuallyDrop::new(unsafe { File::from_raw_fd(kept.fd) }))
}

/// Keeps a file open for as long as the process lives, over all restarts. Closes the one that was kept before.
pub(crate) fn retain(file: File) {
    release();
    // SAFETY: a C string that lives for ever; created, it is as large as asked for, and aligned for
    // any type.
    unsafe {
        if sys::ap_retained_data_get(RETAINED.as_ptr()).is_null() {
            sys::ap_retained_data_create(RETAINED.as_ptr(), size_of::<Retained>());
        }
    }
    keep(Retained { fd: file.into_raw_fd(), by: std::process::id() });
}

/// Closes the retained file in a fork of the process that retained it. With `httpd -X`, the process itself serves
/// requests, and keeps it.
pub(crate) fn release_inherited() {
    if kept().is_some_and(|kept| kept.by != std::process::id()) {
        release();
    }
}

fn release() {
    if let Some(file) = retained() {
        drop(ManuallyDrop::into_inner(file));
        keep(Retained { fd: -1, by: 0 });
    }
}

#[derive(Clone, Copy)]
struct Retained {
    /// -1 for no file.
    fd: RawFd,
    /// The process that retained it.
    by: u32,
}

fn kept() -> Option<Retained> {
    // SAFETY: null, or what `retain` has made of this size, which restarts leave alone, and only the
    // thread of the start and of child_init uses.
    unsafe { sys::ap_retained_data_get(RETAINED.as_ptr()).cast::<Retained>().as_ref() }.copied()
}

fn keep(retained: Retained) {
    // SAFETY: as in `kept`; `retain` has made it.
    unsafe { sys::ap_retained_data_get(RETAINED.as_ptr()).cast::<Retained>().write(retained) }
}

const RETAINED: &CStr = c"mod_slot";
