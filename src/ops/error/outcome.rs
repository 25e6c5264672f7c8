//! The state after a change that could not be written to the disk, in words.

use super::sentence::switch;

/// The state after a change that could not be written to the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outcome {
    /// Nothing was stored.
    #[error("nothing is changed")]
    Unchanged,
    /// The flip was stored in memory, and another one put it back.
    #[error(
        "the flip to {to:?} may not be on the disk, and was taken back: {active:?} is active, in generation \
         {generation}; some requests may have gone to {to:?}"
    )]
    TakenBack {
        /// The target of the flip.
        to: String,
        /// The slot that is active now.
        active: String,
        /// The generation that took it back.
        generation: u32,
    },
    /// The slot was active already.
    #[error("{active:?} is active already, but a power cut may undo that")]
    Uncertain {
        /// The slot that is active.
        active: String,
    },
    /// Maintenance was switched in memory, and switched back.
    #[error(
        "maintenance {} may not be on the disk, and was taken back in generation {generation}: it is {} again",
        switch(.on), switch(&!.on)
    )]
    MaintenanceTakenBack {
        /// Whether it was to be on.
        on: bool,
        /// The generation that took it back.
        generation: u32,
    },
    /// Maintenance was on, or off, already.
    #[error("maintenance is {} already, but a power cut may undo that", switch(.on))]
    MaintenanceUncertain {
        /// Whether it is on.
        on: bool,
    },
    /// The lock file may have been written in part; its old content was written again.
    #[error(
        "the lock is as it was before, unless writing that failed too (slotctl status shows it)"
    )]
    LockRestored,
}
