//! The exit codes: one table for all verbs.

use crate::failure::Failure;
use mod_slot::ops::deploy::Stopped;
use mod_slot::ops::error::{Error, Undeployed};
use mod_slot::state::story::Outcome;
use std::io;
use std::process::ExitCode;

/// A usage error.
pub(crate) const USAGE: u8 = 2;
const ERROR: u8 = 1;
const UNHEALTHY: u8 = 3;
const UNDRAINED: u8 = 4;
pub(crate) const LOCKED: u8 = 5;
const NO_STATE: u8 = 7;
const CONFIGURATION: u8 = 8;
const PERMISSION: u8 = 77;
const ROLLED_BACK: u8 = 6;
const FAILING: u8 = 9;
const TIMEOUT: u8 = 124;

/// The table, as `slotctl --help` shows it. Codes of later verbs are reserved, so that no code
/// changes its meaning.
pub(crate) const EXIT_CODES: &str = "\
Exit codes, of all verbs:
    0  done, or nothing to do
    1  error
    2  usage error
    3  the slot is unhealthy; nothing changed, unless the only slot was restarted
    4  flipped, but not drained; or held, but not drained, so nothing was restarted
    5  another user's lock, another change under way, --if-... did not match, or the
       slot to warm is active
    6  flipped, then rolled back
    7  no such group, or Apache has not started with it
    8  bad configuration
    9  flipped, or restarted, and failing; not rolled back
   77  no permission
  124  a wait timed out";

impl Failure {
    /// Whether there is no such group, or none at all.
    pub(crate) fn is_no_state(&self) -> bool {
        matches!(self, Self::Core(error) if core(error) == NO_STATE)
    }

    /// Returns its code in [`EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// Returns the number of [`Failure::exit_code`].
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Core(error) => core(error),
            Self::Stopped { why, .. } => deploy(why),
            Self::NotRolledBack(why) => deploy(why),
            Self::Words(_) | Self::NoPaths { .. } => USAGE,
            Self::WarmActive { .. } => LOCKED,
            Self::Successor(_) => ERROR,
            Self::Remote { code, .. } => *code,
            Self::Deploy { ended, .. } => match ended.result {
                Outcome::Done => 0,
                Outcome::NotDrained => UNDRAINED,
                Outcome::Undone | Outcome::Kept => ERROR,
                Outcome::Overtaken => LOCKED,
                Outcome::RolledBack => ROLLED_BACK,
                Outcome::Failing => FAILING,
            },
            Self::Ambiguous { .. } | Self::Unknown { .. } | Self::Idle { .. } => USAGE,
            Self::Unproven { why } => core(why),
            Self::Unhealthy { .. }
            | Self::Sick { .. }
            | Self::Late { .. }
            | Self::NotWarm { .. } => UNHEALTHY,
            Self::Undrained { .. } | Self::NotActive { .. } => TIMEOUT,
            Self::Left { .. } | Self::NotEmptied { .. } => UNDRAINED,
            Self::HoldFailed { .. } => ERROR,
            Self::SickAfterHold { .. } => UNHEALTHY,
            Self::Unwritten { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                PERMISSION
            }
            Self::Unwritten { .. } => ERROR,
            Self::Broken { .. } | Self::Output(_) | Self::Unwarmed(_) => ERROR,
        }
    }
}

fn deploy(stopped: &Stopped) -> u8 {
    match stopped {
        Stopped::Core(error) => core(error),
        Stopped::Unfit { .. } => UNHEALTHY,
        Stopped::Interrupted => ERROR,
        // Of an idle slot, before its restart.
        Stopped::NotDrained { step: "start", .. } => TIMEOUT,
        Stopped::NotDrained { .. } => UNDRAINED,
        Stopped::NotCarriedOn(_) => LOCKED,
        Stopped::Halfway { why, .. } => deploy(why),
    }
}

fn core(error: &Error) -> u8 {
    match error {
        Error::NoGroup { .. } | Error::NoGroups { .. } | Error::NotStarted { .. } => NO_STATE,
        Error::Undeployed(why) => match why {
            Undeployed::AlreadyActive { .. } | Undeployed::NotRestarted { .. } => USAGE,
            Undeployed::Interrupted { .. }
            | Undeployed::Unfinished { .. }
            | Undeployed::Deploying { .. } => LOCKED,
        },
        Error::NoSlot { .. }
        | Error::Which { .. }
        | Error::OnlySlot { .. }
        | Error::StillActive { .. } => USAGE,
        Error::Permission { .. }
        | Error::Closed { .. }
        | Error::NotYours { .. }
        | Error::NotOwner { .. }
        | Error::Unproven { .. } => PERMISSION,
        Error::Busy { .. }
        | Error::Locked { .. }
        | Error::BecameActive { .. }
        | Error::AlreadyHeld { .. }
        | Error::Mismatch { .. }
        | Error::Unchecked { .. } => LOCKED,
        Error::Group { .. } => CONFIGURATION,
        Error::Damaged { .. }
        | Error::Unusable { .. }
        | Error::Foreign { .. }
        | Error::Replaced { .. }
        | Error::Untrusted { .. }
        | Error::Frozen { .. }
        | Error::Unlisted { .. }
        | Error::Overtaken { .. }
        | Error::MaintenanceOvertaken { .. }
        | Error::NothingToUndo { .. }
        | Error::Uncounted { .. }
        | Error::NotDurable { .. }
        | Error::System { .. } => ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers at the beginning of lines.
    fn numbers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<u8> {
        lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
    }

    #[test]
    fn help_and_guide_explain_each_exit_code_once_and_no_others() {
        let used = [
            0,
            ERROR,
            USAGE,
            UNHEALTHY,
            UNDRAINED,
            LOCKED,
            ROLLED_BACK,
            NO_STATE,
            CONFIGURATION,
            FAILING,
            PERMISSION,
            TIMEOUT,
        ];
        let mut sorted = used;
        sorted.sort_unstable();
        assert_eq!(numbers(EXIT_CODES.lines()), sorted);
        let guide = include_str!("../../../apache/guides/troubleshooting.md");
        let (_, chapter) = guide.split_once("\n## Exit codes\n").expect("the guide has them");
        let (chapter, _) = chapter.split_once("\n## ").expect("another section follows");
        let rows: Vec<_> = chapter.lines().filter_map(|line| line.strip_prefix("| ")).collect();
        assert_eq!(numbers(rows.iter().copied()), numbers(EXIT_CODES.lines()));
        for row in rows {
            let cells: Vec<_> = row.trim_end_matches('|').split(" | ").map(str::trim).collect();
            assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        }
    }
}
