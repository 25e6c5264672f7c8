//! The record of a deploy in the history, and the claim that keeps a second one away.

use crate::ops::change;
use crate::ops::error::{Error, unopened_other};
use crate::ops::view;
use crate::state::actor::Actor;
use crate::state::history::{Action, Entry, Step, StepState};
use crate::state::os::{self, Access};
use crate::state::story::{BEGIN, END, ONLY_FLIP, Outcome, Story, stories};
use crate::state::{Dirs, writer};
use std::fs::File;
use std::io;

/// Finds the last deploy of `app`.
///
/// # Errors
///
/// Those of [`view::read_history`].
pub fn last(dirs: &Dirs, app: &str) -> Result<Option<Story>, Error> {
    Ok(stories(&view::read_history(dirs, app)?).pop())
}

/// Ends the record of a deploy that was interrupted, because `by` gives it up. `active` is the active slot.
///
/// # Errors
///
/// Those of [`Recorder::record`].
pub fn abandon(
    dirs: &Dirs,
    app: &str,
    story: &Story,
    by: &Actor,
    active: &str,
) -> Result<Outcome, Error> {
    let is_kept = match story.is_of_only_slot() {
        true => story.steps.iter().any(|step| step.step == "restart"),
        false => active == story.to,
    };
    let result = if is_kept { Outcome::Kept } else { Outcome::Undone };
    let recorder = Recorder { id: story.id.clone(), to: story.to.clone(), by: by.clone() };
    recorder.end(dirs, app, result, Some(&format!("given up by {by}")))?;
    Ok(result)
}

/// The claim on a group's deploys: a lock on a byte of the lock file, until every process that has this opening of the
/// file has ended. It hinders no flip.
#[derive(Debug)]
pub struct Claim(File);

/// The byte. No line of the lock file reaches it.
const CLAIM: u64 = 1 << 20;

impl Claim {
    /// Claims the deploys of `app`; `None` if another process has done so.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`], [`Error::Unusable`], [`Error::System`].
    pub fn take(dirs: &Dirs, app: &str) -> Result<Option<Self>, Error> {
        let path = dirs.lock(app);
        let owner = view::owner(dirs);
        let opened = os::open(&path, Access::ReadWrite, owner);
        let (file, _) = opened.map_err(|e| unopened_other("change", &path, e))?;
        match os::hold_by_opening(&file, CLAIM) {
            Ok(true) => Ok(Some(Self(file))),
            Ok(false) => Ok(None),
            Err(source) => Err(Error::System { path, source }),
        }
    }

    /// The claim that a parent process has handed over.
    pub fn handed_over(file: File) -> Self {
        Self(file)
    }

    /// Returns the opening of the file, to hand the claim over to a child process.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn opening(&self) -> io::Result<File> {
        self.0.try_clone()
    }
}

/// Whether a process has claimed the deploys of `app`. `false` if this user may not read the lock file.
pub fn is_claimed(dirs: &Dirs, app: &str) -> bool {
    os::open(&dirs.lock(app), Access::Read, view::owner(dirs))
        .is_ok_and(|(file, _)| os::is_shared(&file, CLAIM..CLAIM + 1).unwrap_or(false))
}

/// What a recorder needs to know of its deploy.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// The deploy's id.
    pub id: String,
    /// The slot that it makes active.
    pub to: String,
    /// Who deploys, and why.
    pub by: Actor,
}

impl Recorder {
    /// Makes a step of this deploy.
    pub fn step(&self, name: &str, state: StepState) -> Step {
        Step {
            id: self.id.clone(),
            step: name.into(),
            state,
            to: self.to.clone(),
            took_ms: None,
            detail: None,
            output: None,
        }
    }

    /// Records the beginning of a deploy, or of a flip with a watch.
    ///
    /// # Errors
    ///
    /// Those of [`Recorder::record`].
    pub fn begin(&self, dirs: &Dirs, app: &str, only_flip: bool) -> Result<(), Error> {
        let detail = only_flip.then(|| ONLY_FLIP.to_owned());
        self.record(dirs, app, Step { detail, ..self.step(BEGIN, StepState::Done) })
    }

    /// Records the end.
    ///
    /// # Errors
    ///
    /// Those of [`Recorder::record`].
    pub fn end(
        &self,
        dirs: &Dirs,
        app: &str,
        result: Outcome,
        detail: Option<&str>,
    ) -> Result<(), Error> {
        let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
        let detail = Some(format!("{}{detail}", result.as_str()));
        self.record(dirs, app, Step { detail, ..self.step(END, StepState::Done) })
    }

    /// Appends a step to the history, and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// Those of a change; [`Error::System`] if the history cannot be written.
    pub fn record(&self, dirs: &Dirs, app: &str, step: Step) -> Result<(), Error> {
        let _lock = change::lock(dirs, app)?;
        let control = view::open(dirs, app, Access::Read)?.control;
        let (active, generation) = (control.active(), control.word.generation());
        let slots = [active, active];
        let entry = Entry::of(writer::now(), Action::Deploy, slots, generation, &self.by);
        let entry = Entry { deploy: Some(step), ..entry };
        let path = dirs.history(app);
        writer::append(dirs, app, &entry).map_err(|source| Error::System { path, source })
    }
}
