//! The workers of the slots: for each server and each slot one, with a pool of connections that are
//! kept alive, and more for the ProxyPass lines that have parameters.

use super::address::split_slot_url;
use super::config::GroupLines;
use super::host::{Pool, Proxy, Server, Worker};
use super::site::Route;
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// A worker for each slot of each group, in the order of the configuration.
pub(super) type Table = Arc<[Option<Worker>]>;
/// By group: `slot://` URLs with workers of their own, the longest first.
pub(super) type Routes = FxHashMap<usize, Vec<Route>>;

/// Makes the workers for one server after the other.
pub(super) struct Workers<'a> {
    proxy: Proxy,
    pool: Pool,
    scratch: Pool,
    groups: &'a [GroupLines],
    /// For the servers that declare none themselves.
    shared: Table,
    /// By mod_proxy's worker of the `slot://` URL: virtual hosts inherit it from the main server.
    routes: HashMap<Worker, Option<(usize, Route)>>,
    /// All that were made here, so that mod_proxy does not know of them.
    pub(super) own: Vec<Worker>,
}

impl<'a> Workers<'a> {
    /// # Errors
    ///
    /// What mod_proxy says of an address.
    pub(super) fn new(
        proxy: Proxy,
        pool: Pool,
        scratch: Pool,
        groups: &'a [GroupLines],
    ) -> Result<Self, String> {
        let (shared, routes, own) = (Arc::default(), HashMap::new(), Vec::new());
        let mut workers = Self { proxy, pool, scratch, groups, shared, routes, own };
        let all = (0..groups.len()).map(|group| workers.define_group(group));
        workers.shared = all.collect::<Result<Vec<_>, _>>()?.concat().into();
        Ok(workers)
    }

    fn define_group(&mut self, group: usize) -> Result<Vec<Option<Worker>>, String> {
        let slots = &self.groups[group].slots;
        slots
            .iter()
            .map(|slot| slot.worker_url().map(|url| self.define(&url)).transpose())
            .collect()
    }

    fn define(&mut self, url: &CStr) -> Result<Worker, String> {
        let worker = self.proxy.define(self.pool, url)?;
        worker.never_in_error();
        self.own.push(worker);
        Ok(worker)
    }

    /// What `server` uses: its own `<Proxy>` or ProxyPass workers for a slot's address, where it has
    /// them, and routes for its ProxyPass lines with parameters.
    ///
    /// # Errors
    ///
    /// What mod_proxy says of an address.
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
            if !self.routes.contains_key(worker) {
                let route = self.route(name, *worker, &table)?;
                self.routes.insert(*worker, route);
            }
            if let Some((group, route)) = self.routes[worker].clone() {
                routes.entry(group).or_default().push(route);
            }
        }
        for of_group in routes.values_mut() {
            of_group.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        }
        Ok((table, routes))
    }

    fn declared(&self, server: Server) -> Table {
        let mut table = self.shared.clone();
        for (at, line) in self.groups.iter().flat_map(|group| &group.slots).enumerate() {
            let Some(address) = line.address.as_ref().filter(|a| !a.is_balancer()) else {
                continue;
            };
            let Some(url) = line.worker_url() else { continue };
            let socket = address.socket().and_then(|socket| CString::new(socket).ok());
            let found = self.proxy.declared(server, self.scratch, &url);
            if let Some(worker) = found.filter(|worker| worker.has_socket(socket.as_deref())) {
                worker.never_in_error();
                Arc::make_mut(&mut table)[at] = Some(worker);
            }
        }
        table
    }

    /// With its group. `None` for a URL without parameters, or without a group.
    fn route(
        &mut self,
        name: &str,
        like: Worker,
        table: &Table,
    ) -> Result<Option<(usize, Route)>, String> {
        let Some((group, path)) = split_slot_url(name.as_bytes()) else { return Ok(None) };
        let found = self.groups.iter().position(|g| g.name.as_bytes().eq_ignore_ascii_case(group));
        let Some(group) = found.filter(|_| like.has_parameters()) else { return Ok(None) };
        // A pattern's URL, as in slot://app/$1, counts up to its first reference.
        let end = path.iter().position(|b| *b == b'$').unwrap_or(path.len());
        let workers = self.define_group(group)?;
        let first = self.groups[..group].iter().map(|group| group.slots.len()).sum();
        for (worker, declared) in workers.iter().zip(&table[first..]) {
            if let Some(worker) = worker {
                if let Some(declared) = *declared {
                    worker.inherit(declared);
                }
                worker.inherit(like);
            }
        }
        Ok(Some((group, Route { prefix: path[..end].to_vec(), first, workers })))
    }
}
