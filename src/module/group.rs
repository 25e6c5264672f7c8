//! A group and its slots, as requests see them. Made at Apache's start, never changed while it serves.

use super::config::SlotLine;
use super::host::{Message, log};
use super::maintenance::Maintenance;
use crate::address::{Address, ends_group};
use crate::choose::{Set, choose};
use crate::group::hold::Hold;
use crate::lease::{self, Entered};
use crate::state::control::{Names, Sector, WORD, is_in_force};
use crate::state::counts::{Counts, Row};
use crate::state::os::sigbus::cut::{Lost, Mark, Survival, survive};
use crate::state::os::{Access, Mapping, monotonic};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::word::{SlotIndex, Word};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;

/// A group, as requests see it. A request reads two cache lines of it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Group {
    pub(super) name: Box<str>,
    /// By index in the control file. `None` for a slot that is not in this configuration.
    slots: Box<[Option<Slot>]>,
    page: Mapping,
    counts: Counts,
    /// The last word that this process has read.
    seen: AtomicU64,
    /// The group's place among all groups; [`super::site::Site`] sets it.
    pub(super) at: usize,
    /// The last word that any process has read, for all processes: they use it if the page is cut off.
    last: Mapping,
    /// The identity of the control file; 0 if there is no file.
    identity: u128,
    /// Whether this process has logged that the word is damaged.
    is_logged: AtomicBool,
    /// `SlotHold`.
    pub(super) hold: Hold,
    /// Requests of this process that wait, because the group is held.
    pub(super) waiting: AtomicU64,
    /// When this process may send the next request after a hold, for `rate=`; as [`monotonic`], in microseconds.
    pub(super) next: AtomicU64,
    /// What the group counts beyond what all groups count.
    pub(super) more: Counting,
    /// How requests are answered during maintenance.
    pub(super) maintenance: Maintenance,
}

/// What a group's configuration asks to count as well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting {
    /// Answers that mod_proxy makes itself, and answers to clients that have gone: for `SlotAutoRollback`.
    pub(super) failures: bool,
    /// Open tunnels: for `SlotDrain`.
    pub(super) tunnels: bool,
}

/// A slot, as requests see it: one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    pub(super) name: CString,
    /// What precedes the path in the name of a file: `proxy:http://127.0.0.1:8081`, as the address is written.
    pub(super) prefix: Option<CString>,
    pub(super) docroot: Option<CString>,
    pub(super) more: Option<Box<More>>,
    /// The slot's place among all slots of all groups, in the order of the configuration.
    pub(super) place: u32,
    /// Whether mod_proxy_http speaks to the backend.
    pub(super) is_http: bool,
    /// Whether the backend is sent the path of a file.
    pub(super) wants_file: bool,
    /// Whether the slot takes only WebSockets.
    pub(super) is_websocket: bool,
}

/// What few addresses have. It would need a second cache line in [`Slot`].
#[derive(Debug, Default)]
pub(super) struct More {
    /// The canonical form of [`Slot::prefix`], if the address is written in another form.
    pub(super) base: Option<CString>,
    /// `unix:/run/app.sock|`.
    pub(super) socket: Box<[u8]>,
    /// The path in the address, without a slash at its end.
    pub(super) path: Box<[u8]>,
}

impl Slot {
    /// Makes the slot of a `Slot` line. `place` is its place among all these lines.
    pub(super) fn of(line: &SlotLine, place: usize) -> Self {
        let c_string = |text: &str| CString::new(text).expect("Apache's words hold no NUL");
        let address = line.address.as_ref();
        let prefix = |url: &str| c_string(&format!("proxy:{url}"));
        Self {
            name: c_string(&line.name),
            prefix: address.map(|address| prefix(address.written())),
            docroot: line.docroot.as_deref().map(c_string),
            more: address.and_then(|address| {
                let base = (address.written() != address.base).then(|| prefix(&address.base));
                let socket =
                    address.socket().map(|socket| format!("unix:{socket}|")).unwrap_or_default();
                let more = base.is_some() || !socket.is_empty() || !address.path().is_empty();
                let (socket, path) = (socket.into_bytes().into(), address.path().as_bytes().into());
                more.then(|| Box::new(More { base, socket, path }))
            }),
            place: u32::try_from(place).expect("no configuration has so many slots"),
            is_http: address.is_some_and(Address::is_http),
            wants_file: address.is_some_and(Address::wants_file),
            is_websocket: address.is_some_and(Address::is_websocket),
        }
    }

    /// [`Slot::prefix`] in mod_proxy's canonical form.
    #[inline]
    pub(super) fn base(&self) -> Option<&CStr> {
        let base = self.more.as_ref().and_then(|more| more.base.as_deref());
        base.or(self.prefix.as_deref())
    }

    /// Whether the address is written in its canonical form.
    #[inline]
    pub(super) fn is_canonical(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.base.is_none())
    }

    /// The unix socket, as it is written before a URL; empty if there is none.
    pub(super) fn socket(&self) -> &[u8] {
        self.more.as_ref().map_or(b"", |more| &more.socket)
    }

    /// The path in the address.
    pub(super) fn path(&self) -> &[u8] {
        self.more.as_ref().map_or(b"", |more| &more.path)
    }
}

impl Group {
    /// `names`, the identity and the word are those of the control file, which `page` maps.
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
        let (seen, is_logged) = (AtomicU64::new(word.bits()), AtomicBool::new(false));
        Self {
            name: name.into(),
            slots,
            page,
            counts,
            seen,
            at: 0,
            more: Counting::default(),
            maintenance: Maintenance::default(),
            hold: Hold::default(),
            waiting: AtomicU64::new(0),
            next: AtomicU64::new(0),
            last,
            identity,
            is_logged,
        }
    }

    /// Whether a request that entered with this word may have to wait before it is sent to the backend. If the word is
    /// no longer the current one, nobody can tell from its bank: [`Group::is_held`] decides later.
    #[cold]
    pub(super) fn holds(&self, word: Word) -> bool {
        let deadline = self.page.at::<Sector>(0).deadline(word);
        deadline.is_none_or(|deadline| is_in_force(deadline, monotonic()))
    }

    /// Whether the group is held now.
    pub(super) fn is_held(&self) -> bool {
        // Bounded: a bank without its tag is that of a change that is under way, or damaged.
        for _ in 0..1000 {
            let word = Word::from_bits(self.word().load(Ordering::Acquire));
            if !word.is_held() || !word.is_valid() {
                return false;
            }
            if let Some(deadline) = self.page.at::<Sector>(0).deadline(word) {
                return is_in_force(deadline, monotonic());
            }
        }
        false
    }

    /// The control word.
    fn word(&self) -> &AtomicU64 {
        &self.page.at::<Sector>(0).word
    }

    /// The slot that is active now; `None` if this process does not know it.
    pub(super) fn active(&self) -> Option<&Slot> {
        let mut word = Word::from_bits(self.word().load(Ordering::Acquire));
        if !word.is_valid() {
            word = Word::from_bits(self.last.word(0).load(Ordering::Relaxed));
        }
        self.slot(word.active())
    }

    /// Enters the active slot, and counts that in `row`: see [`lease`].
    pub(super) fn enter(&self, row: &Row) -> Entered {
        let active = |word| Some(choose(Set::of(word)));
        let in_flight = |slot| row.block(slot).in_flight();
        let entered = lease::enter(self.word(), active, in_flight);
        if self.seen.load(Ordering::Relaxed) == entered.word.bits() {
            return entered;
        }
        self.check(entered, row)
    }

    /// Checks a word that this process has not read before: after a flip, or if the word is damaged. Instead of a
    /// damaged word, the request enters the last valid one, by the same protocol.
    #[cold]
    fn check(&self, entered: Entered, row: &Row) -> Entered {
        let in_flight = |slot| row.block(slot).in_flight();
        if entered.word.is_valid() {
            self.seen.store(entered.word.bits(), Ordering::Relaxed);
            self.share(entered.word);
            return entered;
        }
        let word = Word::from_bits(self.last.word(0).load(Ordering::Relaxed));
        let last = Entered { word, slot: word.active() };
        self.log_damage(entered.word, last.slot);
        in_flight(last.slot).fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let now = self.word().load(Ordering::Acquire);
        lease::leave(in_flight(entered.slot));
        if now == entered.word.bits() {
            return last;
        }
        lease::leave(in_flight(last.slot));
        self.enter(row)
    }

    /// Logs a damaged word, once in each process.
    fn log_damage(&self, word: Word, last: SlotIndex) {
        if self.is_logged.swap(true, Ordering::Relaxed) {
            return;
        }
        let slot = self.slot(last).map(|slot| &slot.name);
        let text = format!(
            "group {:?}: the control word {:#018x} is damaged; until it is repaired, this process serves the \
             last slot that it knows of, {slot:?}",
            self.name,
            word.bits()
        );
        log(Message::DamagedWord, &text);
    }

    /// Makes a word the last one for all processes. Each process does this once for each word. A process that a newer
    /// word has overtaken stores the newer one: of all processes that come here, the last one to store reads the page
    /// after its store, so it finds any word that another one has found.
    fn share(&self, mut word: Word) {
        loop {
            self.last.word(0).store(word.bits(), Ordering::SeqCst);
            let now = Word::from_bits(self.word().load(Ordering::SeqCst));
            if now.bits() == word.bits() || !now.is_valid() {
                return;
            }
            word = now;
        }
    }

    /// Has this child survive when its files are cut short: it goes on with the last slot that it knows, and writes
    /// a line to the error log. Once in each child.
    pub(super) fn survive(&'static self, lost: &'static File, place: u16) -> io::Result<()> {
        let mark = Mark { file: lost, identity: self.identity, place };
        let (app, pid) = (&self.name, std::process::id());
        // In the form of Apache's own lines: a signal handler writes them, so Apache cannot.
        let line = |message: Message, what: &str| {
            format!("[slot:error] [pid {pid}] {message}: group {app:?}: {what}\n")
        };
        let control = |slot: &Option<Slot>| {
            let name =
                slot.as_ref().map_or("no slot".into(), |slot| format!("slot {:?}", slot.name));
            let what =
                format!("{app}.slot was cut short; this process serves {name} until a restart");
            line(Message::ControlCut, &what)
        };
        let counts = format!(
            "{app}.counts was cut short, or its file system is full; nobody can say what is in flight \
             until a restart"
        );
        let of_control = Survival {
            lost: Lost::Control,
            word: Some((WORD, &self.last)),
            mark,
            lines: self.slots.iter().chain([&None]).map(control).collect(),
            line_of: |word| Word::from_bits(word).active().get(),
        };
        survive(&self.page, Access::Read, of_control)?;
        let of_counts = Survival {
            lost: Lost::Counts,
            word: None,
            mark,
            lines: vec![line(Message::CountsCut, &counts)],
            line_of: |_| 0,
        };
        survive(self.counts.mapping(), Access::ReadWrite, of_counts)
    }

    /// The identity of the control file (0 if there is no file), and the indexes that processes of this configuration
    /// know.
    pub(super) fn known(&self) -> (u128, Vec<SlotIndex>) {
        let indexes = (0..self.slots.len()).filter(|at| self.slots[*at].is_some());
        (self.identity, indexes.filter_map(SlotIndex::new).collect())
    }

    /// Takes over a row for the process `pid`, which holds its lock: see [`Counts::take_over`].
    pub(super) fn take_over(&self, row: usize, pid: u32) {
        self.counts.take_over(row, self.slots.len(), pid);
    }

    /// The path of a URL without its `slot://`, if the URL names this group in the case of the configuration.
    #[inline]
    pub(super) fn path_in<'a>(&self, url: &'a [u8]) -> Option<&'a [u8]> {
        let (name, path) = url.split_at_checked(self.name.len())?;
        // A loop saves a call of memcmp: names are short.
        if !name.iter().zip(self.name.as_bytes()).all(|(byte, own)| byte == own) {
            return None;
        }
        path.first().is_none_or(|byte| ends_group(*byte)).then_some(path)
    }

    /// Takes the next turn to go on after a hold, with `rate=`, if it is now. Returns whether it was.
    pub(super) fn takes_turn(&self) -> bool {
        let Some(rate) = self.hold.rate else { return true };
        let (gap, now) = (1_000_000 / u64::from(rate.max(1)), monotonic() * 1000);
        let take = |next: u64| (next <= now).then_some(now + gap);
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// The row of this process in the counts.
    pub(super) fn own_row(&self) -> &Row {
        self.counts.own_row()
    }

    /// The count segment.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether some slot takes only WebSockets.
    pub(super) fn has_websockets(&self) -> bool {
        self.slots.iter().flatten().any(|slot| slot.is_websocket)
    }

    /// One of the slots, if all of them take only WebSockets.
    pub(super) fn all_websockets(&self) -> Option<&Slot> {
        let mut slots = self.slots.iter().flatten();
        if slots.clone().all(|slot| slot.is_websocket) { slots.next() } else { None }
    }

    /// The slot with this index; `None` if it is not in this configuration. A child of an older configuration finds
    /// such an index when a newer configuration has added a slot.
    pub(super) fn slot(&self, slot: SlotIndex) -> Option<&Slot> {
        self.slots.get(slot.get())?.as_ref()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::state::counts;

    pub(in crate::module) fn group(name: &str, slots: &[&str], names: &[&str]) -> Group {
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
    fn a_url_names_a_group_whole_or_not_at_all() {
        let group = group("App", &["a"], &["a"]);
        let path = |url: &'static str| group.path_in(url.as_bytes());
        assert_eq!(["App", "App/", "App?x"].map(path), [&b""[..], b"/", b"?x"].map(Some));
        assert_eq!(["", "Ap", "Apps", "App.x/", "app/"].map(path), [None; 5]);
    }
}
