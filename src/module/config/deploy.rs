//! What a `<SlotGroup>` says of deploys: how a slot is checked, warmed up, watched, drained, and which programs run.

use super::{GroupLines, Lines, Scope};
use crate::group::health::Health;
use crate::group::hook::{Event, Hook};
use crate::group::warm::WarmUp;
use crate::group::watch::{AutoRollback, DrainLimits};
use crate::module::host::Outcome;

/// The most `SlotHook` lines of a group.
const MAX_HOOKS: usize = 64;

/// What the lines of a group say of deploys. A field is `None` if its line is missing, or says `off`.
#[derive(Clone, Debug, Default)]
pub(in crate::module) struct Deploy {
    /// The directives that are there.
    seen: Vec<&'static str>,
    pub(in crate::module) health: Option<Health>,
    pub(in crate::module) warm: Option<WarmUp>,
    pub(in crate::module) rollback: Option<AutoRollback>,
    pub(in crate::module) drain: Option<DrainLimits>,
    pub(in crate::module) hooks: Vec<Hook>,
}

/// Reads the words of a directive that may be there once. `None` if they say `off`.
fn read<T: Default>(
    group: &mut GroupLines,
    directive: &'static str,
    words: &[&str],
    set: impl FnOnce(&mut T, &str, &[&str]) -> Outcome,
) -> Result<Option<T>, String> {
    let known = group.deploy.seen.contains(&directive).then_some(());
    super::once(directive, &group.name, &known)?;
    group.deploy.seen.push(directive);
    let is_off = |word: &&str| word.eq_ignore_ascii_case("off");
    match words {
        [word] if is_off(word) => Ok(None),
        _ if words.iter().any(is_off) => {
            Err(format!("{directive}: off is its only word; remove it, or the other words"))
        }
        _ => {
            let mut made = T::default();
            set(&mut made, directive, words)?;
            Ok(Some(made))
        }
    }
}

impl Lines {
    pub(in crate::module) fn set_health(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let group = self.group("SlotHealthCheck")?;
        group.deploy.health = read(group, "SlotHealthCheck", words, Health::set)?;
        Ok(())
    }

    pub(in crate::module) fn set_warm_up(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let group = self.group("SlotWarmUp")?;
        group.deploy.warm = read(group, "SlotWarmUp", words, WarmUp::set)?;
        Ok(())
    }

    pub(in crate::module) fn set_rollback(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let group = self.group("SlotAutoRollback")?;
        group.deploy.rollback = read(group, "SlotAutoRollback", words, AutoRollback::set)?;
        Ok(())
    }

    pub(in crate::module) fn set_drain(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let group = self.group("SlotDrain")?;
        group.deploy.drain = read(group, "SlotDrain", words, DrainLimits::set)?;
        Ok(())
    }

    pub(in crate::module) fn add_hook(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let group = self.group("SlotHook")?;
        if group.deploy.hooks.len() == MAX_HOOKS {
            return Err(format!(
                "SlotHook: <SlotGroup {}> already has {MAX_HOOKS} of them, which is the most; let one program run \
                 others",
                group.name
            ));
        }
        group.deploy.hooks.push(Hook::parse(words)?);
        Ok(())
    }
}

impl GroupLines {
    /// Checks that only one thing starts and stops the backends: systemd, or the group's own programs.
    pub(super) fn check_starter(&self) -> Outcome {
        let mut hooks = self.deploy.hooks.iter().map(|hook| hook.event);
        let hook = hooks.find(|event| matches!(event, Event::Start | Event::Stop));
        let slot = self.slots.iter().find_map(|slot| Some((slot, slot.unit.as_ref()?)));
        let (Some(hook), Some((slot, unit))) = (hook, slot) else { return Ok(()) };
        Err(format!(
            "<SlotGroup {}>: SlotHook {hook} and unit={unit} of slot {:?} both say how backends are started and \
             stopped; remove the SlotHook lines start and stop, or unit= from each Slot",
            self.name, slot.name
        ))
    }
}
