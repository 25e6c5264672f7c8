//! `flip`: makes a slot the active one.

use crate::failure::Failure;
use crate::{Answer, args, names, probe, render};
use mod_slot::flip::{self, Flipped, View, Who};
use mod_slot::state::{Dirs, group::Group, map};
use serde::Serialize;
use std::env;

/// What `flip --json` says.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    from: &'a str,
    to: &'a str,
    changed: bool,
    generation: u32,
    /// Whether Apache has been started since the boot.
    started: bool,
    warnings: &'a [String],
}

/// Flips, and says so in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn run(dirs: &Dirs, args: &args::Flip, json: bool) -> Result<Answer, Failure> {
    let (app, mut slot) = names::target(dirs, args.app.as_deref(), args.slot.as_deref())?;
    if args.check {
        slot = Some(checked(dirs, &app, slot.as_deref())?);
    }
    // Without a name, the library chooses under the lock: of two toggles at once, both count.
    let flipped = flip::flip(dirs, &app, slot.as_deref(), &who(args))?;
    let warnings = warnings(dirs, &app, &flipped, args.check);
    let text = if json {
        render::json(&Report {
            app: &app,
            from: &flipped.from,
            to: &flipped.to,
            changed: flipped.changed(),
            generation: flipped.generation,
            started: flipped.started,
            warnings: &warnings,
        })
    } else {
        line(&app, &flipped)
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

fn line(app: &str, flipped: &Flipped) -> String {
    let Flipped { from, to, generation, started, .. } = flipped;
    let when = if *started { "" } else { "; Apache has not been started yet, it will begin there" };
    if flipped.changed() {
        format!("{app}: {from} -> {to} (generation {generation}{when})\n")
    } else {
        format!("{app}: already {to} (generation {generation}{when})\n")
    }
}

/// The target, if it is active already or takes connections.
fn checked(dirs: &Dirs, app: &str, slot: Option<&str>) -> Result<String, Failure> {
    let view = View::read(dirs, app)?;
    let (slot, _) = view.target(slot)?;
    if slot == view.control.active() {
        return Ok(slot);
    }
    let Some(address) = view.group.as_ref().and_then(|group| address(group, &slot)) else {
        return Err(Failure::Unchecked { slot });
    };
    match probe::probe(address) {
        Ok(()) => Ok(slot),
        Err(why) => Err(Failure::Unhealthy { slot, address: address.into(), why }),
    }
}

fn address<'a>(group: &'a Group, slot: &str) -> Option<&'a str> {
    group.slots.iter().find(|s| s.name == slot).map(|s| s.address.as_str())
}

fn warnings(dirs: &Dirs, app: &str, flipped: &Flipped, checked: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(why) = &flipped.unrecorded {
        warnings.push(format!("the flip holds, but it is not in the history: {why}"));
    }
    // Asked after the flip, which shall not wait for it.
    if flipped.changed() && !checked {
        warnings.extend(unreachable(dirs, app, flipped));
    }
    warnings
}

fn unreachable(dirs: &Dirs, app: &str, flipped: &Flipped) -> Option<String> {
    let group = Group::read(&dirs.group(app)).ok()?;
    let address = address(&group, &flipped.to)?;
    let why = probe::probe(address).err()?;
    Some(format!(
        "slot {:?} takes no connections at {address} ({why}): its requests fail until it does; \
         the way back is: slotctl flip {app} {}",
        flipped.to, flipped.from
    ))
}

fn who(args: &args::Flip) -> Who {
    let uid = map::uid();
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
    let lossy = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let sudo_user = env::var_os("SUDO_USER").filter(|name| !name.is_empty());
    Who {
        uid,
        user,
        sudo_user: sudo_user.as_deref().map(lossy),
        reason: args.reason.as_deref().map(lossy),
    }
}
