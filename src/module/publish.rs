//! The files of the groups: the parent publishes them at the start, and makes the groups that requests see.

use super::config::{GroupLines, SlotLine};
use super::group::{Counting, Group, Slot};
use super::host::{Message, log, max_daemons};
use super::vhost::Hosts;
use crate::address::Address;
use crate::group;
use crate::state::counts::{self, Counts};
use crate::state::error::FileError;
use crate::state::known::Known;
use crate::state::os::Mapping;
use crate::state::startup::{self, Prepared, Published, Startup, Wanted};
use crate::state::{Dirs, runtime};
use std::fs::{self, File};

/// The most bytes that the counts of all groups together take at the start.
const RESERVED: usize = 64 << 20;

/// When the counts get their room in memory.
#[derive(Clone, Copy)]
enum Room {
    AtStart,
    /// When a row is used. If there is no room left then, its process does not count (`os::sigbus::cut`).
    WhenUsed,
}

/// Publishes the files of all groups; `hosts` knows their sites. Without `rows`, the locks of the children, nobody could tell the counts of
/// living processes from those of dead ones: then nothing is counted.
pub(super) fn publish(
    dirs: &Dirs,
    groups: &[GroupLines],
    rows: Option<&File>,
    hosts: &Hosts,
) -> (Vec<Group>, Option<Known>) {
    // With very many groups, most rows are never used.
    let fits = groups.len() * counts::size(self::rows()) <= RESERVED;
    let room = if fits { Room::AtStart } else { Room::WhenUsed };
    let mut places = 0..;
    let wanted: Vec<_> = groups.iter().map(|lines| wanted(dirs, lines, hosts)).collect();
    let (mut startup, notes) = Startup::of(dirs);
    tell(&notes);
    let prepared = startup.prepare(&wanted);
    let each = groups.iter().zip(&wanted).zip(prepared);
    let groups = each.map(|((lines, wanted), prepared)| {
        let slots = lines.slots.iter().zip(&mut places).map(|(line, place)| Slot::of(line, place));
        let mut group =
            publish_group(dirs, slots.collect(), wanted, prepared, &mut startup, (room, rows));
        group.maintenance = lines.maintenance.clone().unwrap_or_default();
        group
    });
    (groups.collect(), startup.known())
}

fn publish_group(
    dirs: &Dirs,
    slots: Vec<Slot>,
    wanted: &Wanted,
    prepared: Prepared,
    startup: &mut Startup<'_>,
    (room, rows): (Room, Option<&File>),
) -> Group {
    let app = &wanted.group.app;
    let mut counts = None;
    let count = |identity| {
        let found = publish_counts(dirs, app, identity, room);
        counts = found
            .map_err(|e| {
                let text = format!("{e}: the requests of group {app:?} are not counted");
                log(Message::NoCounts, &text);
            })
            .ok();
        let counted = rows.is_some() && counts.is_some();
        let segment = fs::symlink_metadata(dirs.counts(app)).ok().filter(|_| counted);
        startup::Counting { counted, segment: segment.map(|meta| group::Segment::of(&meta)) }
    };
    let Published { control, mapping, notes, .. } = startup.settle(wanted, prepared, count);
    tell(&notes);
    let first = (control.identity, control.word);
    let counts = counts.unwrap_or_else(private_counts);
    let mut group = Group::new(app, slots, &control.names, first, mapping, counts);
    group.hold = wanted.group.hold.clone().unwrap_or_default();
    group.more = Counting {
        failures: wanted.group.rollback.is_some(),
        tunnels: wanted.group.drain.is_some(),
    };
    group
}

fn tell(notes: &[String]) {
    notes.iter().for_each(|note| log(Message::Published, note));
}

/// Each child has a row, and so has each child of the previous generation.
fn rows() -> usize {
    (1 + 2 * max_daemons()).clamp(64, counts::MAX_ROWS)
}

fn publish_counts(dirs: &Dirs, app: &str, identity: u128, room: Room) -> Result<Counts, FileError> {
    let counts = runtime::counts(dirs, app, identity, rows())?;
    if let Room::AtStart = room {
        runtime::reserve(dirs, app)?;
    }
    Ok(counts)
}

/// What the configuration says of a group.
fn wanted(dirs: &Dirs, lines: &GroupLines, hosts: &Hosts) -> Wanted {
    let slot = |slot: &SlotLine| {
        let address = slot.address.as_ref().map_or("-", |address| &address.text);
        let balancer = slot.address.as_ref().and_then(Address::balancer);
        group::Slot {
            unit: slot.unit.clone(),
            members: balancer.map(|name| hosts.members(name)).unwrap_or_default(),
            ..group::Slot::new(&slot.name, address, slot.docroot.as_deref())
        }
    };
    let default = &lines.slots[lines.first()].name;
    let slots = lines.slots.iter().map(slot).collect();
    let configured =
        group::Group::configured(&dirs.control(&lines.name), &lines.name, default, slots);
    let operator = lines.operator.as_ref();
    let group = group::Group {
        operator: operator.map(|(name, _)| name.clone()),
        site: hosts.site_of(&lines.name),
        health: lines.health.clone(),
        warm: lines.warm.clone(),
        rollback: lines.rollback.clone(),
        drain: lines.drain.clone(),
        hold: lines.hold.clone(),
        hooks: lines.hooks.clone(),
        ..configured
    };
    Wanted { group, operator: operator.map(|(_, gid)| *gid) }
}

/// Replaces a count segment that cannot be used: requests count here, and nobody reads it.
fn private_counts() -> Counts {
    let mapping = Mapping::anonymous(counts::size(1)).expect("there is memory for a row");
    Counts::new(mapping).expect("it has the size of a row")
}
