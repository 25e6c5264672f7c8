//! Chapter `scale`: a thousand groups, hundreds of children, a hundred thousand flips.

mod children;
mod flips;
mod groups;
mod operator;
mod usage;

use crate::quick;
use crate::report::Chapter;

/// How many of each.
struct Sizes {
    groups: usize,
    children: usize,
    flips: usize,
}

/// The number of slots in a group.
const SLOTS: usize = 8;

impl Sizes {
    fn get() -> Self {
        match quick() {
            false => Self { groups: 1000, children: 512, flips: 100_000 },
            true => Self { groups: 50, children: 40, flips: 300 },
        }
    }
}

pub(crate) fn measure() -> Result<Chapter, String> {
    let sizes = Sizes::get();
    let mut chapter = Chapter { title: "Scale".into(), ..Chapter::default() };
    groups::measure(&mut chapter, sizes.groups)?;
    operator::measure(&mut chapter, sizes.groups)?;
    children::measure(&mut chapter, sizes.children)?;
    flips::measure(&mut chapter, sizes.flips)?;
    chapter.reading = READING.into();
    Ok(chapter)
}

const READING: &str = "\
Nearly all of a child's memory is mod_proxy's, whoever brings the backends: it makes a pool of connections for each
worker when the child starts, used or not; a ProxyPass line to a group needs none. What is mod_slot's own is a page of
the counts for each group and child, in the column of the share, and the runtime directory. A first start waits for the
disk twice for each group, a later one does not.";

/// Adds a paragraph to the chapter's method.
fn tell(chapter: &mut Chapter, text: &str) {
    chapter.method += text;
    chapter.method += "\n\n";
}

/// The configuration of `many` groups with [`SLOTS`] slots each. All slots are paths of one backend.
fn groups(many: usize) -> String {
    let mut text = String::new();
    for group in 0..many {
        text += &format!("<SlotGroup app{group}>\n");
        for slot in 0..SLOTS {
            text += &format!("    Slot s{slot} http://BACKEND/{group}/{slot}\n");
        }
        text += &format!("</SlotGroup>\nProxyPass /app{group}/ slot://app{group}/\n");
    }
    text
}
