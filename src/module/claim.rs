//! Each Apache has its own state directory: two in the same one would use each other's files.

use super::config::Lines;
use super::host::{Message, Pool, Setup, is_first_pass, log, pid_file, restarts, retain, retained};
use crate::state::Dirs;
use crate::state::instance::{self, Claim, Holder, Instance};

/// Refuses, in check_config of the first pass, a state directory that another Apache uses, so that `httpd -t` and
/// `httpd -k` end with the sentence on the terminal. Creates, writes and locks nothing.
pub(super) fn check(setup: &Setup, lines: &Lines) -> Result<(), String> {
    if !is_first_pass() || lines.groups.is_empty() {
        return Ok(());
    }
    let (dirs, own) = (lines.dirs(setup.pool), instance(setup.pool));
    instance::look(&dirs, &own).map_or(Ok(()), |holder| Err(refusal(&dirs, &own, &holder)))
}

/// Claims the state directory for this Apache. A start is refused if another Apache uses it; a restart never is.
pub(super) fn claim(dirs: &Dirs, pool: Pool) -> Result<(), String> {
    let own = instance(pool);
    let tell = |note: String| log(Message::Claim, &note);
    match instance::claim(dirs, retained().as_deref(), &own, tell) {
        Ok(Claim::Ours(file)) => retain(file),
        Ok(Claim::Already) => {}
        Ok(Claim::Others(holder)) if restarts() => {
            log(Message::InUse, &refusal(dirs, &own, &holder));
        }
        Ok(Claim::Others(holder)) => return Err(refusal(dirs, &own, &holder)),
        Err(e) => {
            let text = format!("{e}: a second Apache with this SlotStateDir would not be noticed");
            log(Message::Unclaimed, &text);
        }
    }
    Ok(())
}

fn instance(pool: Pool) -> Instance {
    Instance::of(&pid_file(pool).unwrap_or_default())
}

fn refusal(dirs: &Dirs, own: &Instance, holder: &Holder) -> String {
    let (state, own) = (dirs.state.display(), own.pid_file.display());
    let pid = holder.pid.map_or(String::new(), |pid| format!(" with pid {pid}"));
    let (other, or) = match &holder.pid_file {
        Some(theirs) => (
            format!(
                "the Apache{pid} and PidFile {}, and this one has PidFile {own}",
                theirs.display()
            ),
            ", or give it the same PidFile if it is the same Apache",
        ),
        None => (format!("an Apache{pid} in another container"), ""),
    };
    format!(
        "{state} is in use by {other}: give this one a SlotStateDir and a SlotRuntimeDir of its \
         own{or}, or stop the other"
    )
}
