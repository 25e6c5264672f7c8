//! The first side word: the number and the deadline of a hold.

/// The time in the first side word; above it is the number of the hold.
const TIME: u64 = (1 << 48) - 1;

/// The first side word of the hold `number`, which ends at `time` of CLOCK_MONOTONIC, in milliseconds.
pub fn deadline_of(number: u16, time: u64) -> u64 {
    u64::from(number) << 48 | time.min(TIME)
}

/// The number of the hold with this deadline. It tells a hold from one that another slotctl began meanwhile.
pub fn hold_number(deadline: u64) -> u16 {
    (deadline >> 48) as u16
}

/// Whether somebody has ended the hold with this deadline: its time is 0.
pub fn has_ended(deadline: u64) -> bool {
    deadline & TIME == 0
}

/// How far ahead the deadline of a hold may lie, in milliseconds. A living slotctl renews it in time, and a hold whose
/// slotctl has died ends after this.
pub const HOLD_AHEAD: u64 = 2500;

/// Whether a hold with this deadline is in force, at the time `now` of CLOCK_MONOTONIC, in milliseconds. A deadline
/// that lies further ahead than any slotctl sets it is one from before a reboot.
pub fn is_in_force(deadline: u64, now: u64) -> bool {
    (deadline & TIME).checked_sub(now).is_some_and(|left| (1..=HOLD_AHEAD).contains(&left))
}

/// Whether this deadline lies further ahead than any slotctl sets it: it is one from before a reboot, and would come into
/// force when the clock comes to it.
pub(in crate::state) fn is_stale(deadline: u64, now: u64) -> bool {
    deadline & TIME > now.saturating_add(HOLD_AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_in_force_until_it_passes_and_never_far_ahead() {
        let is = |deadline| is_in_force(deadline, 1000);
        assert_eq!([0, 999, 1000].map(is), [false; 3]);
        assert_eq!([1001, 1000 + HOLD_AHEAD].map(is), [true; 2]);
        assert_eq!([1001 + HOLD_AHEAD, u64::MAX].map(is), [false; 2]);
        let stale = |deadline| is_stale(deadline, 1000);
        assert_eq!(
            [0, 999, 1000 + HOLD_AHEAD, 1001 + HOLD_AHEAD].map(stale),
            [false, false, false, true]
        );
        let deadline = deadline_of(u16::MAX, 1001);
        assert!(is(deadline) && hold_number(deadline) == u16::MAX);
    }
}
