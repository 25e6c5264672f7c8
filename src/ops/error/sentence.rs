//! Parts of the sentences of errors.

use crate::name::meant;
use crate::state::lock::Lock;
use crate::state::story::Story;
use crate::state::trust::Weakness;

/// How many groups a message lists.
const LISTED: usize = 10;

/// Lists what exists where a group was not found.
pub(super) fn no_group(app: &str, groups: &[String]) -> String {
    const ELSEWHERE: &str = "(another instance: --state-dir, or SLOT_STATE_DIR)";
    if groups.is_empty() {
        return format!(
            ": is it a <SlotGroup> of the configuration, and has Apache been started with it? {ELSEWHERE}"
        );
    }
    let mut listed = groups[..groups.len().min(LISTED)].join(", ");
    if let Some(more @ 1..) = groups.len().checked_sub(LISTED) {
        listed += &format!(" and {more} more, see: slotctl list");
    }
    format!(
        "; it has {listed}{}. A new <SlotGroup> is there after the next restart of Apache, graceful \
         or not {ELSEWHERE}",
        meant(app, groups)
    )
}

/// What to do instead of taking away a group's right to write.
pub(super) fn instead(elsewhere: Option<u32>) -> String {
    elsewhere.map_or_else(String::new, |uid| {
        format!("; or, if user {uid} starts Apache, run slotctl as that user")
    })
}

/// As in " (alice to green since …, step watch)".
pub(super) fn shown_deploy(deploy: &Option<Box<Story>>) -> String {
    deploy.as_ref().map_or_else(String::new, |story| {
        let Story { by, to, since, .. } = &**story;
        format!(" ({by} to {to:?}, since {since}, step {})", story.last_step())
    })
}

/// Says who can end a lock, and how.
pub(super) fn unlocked(app: &str, lock: &Lock) -> String {
    match lock.automatic {
        true => format!("When the cause is gone, any operator can unlock it: slotctl unlock {app}"),
        false => {
            format!("They unlock it with: slotctl unlock {app}; root can, with --force")
        }
    }
}

/// How slotctl comes to use a file that other users can change.
pub(super) fn proven(weak: &Weakness) -> String {
    match weak.is_foreign() {
        true => format!(
            "Run slotctl as the user to whom it belongs, or repair it with: {}",
            weak.way_out()
        ),
        false => format!("Repair it with: {}", weak.way_out()),
    }
}

/// As in "locked by alice since … until …: release night".
pub(super) fn locked(lock: &Lock) -> String {
    let mut text = match lock.automatic {
        true => format!("locked by an automatic rollback since {:.0}", lock.since),
        false => format!("locked by {} since {:.0}", lock.actor, lock.since),
    };
    if let Some(until) = lock.until {
        text += &format!(" until {until:.0}");
    }
    if let Some(reason) = &lock.actor.reason {
        text += &format!(" ({reason:?})");
    }
    text
}

/// The word for a switch.
pub(super) fn switch(on: &bool) -> &'static str {
    if *on { "on" } else { "off" }
}
