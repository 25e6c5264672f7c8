//! What a process notes of a request in flight, in its row of the counts.

use super::counts::{MAX_TEXT, NOTE};
use crate::slot::SlotIndex;
use crate::swar::{equal_to, first_equal_to, splat};
use crate::sync::{AtomicU64, Ordering};

/// Writes the method and the path of a request's first line: up to the space behind the path, or
/// its first `;` or `?`. As many words as they need, and a zero behind them. Eight bytes at a time,
/// for all requests come here.
pub(super) fn write(text: &[AtomicU64; MAX_TEXT / 8], line: &[u8]) {
    let mut in_method = true;
    let mut is_last = |place: &AtomicU64, bytes: [u8; 8]| {
        let word = u64::from_le_bytes(bytes);
        // With this bit, which is all that they differ in, `;` and `?` are one.
        let marks = first_equal_to(word | splat(b';' ^ b'?'), b'?');
        let ends = if in_method {
            let spaces = equal_to(word, b' ');
            in_method = spaces == 0;
            marks | spaces & spaces.wrapping_sub(1)
        } else {
            marks | first_equal_to(word, b' ')
        };
        if ends == 0 {
            place.store(word.to_le(), Ordering::Relaxed);
            return false;
        }
        let kept = word & ((1 << (ends.trailing_zeros() & !7)) - 1);
        place.store(kept.to_le(), Ordering::Relaxed);
        true
    };
    let (whole, rest) = line.as_chunks::<8>();
    for (place, bytes) in text.iter().zip(whole) {
        if is_last(place, *bytes) {
            return;
        }
    }
    if let Some(place) = text.get(whole.len()) {
        let mut bytes = [0; 8];
        bytes[..rest.len()].copy_from_slice(rest);
        is_last(place, bytes);
    }
}

pub(super) fn read([head, start, text @ ..]: &[AtomicU64; NOTE / 8]) -> Option<Note> {
    let look = || [head, start].map(|word| word.load(Ordering::Acquire));
    let before = look();
    let slot = usize::try_from(before[0]).ok()?.checked_sub(1).and_then(SlotIndex::new)?;
    let mut bytes: Vec<u8> =
        text.iter().flat_map(|word| word.load(Ordering::Acquire).to_ne_bytes()).collect();
    bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // Another request's by now: not worth a second look, it has only just begun.
    (look() == before).then_some(Note { slot, began: before[1], text })
}

/// A request in flight, as its process has noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it is.
    pub slot: SlotIndex,
    /// When it began, microseconds since 1970.
    pub began: u64,
    /// Method and path, as the client sent them: to be escaped before they are shown.
    pub text: String,
}
