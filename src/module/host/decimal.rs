//! Numbers as text for C, without an allocation.

use std::ffi::CStr;

/// A number in decimal, as a C string.
#[derive(Debug)]
pub(in crate::module) struct Decimal {
    text: [u8; 16],
    len: u8,
}

impl Decimal {
    pub(in crate::module) fn of(mut number: u32) -> Self {
        let (mut text, mut len) = (0u128, 0);
        loop {
            text = text << 8 | u128::from(b'0' + (number % 10) as u8);
            (number, len) = (number / 10, len + 1);
            if number == 0 {
                return Self { text: text.to_le_bytes(), len };
            }
        }
    }

    pub(in crate::module) fn text(&self) -> &CStr {
        // SAFETY: there are `len` digits, ten at most, and NULs behind them.
        unsafe { CStr::from_bytes_with_nul_unchecked(&self.text[..=usize::from(self.len)]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 42, 99_999, u32::MAX] {
            assert_eq!(Decimal::of(number).text().to_str(), Ok(&*number.to_string()));
        }
    }
}
