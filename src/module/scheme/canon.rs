//! canon_handler: the backend is sent what a ProxyPass to its own address would send.

use super::worker;
use super::{PROXY, Way, named_way, no_backend, way};
use crate::address::{SLOT, path_of, split_slot_url};
use crate::module::group::{Group, Slot};
use crate::module::host::{Answer, Filename, Kept, Message, Proxy, Request, Text};
use crate::module::kept::{Routed, State};
use crate::module::site::Service;
use std::ffi::CStr;

/// canon_handler: has mod_proxy's own modules canonicalise the URL of the slot. `url` is a copy of what is behind
/// `proxy:`.
pub(in crate::module) fn canonicalise(request: &Request, url: Text<'_>) -> Answer {
    let Some(service) = Service::of(request) else { return Answer::DECLINED };
    let routed = match State::known(request) {
        // This is the URL of the slot, on its way to the module of its scheme.
        Some(state) if state.canonicalises.get() => return Answer::DECLINED,
        Some(state) => state.routed.get(),
        None => None,
    };
    if let Some(Routed { group, slot, filename }) = routed
        && filename == request.filename_address()
        && let Some(path) = path_behind(&slot, url)
    {
        // The URL has its canonical form already if nothing in its path has to be encoded.
        let is_made = slot.is_canonical() && path.to_bytes().starts_with(b"/");
        let filename = if is_made { Filename::Made } else { Filename::ToMake };
        return canonicalise_slot(request, service, &group, slot, path, filename);
    }
    canonicalise_late(request, service, url)
}

/// The path behind the slot's prefix.
#[inline]
fn path_behind<'a>(slot: &Slot, url: Text<'a>) -> Option<&'a CStr> {
    let (prefix, url) = (slot.prefix.as_deref()?.count_bytes() - PROXY.len(), url.c_str());
    (prefix <= url.count_bytes()).then(|| &url[prefix..])
}

/// For a URL that came after map_to_storage, from SetHandler or a directory's RewriteRule.
#[inline(never)]
fn canonicalise_late(request: &Request, service: Kept<Service>, url: Text<'_>) -> Answer {
    if !request.is_reverse_proxied() {
        return Answer::DECLINED;
    }
    match late_way(request, service, url) {
        Some(Ok((group, slot, path))) => {
            let whole = url.c_str();
            let path = &whole[whole.count_bytes() - path.len()..];
            State::of(request).bound.set(group.at as u32 + 1);
            canonicalise_slot(request, service, &group, slot, path, Filename::ToMake)
        }
        Some(Err(answer)) => answer,
        None => canonicalise_other(request, url),
    }
}

/// The way of a `slot://` URL, or of the URL that a rule has made of one; `None` for another URL.
pub(in crate::module) fn late_way<'a>(
    request: &'a Request,
    service: Kept<Service>,
    url: Text<'a>,
) -> Option<Result<Way<'a>, Answer>> {
    match url.strip_scheme(SLOT) {
        Some(behind) => Some(way(request, service, behind.c_str().to_bytes())),
        None => named_way(request, service, url),
    }
}

/// For the URL of another backend: the request has no slot's worker from now on.
pub(in crate::module) fn canonicalise_other(request: &Request, url: Text<'_>) -> Answer {
    worker::forget(request);
    if names_slot_in_path(url.c_str().to_bytes()) {
        let text = format!(
            "refused to proxy {:?}: a path with \"/slot:\" in it. A slot:// URL comes from a route's own text; \
             from a map of mod_rewrite, by \"RewriteMap m int:slot\" or slot://${{map}}/",
            url.c_str().to_string_lossy()
        );
        request.log(Message::SlotInPath, &text);
        return Answer::SERVER_ERROR;
    }
    Answer::DECLINED
}

/// Whether a segment of the URL's path begins with `slot:`. mod_rewrite makes such a path of a `slot://` URL that is
/// not in the text of a rule; the URL leads to this server again, which would ask itself without end.
fn names_slot_in_path(url: &[u8]) -> bool {
    let url = url.split(|byte| *byte == b'?').next().unwrap_or_default();
    let Some(path) = path_of(url) else { return false };
    path.contains(&b':') && path.windows(6).any(|bytes| bytes.eq_ignore_ascii_case(b"/slot:"))
}

/// `path` is what is behind the group's name, to the end of the URL.
#[inline(never)]
fn canonicalise_slot(
    request: &Request,
    service: Kept<Service>,
    group: &Group,
    slot: Kept<Slot>,
    path: &CStr,
    filename: Filename,
) -> Answer {
    let (Some(base), Some(mod_proxy)) = (slot.base(), &service.site.proxy) else {
        return no_backend(request, &slot);
    };
    let bytes = path.to_bytes();
    let answer = if slot.is_http && !request.is_by_handler() && bytes.starts_with(b"/") {
        mod_proxy.canonicalise_http(request, base, &path[1..], filename)
    } else {
        canonicalise_by_scheme(request, mod_proxy, &slot, base, bytes)
    };
    if answer == Answer::OK {
        worker::set(request, service, mod_proxy, group, &slot);
    }
    answer
}

/// The same for a URL that mod_proxy would ask for as it is: `path` is encoded, and includes the query.
pub(in crate::module) fn take_as_is(
    request: &Request,
    service: Kept<Service>,
    (group, slot, path): Way<'_>,
) -> Answer {
    let (Some(base), Some(mod_proxy)) = (slot.base(), &service.site.proxy) else {
        return no_backend(request, &slot);
    };
    request.set_filename(&[base.to_bytes(), path]);
    State::of(request).bound.set(group.at as u32 + 1);
    worker::set(request, service, mod_proxy, &group, &slot);
    Answer::OK
}

/// Has the module of the slot's scheme canonicalise the URL.
#[inline(never)]
fn canonicalise_by_scheme(
    request: &Request,
    mod_proxy: &Proxy,
    slot: &Slot,
    base: &CStr,
    path: &[u8],
) -> Answer {
    let base = &base.to_bytes()[PROXY.len()..];
    let canonicalises = &State::of(request).canonicalises;
    canonicalises.set(true);
    let answer = match path_of_handler(request, slot) {
        Some((prefix, path)) => mod_proxy.canonicalise(request, &[base, b"/", prefix, path]),
        None => mod_proxy.canonicalise(request, &[base, path]),
    };
    canonicalises.set(false);
    answer
}

/// The path for a request that SetHandler sends here. mod_proxy has put the path of a file behind the URL: FastCGI
/// and similar protocols want that one, and all others want the path that the client asked for.
fn path_of_handler<'a>(request: &'a Request, slot: &Slot) -> Option<(&'a [u8], &'a [u8])> {
    if slot.wants_file || !request.is_by_handler() {
        return None;
    }
    let (_, prefix) = split_slot_url(request.handler_behind(PROXY)?.c_str().to_bytes())?;
    // The slot's base ends with a slash, and the path begins with one.
    let prefix = prefix.strip_prefix(b"/").unwrap_or(prefix);
    let path = request.path()?.to_bytes();
    let joined = prefix.is_empty() || prefix.ends_with(b"/");
    Some((prefix, if joined { path.strip_prefix(b"/").unwrap_or(path) } else { path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_mod_rewrite_made_of_a_slot_url_is_recognised() {
        let seen = |url: &str| names_slot_in_path(url.as_bytes());
        for url in [
            "http://h/slot://app/x",
            "http://h:80/a/slot:/app",
            "http://h/SLOT://app",
            "http://h/srv/www/slot:x?y",
            "ajp://[::1]:8009/a/slot://b",
        ] {
            assert!(seen(url), "{url}");
        }
        for url in [
            "http://h/x?u=/slot://app/",
            "http://slot:8080/x",
            "http://slot:8080",
            "http://h/timeslot:5",
            "http://h/slot/a:b",
            "http://h",
            "",
            "balancer://blue/a:b",
        ] {
            assert!(!seen(url), "{url}");
        }
    }
}
