//! The start: the parent publishes the files of the groups, and readies what requests need.

use super::child::NOT_PROTECTED;
use super::claim::claim;
use super::config::{Lines, SlotModule};
use super::hold;
use super::host::{Message, Proxy, Setup, check_version, log, serves};
use super::publish::publish;
use super::reverse::map_back;
use super::rewrite;
use super::site::{Service, Site};
use super::vhost::{Hosts, document_root};
use super::workers::Workers;
use crate::state::{Dirs, create, group_file, runtime};
use std::sync::Arc;

/// pre_config: before Apache carries out the configuration.
pub(super) fn begin() -> Result<(), String> {
    check_version()?;
    rewrite::offer();
    Ok(())
}

/// post_config, in the parent. Only mod_proxy's refusal of an address stops the start: if the files are
/// wrong, Apache starts all the same.
pub(super) fn prepare(setup: &Setup) -> Result<(), String> {
    let Some(lines) = setup.main.lines::<SlotModule>() else { return Ok(()) };
    if !serves() || lines.groups.is_empty() {
        return Ok(());
    }
    let dirs = lines.dirs(setup.pool);
    claim(&dirs, setup.pool)?;
    prepare_runtime_dir(&dirs, lines);
    let rows = runtime::rows(&dirs).inspect_err(|e| {
        log(Message::NoRowLocks, &format!("{e}: slotctl counts no requests"));
    });
    let rows = rows.ok();
    let (groups, known) = publish(&dirs, &lines.groups, rows.as_ref(), &Hosts::read(setup, lines));
    let mut site = Site::new(groups);
    site.known = known;
    site.rows = rows;
    let lost = runtime::lost(&dirs).inspect_err(|e| {
        log(Message::NotProtected, &format!("{e}: {NOT_PROTECTED}"));
    });
    // Tells this start from others: two that have living children are hardly of the same microsecond.
    site.lost = lost.ok().map(|file| (file, jiff::Timestamp::now().as_microsecond() as u16));
    site.limits = hold::prepare(&lines.groups);
    site.proxy = Proxy::find();
    rewrite::define(setup)?;
    if dirs.state_is_in_memory() {
        warn_of_memory(&dirs);
    }

    let mut tables = Vec::new();
    if let Some(mod_proxy) = site.proxy {
        let mut workers = Workers::new(mod_proxy, setup.pool, setup.scratch, &lines.groups)?;
        for server in setup.servers() {
            tables.push(workers.of(server)?);
        }
        (site.workers, site.own) = (workers.made, workers.own);
        map_back(&mod_proxy, setup, &lines.groups);
    }

    let site = Arc::new(site);
    for (at, server) in setup.servers().enumerate() {
        let (workers, routes) = tables.get(at).cloned().unwrap_or_default();
        let routes = (!routes.groups.is_empty()).then(|| Box::new(routes));
        let document_root =
            document_root(setup.main, lines, server).and_then(|name| site.look_up(name.as_bytes()));
        let service = Service { site: site.clone(), document_root, workers, routes };
        setup.serve::<SlotModule>(server, service);
    }
    Ok(())
}

fn prepare_runtime_dir(dirs: &Dirs, lines: &Lines) {
    if let Err(e) = create::directory(&dirs.runtime) {
        return log(Message::NoRuntimeDir, &format!("{e}: slotctl counts no requests"));
    }
    let configured: Vec<_> = lines.groups.iter().map(|group| group.name.as_str()).collect();
    if let Err(e) = group_file::forget(dirs, &configured) {
        let text = format!("{e}: slotctl lists a group that is no longer configured");
        log(Message::StaleGroupFile, &text);
    }
}

fn warn_of_memory(dirs: &Dirs) {
    let text = format!(
        "SlotStateDir {} is in memory (tmpfs): after a reboot each group is in its SlotDefault again; \
         give it a directory on a disk",
        dirs.state.display()
    );
    log(Message::StateInMemory, &text);
}
