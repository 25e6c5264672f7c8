//! Chapter `flip`: what a flip costs the operator and the traffic, compared with all rivals.

mod cost;
mod pairs;
mod probe;
mod rivals;
mod site;
mod store;
mod tell;
mod traffic;

use crate::report::Chapter;

/// Measures the whole chapter.
///
/// # Errors
///
/// What could not run.
pub(crate) fn measure() -> Result<Chapter, String> {
    let mut chapter = Chapter {
        title: "A flip".into(),
        method: [pairs::METHOD, store::METHOD, traffic::METHOD].join("\n"),
        ..Chapter::default()
    };
    pairs::measure(&mut chapter)?;
    cost::measure(&mut chapter)?;
    store::measure(&mut chapter)?;
    traffic::measure(&mut chapter)?;
    Ok(chapter)
}
