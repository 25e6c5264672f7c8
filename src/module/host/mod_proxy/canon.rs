//! The canonical form of an `http://` URL, as mod_proxy_http's canon_handler makes it.

use super::super::message::Message;
use super::super::{Answer, Request, pool, sys};
use super::Proxy;
use std::ffi::{CStr, c_int};

/// Whether the name of the request's file is its base, a slash and its path already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filename {
    Made,
    ToMake,
}

/// The part of a URL that the backend would be sent.
#[derive(Clone, Copy, Debug)]
enum Part {
    Path,
    Query,
}

impl Proxy {
    /// Does what mod_proxy_http's canon_handler does with `http://host/` and the `path` behind it, which starts
    /// without a slash: the same URL from the same parts, and the same refusals. `base` is the beginning of a
    /// file's name: `proxy:http://host`.
    ///
    /// The host is known to be canonical, so this does not parse the URL again. That saves a request 2,500 instructions;
    /// with them, `slot://` would cost more than a ProxyPass.
    pub(crate) fn canonicalise_http(
        &self,
        request: &Request,
        base: &CStr,
        path: &CStr,
        filename: Filename,
    ) -> Answer {
        let base = base.to_bytes();
        let is_plain = !request.has_notes() && is_plain(path);
        let (path, search) = if is_plain {
            (path, request.search())
        } else {
            match self.encoded(request, path) {
                Ok(encoded) => encoded,
                Err(answer) => return answer,
            }
        };
        match search.map(printable) {
            None if is_plain && filename == Filename::Made => {}
            None => request.set_filename(&[base, b"/", path.to_bytes()]),
            Some(Some(search)) => {
                request.set_filename(&[base, b"/", path.to_bytes(), b"?", search]);
            }
            Some(None) => return refuse(request, Part::Query),
        }
        Answer::OK
    }

    /// The path as the backend is sent it, and the query that belongs behind it.
    #[cold]
    #[inline(never)]
    fn encoded<'a>(
        &self,
        request: &'a Request,
        path: &'a CStr,
    ) -> Result<(&'a CStr, Option<&'a CStr>), Answer> {
        let r = request.raw();
        let raw = request.has_note(c"proxy-nocanon");
        if raw || request.has_note(c"proxy-noencode") {
            return match printable(path) {
                // The path includes the query.
                Some(_) if raw => Ok((path, None)),
                Some(_) => Ok((path, request.search())),
                None => Err(refuse(request, Part::Path)),
            };
        }
        let len = path.to_bytes().len() as c_int;
        let flags = if request.keeps_encoded_slashes() { self.encode_flags } else { 0 };
        // SAFETY: the request, and so its pool, is live. The answer is null, or a C string in the pool.
        let encoded = unsafe {
            let (pool, kind) = ((*r).pool, (*r).proxyreq);
            pool::borrow((self.encode)(pool, path.as_ptr(), len, sys::enc_path, flags, kind))
        };
        Ok((encoded.ok_or(Answer::BAD_REQUEST)?, request.search()))
    }
}

/// Whether mod_proxy's encoding would leave the path as it is: letters, digits and these marks have no other form.
fn is_plain(path: &CStr) -> bool {
    // A table saves the call of mod_proxy's encoder, which is several instructions for each byte.
    const PLAIN: [bool; 256] = {
        let (mut plain, mut byte) = ([false; 256], 0);
        while byte < 256 {
            plain[byte] = (byte as u8).is_ascii_alphanumeric()
                || matches!(byte as u8, b'/' | b'-' | b'_' | b'.');
            byte += 1;
        }
        plain
    };
    path.to_bytes().iter().all(|byte| PLAIN[usize::from(*byte)])
}

/// The whole text, if it has no control character and no space.
fn printable(text: &CStr) -> Option<&[u8]> {
    let start = text.as_ptr();
    // SAFETY: a C string; the answer points into it, or to its NUL.
    unsafe {
        let end = sys::ap_scan_vchar_obstext(start);
        (*end == 0)
            .then(|| std::slice::from_raw_parts(start.cast(), end.offset_from_unsigned(start)))
    }
}

#[cold]
fn refuse(request: &Request, part: Part) -> Answer {
    let part = match part {
        Part::Path => "path",
        Part::Query => "query",
    };
    let text = format!("the {part} to forward has control characters or spaces");
    request.log(Message::Unprintable, &text);
    Answer::FORBIDDEN
}
