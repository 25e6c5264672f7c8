//! mod_slot: an application has two slots, and one word in shared memory says which of them takes
//! the next request.
//!
//! **The path of a request**, in Apache's order: `module::request` (enter the active slot, once)
//! → `docroot` (static files of that slot) → `proxy` (its backend) → [`lease`] (leave, when the
//! request's pool is cleared) → `request` again (count it).
//!
//! **The path of a flip**: `bin/slotctl` → [`flip`] → [`state::control`] (the word) →
//! [`state::history`]; and, who wants the old slot to be empty, → [`drain`].
//!
//! **The start of Apache**: `module` `config` → `check` → `start` → [`state::publish`].
//!
//! [`slot`] holds the small values all of them speak of; [`state::map`] is the border to the
//! operating system, `module::host` the border to Apache. Nothing else is `unsafe`.

pub mod doctor;
pub mod drain;
pub mod error;
pub mod flip;
pub mod hold;
pub mod lease;
#[cfg(feature = "module")]
mod module;
pub mod near;
pub mod slot;
pub mod state;
pub mod sync;
pub mod tally;
pub mod view;
