//! A thousand groups: the time of Apache's start and the memory of a child, compared with Apache's own ways to as many
//! backends.

use super::operator::slotctl;
use super::usage::{Process, occupied};
use super::{SLOTS, groups, tell};
use crate::http::Client;
use crate::plot::{Kind, Plot};
use crate::quick;
use crate::report::{Chapter, Table};
use crate::server::{Backend, Place, Shape, await_children};
use crate::stats::{bytes, count, in_millis, median, millis};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

const MPM: Shape = Shape::Event { children: 4, threads: 25 };
const CHILDREN: usize = 4;

/// A way to route to many backends.
struct Way {
    name: &'static str,
    modules: &'static [&'static str],
    text: String,
    /// The path that reaches a group.
    path: fn(usize) -> String,
}

/// What one way needs; times in milliseconds.
struct Taken {
    first: f64,
    later: f64,
    idle: Process,
    busy: Process,
    /// Bytes in the runtime directory: after the start, after `slotctl status`, after traffic.
    runtime: [u64; 3],
}

pub(super) fn measure(chapter: &mut Chapter, many: usize) -> Result<(), String> {
    let all = count(many * SLOTS);
    tell(
        chapter,
        &format!(
            "**{} groups of {SLOTS} slots** in one Apache (event, {CHILDREN} children), compared \
             with the same Apache with {all} ProxyPass lines, with as many balancers of {SLOTS} \
             members, and without any backend. A start is measured from the start of the process \
             to \"resuming normal operations\" in the error log. The first start creates the \
             record of each group durably; the other figure is the median of later starts. \
             Memory is the median of {CHILDREN} children: private memory, the share of shared \
             memory, and the kernel's page tables; idle, and after 2,000 requests to 200 of the \
             groups. The runtime directory is on a tmpfs, so its size is memory too.",
            count(many)
        ),
    );
    let backend = Backend::start(None)?;
    let mut taken = Vec::new();
    for way in ways(many) {
        let found = take(&way, many, backend.address).map_err(|e| format!("{}: {e}", way.name))?;
        taken.push((way.name, found));
    }
    targets(chapter, many, &taken);
    let rows = |cells: fn(&Taken) -> Vec<String>| {
        let row = |(name, taken): &(&str, Taken)| [vec![(*name).into()], cells(taken)].concat();
        taken.iter().map(row).collect()
    };
    let table = |caption: &str, head: &[&str], rows| Table {
        caption: format!("{} groups of {SLOTS} slots: {caption}", count(many)),
        head: head.iter().map(|&cell| cell.to_owned()).collect(),
        rows,
    };
    let starts = rows(|taken| {
        let Taken { first, later, runtime: [idle, looked, busy], .. } = taken;
        let mut cells = vec![millis(*first), millis(*later)];
        cells.extend([idle, looked, busy].map(|size| bytes(*size)));
        cells
    });
    let head = [
        "",
        "first start",
        "later start",
        "runtime directory",
        "after `slotctl status`",
        "after traffic",
    ];
    chapter.tables.push(table("Apache's start, and its files in memory", &head, starts));
    let children = rows(|Taken { idle, busy, .. }| {
        let cells = |of: &Process| {
            let sizes = [of.private, of.proportional, of.tables].map(bytes);
            [sizes.to_vec(), vec![of.descriptors.to_string()]].concat()
        };
        [cells(idle), cells(busy)].concat()
    });
    let head = [
        "",
        "private",
        "share",
        "tables",
        "open files",
        "private, after traffic",
        "share",
        "tables",
        "open files",
    ];
    chapter.tables.push(table("a child", &head, children));
    chapter.plots.push(Plot {
        caption: format!("A later start of Apache with {all} backends"),
        unit: "milliseconds".into(),
        kind: Kind::Bars(taken.iter().map(|(name, taken)| ((*name).into(), taken.later)).collect()),
    });
    Ok(())
}

fn targets(chapter: &mut Chapter, many: usize, taken: &[(&str, Taken)]) {
    let [_, (_, lines), (_, balancers), (_, slots)] = taken else { return };
    let mut target = |claim: &str, measured, met| {
        chapter.target(&format!("{} groups: {claim}", count(many)), measured, met);
    };
    let rival = lines.later.max(balancers.later);
    target(
        "a later start is no slower than the slower of Apache's own ways",
        format!("{}, against {}", millis(slots.later), millis(rival)),
        slots.later <= rival,
    );
    let rival = lines.idle.proportional.max(balancers.idle.proportional);
    target(
        "a child takes at most a tenth more memory than with the larger of Apache's own ways",
        format!("{}, against {}", bytes(slots.idle.proportional), bytes(rival)),
        slots.idle.proportional <= rival + rival / 10,
    );
    let rival = lines.idle.descriptors.max(balancers.idle.descriptors);
    target(
        "a child has at most 8 files more open than with Apache's own ways",
        format!("{}, against {rival}", slots.idle.descriptors),
        slots.idle.descriptors <= rival + 8,
    );
    let [idle, looked, _] = slots.runtime;
    let each = idle / many as u64;
    target(
        "at most 32 KiB of memory for the files of each, and no more for looking at them",
        format!("{} each; {} in all, {} after a look", bytes(each), bytes(idle), bytes(looked)),
        each <= 32 * 1024 && looked <= idle,
    );
}

fn ways(many: usize) -> [Way; 4] {
    let each = |line: &dyn Fn(usize, usize) -> String, group: usize| -> String {
        (0..SLOTS).map(|slot| line(group, slot)).collect()
    };
    let lines = |group| {
        let line =
            |group, slot| format!("ProxyPass /app{group}/{slot}/ http://BACKEND/{group}/{slot}/\n");
        each(&line, group)
    };
    let balancer = |group| {
        let member = |group, slot| format!("    BalancerMember http://BACKEND/{group}/{slot}\n");
        let members = each(&member, group);
        format!(
            "<Proxy balancer://app{group}>\n{members}</Proxy>\n\
             ProxyPass /app{group}/ balancer://app{group}/\n"
        )
    };
    [
        Way { name: "without a backend", modules: &[], text: String::new(), path: |_| "/".into() },
        Way {
            name: "ProxyPass lines",
            modules: &[],
            text: (0..many).map(lines).collect(),
            path: |group| format!("/app{group}/0/x"),
        },
        Way {
            name: "balancers",
            modules: &["slotmem_shm", "lbmethod_byrequests", "proxy_balancer"],
            text: (0..many).map(balancer).collect(),
            path: |group| format!("/app{group}/x"),
        },
        Way {
            name: "slot groups",
            modules: &[],
            text: "MOD_SLOT".to_owned() + &groups(many),
            path: |group| format!("/app{group}/x"),
        },
    ]
}

fn take(way: &Way, many: usize, backend: SocketAddr) -> Result<Taken, String> {
    let text = way.text.replace("BACKEND", &backend.to_string());
    let place = Place::new(MPM, way.modules, &text)?;
    let (apache, first) = place.start()?;
    drop(apache);
    let mut later = Vec::new();
    for _ in 0..if quick() { 1 } else { 4 } {
        later.push(in_millis(place.start()?.1));
    }
    let (apache, took) = place.start()?;
    later.push(in_millis(took));
    let pids = await_children(apache.pid(), CHILDREN)?;
    let runtime = || occupied(&place.dirs().runtime, |_| true);
    let (idle, before) = (settled(&pids)?, runtime());
    if before > 0 {
        slotctl(&place.dirs(), &["status".to_owned()])?;
    }
    let looked = runtime();
    if !way.text.is_empty() {
        ask(place.address, many, way.path)?;
    }
    let (busy, after) = (Process::median(&pids), runtime());
    Ok(Taken {
        first: in_millis(first),
        later: median(&later),
        idle,
        busy,
        runtime: [before, looked, after],
    })
}

/// Waits until the children's memory no longer grows, because a child prepares all workers before it serves.
fn settled(pids: &[u32]) -> Result<Process, String> {
    let mut last = Process::median(pids);
    for _ in 0..60 {
        thread::sleep(Duration::from_secs(2));
        let now = Process::median(pids);
        if now.private == last.private {
            return Ok(now);
        }
        last = now;
    }
    Err("the children's memory still grows after two minutes".into())
}

/// Sends 2,000 requests to 200 groups, each on a new connection, so that every child gets some.
fn ask(to: SocketAddr, many: usize, path: fn(usize) -> String) -> Result<(), String> {
    for request in 0..2000 {
        let path = path((request % 200) * many / 200);
        let answer = Client::of(to).ask("GET", &path, &[]).map_err(|e| e.to_string())?;
        if answer.status() != 200 {
            return Err(format!("GET {path}: {}", answer.start));
        }
    }
    Ok(())
}
