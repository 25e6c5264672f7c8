//! slotctl, the real binary, over files that were made as Apache's parent makes them.
#![forbid(unsafe_code)]

mod calling;
mod crowd;
mod damage;
mod flip;
mod history;
mod look;
mod rights;
mod site;
