//! The path of a URL as part of a file's name.

use crate::swar::{equal_to, splat};

/// Whether APR's merge of the two is nothing but one behind the other: a single slash is between them,
/// nothing goes up or nowhere, and nothing is too long.
pub(super) fn is_canonical(root: &[u8], path: &[u8]) -> bool {
    const LONGEST: usize = 4000;
    path.starts_with(b"/")
        && !has_odd_segment(path)
        && !root.ends_with(b"/")
        && root.len() + path.len() < LONGEST
}

/// Whether a slash has another one behind it, or a dot.
fn has_odd_segment(path: &[u8]) -> bool {
    let Some(last) = path.last_chunk::<9>() else {
        return path.windows(2).any(|two| two[0] == b'/' && matches!(two[1], b'/' | b'.'));
    };
    let is_odd = |nine: &[u8; 9]| {
        let [firsts, seconds] =
            [0, 1].map(|at| u64::from_le_bytes(std::array::from_fn(|i| nine[at + i])));
        // With this bit, which is all that they differ in, a dot and a slash are one.
        equal_to(firsts, b'/') & equal_to(seconds | splat(b'.' ^ b'/'), b'/') != 0
    };
    let mut rest = path;
    while let Some(nine) = rest.first_chunk() {
        if is_odd(nine) {
            return true;
        }
        rest = &rest[8..];
    }
    is_odd(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_merge_would_change_is_not_canonical() {
        let plain = |path: &str| is_canonical(b"/srv/app", path.as_bytes());
        for path in ["/", "/a", "/a/", "/a/b.txt", "/a./b", "/a../b...", "/\u{e9}"] {
            assert!(plain(path), "{path:?}");
        }
        for path in ["", "a", "/.", "/..", "/../x", "/a/..", "/a/./b", "//", "/a//b", "/.htaccess"]
        {
            assert!(!plain(path), "{path:?}");
        }
        assert!(!plain(&format!("/{}", "x".repeat(4000))) && !is_canonical(b"/", b"/a"));
        for len in 2..40 {
            let path: String = (0..len).map(|at| if at % 5 == 0 { '/' } else { 'x' }).collect();
            assert!(plain(&path), "{path:?}");
            for at in (1..len).filter(|at| at % 5 == 1) {
                for odd in [".", "/"] {
                    let mut path = path.clone();
                    path.replace_range(at..=at, odd);
                    assert!(!plain(&path), "{path:?}");
                }
            }
        }
    }
}
