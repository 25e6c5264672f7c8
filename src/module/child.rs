//! A child of Apache: before its first request, it takes its row of the counts.

use super::config::SlotModule;
use super::group::Group;
use super::hold;
use super::host::{Message, Setup, log, max_daemons, release_inherited};
use super::site::Site;
use crate::state::counts;
use crate::state::known::{self, Known};
use crate::state::os::{ByteLock, lock_byte};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// child_init.
pub(super) fn attach(setup: &Setup) {
    // The claim is the parent's alone; a child needs no file in the state directory.
    release_inherited();
    let Some(service) = setup.main.serving::<SlotModule>() else { return };
    // Kept until the process ends, because its mappings must stay. The files are protected before they are used.
    let site: &'static Site = Box::leak(Box::new(Arc::clone(&service.site)));
    protect(site);
    if let Some(known) = &site.known {
        guard(site, known);
    }
    if let Some(rows) = &site.rows {
        claim_row(site, rows);
    }
    hold::start(setup, site);
    let Some(mod_proxy) = site.proxy else { return };
    for &worker in &site.workers {
        if !mod_proxy.initialize(worker, setup.main, setup.pool) {
            log(Message::NoConnections, "mod_proxy made no connection pool for a slot's worker");
        }
    }
}

/// Has this process survive when a file of a group is cut short.
fn protect(site: &'static Site) {
    let Some((lost, place)) = &site.lost else { return };
    let protected = site.groups.iter().try_for_each(|group| group.survive(lost, *place));
    if let Err(e) = protected {
        log(Message::NotProtected, &format!("{e}: {NOT_PROTECTED}"));
    }
}

/// What follows where `lost.lock` cannot be used.
pub(super) const NOT_PROTECTED: &str = "Apache's processes end when a file of a group is cut short";

/// Locks the indexes of this process's slots, so that they stay known to be in use even if another child drops the
/// locks that all children have inherited.
fn guard(site: &Site, known: &Known) {
    let groups: Vec<_> = site.groups.iter().map(Group::known).collect();
    let groups = || groups.iter().filter(|(identity, _)| *identity != 0);
    let locks: usize = groups().map(|(_, indexes)| known::locks(indexes)).sum();
    if locks * max_daemons() > known::MOST_GUARDS {
        return;
    }
    let guarded = groups().try_for_each(|(identity, indexes)| known.guard(*identity, indexes));
    if let Err(e) = guarded {
        let text =
            format!("{e}: only the locks that this process has inherited say which slots it knows");
        log(Message::NoOwnLocks, &text);
    }
}

/// Takes a row whose lock is free. If none is, the process shares row 0, where the requests in flight of a dead child
/// count until all children that share the row are gone.
fn claim_row(site: &Site, rows: &File) {
    let most = site.groups.iter().map(|group| group.counts().rows()).min().unwrap_or(1);
    let mut order = counts::in_trying_order(most, std::process::id());
    let free = order.find_map(|row| match lock_byte(rows, row, ByteLock::Alone) {
        Ok(()) => Some(Ok(row)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
        Err(e) => Some(Err(e)),
    });
    match free {
        Some(Ok(row)) => take_over(site, row, std::process::id()),
        Some(Err(e)) => {
            log(Message::SharedRow, &format!("{e}: this process shares a row of the counts"));
            share_row(site, rows);
        }
        None => share_row(site, rows),
    }
}

/// Shares row 0. If no living process shares it, what is in flight there is void.
fn share_row(site: &Site, rows: &File) {
    if lock_byte(rows, 0, ByteLock::Alone).is_ok() {
        take_over(site, 0, 0);
    }
    // Bounded: our processes hold the row alone only briefly; a longer holder is foreign.
    for _ in 0..100 {
        match lock_byte(rows, 0, ByteLock::Together) {
            Ok(()) => return,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(e) => {
                let text = format!("{e}: what this process has in flight is not counted");
                return log(Message::InFlightUncounted, &text);
            }
        }
    }
}

fn take_over(site: &Site, row: usize, pid: u32) {
    for group in &site.groups {
        group.take_over(row, pid);
    }
}
