//! A thousand groups: how long Apache takes to start, and what a child takes, beside Apache's own ways to as many backends.

use super::usage::{Process, occupied};
use super::{SLOTS, groups, tell};
use crate::http::Client;
use crate::plot::{Kind, Plot};
use crate::quick;
use crate::report::{Chapter, Table};
use crate::server::{Backend, Mpm, Place, await_children};
use crate::stats::{bytes, count, in_millis, median, millis};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

const MPM: Mpm = Mpm::Event { children: 4, threads: 25 };
const CHILDREN: usize = 4;

/// A way to as many backends.
struct Way {
    name: &'static str,
    modules: &'static [&'static str],
    text: String,
    /// The path of a group.
    path: fn(usize) -> String,
}

/// What one took.
struct Taken {
    first: f64,
    later: f64,
    idle: Process,
    busy: Process,
    runtime: [u64; 2],
}

pub(super) fn measure(chapter: &mut Chapter, many: usize) -> Result<(), String> {
    let all = count(many * SLOTS);
    tell(
        chapter,
        &format!(
            "**{} groups of {SLOTS} slots** in one Apache (event, {CHILDREN} children), beside \
             the same Apache with {all} ProxyPass lines, or with as many balancers of {SLOTS} \
             members, or with nothing to pass on. Start: from the start of the process to its \
             \"resuming normal operations\" in the error log; the first start makes the record \
             of each group, durably; the median of later ones. Memory is a child's, the median of \
             {CHILDREN}: private, its share of what is shared, the kernel's tables for it; \
             idle, and after 2,000 requests to 200 of the groups. The runtime directory is on a \
             tmpfs, so its size is memory too.",
            count(many)
        ),
    );
    let backend = Backend::start(None)?;
    let (mut rows, mut starts, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    for way in ways(many) {
        let found = take(&way, many, backend.address).map_err(|e| format!("{}: {e}", way.name))?;
        rows.push(row(way.name, &found));
        starts.push((way.name.to_owned(), found.later));
        taken.push(found);
    }
    let [_, lines, balancers, slots] = &taken[..] else { return Err("a way is missing".into()) };
    let rival = lines.later.max(balancers.later);
    chapter.target(
        &format!(
            "{} groups: a later start is no slower than the slower of Apache's own ways",
            count(many)
        ),
        format!("{}, against {}", millis(slots.later), millis(rival)),
        slots.later <= rival,
    );
    let rival = lines.idle.proportional.max(balancers.idle.proportional);
    chapter.target(
        &format!("{} groups: an idle child takes at most a tenth more memory than the larger of Apache's own ways", count(many)),
        format!("{}, against {}", bytes(slots.idle.proportional), bytes(rival)),
        slots.idle.proportional <= rival + rival / 10,
    );
    let head = [
        "",
        "first start",
        "later start",
        "private",
        "share",
        "tables",
        "private, after traffic",
        "share, after traffic",
        "runtime directory",
        "after traffic",
    ];
    chapter.tables.push(Table {
        caption: format!(
            "{} groups of {SLOTS} slots: Apache's start, and a child's memory",
            count(many)
        ),
        head: head.map(str::to_owned).to_vec(),
        rows,
    });
    chapter.plots.push(Plot {
        caption: format!("A later start of Apache with {all} backends"),
        unit: "milliseconds".into(),
        kind: Kind::Bars(starts),
    });
    Ok(())
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
        Way { name: "nothing to pass on", modules: &[], text: String::new(), path: |_| "/".into() },
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
    // A child readies all workers before it serves.
    thread::sleep(Duration::from_secs(2));
    let runtime = || occupied(&place.dirs().runtime, |_| true);
    let (idle, before) = (Process::median(&pids), runtime());
    if !way.text.is_empty() {
        ask(place.address, many, way.path)?;
    }
    let (busy, after) = (Process::median(&pids), runtime());
    Ok(Taken {
        first: in_millis(first),
        later: median(&later),
        idle,
        busy,
        runtime: [before, after],
    })
}

/// 2,000 requests to 200 groups, on connections of a request each, so that all children get some.
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

fn row(name: &str, taken: &Taken) -> Vec<String> {
    let Taken { first, later, idle, busy, runtime } = taken;
    let [before, after] = runtime;
    vec![
        name.into(),
        millis(*first),
        millis(*later),
        bytes(idle.private),
        bytes(idle.proportional),
        bytes(idle.tables),
        bytes(busy.private),
        bytes(busy.proportional),
        bytes(*before),
        bytes(*after),
    ]
}
