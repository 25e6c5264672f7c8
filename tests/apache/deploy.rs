//! `slotctl deploy` under load: what users see of it. Each story has its own Apache and its own two backends.

mod interrupted;
mod killed;
mod only;
mod options;
mod others;
mod release;
mod stage;
mod unfit;
mod units;
mod watch;
