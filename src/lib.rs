//! mod_slot: an application has two slots, and one word in shared memory says which of them takes
//! the next request.
//!
//! **The path of a request**, in Apache's order: `module::pin` (enter the active slot, once) →
//! `docroot` (static files of that slot) → `scheme` (its backend) → [`lease`] (leave, when the
//! request's pool is cleared) → `pin` again (count it).
//!
//! **The path of a flip**: `bin/slotctl` → [`ops::flip`] → [`state::writer`] (lock, store, sync,
//! append to the history); then, to wait until the old slot is empty, [`ops::drain`].
//!
//! **The path of a deploy**: `bin/slotctl` → [`ops::deploy`] `plan` → `ready` (prepare, start, [`ops::health`],
//! [`ops::warm`]) → a second process: `live` (flip, drain, watch, back or stop). `record` writes each step to the history.
//!
//! **The start of Apache**: `module` `config` → `check` → `claim` → `start` → `publish` →
//! [`state::startup`]; then, in each child, `child`. `module/mod.rs` lists all hooks in Apache's order.
//!
//! **Who may use what**: slotctl and `module` use [`ops`]; `ops` uses [`lease`] and [`state`];
//! these use the pure files [`name`], [`word`], [`choose`], [`address`],
//! [`duration`], [`group`]. Nothing runs the other way.
//! Only [`state::os`] (the operating system) and `module::host` (Apache) are `unsafe`.

pub mod address;
pub mod choose;
pub mod duration;
pub mod group;
pub mod lease;
#[cfg(feature = "module")]
mod module;
pub mod name;
pub mod ops;
pub mod state;
pub mod sync;
pub mod word;
