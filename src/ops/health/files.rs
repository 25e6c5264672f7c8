//! Probes a docroot.

use super::{Outcome, Probe};
use crate::duration;
use crate::group::{Group, Slot};
use crate::ops::child::Child;
use crate::ops::docroot::{Fault, Seen, look};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// A docroot that is being examined, by a thread, because a dead file server gives no answer.
pub(super) struct Examined {
    docroot: PathBuf,
    told: Receiver<(Outcome, Duration)>,
}

/// Begins to examine the docroot of a slot; `None` if it has none.
pub(super) fn begin(group: &Group, slot: &Slot) -> Option<Examined> {
    let docroot = PathBuf::from(slot.docroot.as_deref()?);
    let (parent, control, inode) = (group.pid, PathBuf::from(&group.control), group.inode);
    let (tell, told) = mpsc::channel();
    let at = docroot.clone();
    let examine = move || {
        let start = Instant::now();
        let child = Child::of(parent, &control, inode);
        let (found, seen) = look(&at, child.as_ref());
        let outcome = judge(&at, found, &seen);
        // Nobody waits for it any more if the time is over.
        let _ = tell.send((outcome, start.elapsed()));
    };
    // If no thread can be started, the channel is closed, which `end` reports.
    let _ = thread::Builder::new().spawn(examine);
    Some(Examined { docroot, told })
}

impl Examined {
    /// Waits for the result, until `limit` after `start`.
    pub(super) fn end(self, start: Instant, limit: Duration) -> Probe {
        let target = self.docroot.display().to_string();
        let told = self.told.recv_timeout(limit.saturating_sub(start.elapsed()));
        let (outcome, took) = told.unwrap_or_else(|_| {
            let took = start.elapsed();
            let why = format!(
                "docroot {target}: the file system gave no answer within {}",
                duration::shown(took)
            );
            (Outcome::Failed(why), took)
        });
        Probe { target, outcome, took }
    }
}

fn judge(docroot: &Path, found: Result<(), Fault>, seen: &Seen) -> Outcome {
    let name = docroot.display();
    match (found, seen.is_child()) {
        (Ok(()), true) => Outcome::Passed("docroot readable".into()),
        (Ok(()), false) => Outcome::NotVerified(format!(
            "docroot {name} is there; whether Apache's user can read it shows only to root while Apache runs"
        )),
        (Err(fault @ (Fault::Refused(_) | Fault::Other(_))), false) => Outcome::NotVerified(
            format!("docroot {name} cannot be examined: {}", fault.sentence(docroot, seen)),
        ),
        (Err(fault), _) => {
            Outcome::Failed(format!("docroot {name}: {}", fault.sentence(docroot, seen)))
        }
    }
}
