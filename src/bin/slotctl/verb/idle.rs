//! `idle`: the slot to prepare.

use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::error::Error;
use mod_slot::ops::view::{self, Served};
use mod_slot::state::Dirs;
use serde::Serialize;

pub(crate) const HELP: &str = "\
The idle slot is the one that is not active. If there are several, idle lists them in its error \
and exits with 2; with --all it prints them, one per line. A group with one slot has none: exit code 2. address and docroot are null if \
SlotRuntimeDir has no file of the group, as before Apache's first start after the boot.

Examples:
  slotctl idle app
  rsync -a release/ \"$(slotctl idle app --json | jq -r .docroot)/\"
  slotctl flip app \"$(slotctl idle app)\"

JSON: {\"app\", \"slot\", \"address\", \"docroot\", \"generation\", \"warnings\": []}; with --all {\"app\", \
\"generation\", \"slots\": [{\"slot\", \"address\", \"docroot\"}], \"warnings\": []}; generation is null if \
Apache reads no control file";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Print all idle slots, one per line
    #[arg(long)]
    pub(crate) all: bool,
}

/// The answer of `idle --json`.
#[derive(Serialize)]
struct Idle<'a> {
    app: &'a str,
    #[serde(flatten)]
    slot: IdleSlot,
    generation: Option<u32>,
    warnings: &'a [String],
}

/// The answer of `idle --all --json`.
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

/// Prints the name of the idle slot, with its address and docroot in JSON; with `--all`, of every idle slot.
///
/// # Errors
///
/// There is no such group, this user may not read its control file, or, without `--all`, there is not exactly one
/// idle slot.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let Served { slot: active, generation, slots } = view::served(dirs, &app)?;
    let warnings = view::warnings(dirs, &app);
    // Without a group file, only the names are known.
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
    let text = if args.all && format == Format::Json {
        render::json(&AllIdle { app, generation, slots: idle, warnings: &warnings })
    } else if args.all {
        idle.iter().map(|idle| format!("{}\n", idle.slot)).collect()
    } else if idle.is_empty() {
        return Err(Error::OnlySlot { app: app.into(), slot: active }.into());
    } else if idle.len() != 1 {
        let idle = idle.into_iter().map(|idle| idle.slot).collect();
        return Err(Failure::Idle { app: app.into(), idle });
    } else if format == Format::Json {
        render::json(&Idle { app, slot: idle.remove(0), generation, warnings: &warnings })
    } else {
        format!("{}\n", idle[0].slot)
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

#[cfg(test)]
pub(super) fn samples() -> Vec<serde_json::Value> {
    let slot = || IdleSlot { slot: String::new(), address: None, docroot: None };
    let one = Idle { app: "", slot: slot(), generation: None, warnings: &[] };
    let all = AllIdle { app: "", generation: None, slots: vec![slot()], warnings: &[] };
    vec![serde_json::to_value(one).unwrap(), serde_json::to_value(all).unwrap()]
}
