//! The start: the parent publishes the groups' files and readies what requests need; each child
//! takes its row of the counts.

use super::config::{Config, GroupLines, SlotLine};
use super::host::{
    Level, Pool, Proxy, ReverseMap, Server, Setup, is_first_pass, log, max_daemons, pid_file,
    release_inherited, restarts, retain, retained, runtime_path, server_path, serves,
};
use super::rewrite;
use super::site::{Group, More, Service, Site, Slot};
use super::workers::Workers;
use crate::address::{Address, split_slot_url};
use crate::group;
use crate::state::counts::{self, Counts};
use crate::state::error::FileError;
use crate::state::instance::{self, Claim, Holder, Instance};
use crate::state::known::{self, Known};
use crate::state::os::{ByteLock, Mapping, lock_byte};
use crate::state::startup::{Counting, Prepared, Published, Startup, Wanted};
use crate::state::{Dirs, create, group_file, runtime};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The room that the counts of all groups together take at the start, in bytes, at most.
const RESERVED: usize = 64 << 20;

/// How the counts are had.
#[derive(Clone, Copy)]
struct How {
    /// It can be told whose they are.
    countable: bool,
    /// They take all of their room at the start.
    reserved: bool,
}

/// What follows where `lost.lock` cannot be had.
const MORTAL: &str = "Apache's processes end when a file of a group is cut short";

/// post_config, in the parent. Only mod_proxy's own refusal of an address stops it: whatever is
/// wrong with the files, Apache starts.
pub(super) fn prepare(setup: &Setup) -> Result<(), String> {
    let config = setup.main.config().clone();
    if !serves() || config.groups.is_empty() {
        return Ok(());
    }
    let dirs = dirs(setup.pool, &config);
    claim(&dirs, setup.pool)?;
    let usable = create::directory(&dirs.runtime)
        .map_err(|e| complain(&e, "slotctl counts no requests"))
        .is_ok();
    // Without it, nobody could tell whose counts are those of the living.
    let rows = runtime::rows(&dirs).map_err(|e| complain(&e, "slotctl counts no requests")).ok();
    let (groups, known) = publish_all(&dirs, &config.groups, usable, rows.is_some());
    let mut site = Site::new(groups);
    site.known = known;
    site.rows = rows;
    let lost = runtime::lost(&dirs).map_err(|e| complain(&e, MORTAL));
    // Two starts that a child of each could outlive are hardly of the same microsecond.
    site.lost = lost.ok().map(|file| (file, jiff::Timestamp::now().as_microsecond() as u16));
    site.proxy = Proxy::find();
    rewrite::define(setup)?;
    if dirs.state_is_in_memory() {
        warn_of_memory(&dirs);
    }

    let mut tables = Vec::new();
    if let Some(mod_proxy) = site.proxy {
        let mut workers = Workers::new(mod_proxy, setup.pool, setup.scratch, &config.groups)?;
        for server in setup.servers() {
            tables.push(workers.of(server)?);
        }
        (site.workers, site.own) = (workers.made, workers.own);
        map_back(&mod_proxy, setup, &config.groups);
    }

    let site = Arc::new(site);
    for (at, server) in setup.servers().enumerate() {
        let (workers, routes) = tables.get(at).cloned().unwrap_or_default();
        let routes = (!routes.groups.is_empty()).then(|| Box::new(routes));
        let document_root = document_root(setup.main, &config, server)
            .and_then(|name| site.look_up(name.as_bytes()));
        let service = Service { site: site.clone(), document_root, workers, routes };
        setup.configure(server, Config::serving(server.key(), service));
    }
    Ok(())
}

/// check_config, in the first pass: refuses a state directory that another instance uses. `httpd -t`
/// and `httpd -k` end here with the sentence on the terminal. Nothing is made, written or locked.
pub(super) fn look(setup: &Setup) -> Result<(), String> {
    let config = setup.main.config();
    if !is_first_pass() || config.groups.is_empty() {
        return Ok(());
    }
    let (dirs, own) = (dirs(setup.pool, config), instance(setup.pool));
    instance::look(&dirs, &own).map_or(Ok(()), |holder| Err(refusal(&dirs, &own, &holder)))
}

/// Two Apaches with one record would mistake each other for themselves. The second is refused at its
/// start; a restart is never refused.
fn claim(dirs: &Dirs, pool: Pool) -> Result<(), String> {
    let own = instance(pool);
    let tell = |note: String| log(Level::Error, &note);
    match instance::claim(dirs, retained().as_deref(), &own, tell) {
        Ok(Claim::Ours(file)) => retain(file),
        Ok(Claim::Already) => {}
        Ok(Claim::Others(holder)) if restarts() => {
            log(Level::Error, &refusal(dirs, &own, &holder));
        }
        Ok(Claim::Others(holder)) => return Err(refusal(dirs, &own, &holder)),
        Err(e) => complain(&e, "a second Apache with this SlotStateDir would not be noticed"),
    }
    Ok(())
}

fn instance(pool: Pool) -> Instance {
    Instance::of(&pid_file(pool).unwrap_or_default())
}

fn refusal(dirs: &Dirs, own: &Instance, holder: &Holder) -> String {
    let (state, own) = (dirs.state.display(), own.pid_file.display());
    let pid = holder.pid.map_or(String::new(), |pid| format!(" with pid {pid}"));
    let (who, or) = match &holder.pid_file {
        Some(theirs) => (
            format!(
                "the Apache{pid} and PidFile {}, and this one has PidFile {own}",
                theirs.display()
            ),
            ", or give it the same PidFile if it is the same Apache",
        ),
        None => (format!("an Apache{pid} in another container"), ""),
    };
    format!(
        "{state} is in use by {who}: give this one a SlotStateDir and a SlotRuntimeDir of its \
         own{or}, or stop the other"
    )
}

fn warn_of_memory(dirs: &Dirs) {
    let text = format!(
        "SlotStateDir {} is in memory (tmpfs): after a reboot each group is in its SlotDefault again; \
         give it a directory on a disk",
        dirs.state.display()
    );
    log(Level::Warning, &text);
}

/// A virtual host inherits that of the main server, whose directives are `of_main`, unless it has a
/// root of its own.
fn document_root(main: Server, of_main: &Config, server: Server) -> Option<String> {
    let own = Some(server.config()).filter(|config| config.server == server.key());
    own.and_then(|config| config.document_root.clone())
        .or_else(|| of_main.document_root.clone().filter(|_| !server.has_document_root(main)))
}

/// The directories of the files, as they are configured.
pub(super) fn dirs(pool: Pool, config: &Config) -> Dirs {
    let state = config.state_dir.as_deref().unwrap_or(env!("MOD_SLOT_STATE_DIR"));
    let runtime = config.runtime_dir.as_deref().unwrap_or(env!("MOD_SLOT_RUNTIME_DEFAULT"));
    Dirs {
        state: server_path(pool, state).unwrap_or_else(|| PathBuf::from(state)),
        runtime: runtime_path(pool, runtime).unwrap_or_else(|| PathBuf::from(runtime)),
    }
}

fn complain(error: &dyn std::fmt::Display, consequence: &str) {
    log(Level::Error, &format!("{error}: {consequence}"));
}

fn publish_all(
    dirs: &Dirs,
    groups: &[GroupLines],
    usable: bool,
    countable: bool,
) -> (Vec<Group>, Option<Known>) {
    let configured: Vec<_> = groups.iter().map(|lines| lines.name.as_str()).collect();
    if usable && let Err(e) = group_file::forget(dirs, &configured) {
        complain(&e, "slotctl takes a group for served that is configured no more");
    }
    // Of very many groups, most rows are never used: they get their room when they are, and whoever
    // finds none goes on without (`os::sigbus::cut`).
    let reserved = groups.len() * counts::size(rows()) <= RESERVED;
    let how = How { countable, reserved };
    let mut places = 0..;
    let wanted: Vec<_> = groups.iter().map(|lines| wanted(dirs, lines)).collect();
    let (mut startup, notes) = Startup::of(dirs);
    notes.iter().for_each(|note| log(Level::Error, note));
    let prepared = startup.prepare(&wanted);
    let each = groups.iter().zip(&wanted).zip(prepared);
    let groups = each.map(|((lines, wanted), prepared)| {
        let slots = lines.slots.iter().zip(&mut places).map(|(slot, place)| slot.serve(place));
        publish_group(dirs, slots.collect(), wanted, prepared, &mut startup, how)
    });
    (groups.collect(), startup.known())
}

fn publish_group(
    dirs: &Dirs,
    slots: Vec<Slot>,
    wanted: &Wanted,
    prepared: Prepared,
    startup: &mut Startup<'_>,
    how: How,
) -> Group {
    let app = &wanted.group.app;
    let mut counts = None;
    let count = |identity| {
        let found = publish_counts(dirs, app, identity, how.reserved);
        counts = found
            .map_err(|e| complain(&e, &format!("the requests of group {app:?} are not counted")))
            .ok();
        let counted = how.countable && counts.is_some();
        let segment = fs::symlink_metadata(dirs.counts(app)).ok().filter(|_| counted);
        Counting { counted, segment: segment.map(|meta| group::Segment::of(&meta)) }
    };
    let Published { control, mapping, notes, .. } = startup.settle(wanted, prepared, count);
    notes.iter().for_each(|note| log(Level::Error, note));
    let first = (control.identity, control.word);
    let counts = counts.unwrap_or_else(private_counts);
    Group::new(app, slots, &control.names, first, mapping, counts)
}

/// Each child has a row, and the children of the generation before it have theirs.
fn rows() -> usize {
    (1 + 2 * max_daemons()).clamp(64, counts::MAX_ROWS)
}

fn publish_counts(
    dirs: &Dirs,
    app: &str,
    identity: u128,
    reserved: bool,
) -> Result<Counts, FileError> {
    let counts = runtime::counts(dirs, app, identity, rows())?;
    if reserved {
        runtime::reserve(dirs, app)?;
    }
    Ok(counts)
}

/// What the configuration says of a group.
fn wanted(dirs: &Dirs, lines: &GroupLines) -> Wanted {
    let slot = |slot: &SlotLine| group::Slot {
        name: slot.name.clone(),
        address: slot.address.as_ref().map_or_else(|| "-".into(), |address| address.text.clone()),
        docroot: slot.docroot.clone(),
    };
    let default = &lines.slots[lines.default()].name;
    let slots = lines.slots.iter().map(slot).collect();
    let configured =
        group::Group::configured(&dirs.control(&lines.name), &lines.name, default, slots);
    let operator = lines.operator.as_ref();
    let group = group::Group { operator: operator.map(|(name, _)| name.clone()), ..configured };
    Wanted { group, operator: operator.map(|(_, gid)| *gid) }
}

/// In place of a count segment that cannot be had.
fn private_counts() -> Counts {
    let mapping = Mapping::anonymous(counts::size(1)).expect("there is memory for a row");
    Counts::new(mapping).expect("it has the size of a row")
}

impl SlotLine {
    fn serve(&self, place: usize) -> Slot {
        let c_string = |text: &str| CString::new(text).expect("Apache's words hold no NUL");
        let address = self.address.as_ref();
        let prefix = |url: &str| c_string(&format!("proxy:{url}"));
        Slot {
            name: c_string(&self.name),
            prefix: address.map(|address| prefix(address.written())),
            docroot: self.docroot.as_deref().map(c_string),
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

    /// What mod_proxy calls its worker.
    pub(super) fn worker_url(&self) -> Option<CString> {
        let address = self.address.as_ref().filter(|address| !address.is_balancer())?;
        CString::new(address.worker_url()).ok()
    }
}

/// A backend names itself in Location and Set-Cookie, and not the group: each ProxyPassReverse to a
/// `slot://` URL becomes one for each slot.
fn map_back(proxy: &Proxy, setup: &Setup, groups: &[GroupLines]) {
    let expand = |url: &str, one: &dyn Fn(&Address, &str) -> String| {
        let (name, path) = split_slot_url(url.as_bytes())?;
        let group = groups.iter().find(|group| group.name.as_bytes().eq_ignore_ascii_case(name))?;
        let path = std::str::from_utf8(path).ok()?;
        let addresses = group.slots.iter().filter_map(|slot| slot.address.as_ref());
        Some(addresses.map(|address| one(address, path)).collect())
    };
    let urls = |url: &str| expand(url, &|address, path| format!("{}{path}", address.base));
    let paths = |url: &str| expand(url, &|address, path| format!("{}{path}", address.path()));
    let hosts = |url: &str| expand(url, &|address, _| address.host().to_owned());
    let configs = setup.servers().filter(|server| server.config().server == server.key());
    let places = configs.flat_map(|server| server.config().reverse.clone());
    let maps = places.filter_map(|place| ReverseMap::of_place(proxy, place));
    let maps =
        maps.chain(setup.servers().filter_map(|server| ReverseMap::of_server(proxy, server)));
    for map in maps {
        map.expand(setup.pool, urls, paths, hosts);
    }
}

/// child_init.
pub(super) fn attach(setup: &Setup) {
    // The claim is the parent's alone; a child needs no file in the state directory.
    release_inherited();
    let Some(service) = &setup.main.config().service else { return };
    let site = &service.site;
    // Before it touches them. Kept until the process ends: what it has mapped is never unmapped.
    let kept: &'static Arc<Site> = Box::leak(Box::new(site.clone()));
    if let Some((lost, place)) = &kept.lost
        && let Err(e) = kept.groups.iter().try_for_each(|group| group.survive(lost, *place))
    {
        complain(&e, MORTAL);
    }
    if let Some(known) = &site.known {
        guard(site, known);
    }
    if let Some(rows) = &site.rows {
        claim_row(site, rows);
    }
    let Some(mod_proxy) = site.proxy else { return };
    for &worker in &site.workers {
        if !mod_proxy.initialize(worker, setup.main, setup.pool) {
            log(Level::Error, "mod_proxy made no pool of connections for a slot's worker");
        }
    }
}

/// Has this process be seen to know the indexes of its slots, whatever another child does to the locks
/// that all of them have inherited.
fn guard(site: &Site, known: &Known) {
    let groups: Vec<_> = site.groups.iter().map(Group::known).collect();
    let groups = || groups.iter().filter(|(identity, _)| *identity != 0);
    let locks: usize = groups().map(|(_, indexes)| known::locks(indexes)).sum();
    if locks * max_daemons() > known::MOST_GUARDS {
        return;
    }
    let guarded = groups().try_for_each(|(identity, indexes)| known.guard(*identity, indexes));
    if let Err(e) = guarded {
        complain(&e, "only the locks that this process has inherited tell which slots it knows");
    }
}

/// Takes a row whose lock is free. Without one, row 0, which is shared: there, what a dead
/// child had in flight is void only when all others that share it are gone too.
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
            complain(&e, "this process shares a row of the counts");
            share_row(site, rows);
        }
        None => share_row(site, rows),
    }
}

/// Shares row 0; of those who did and are all gone, nothing is left in flight.
fn share_row(site: &Site, rows: &File) {
    if lock_byte(rows, 0, ByteLock::Alone).is_ok() {
        take_over(site, 0, 0);
    }
    // Not for as long as it takes: who has the row alone for longer than a moment is none of ours.
    for _ in 0..100 {
        match lock_byte(rows, 0, ByteLock::Together) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(e) => return complain(&e, "what this process has in flight is not counted"),
            Ok(()) => return,
        }
    }
}

fn take_over(site: &Site, row: usize, pid: u32) {
    for group in &site.groups {
        group.take_over(row, pid);
    }
}
