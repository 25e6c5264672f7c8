//! `flip --watch`: a flip as the last steps of a deploy.

use super::super::deploy::{self, Call};
use super::args::Args;
use crate::actor::actor;
use crate::failure::Failure;
use crate::live::Ticket;
use crate::output::Answer;
use crate::render::Format;
use mod_slot::ops::deploy::plan::{Plan, Wish};
use mod_slot::ops::flip::{self, Conditions};
use mod_slot::ops::view;
use mod_slot::state::Dirs;

/// Flips, and watches the new slot, as the last steps of a deploy.
pub(super) fn watched(
    dirs: &Dirs,
    app: &str,
    slot: Option<String>,
    args: &Args,
    words: &str,
    (ticket, format): (Option<&Ticket>, Format),
) -> Result<Answer, Failure> {
    let group = view::read_group(dirs, app)?;
    let watch = Some(deploy::watch(words, group.as_ref()).map_err(Failure::Words)?);
    let mut limits = group.and_then(|group| group.drain).unwrap_or_default();
    limits.timeout = args.drain_timeout.unwrap_or(limits.timeout);
    limits.tunnels = args.tunnels.unwrap_or(limits.tunnels);
    let wish = Wish {
        slot,
        only_flip: true,
        force: args.force,
        no_rollback: args.no_rollback,
        drain: args.waits(),
        watch,
        limits: Some(limits),
        ..Wish::default()
    };
    let by = actor(args.reason.as_deref());
    let conditions = Conditions {
        active: args.if_active.clone(),
        generation: args.if_generation,
        ..Conditions::default()
    };
    deploy::deploy(dirs, app, Call::Flip, (ticket, format), |dirs| {
        if ticket.is_none() {
            flip::refuse_mismatch(dirs, app, &conditions, wish.slot.as_deref())?;
        }
        Plan::of(dirs, app, wish.clone(), by.clone())
    })
}
