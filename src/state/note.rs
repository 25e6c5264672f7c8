//! What a process notes of a request in flight, in its row of the counts.

use super::counts::{MAX_TEXT, NOTE};
use crate::slot::SlotIndex;
use crate::sync::{AtomicU64, Ordering};
use wide::u8x16;

/// Writes the method and the path of a request's first line: up to the space behind the path, or
/// its first `;` or `?`. As many words as they need, and a zero behind them. Sixteen bytes at a time,
/// for all requests come here.
pub(super) fn write(text: &[AtomicU64; MAX_TEXT / 8], line: &[u8]) {
    let (mut in_method, mut rest) = (true, line);
    for [low, high] in text.as_chunks::<2>().0 {
        let bytes = rest.first_chunk::<16>().copied().unwrap_or_else(|| filled_up(rest));
        let line = u8x16::new(bytes);
        // With this bit, which is all that they differ in, `;` and `?` are one.
        let marks = (line | u8x16::splat(b';' ^ b'?')).simd_eq(b'?').to_bitmask();
        let mut ends = line.simd_eq(b' ').to_bitmask();
        if in_method && ends != 0 {
            ends &= ends - 1;
            in_method = false;
        }
        ends |= marks;
        let mut kept = u128::from_le_bytes(bytes);
        if ends != 0 {
            kept &= (1 << (8 * ends.trailing_zeros())) - 1;
        }
        low.store((kept as u64).to_le(), Ordering::Relaxed);
        high.store(((kept >> 64) as u64).to_le(), Ordering::Relaxed);
        if ends != 0 || rest.len() < bytes.len() {
            return;
        }
        rest = &rest[bytes.len()..];
    }
}

/// Fewer than 16 bytes, and zeros behind them.
#[inline(never)]
fn filled_up(rest: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..rest.len()].copy_from_slice(rest);
    bytes
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
