//! The note of a request in flight in its process's row.

use crate::sync::{AtomicU64, Ordering};
use crate::word::SlotIndex;
use wide::u8x16;

/// The longest text of a note, in bytes.
pub const MAX_TEXT: usize = 112;

/// A note, as it is in a row. Its process writes it, and slotctl may read it meanwhile.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Note {
    /// The slot's index plus one, and [`HELD`]; 0 for no note.
    slot: AtomicU64,
    /// When the request began, microseconds since 1970.
    began: AtomicU64,
    /// Method, space, path; filled up with zeros.
    text: [AtomicU64; MAX_TEXT / 8],
}

/// The mark of a request that waits in no slot.
const HELD: u64 = 1 << 32;

/// A request in flight, as its process has noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The slot that it is in; with `is_held`, the one that it would be in without the hold.
    pub slot: SlotIndex,
    /// Whether it waits in no slot, because the group is held.
    pub is_held: bool,
    /// When it began, microseconds since 1970.
    pub began: u64,
    /// Method and path, as the client sent them: escape them before they are shown.
    pub text: String,
}

impl Note {
    /// Writes the note of a request whose first line is `line`.
    pub(super) fn write(&self, slot: SlotIndex, began: u64, line: &[u8]) {
        self.began.store(began, Ordering::Relaxed);
        write(&self.text, line);
        self.slot.store(slot.get() as u64 + 1, Ordering::Release);
    }

    /// Marks the note as that of a request that waits in no slot.
    pub(super) fn hold(&self) {
        self.slot.fetch_or(HELD, Ordering::Release);
    }

    pub(super) fn clear(&self) {
        self.slot.store(0, Ordering::Relaxed);
    }

    /// Reads the note; `None` if there is none, or if it changed meanwhile because a request has just
    /// begun.
    pub(super) fn read(&self) -> Option<InFlight> {
        let look = || [&self.slot, &self.began].map(|word| word.load(Ordering::Acquire));
        let before = look();
        let (is_held, slot) = (before[0] & HELD != 0, before[0] & !HELD);
        let slot = usize::try_from(slot).ok()?.checked_sub(1).and_then(SlotIndex::new)?;
        let words = self.text.iter();
        let mut bytes: Vec<u8> =
            words.flat_map(|word| word.load(Ordering::Acquire).to_ne_bytes()).collect();
        bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (look() == before).then_some(InFlight { slot, is_held, began: before[1], text })
    }

    #[cfg(test)]
    pub(super) fn head(&self) -> &AtomicU64 {
        &self.slot
    }
}

/// Writes the method and the path of a request's first line: up to the space after the path, or its first `;` or `?`,
/// and a zero after them. Sixteen bytes at a time, because every request comes here: byte by byte, it would cost some
/// hundred instructions more.
fn write(text: &[AtomicU64; MAX_TEXT / 8], line: &[u8]) {
    // All bits after the end of the method.
    let (mut in_path, mut rest) = (0, line);
    for [low, high] in text.as_chunks::<2>().0 {
        let bytes = match (rest.first_chunk(), line.last_chunk()) {
            (Some(bytes), _) => u128::from_le_bytes(*bytes),
            // The last sixteen, without those that are written already.
            (None, Some(last)) => {
                u128::from_le_bytes(*last).unbounded_shr(8 * (16 - rest.len() as u32))
            }
            (None, None) => filled_up(rest),
        };
        let sixteen = u8x16::new(bytes.to_le_bytes());
        // `;` and `?` differ in this one bit.
        let marks = (sixteen | u8x16::splat(b';' ^ b'?')).simd_eq(b'?').to_bitmask();
        let spaces = sixteen.simd_eq(b' ').to_bitmask();
        // The first space is after the method.
        let ends = marks | spaces & (spaces.wrapping_sub(1) | in_path);
        let kept = bytes & FIRST[(ends | 1 << 16).trailing_zeros() as usize];
        low.store((kept as u64).to_le(), Ordering::Relaxed);
        high.store(((kept >> 64) as u64).to_le(), Ordering::Relaxed);
        let Some(behind) = rest.get(16..).filter(|_| ends == 0) else { return };
        rest = behind;
        if spaces != 0 {
            in_path = u32::MAX;
        }
    }
}

/// Masks for the first 0 to 16 bytes.
const FIRST: [u128; 17] = {
    let (mut first, mut bytes) = ([0; 17], 1);
    while bytes <= 16 {
        first[bytes] = first[bytes - 1] << 8 | 0xff;
        bytes += 1;
    }
    first
};

/// Fills up a line of fewer than 16 bytes with zeros, such as `GET / HTTP/1.1`.
#[inline(never)]
fn filled_up(rest: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..rest.len()].copy_from_slice(rest);
    u128::from_le_bytes(bytes)
}
