//! The files: what lies in them, and the operating system's calls on them. It knows no operator and
//! no Apache.

pub mod actor;
pub mod control;
pub mod counts;
pub mod create;
pub mod dirs;
pub(crate) mod entry;
pub mod error;
pub mod group_file;
pub mod history;
pub mod instance;
pub mod known;
pub mod lock;
pub mod os;
pub mod runtime;
pub mod startup;
pub mod step;
pub mod story;
pub mod trust;
pub mod writer;

pub use dirs::Dirs;
