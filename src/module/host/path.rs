//! The path of a URL as part of a file's name.

use wide::u8x16;

/// How many bytes are to be behind a path that [`is_canonical`] looks at.
pub(super) const BEHIND: usize = 16;

/// No longer name is looked at here.
pub(super) const LONGEST: usize = 4000;

/// Whether APR's merge of a root, which is the first `root` bytes of `file`, and of the path behind it
/// is nothing but one behind the other: a single slash is between them, and nothing goes up or nowhere.
/// The last [`BEHIND`] bytes are NULs, and no part of the path.
pub(super) fn is_canonical(file: &[u8], root: usize) -> bool {
    let is_slash = |at: usize| file.get(at) == Some(&b'/');
    is_slash(root) && !is_slash(root.wrapping_sub(1)) && !has_odd_segment(&file[root..])
}

/// Whether a slash has another one behind it, or a dot.
fn has_odd_segment(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(bytes) = rest.first_chunk::<17>() {
        let (Some(firsts), Some(seconds)) = (bytes.first_chunk(), bytes.last_chunk()) else {
            break;
        };
        let firsts = u8x16::new(*firsts);
        // With this bit, which is all that they differ in, a dot and a slash are one.
        let seconds = u8x16::new(*seconds) | u8x16::splat(b'.' ^ b'/');
        if (firsts.simd_eq(b'/') & seconds.simd_eq(b'/')).any() {
            return true;
        }
        rest = &rest[16..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_merge_would_change_is_not_canonical() {
        let below = |root: &str, path: &str| {
            is_canonical(format!("{root}{path}{}", "\0".repeat(BEHIND)).as_bytes(), root.len())
        };
        let plain = |path: &str| below("/srv/app", path);
        for path in ["/", "/a", "/a/", "/a/b.txt", "/a./b", "/a../b...", "/\u{e9}"] {
            assert!(plain(path), "{path:?}");
        }
        for path in ["", "a", "/.", "/..", "/../x", "/a/..", "/a/./b", "//", "/a//b", "/.htaccess"]
        {
            assert!(!plain(path), "{path:?}");
        }
        assert!(!below("/", "/a") && !below("/srv/", "/a"));
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
