//! The workers of the slots. Each slot has one in each server, with a pool of kept connections, and one more for each
//! `slot://` URL with parameters.

use super::config::GroupLines;
use super::host::{Pool, Proxy, Server, Worker};
use super::site::{Own, Route, Routes, Table};
use crate::address::split_slot_url;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// Makes the workers of one server after the other.
pub(super) struct Workers<'a> {
    proxy: Proxy,
    pool: Pool,
    scratch: Pool,
    groups: &'a [GroupLines],
    /// The workers of servers that declare none themselves.
    shared: Table,
    /// The routes, by the identity of mod_proxy's worker of the `slot://` URL: virtual hosts inherit that worker from
    /// the main server.
    routes: HashMap<usize, Option<(usize, Route)>>,
    /// The workers that were made here; mod_proxy does not know them.
    pub(super) made: Vec<Worker>,
    /// All workers of slots, each with the note for its requests.
    pub(super) own: Vec<(Worker, CString)>,
}

impl<'a> Workers<'a> {
    /// # Errors
    ///
    /// mod_proxy's message about an address.
    pub(super) fn new(
        proxy: Proxy,
        pool: Pool,
        scratch: Pool,
        groups: &'a [GroupLines],
    ) -> Result<Self, String> {
        let (shared, routes) = (Arc::default(), HashMap::new());
        let (made, own) = (Vec::new(), Vec::new());
        let mut workers = Self { proxy, pool, scratch, groups, shared, routes, made, own };
        let all = (0..groups.len()).map(|group| workers.define_group(group));
        workers.shared = all.collect::<Result<Vec<_>, _>>()?.concat().into();
        Ok(workers)
    }

    fn define_group(&mut self, group: usize) -> Result<Vec<Option<Own>>, String> {
        let slots = &self.groups[group].slots;
        slots
            .iter()
            .map(|slot| slot.worker_url().map(|url| self.define(&url)).transpose())
            .collect()
    }

    fn define(&mut self, url: &CStr) -> Result<Own, String> {
        let worker = self.proxy.define(self.pool, url)?;
        worker.never_in_error();
        self.made.push(worker);
        Ok(self.own(worker))
    }

    fn own(&mut self, worker: Worker) -> Own {
        let at = self.own.len();
        let note = CString::new(at.to_string()).expect("digits have no NUL");
        self.own.push((worker, note));
        Own { worker, at }
    }

    /// The workers of `server`: its own `<Proxy>` or ProxyPass worker for the address of a slot, if there is one; and
    /// routes for its `slot://` URLs with parameters.
    ///
    /// # Errors
    ///
    /// mod_proxy's message about an address.
    pub(super) fn of(&mut self, server: Server) -> Result<(Table, Routes), String> {
        let known = self.proxy.workers(server);
        let ours = |name: &str| split_slot_url(name.as_bytes()).is_some();
        let mut table = self.shared.clone();
        if known.iter().any(|(name, _)| !ours(name)) {
            table = self.declared(server);
        }
        let mut routes = Routes::default();
        for (name, worker) in known.iter().filter(|(name, _)| ours(name)) {
            worker.never_connects();
            if !self.routes.contains_key(&worker.identity()) {
                let route = self.route(name, *worker, &table)?;
                self.routes.insert(worker.identity(), route);
            }
            if let Some((group, route)) = self.routes[&worker.identity()].clone() {
                routes.groups.insert(group);
                routes.by_worker.insert(*worker, route);
            }
        }
        Ok((table, routes))
    }

    fn declared(&mut self, server: Server) -> Table {
        let mut table = self.shared.clone();
        let groups = self.groups;
        for (at, line) in groups.iter().flat_map(|group| &group.slots).enumerate() {
            let Some(address) = line.address.as_ref().filter(|a| !a.is_balancer()) else {
                continue;
            };
            let Some(url) = line.worker_url() else { continue };
            let socket = address.socket().and_then(|socket| CString::new(socket).ok());
            let found = self.proxy.declared(server, self.scratch, &url);
            if let Some(worker) = found.filter(|worker| worker.has_socket(socket.as_deref())) {
                worker.never_in_error();
                Arc::make_mut(&mut table)[at] = Some(self.own(worker));
            }
        }
        table
    }

    /// The route of a `slot://` URL, and the place of its group. `None` for a URL without parameters or group.
    fn route(
        &mut self,
        name: &str,
        like: Worker,
        table: &Table,
    ) -> Result<Option<(usize, Route)>, String> {
        let Some((group, _)) = split_slot_url(name.as_bytes()) else { return Ok(None) };
        let found = self.groups.iter().position(|g| g.name.as_bytes().eq_ignore_ascii_case(group));
        let Some(group) = found.filter(|_| like.has_parameters()) else { return Ok(None) };
        let workers = self.define_group(group)?;
        let first = self.groups[..group].iter().map(|group| group.slots.len()).sum();
        for (own, declared) in workers.iter().zip(&table[first..]) {
            if let Some(own) = own {
                if let Some(declared) = *declared {
                    own.worker.inherit(declared.worker);
                }
                own.worker.inherit(like);
            }
        }
        Ok(Some((group, Route { first, workers })))
    }
}
