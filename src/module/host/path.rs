//! Paths of URLs, mapped to files.

use super::message::Message;
use super::request::Request;
use super::{Answer, pool, sys};
use std::ffi::{CStr, c_char};
use std::ptr::NonNull;
use wide::u8x16;

impl Request {
    /// Maps the path to a file below `root`, as the core does below DocumentRoot. It never leads out of `root`.
    #[inline(never)]
    pub(crate) fn map_below(&self, root: &CStr) -> Answer {
        let path = self.path().filter(|path| path.to_bytes().starts_with(b"/"));
        let Some(path) = path.filter(|_| !self.is_proxied()) else { return Answer::DECLINED };
        let Some(file) = self.join(root, path).or_else(|| self.merge(root, path)) else {
            return Answer::FORBIDDEN;
        };
        let r = self.raw();
        // SAFETY: the request is live, and the file a C string in its pool.
        unsafe {
            (*r).filename = file.as_ptr();
            (*r).canonical_filename = file.as_ptr();
        }
        Answer::OK
    }

    /// ServerPath: the prefix of the path that a client without a Host header sends instead of the name.
    fn server_path(&self) -> Option<&CStr> {
        // SAFETY: the request's server is live, and its path null or a C string of the configuration.
        unsafe { pool::borrow((*(*self.raw()).server).path) }
    }

    /// The file `path` below `root`, if `root` followed by `path` needs no change. This saves most requests APR's merge,
    /// which parses each segment.
    fn join(&self, root: &CStr, path: &CStr) -> Option<NonNull<c_char>> {
        let [root, path] = [root, path].map(CStr::to_bytes);
        if self.server_path().is_some() || root.len() + path.len() > LONGEST {
            return None;
        }
        // SAFETY: the request, and so its pool, is live.
        let file = unsafe { pool::concat_before::<BEHIND>((*self.raw()).pool, &[root, path]) };
        is_canonical(file, root.len()).then(|| NonNull::from(file).cast())
    }

    /// The same with APR's merge, which resolves all dots. `None`, with a line in the log, if the file is outside
    /// `root`.
    #[cold]
    #[inline(never)]
    fn merge(&self, root: &CStr, path: &CStr) -> Option<NonNull<c_char>> {
        let path = self.server_path().map_or(path, |prefix| without_server_path(path, prefix));
        let slashes = path.to_bytes().iter().take_while(|byte| **byte == b'/').count();
        let how = sys::APR_FILEPATH_TRUENAME | sys::APR_FILEPATH_SECUREROOT;
        let mut file = std::ptr::null_mut();
        let (root, below) = (root.as_ptr(), path[slashes..].as_ptr());
        // SAFETY: the request, and so its pool, is live; both are C strings.
        let merged = unsafe {
            sys::apr_filepath_merge(&raw mut file, root, below, how as _, (*self.raw()).pool)
        };
        if merged == sys::APR_SUCCESS as sys::apr_status_t {
            return NonNull::new(file);
        }
        let path = path.to_string_lossy();
        self.log(Message::PathOutside, &format!("cannot map {path:?} to a file"));
        None
    }
}

/// The path without its ServerPath.
fn without_server_path<'a>(path: &'a CStr, server_path: &CStr) -> &'a CStr {
    let prefix = server_path.to_bytes();
    let is_part = |rest: &[u8]| prefix.ends_with(b"/") || matches!(rest.first(), Some(b'/') | None);
    if path.to_bytes().strip_prefix(prefix).is_some_and(is_part) {
        return &path[prefix.len()..];
    }
    path
}

/// The bytes behind a path that [`is_canonical`] reads, because it compares 16 bytes at a time.
const BEHIND: usize = 16;

/// The longest name to join; longer ones are left to APR, which has limits.
const LONGEST: usize = 4000;

/// Whether APR's merge of a root, the first `root` bytes of `file`, and the path behind it would change nothing: one
/// slash is between them, and no segment is empty or begins with a dot. The last [`BEHIND`] bytes are NULs, and not
/// part of the path.
fn is_canonical(file: &[u8], root: usize) -> bool {
    let is_slash = |at: usize| file.get(at) == Some(&b'/');
    is_slash(root) && !is_slash(root.wrapping_sub(1)) && !has_odd_segment(&file[root..])
}

/// Whether a slash is followed by another slash or a dot.
///
/// Compares 16 bytes at a time, which saves a request 140 instructions for a path of usual length. Bytewise,
/// SlotDocumentRoot would be 570 above DocumentRoot; 500 are promised.
fn has_odd_segment(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some((firsts, seconds)) = pair(rest) {
        // A dot and a slash differ in this bit only.
        let seconds = u8x16::new(*seconds) | u8x16::splat(b'.' ^ b'/');
        if (u8x16::new(*firsts).simd_eq(b'/') & seconds.simd_eq(b'/')).any() {
            return true;
        }
        rest = &rest[16..];
    }
    false
}

/// Sixteen bytes, and the sixteen that begin one byte later.
fn pair(path: &[u8]) -> Option<(&[u8; 16], &[u8; 16])> {
    path.first_chunk().zip(path.get(1..)?.first_chunk())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_merge_would_change_is_not_canonical() {
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
