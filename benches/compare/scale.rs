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
mod_proxy uses nearly all of a child's memory, in every configuration: when a child starts, mod_proxy makes a \
connection pool for each worker, used or not. A ProxyPass line to a group needs no pool. mod_slot itself needs one \
page of the counts for each group and child, which the column \"share\" contains, and the runtime directory. A first \
start waits for the disk twice for each group; a later start does not wait.";

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
