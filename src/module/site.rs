//! What requests need to know: all groups, and what each server makes of them. Made once at Apache's start, never
//! changed while it serves.

use super::config::SlotModule;
use super::group::{Group, Slot};
use super::hold::Limits;
use super::host::{Kept, Proxy, Request, Worker};
use crate::address::{SLOT, path_of, split_group};
use crate::state::known::Known;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All groups, shared by all servers. A request reads one cache line of it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Site {
    pub(super) groups: Vec<Group>,
    /// The group that this process found last: most processes serve one application for a long time.
    found: AtomicUsize,
    /// Whether some slot takes only WebSockets.
    pub(super) has_websockets: bool,
    /// mod_proxy, if it is loaded.
    pub(super) proxy: Option<Proxy>,
    /// By name, both as configured and in lower case: mod_proxy may change the case of a URL's host.
    by_name: FxHashMap<Box<[u8]>, usize>,
    /// The file of the children's locks, if it can be used.
    pub(super) rows: Option<File>,
    /// The file in which children note that a mapping was cut short, and the place of this start in it.
    pub(super) lost: Option<(File, u16)>,
    /// The locks for the slot indexes that the processes of this start may know.
    pub(super) known: Option<Known>,
    /// The workers that mod_proxy does not know. Each child makes their connection pools.
    pub(super) workers: Vec<Worker>,
    /// How many requests of a process may wait.
    pub(super) limits: Limits,
    /// All workers of slots, by [`Own::at`], each with the note for its requests.
    pub(super) own: Vec<(Worker, CString)>,
}

/// What a server needs for its requests.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) site: Arc<Site>,
    /// The place of the group of `SlotDocumentRoot` among all groups.
    pub(super) document_root: Option<usize>,
    pub(super) workers: Table,
    /// The routes with parameters; most servers have none.
    pub(super) routes: Option<Box<Routes>>,
}

/// The workers of all slots of all groups, in the order of the configuration.
pub(super) type Table = Arc<[Option<Own>]>;

/// A slot's worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) worker: Worker,
    /// The worker's place in [`Site::own`].
    pub(super) at: usize,
}

/// The `slot://` URLs of a server that have parameters, and so workers of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    /// The places of the groups that have such a URL.
    pub(super) groups: FxHashSet<usize>,
    /// The workers of the group's slots, by mod_proxy's worker of the URL.
    pub(super) by_worker: FxHashMap<Worker, Route>,
}

/// The workers of one `slot://` URL.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// The place of the group's first slot among all slots.
    pub(super) first: usize,
    /// One for each slot of the group.
    pub(super) workers: Vec<Option<Own>>,
}

impl Site {
    pub(super) fn new(mut groups: Vec<Group>) -> Self {
        let mut by_name: FxHashMap<Box<[u8]>, _> = FxHashMap::default();
        for (at, group) in groups.iter_mut().enumerate() {
            group.at = at;
            by_name.insert(group.name.to_ascii_lowercase().into_bytes().into(), at);
            by_name.insert(group.name.as_bytes().into(), at);
        }
        Self {
            by_name,
            found: AtomicUsize::new(0),
            has_websockets: groups.iter().any(Group::has_websockets),
            groups,
            proxy: None,
            rows: None,
            lost: None,
            known: None,
            workers: Vec::new(),
            limits: Limits::default(),
            own: Vec::new(),
        }
    }

    /// The group and the path of a URL without its `slot://`, in any case. It is nearly always the group that was
    /// found last.
    ///
    /// # Errors
    ///
    /// The name, if there is no such group.
    #[inline]
    pub(super) fn find<'a>(&self, url: &'a [u8]) -> Result<(&Group, &'a [u8]), &'a [u8]> {
        let last = self.groups.get(self.found.load(Ordering::Relaxed));
        match last.and_then(|group| Some((group, group.path_in(url)?))) {
            Some(found) => Ok(found),
            None => self.find_by_name(url),
        }
    }

    #[inline(never)]
    fn find_by_name<'a>(&self, url: &'a [u8]) -> Result<(&Group, &'a [u8]), &'a [u8]> {
        let (name, path) = split_group(url);
        let found = self.look_up(name).ok_or(name)?;
        self.found.store(found, Ordering::Relaxed);
        Ok((&self.groups[found], path))
    }

    /// The note for the requests of a worker.
    pub(super) fn note_of(&self, own: Own) -> Option<&CStr> {
        self.own.get(own.at).map(|(_, note)| &**note)
    }

    /// The worker that a note stands for.
    pub(super) fn noted(&self, note: &CStr) -> Option<Worker> {
        let at: usize = note.to_str().ok()?.parse().ok()?;
        self.own.get(at).map(|(worker, _)| *worker)
    }

    /// The place of the group of this name, in any case.
    pub(super) fn look_up(&self, name: &[u8]) -> Option<usize> {
        if let Some(found) = self.by_name.get(name) {
            return Some(*found);
        }
        let mut lower = [0; crate::name::MAX_NAME];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).copied()
    }
}

impl Service {
    /// What the server of `request` serves; `None` if there is no group.
    #[inline]
    pub(super) fn of(request: &Request) -> Option<Kept<Self>> {
        request.serving::<SlotModule>()
    }

    /// The group of `SlotDocumentRoot`.
    #[inline]
    pub(super) fn document_root(&self) -> Option<&Group> {
        self.site.groups.get(self.document_root?)
    }

    /// The worker for a slot of a group. The request has the URL of the slot already.
    #[inline]
    pub(super) fn worker(
        &self,
        request: &Request,
        mod_proxy: &Proxy,
        group: &Group,
        slot: &Slot,
    ) -> Option<Own> {
        if let Some(routes) = &self.routes
            && routes.groups.contains(&group.at)
            && let Some(route) = routed(routes, request, mod_proxy, group, slot)
        {
            return *route.workers.get(slot.place as usize - route.first)?;
        }
        *self.workers.get(slot.place as usize)?
    }
}

/// The workers of the `slot://` URL that the request came by, if it has parameters. As with any backend, parameters
/// apply to all URLs that begin with theirs, and the longest one wins.
#[inline(never)]
fn routed<'a>(
    routes: &'a Routes,
    request: &Request,
    mod_proxy: &Proxy,
    group: &Group,
    slot: &Slot,
) -> Option<&'a Route> {
    let path = path_of(request.filename_behind(b"proxy:")?.c_str().to_bytes())?;
    let path = path.strip_prefix(slot.path()).unwrap_or(path);
    let worker = mod_proxy.declared_for(request, &[SLOT, group.name.as_bytes(), path])?;
    routes.by_worker.get(&worker)
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::group;
    use super::*;

    #[test]
    fn a_group_is_found_in_any_case() {
        let found = |site: &Site, url: &'static str| {
            site.find(url.as_bytes()).map(|(group, path)| (group.at, path))
        };
        let one = Site::new(vec![group("App", &["a"], &["a"])]);
        assert_eq!(found(&one, "app"), Ok((0, &b""[..])));
        assert_eq!((found(&one, "ap"), found(&one, "/x")), (Err(&b"ap"[..]), Err(&b""[..])));
        let two = Site::new(vec![group("App", &["a"], &["a"]), group("shop", &["a"], &["a"])]);
        let found_last = || two.found.load(Ordering::Relaxed);
        assert_eq!((found(&two, "APP?y"), found_last()), (Ok((0, &b"?y"[..])), 0));
        assert_eq!((found(&two, "Shop/x"), found_last()), (Ok((1, &b"/x"[..])), 1));
        assert_eq!((found(&two, "App/x"), found_last()), (Ok((0, &b"/x"[..])), 0));
        assert_eq!((found(&two, "App/y"), found_last()), (Ok((0, &b"/y"[..])), 0));
        assert_eq!((found(&two, "x"), found_last()), (Err(&b"x"[..]), 0));
        assert_eq!(two.find(&[b'x'; 1000]).err(), Some(&[b'x'; 1000][..]));
    }
}
