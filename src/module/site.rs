//! What requests need to know: the groups and their shared memory, and what each server makes of
//! them. Built once at Apache's start, never changed while it serves.

use super::host::{Level, Proxy, Request, Worker, log};
use super::workers::Table;
use crate::address::{SLOT, ends_group, path_of, split_group};
use crate::choose::{Set, choose};
use crate::lease;
use crate::state::control::{Names, WORD};
use crate::state::counts::{Counts, Row, Words};
use crate::state::known::Known;
use crate::state::os::Mapping;
use crate::state::os::sigbus::cut::{Lost, Mark, Survival, survive};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::word::{SlotIndex, Word};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

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

/// A group, as requests see it: what each of them reads is in two cache lines.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Group {
    pub(super) name: Box<str>,
    /// By index in the control file. `None` for one that is not in this configuration.
    slots: Box<[Option<Slot>]>,
    page: Mapping,
    counts: Counts,
    /// The last word that this process has seen.
    seen: AtomicU64,
    /// Its place among all groups.
    at: usize,
    /// The last word that a process has seen: for all of them, should the page be cut off.
    last: Mapping,
    /// That of the control file.
    identity: u128,
    /// The error log has a line of a damaged word.
    told: AtomicBool,
}

/// A slot, as requests see it: a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    pub(super) name: CString,
    /// What precedes the path in the name of a file: `proxy:http://127.0.0.1:8081`, as the address is written.
    pub(super) prefix: Option<CString>,
    pub(super) docroot: Option<CString>,
    /// What few addresses have.
    pub(super) more: Option<Box<More>>,
    /// Its place among all slots of all groups, in the order of the configuration.
    pub(super) place: u32,
    /// Whether mod_proxy_http speaks to its backend.
    pub(super) is_http: bool,
    /// Whether the backend is told the path of a file.
    pub(super) wants_file: bool,
    /// Whether it takes WebSockets, and nothing else.
    pub(super) is_websocket: bool,
}

/// What few addresses have.
#[derive(Debug, Default)]
pub(super) struct More {
    /// As [`Slot::prefix`], of an address that is not written in its canonical form.
    pub(super) base: Option<CString>,
    /// `unix:/run/app.sock|`.
    pub(super) socket: Box<[u8]>,
    /// The path in the address, without a slash at its end.
    pub(super) path: Box<[u8]>,
}

impl Slot {
    /// As [`Slot::prefix`], in the form that mod_proxy brings an address to.
    #[inline]
    pub(super) fn base(&self) -> Option<&CStr> {
        let base = self.more.as_ref().and_then(|more| more.base.as_deref());
        base.or(self.prefix.as_deref())
    }

    /// Whether its address is written in that form.
    #[inline]
    pub(super) fn is_canonical(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.base.is_none())
    }

    /// The unix socket, as it is written before a URL; nothing where there is none.
    pub(super) fn socket(&self) -> &[u8] {
        self.more.as_ref().map_or(b"", |more| &more.socket)
    }

    /// The path in its address.
    fn path(&self) -> &[u8] {
        self.more.as_ref().map_or(b"", |more| &more.path)
    }
}

impl Group {
    /// `names` is the table of the control file, with its identity and its word, of which `page` and
    /// `counts` are the memory.
    pub(super) fn new(
        name: &str,
        mut configured: Vec<Slot>,
        names: &Names,
        (identity, word): (u128, Word),
        page: Mapping,
        counts: Counts,
    ) -> Self {
        let mut slot = |index| {
            let known = names.get(index)?.as_bytes();
            let at = configured.iter().position(|slot| slot.name.to_bytes() == known)?;
            Some(configured.swap_remove(at))
        };
        let slots = (0..names.len()).map(|at| slot(SlotIndex::new(at)?)).collect();
        let last = Mapping::anonymous(8).expect("there is memory for a page");
        last.word(0).store(word.bits(), Ordering::Relaxed);
        let (seen, told) = (AtomicU64::new(word.bits()), AtomicBool::new(false));
        Self { name: name.into(), slots, page, counts, seen, at: 0, last, identity, told }
    }

    /// Its place among all groups.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Enters the active slot, in a row of the counts: see [`lease`].
    pub(super) fn enter(&self, row: Row<'_>) -> Word {
        let active = |word| Some(choose(Set::of(word)));
        let in_flight = |slot| row.block(slot).in_flight();
        let word = lease::enter(self.page.word(WORD), active, in_flight).word;
        if self.seen.load(Ordering::Relaxed) == word.bits() {
            return word;
        }
        self.remember(word, row)
    }

    /// A word that is not the last one: a flip, or damage. In a damaged word's place the last one is
    /// entered, in the same way.
    #[cold]
    fn remember(&self, word: Word, row: Row<'_>) -> Word {
        let in_flight = |word: Word| row.block(word.active()).in_flight();
        if word.is_valid() {
            self.seen.store(word.bits(), Ordering::Relaxed);
            self.tell_all(word);
            return word;
        }
        let last = Word::from_bits(self.last.word(0).load(Ordering::Relaxed));
        if !self.told.swap(true, Ordering::Relaxed) {
            let slot = self.slot(last.active()).map(|slot| &slot.name);
            let text = format!(
                "group {:?}: the control word {:#018x} is damaged; this process serves the last \
                 slot that it knows of, {slot:?}, until it is not",
                self.name,
                word.bits()
            );
            log(Level::Error, &text);
        }
        in_flight(last).fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let now = self.page.word(WORD).load(Ordering::Acquire);
        lease::leave(in_flight(word));
        if now == word.bits() {
            return last;
        }
        lease::leave(in_flight(last));
        self.enter(row)
    }

    /// Makes a word the last one for all processes, which each of them does once. Whoever was
    /// overtaken by a newer one on the way here puts that in its place: of all who come here, the last
    /// to store looks at the page after that, and finds what any of them has found there.
    fn tell_all(&self, mut word: Word) {
        loop {
            self.last.word(0).store(word.bits(), Ordering::SeqCst);
            let now = Word::from_bits(self.page.word(WORD).load(Ordering::SeqCst));
            if now.bits() == word.bits() || !now.is_valid() {
                return;
            }
            word = now;
        }
    }

    /// For a child, once: it serves on when its files are cut short, each for itself and on the last
    /// slot that was seen, and the error log tells of it.
    pub(super) fn survive(&'static self, lost: &'static File, place: u16) -> io::Result<()> {
        let mark = Mark { file: lost, identity: self.identity, place };
        let (app, pid) = (&self.name, std::process::id());
        let line = |what: &str| format!("[slot:error] [pid {pid}] group {app:?}: {what}\n");
        let serves = |slot: &Option<Slot>| {
            let name =
                slot.as_ref().map_or("no slot".into(), |slot| format!("slot {:?}", slot.name));
            line(&format!("{app}.slot was cut short; this process serves {name} until a restart"))
        };
        let counts = line(&format!(
            "{app}.counts was cut short, or its file system is full; nobody can say what is in flight \
             until a restart"
        ));
        let record = Survival {
            lost: Lost::Control,
            word: Some((WORD, &self.last)),
            mark,
            lines: self.slots.iter().chain([&None]).map(serves).collect(),
            line_of: |word| Word::from_bits(word).active().get(),
        };
        survive(&self.page, false, record)?;
        let counts =
            Survival { lost: Lost::Counts, word: None, mark, lines: vec![counts], line_of: |_| 0 };
        survive(self.counts.mapping(), true, counts)
    }

    /// The control file's identity, 0 where there is none, and the indexes that processes of this
    /// configuration know.
    pub(super) fn known(&self) -> (u128, Vec<SlotIndex>) {
        let indexes = (0..self.slots.len()).filter(|at| self.slots[*at].is_some());
        (self.identity, indexes.filter_map(SlotIndex::new).collect())
    }

    /// For the process of this number, which holds the lock of a row: see [`Counts::take_over`].
    pub(super) fn take_over(&self, row: usize, pid: u32) {
        self.counts.take_over(row, self.slots.len(), pid);
    }

    /// The path in a URL behind `slot://`, if it names this group, in the case of the configuration.
    #[inline]
    pub(super) fn path_in<'a>(&self, url: &'a [u8]) -> Option<&'a [u8]> {
        let (name, path) = url.split_at_checked(self.name.len())?;
        // Names are short: there is nothing that a call would do faster.
        if !name.iter().zip(self.name.as_bytes()).all(|(byte, own)| byte == own) {
            return None;
        }
        path.first().is_none_or(|byte| ends_group(*byte)).then_some(path)
    }

    /// This process's row of the counts.
    pub(super) fn own_words(&self) -> &Words {
        self.counts.own_words()
    }

    /// Its count segment.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether a slot takes WebSockets, and nothing else.
    pub(super) fn has_websockets(&self) -> bool {
        self.slots.iter().flatten().any(|slot| slot.is_websocket)
    }

    /// A slot, if all of them take WebSockets, and nothing else.
    pub(super) fn all_websockets(&self) -> Option<&Slot> {
        let mut slots = self.slots.iter().flatten();
        if slots.clone().all(|slot| slot.is_websocket) { slots.next() } else { None }
    }

    /// The slot with this index; `None` when it is not in this configuration. That takes a child of
    /// an older one, which meets the name of a slot that a newer one has added.
    pub(super) fn slot(&self, slot: SlotIndex) -> Option<&Slot> {
        self.slots.get(slot.get())?.as_ref()
    }
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
    use super::*;
    use crate::state::counts;

    fn group(name: &str, slots: &[&str], names: &[&str]) -> Group {
        let slot = |(place, name): (usize, &&str)| Slot {
            name: CString::new(*name).unwrap(),
            prefix: None,
            docroot: None,
            more: None,
            place: place as u32,
            is_http: false,
            wants_file: false,
            is_websocket: false,
        };
        let names = names.iter().copied().collect();
        let page = Mapping::anonymous(4096).unwrap();
        let counts = Counts::new(Mapping::anonymous(counts::size(1)).unwrap()).unwrap();
        let first = (0, Word::from_bits(0));
        Group::new(name, slots.iter().enumerate().map(slot).collect(), &names, first, page, counts)
    }

    #[test]
    fn a_slot_is_known_by_its_name_not_by_its_place() {
        let group = group("app", &["b", "c", "a"], &["a", "gone", "b", "c"]);
        let place = |index| group.slot(SlotIndex::new(index).unwrap()).map(|slot| slot.place);
        assert_eq!([0, 1, 2, 3, 4].map(place), [Some(2), None, Some(0), Some(1), None]);
    }

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

    #[test]
    fn a_url_names_a_group_whole_or_not_at_all() {
        let group = group("App", &["a"], &["a"]);
        let path = |url: &'static str| group.path_in(url.as_bytes());
        assert_eq!(["App", "App/", "App?x"].map(path), [&b""[..], b"/", b"?x"].map(Some));
        assert_eq!(["", "Ap", "Apps", "App.x/", "app/"].map(path), [None; 5]);
    }
}
