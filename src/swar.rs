//! Eight bytes at a time, in one word: for what every request comes by. The first byte is the lowest.

/// A word of eight times `byte`.
pub(crate) const fn splat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The highest bit of each byte of `word` that is `byte`, and no other bit.
pub(crate) const fn equal_to(word: u64, byte: u8) -> u64 {
    const LOW: u64 = splat(0x7f);
    let differs = word ^ splat(byte);
    !(((differs & LOW) + LOW) | differs | LOW)
}

/// As [`equal_to`], in fewer steps, for whoever looks at the lowest such bit only: above it there may
/// be others.
pub(crate) const fn first_equal_to(word: u64, byte: u8) -> u64 {
    let differs = word ^ splat(byte);
    differs.wrapping_sub(splat(1)) & !differs & splat(0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_found_where_it_is() {
        for byte in [0, 1, b' ', 0x7f, 0x80, 0xff] {
            for other in [0, 1, byte ^ 1, byte ^ 0x80, byte.wrapping_add(1), byte.wrapping_sub(1)] {
                for places in 0..=u8::MAX {
                    let is = |at: usize| other == byte || places >> at & 1 == 1;
                    let word = std::array::from_fn(|at| if is(at) { byte } else { other });
                    let word = u64::from_le_bytes(word);
                    let bits =
                        (0..8).filter(|at| is(*at)).fold(0, |bits, at| bits | 0x80 << (8 * at));
                    assert_eq!(equal_to(word, byte), bits, "{word:#x}");
                    let first = first_equal_to(word, byte);
                    assert_eq!(first.trailing_zeros(), bits.trailing_zeros(), "{word:#x}");
                }
            }
        }
    }
}
