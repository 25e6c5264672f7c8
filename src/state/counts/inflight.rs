//! What a process notes of a request in flight, in its row of the counts.

use super::{MAX_TEXT, NOTE};
use crate::sync::{AtomicU64, Ordering};
use crate::word::SlotIndex;
use wide::u8x16;

/// Writes the method and the path of a request's first line: up to the space behind the path, or
/// its first `;` or `?`. As many words as they need, and a zero behind them. Sixteen bytes at a time,
/// for all requests come here.
pub(super) fn write(text: &[AtomicU64; MAX_TEXT / 8], line: &[u8]) {
    // All bits, once the method is over.
    let (mut in_path, mut rest) = (0, line);
    for [low, high] in text.as_chunks::<2>().0 {
        let bytes = match (rest.first_chunk(), line.last_chunk()) {
            (Some(bytes), _) => u128::from_le_bytes(*bytes),
            // The last ones, without those that are done with.
            (None, Some(last)) => {
                u128::from_le_bytes(*last).unbounded_shr(8 * (16 - rest.len() as u32))
            }
            (None, None) => filled_up(rest),
        };
        let sixteen = u8x16::new(bytes.to_le_bytes());
        // With this bit, which is all that they differ in, `;` and `?` are one.
        let marks = (sixteen | u8x16::splat(b';' ^ b'?')).simd_eq(b'?').to_bitmask();
        let spaces = sixteen.simd_eq(b' ').to_bitmask();
        // The first space is behind the method.
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

/// For each number of bytes, those of a word's first bytes.
const FIRST: [u128; 17] = {
    let (mut first, mut bytes) = ([0; 17], 1);
    while bytes <= 16 {
        first[bytes] = first[bytes - 1] << 8 | 0xff;
        bytes += 1;
    }
    first
};

/// Fewer than 16 bytes, and zeros behind them: all of a very short line, as of `GET / HTTP/1.1`.
#[inline(never)]
fn filled_up(rest: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..rest.len()].copy_from_slice(rest);
    u128::from_le_bytes(bytes)
}

pub(super) fn read([head, start, text @ ..]: &[AtomicU64; NOTE / 8]) -> Option<InFlight> {
    let look = || [head, start].map(|word| word.load(Ordering::Acquire));
    let before = look();
    let slot = usize::try_from(before[0]).ok()?.checked_sub(1).and_then(SlotIndex::new)?;
    let mut bytes: Vec<u8> =
        text.iter().flat_map(|word| word.load(Ordering::Acquire).to_ne_bytes()).collect();
    bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // Another request's by now: not worth a second look, it has only just begun.
    (look() == before).then_some(InFlight { slot, began: before[1], text })
}

/// A request in flight, as its process has noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Where it is.
    pub slot: SlotIndex,
    /// When it began, microseconds since 1970.
    pub began: u64,
    /// Method and path, as the client sent them: to be escaped before they are shown.
    pub text: String,
}
