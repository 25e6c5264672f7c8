//! `idle`: the slot to prepare.

use crate::failure::Failure;
use crate::{Answer, args, names, render};
use mod_slot::flip::View;
use mod_slot::state::Dirs;
use serde::Serialize;

/// What `idle --json` prints.
#[derive(Serialize)]
struct Idle<'a> {
    app: &'a str,
    #[serde(flatten)]
    slot: IdleSlot,
    generation: u32,
}

/// What `idle --all --json` prints.
#[derive(Serialize)]
struct AllIdle<'a> {
    app: &'a str,
    generation: u32,
    slots: Vec<IdleSlot>,
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
    let view = View::read(dirs, &app)?;
    let generation = view.control.word.generation();
    let configured = |name: &str| view.group.as_ref()?.slots.iter().find(|slot| slot.name == name);
    let idle = view.slots().into_iter().filter(|name| name != view.control.active());
    let mut slots: Vec<_> = idle
        .map(|name| IdleSlot {
            address: configured(&name).map(|slot| slot.address.clone()),
            docroot: configured(&name).and_then(|slot| slot.docroot.clone()),
            slot: name,
        })
        .collect();
    let app = app.as_str();
    Ok(if args.all && json {
        render::json(&AllIdle { app, generation, slots }).into()
    } else if args.all {
        slots.iter().map(|idle| format!("{}\n", idle.slot)).collect::<String>().into()
    } else if slots.len() != 1 {
        let idle = slots.into_iter().map(|idle| idle.slot).collect();
        return Err(Failure::Idle { app: app.into(), idle });
    } else if json {
        render::json(&Idle { app, slot: slots.remove(0), generation }).into()
    } else {
        format!("{}\n", slots[0].slot).into()
    })
}
