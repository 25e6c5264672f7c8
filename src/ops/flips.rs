//! The flips that the generations stand for. Maintenance makes generations too, in which no slot changes: the history
//! tells which ones these are.

use super::change;
use super::error::Error;
use super::view::{View, read_history};
use crate::state::Dirs;
use crate::state::control::Control;
use crate::state::history::Entry;

/// Counts the flips since `generation`: the generations after it that maintenance did not make. A generation that is
/// not in the history counts as a flip.
pub(crate) fn since(history: &[Entry], control: &Control, generation: u32) -> u32 {
    let now = control.word.generation();
    let all = now.wrapping_sub(generation);
    let later = history.iter().rev().take_while(|entry| now.wrapping_sub(entry.generation) < all);
    let mut others: Vec<_> =
        later.filter(|entry| entry.keeps_slot()).map(|entry| entry.generation).collect();
    others.sort_unstable();
    others.dedup();
    all - u32::try_from(others.len()).unwrap_or(0).min(all)
}

/// Finds the flip that made the active slot active; `None` if it is not in the history.
pub(crate) fn last<'a>(history: &'a [Entry], control: &Control) -> Option<&'a Entry> {
    let last = history.iter().rev().find(|entry| entry.is_change())?;
    (last.to == control.active() && since(history, control, last.generation) == 0).then_some(last)
}

/// Whether somebody has flipped `app` since `generation`. Waits for a change that is being recorded now.
///
/// # Errors
///
/// Those of [`View::read`] and [`read_history`]; [`Error::Busy`], [`Error::Permission`], [`Error::System`].
pub fn have_been(dirs: &Dirs, app: &str, generation: u32) -> Result<bool, Error> {
    if !have_been_recorded(dirs, app, generation)? {
        return Ok(false);
    }
    // Maintenance that was switched a moment ago may not be in the history yet.
    let _lock = change::lock(dirs, app)?;
    have_been_recorded(dirs, app, generation)
}

fn have_been_recorded(dirs: &Dirs, app: &str, generation: u32) -> Result<bool, Error> {
    have_been_in(dirs, &View::read(dirs, app)?, generation)
}

/// Whether somebody has flipped since `generation` and before `view` was read. The holder of the writers' lock gets a
/// final answer.
pub(crate) fn have_been_in(dirs: &Dirs, view: &View, generation: u32) -> Result<bool, Error> {
    if view.control.word.generation() == generation {
        return Ok(false);
    }
    Ok(since(&read_history(dirs, &view.app)?, &view.control, generation) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::actor::Actor;
    use crate::state::history::Action;
    use crate::word::{SlotIndex, Word};

    fn entry(action: Action, to: &str, generation: u32) -> Entry {
        let from = if matches!(action, Action::Flip) { "other" } else { to };
        Entry::of(String::new(), action, [from, to], generation, &Actor::default())
    }

    /// A control file in which the slot `a` is active, in this generation.
    fn control(generation: u32) -> Control {
        let word = Word::first(SlotIndex::new(0).unwrap());
        let word = (1..generation).fold(word, |word, _| word.with_maintenance(true));
        Control { identity: 0, created: 0, names: ["a", "b"].into_iter().collect(), word }
    }

    #[test]
    fn generations_of_maintenance_are_no_flips() {
        let history = [
            entry(Action::Maintenance, "b", 2),
            entry(Action::Flip, "a", 3),
            entry(Action::Maintenance, "a", 4),
            entry(Action::Lock, "a", 4),
            entry(Action::Maintenance, "a", 5),
        ];
        let since = |generation| since(&history, &control(5), generation);
        assert_eq!([5, 4, 3, 2, 1].map(since), [0, 0, 0, 1, 1]);
        assert_eq!(last(&history, &control(5)), Some(&history[1]));
    }

    #[test]
    fn a_generation_without_an_entry_counts_as_a_flip() {
        let history = [entry(Action::Flip, "a", 2), entry(Action::Maintenance, "a", 4)];
        assert_eq!(since(&history, &control(4), 2), 1);
        assert_eq!(last(&history, &control(4)), None);
        assert_eq!(last(&history[..1], &control(2)), Some(&history[0]));
        assert_ne!(since(&history, &control(2), 3), 0, "a generation of another file");
    }
}
