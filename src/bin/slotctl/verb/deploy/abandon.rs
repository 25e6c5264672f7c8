//! `deploy --abandon`: gives up a deploy that was interrupted.

use super::carry::deploying;
use super::shown::Report;
use crate::actor::actor;
use crate::failure::Failure;
use crate::output::Answer;
use crate::render::{self, Format};
use mod_slot::ops::deploy::record::{self, Claim};
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::story::Story;

/// Ends the record of an interrupted deploy.
pub(super) fn abandon(dirs: &Dirs, app: &str, format: Format) -> Result<Answer, Failure> {
    let Some(_claim) = Claim::take(dirs, app)? else {
        return Err(deploying(dirs, app));
    };
    let served = view::served(dirs, app)?;
    let generation = served.generation.unwrap_or(0);
    let last = record::last(dirs, app)?.filter(|story| story.result.is_none());
    let (id, from, to, text, result) = match last {
        None => {
            let slot = served.slot.clone();
            let text = format!("{app}: no deploy was interrupted\n");
            (String::new(), slot.clone(), slot, text, "already")
        }
        Some(story) => {
            let result = record::abandon(dirs, app, &story, &actor(None), &served.slot)?;
            let Story { id, from, to, .. } = story;
            let text = format!(
                "{app}: the deploy to {to} is given up, and {} stays active\n",
                served.slot
            );
            (id, from, to, text, result.as_str())
        }
    };
    let text = match format {
        Format::Text => text,
        Format::Json => render::json(&Report {
            app,
            id: &id,
            from: &from,
            to: &to,
            active: &served.slot,
            generation,
            result,
            detail: None,
            steps: &[],
            took_ms: 0,
            warnings: &[],
        }),
    };
    Ok(text.into())
}
