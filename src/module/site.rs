//! What requests need to know: all groups, and what each server makes of them. Made once at Apache's start, never
//! changed while it serves.

use super::SlotModule;
use super::group::{Group, Slot};
use super::host::{Kept, Proxy, Request, Worker};
use super::workers::Table;
use crate::address::{SLOT, path_of, split_group};
use crate::state::known::Known;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All groups. The same for all servers. What each request reads is in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Site {
    pub(super) groups: Vec<Group>,
    /// The one that this process found last: most serve one application for long.
    found: AtomicUsize,
    /// A slot takes WebSockets, and nothing else.
    pub(super) has_websockets: bool,
    /// mod_proxy, when it is loaded.
    pub(super) proxy: Option<Proxy>,
    /// By name, as it is configured and in lower case: mod_proxy may change the case of a URL's host.
    by_name: FxHashMap<Box<[u8]>, usize>,
    /// The children's locks; `None` when there is no such file.
    pub(super) rows: Option<File>,
    /// Where children say what they have lost sight of, and this start's place there.
    pub(super) lost: Option<(File, u16)>,
    /// The locks for the indexes that this start's processes may know.
    pub(super) known: Option<Known>,
    /// The workers that mod_proxy does not know of, for each child to make their pools.
    pub(super) workers: Vec<Worker>,
    /// All workers of slots, by [`Own::at`], each with the note of a request that it is to send.
    pub(super) own: Vec<(Worker, CString)>,
}

/// What a server needs for its requests.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) site: Arc<Site>,
    /// The place of the group of `SlotDocumentRoot` among all groups.
    pub(super) document_root: Option<usize>,
    pub(super) workers: Table,
    /// `None` where there are none, as nearly always.
    pub(super) routes: Option<Box<Routes>>,
}

/// A slot's worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) worker: Worker,
    /// Its place in [`Site::own`].
    pub(super) at: usize,
}

/// The `slot://` URLs of a server that have workers with parameters of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    /// The places of the groups that have such a URL.
    pub(super) groups: FxHashSet<usize>,
    /// By mod_proxy's worker of the URL: the workers of the group's slots.
    pub(super) by_worker: FxHashMap<Worker, Route>,
}

/// The workers of one `slot://` URL.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// The place of the group's first slot among all slots.
    pub(super) first: usize,
    /// For each slot of the group.
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
            own: Vec::new(),
        }
    }

    /// The group that `url` names, behind `slot://` and in whatever case, and the path; or the name of
    /// what is no group. Nearly always it is the one that was found last.
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

    /// The note of a request that `own` is to send.
    pub(super) fn note_of(&self, own: Own) -> Option<&CStr> {
        self.own.get(own.at).map(|(_, note)| &**note)
    }

    /// The worker that a note tells of.
    pub(super) fn noted(&self, note: &CStr) -> Option<Worker> {
        let at: usize = note.to_str().ok()?.parse().ok()?;
        self.own.get(at).map(|(worker, _)| *worker)
    }

    /// The group of this name, in whatever case.
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
    /// What the server of `request` serves; `None` where there is no group.
    #[inline]
    pub(super) fn of(request: &Request) -> Option<Kept<Self>> {
        request.serving::<SlotModule>()
    }

    /// The group of `SlotDocumentRoot`.
    #[inline]
    pub(super) fn document_root(&self) -> Option<&Group> {
        self.site.groups.get(self.document_root?)
    }

    /// The worker for a slot of a group; the request has the URL that is to be asked.
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

/// The `slot://` URL whose worker mod_proxy would choose, if it has workers of its own: parameters hold for the
/// URLs that begin as the one that they were given for, by the longest match, as with any backend.
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
    fn a_group_is_found_in_whatever_case() {
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
