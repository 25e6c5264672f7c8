//! `idle`: the slot to prepare.

use crate::failure::Failure;
use crate::{Answer, args, names, render};
use mod_slot::ops::view::{self, Served};
use mod_slot::state::Dirs;
use serde::Serialize;

/// What `idle --json` prints.
#[derive(Serialize)]
struct Idle<'a> {
    app: &'a str,
    #[serde(flatten)]
    slot: IdleSlot,
    generation: Option<u32>,
    warnings: &'a [String],
}

/// What `idle --all --json` prints.
#[derive(Serialize)]
struct AllIdle<'a> {
    app: &'a str,
    generation: Option<u32>,
    slots: Vec<IdleSlot>,
    warnings: &'a [String],
}

/// A slot that is not active.
#[derive(Serialize)]
struct IdleSlot {
    slot: String,
    address: Option<String>,
    docroot: Option<String>,
}

/// Prints the name of the slot that is not active, alone, or all about it as JSON; with `--all`, of
/// every such slot.
///
/// # Errors
///
/// There is no such group, its record may not be read, or, without `--all`, there is not exactly
/// one idle slot.
pub(crate) fn run(dirs: &Dirs, args: &args::Idle, json: bool) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let Served { slot: active, generation, slots } = view::served(dirs, &app)?;
    let warnings = view::warnings(dirs, &app);
    // Without a group file, nobody knows more of a slot than its name.
    let group = view::read_group(dirs, &app).ok().flatten();
    let configured = |name: &str| group.as_ref()?.slot(name);
    let mut idle: Vec<_> = slots
        .into_iter()
        .filter(|name| *name != active)
        .map(|name| IdleSlot {
            address: configured(&name).map(|slot| slot.address.clone()),
            docroot: configured(&name).and_then(|slot| slot.docroot.clone()),
            slot: name,
        })
        .collect();
    let app = app.as_str();
    let text = if args.all && json {
        render::json(&AllIdle { app, generation, slots: idle, warnings: &warnings })
    } else if args.all {
        idle.iter().map(|idle| format!("{}\n", idle.slot)).collect()
    } else if idle.len() != 1 {
        let idle = idle.into_iter().map(|idle| idle.slot).collect();
        return Err(Failure::Idle { app: app.into(), idle });
    } else if json {
        render::json(&Idle { app, slot: idle.remove(0), generation, warnings: &warnings })
    } else {
        format!("{}\n", idle[0].slot)
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}
