//! `slot://GROUP/path`: a scheme of mod_proxy. It is turned into the URL of the request's slot, with
//! that slot's own worker.
//!
//! ProxyPass, ProxyPassMatch and a server's RewriteRule have given the request its `slot://` URL when
//! map_to_storage comes: from then on it has the URL of the slot, as if that stood in the route. A
//! directory's RewriteRule and SetHandler come later, to mod_proxy's canon_handler, as with any backend.

use super::group::{Group, Slot};
use super::host::{Answer, Filename, Kept, Message, Proxy, Request, Text, Worker};
use super::pin::{self, State, enter_and_mark};
use super::site::Service;
use super::{docroot, rewrite};
use crate::address::{SLOT, path_of, split_slot_url};
use std::ffi::CStr;

pub(super) const PROXY: &[u8; 6] = b"proxy:";

/// The note of a request that has a slot's worker: httpd's fast redirects carry it along, and our own state
/// they do not.
const NOTE: &CStr = c"mod_slot-worker";

/// Where a request goes: a group, the slot of it that the request is in, and the path in its URL.
pub(super) type Way<'a> = (Kept<Group>, Kept<Slot>, &'a [u8]);

/// The slot that a request's URL was made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Routed {
    group: Kept<Group>,
    slot: Kept<Slot>,
    /// The address of the file's name that holds the URL: whoever gives the request another URL puts another
    /// name there.
    filename: usize,
}

/// map_to_storage, before all others: the slot is known before `<If>` and `<Proxy>` are looked at.
#[inline]
pub(super) fn enter(request: &Request) -> Answer {
    if request.is_proxied() {
        return enter_proxied(request);
    }
    if request.is_sub_request() {
        docroot::inherit(request);
    }
    Answer::DECLINED
}

/// Not inline, so that requests for files do not pay for it.
#[inline(never)]
fn enter_proxied(request: &Request) -> Answer {
    let Some(service) = Service::of(request) else { return Answer::DECLINED };
    let Some(url) = request.filename_behind(PROXY) else { return Answer::DECLINED };
    let Some(behind) = url.strip_scheme(SLOT) else { return enter_named(request, service, url) };
    if request.is_forward_proxied() {
        return Answer::DECLINED;
    }
    if request.is_rewritten() && !is_of_route(request, url) {
        return refuse_text(request, url);
    }
    match way(request, service, behind.c_str().to_bytes()) {
        Ok(way) => give_url(request, service, way, Some(url)),
        Err(answer) => answer,
    }
}

/// Whether a ProxyPass has given a rewritten request its URL.
fn is_of_route(request: &Request, url: Text<'_>) -> bool {
    State::known(request).is_some_and(|state| state.passed.get() == url.address())
}

/// A rule of mod_rewrite has put a `slot://` URL together that is not in its text: a client may have sent it.
#[cold]
fn refuse_text(request: &Request, url: Text<'_>) -> Answer {
    let url = url.c_str().to_string_lossy();
    request.log(
        Message::UrlFromText,
        &format!("refused to proxy {url:?}: no rule and no route has this slot:// URL in its text"),
    );
    Answer::SERVER_ERROR
}

/// A server's RewriteRule has named the group, or the URL is another backend's.
#[inline(never)]
fn enter_named(request: &Request, service: Kept<Service>, url: Text<'_>) -> Answer {
    match named_way(request, service, url) {
        Some(Ok(way)) => give_url(request, service, way, None),
        Some(Err(answer)) => answer,
        None => Answer::DECLINED,
    }
}

/// Gives a request the URL of its slot, and applies the `<Proxy>` sections to it, as mod_proxy's
/// map_to_storage does. `url` is the `slot://` URL; `None` where a rule has named the group.
#[inline(always)]
fn give_url(
    request: &Request,
    service: Kept<Service>,
    (group, slot, path): Way<'_>,
    url: Option<Text<'_>>,
) -> Answer {
    let (Some(prefix), Some(mod_proxy)) = (&slot.prefix, &service.site.proxy) else {
        return no_backend(request, &slot);
    };
    request.set_filename(&[prefix.to_bytes(), path]);
    let filename = request.filename_address();
    State::of(request).routed.set(Some(Routed { group, slot, filename }));
    if mod_proxy.has_sections(request) {
        apply_sections(request, mod_proxy, (group, slot, path), url);
    }
    Answer::OK
}

/// Applies the sections for the slot's address, and those for the `slot://` URL. mod_proxy takes the path of a
/// unix socket out of a route's URL before it does so, and out of a rule's URL after it.
#[inline(never)]
fn apply_sections(
    request: &Request,
    mod_proxy: &Proxy,
    (group, slot, path): Way<'_>,
    url: Option<Text<'_>>,
) {
    let Some(own) = request.filename_behind(PROXY) else { return };
    match (url, slot.socket()) {
        (Some(url), _) => mod_proxy.apply_sections(request, [own.c_str(), url.c_str()]),
        (None, socket) => {
            let url = request.keep_text(&[SLOT, group.name.as_bytes(), path]);
            let own = request.keep_text(&[socket, own.c_str().to_bytes()]);
            mod_proxy.apply_sections(request, [&own, &url]);
        }
    }
}

/// fixups: `SetHandler "proxy:slot://…"`, and the environment of a sub-request or an internal redirect.
#[inline]
pub(super) fn mark(request: &Request) -> Answer {
    // A request that is mod_proxy's already has no use for a handler.
    let may_be_by_handler = request.has_handler() && !request.is_proxied();
    if may_be_by_handler || !request.is_root() { fix_up(request) } else { Answer::DECLINED }
}

#[inline(never)]
fn fix_up(request: &Request) -> Answer {
    let Some(service) = Service::of(request) else { return Answer::DECLINED };
    if let Some(answer) = enter_by_handler(request, service) {
        return answer;
    }
    if !request.is_root() {
        pin::inherit(request);
    }
    Answer::DECLINED
}

/// Enters the slot that the handler names; `None` for another handler.
#[inline(never)]
fn enter_by_handler(request: &Request, service: Kept<Service>) -> Option<Answer> {
    let url = request.handler_behind(PROXY)?.strip_scheme(SLOT)?;
    Some(way(request, service, url.c_str().to_bytes()).err().unwrap_or(Answer::DECLINED))
}

/// check_trans, of a ProxyPass that matches: a slot that takes WebSockets only leaves other requests to the next
/// ProxyPass, as its address would.
#[inline]
pub(super) fn check_route(request: &Request, url: Text<'_>) -> Answer {
    if request.is_rewritten() {
        // The request is given this very text as its URL, if the ProxyPass takes it.
        State::of(request).passed.set(url.address());
    }
    match Service::of(request) {
        Some(service) if service.site.has_websockets => check_websocket(request, service, url),
        _ => Answer::DECLINED,
    }
}

#[inline(never)]
fn check_websocket(request: &Request, service: Kept<Service>, url: Text<'_>) -> Answer {
    let Some(behind) = url.strip_scheme(SLOT) else { return Answer::DECLINED };
    let found = service.find_part(|service| service.site.find(behind.c_str().to_bytes()));
    let Ok((group, _)) = found else { return Answer::DECLINED };
    if !group.has_websockets() {
        return Answer::DECLINED;
    }
    // The request enters only where its slot decides.
    let slot = match group.try_part(Group::all_websockets) {
        Some(slot) => Some(slot),
        None => enter_and_mark(request, group),
    };
    let slot = slot.filter(|slot| slot.is_websocket);
    match (slot.as_deref().and_then(Slot::base), &service.site.proxy) {
        (Some(base), Some(mod_proxy)) => mod_proxy.check_trans(request, &base[PROXY.len()..]),
        _ => Answer::DECLINED,
    }
}

/// canon_handler: has mod_proxy's own modules canonicalise the URL of the slot, so that the backend
/// is sent what a ProxyPass to it would send. `url` is a copy of what is behind `proxy:`.
pub(super) fn canonicalise(request: &Request, url: Text<'_>) -> Answer {
    let Some(service) = Service::of(request) else { return Answer::DECLINED };
    let routed = match State::known(request) {
        // This is the URL of its slot, on its way to the module that speaks its scheme.
        Some(state) if state.canonicalises.get() => return Answer::DECLINED,
        Some(state) => state.routed.get(),
        None => None,
    };
    if let Some(Routed { group, slot, filename }) = routed
        && filename == request.filename_address()
        && let Some(path) = path_behind(&slot, url)
    {
        // It has the canonical form already, if nothing in its path has to be encoded.
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

/// For a URL that came after map_to_storage: of SetHandler, or of a directory's RewriteRule.
#[inline(never)]
fn canonicalise_late(request: &Request, service: Kept<Service>, url: Text<'_>) -> Answer {
    if !request.is_reverse_proxied() {
        return Answer::DECLINED;
    }
    match late_way(request, service, url) {
        Some(Ok((group, slot, path))) => {
            let whole = url.c_str();
            let path = &whole[whole.count_bytes() - path.len()..];
            canonicalise_slot(request, service, &group, slot, path, Filename::ToMake)
        }
        Some(Err(answer)) => answer,
        None => canonicalise_other(request, url),
    }
}

/// The way of a `slot://` URL, or of one that a rule has made of it; `None` for another URL.
pub(super) fn late_way<'a>(
    request: &'a Request,
    service: Kept<Service>,
    url: Text<'a>,
) -> Option<Result<Way<'a>, Answer>> {
    match url.strip_scheme(SLOT) {
        Some(behind) => Some(way(request, service, behind.c_str().to_bytes())),
        None => named_way(request, service, url),
    }
}

/// The URL of another backend. Whatever this request was before, it is in no slot's worker now.
pub(super) fn canonicalise_other(request: &Request, url: Text<'_>) -> Answer {
    if let Some(state) = State::known(request) {
        state.routed.set(None);
        state.worker.set(None);
    }
    if request.note(NOTE).is_some() {
        request.set_note(NOTE, None);
    }
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

/// Whether a part of the URL's path begins with `slot:`. mod_rewrite makes that of a `slot://` URL that no rule
/// of the configuration has as its text: this server would ask itself, again and again.
fn names_slot_in_path(url: &[u8]) -> bool {
    let url = url.split(|byte| *byte == b'?').next().unwrap_or_default();
    let Some(path) = path_of(url) else { return false };
    path.contains(&b':') && path.windows(6).any(|bytes| bytes.eq_ignore_ascii_case(b"/slot:"))
}

/// `path` is what is behind the group's name, and ends where the URL ends. `is_made`: the request has the URL of
/// the slot and this path already.
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
        set_worker(request, service, mod_proxy, group, &slot);
    }
    answer
}

/// The same for a URL that mod_proxy would ask for as it is: `path` is encoded, and has its query.
pub(super) fn take_as_is(
    request: &Request,
    service: Kept<Service>,
    (group, slot, path): Way<'_>,
) -> Answer {
    let (Some(base), Some(mod_proxy)) = (slot.base(), &service.site.proxy) else {
        return no_backend(request, &slot);
    };
    request.set_filename(&[base.to_bytes(), path]);
    set_worker(request, service, mod_proxy, &group, &slot);
    Answer::OK
}

/// The request is to be sent by its slot's own worker. Where the slot is a balancer, that chooses one.
#[inline(always)]
fn set_worker(
    request: &Request,
    service: Kept<Service>,
    mod_proxy: &Proxy,
    group: &Group,
    slot: &Slot,
) {
    let own = service.worker(request, mod_proxy, group, slot);
    let state = State::of(request);
    state.worker.set(own.map(|own| own.worker));
    state.sent.set(request.filename_address());
    // Only the place of a request can be taken by one that was made on its behalf.
    if request.is_sub_request() {
        let note = own.and_then(|own| service.try_part(|service| service.site.note_of(own)));
        request.set_note(NOTE, note);
    }
}

/// Finds the group that `url` names, and enters its active slot.
#[inline(always)]
fn way<'a>(request: &Request, service: Kept<Service>, url: &'a [u8]) -> Result<Way<'a>, Answer> {
    let found = service.find_part(|service| service.site.find(url));
    let (group, path) = found.map_err(|name| no_group(request, name))?;
    let slot = enter_and_mark(request, group).ok_or(Answer::UNAVAILABLE)?;
    Ok((group, slot, path))
}

/// The same for a group that a RewriteRule has named; `None` for another URL.
#[inline(always)]
fn named_way<'a>(
    request: &'a Request,
    service: Kept<Service>,
    url: Text<'a>,
) -> Option<Result<Way<'a>, Answer>> {
    // Most are told apart by their first bytes.
    url.strip_prefix(rewrite::PREFIX)?;
    named_way_of(request, service, url.c_str().to_bytes())
}

#[cold]
#[inline(never)]
fn named_way_of<'a>(
    request: &'a Request,
    service: Kept<Service>,
    url: &'a [u8],
) -> Option<Result<Way<'a>, Answer>> {
    let Ok((name, path)) = rewrite::resolve(request, url)? else {
        let url = String::from_utf8_lossy(url);
        request.log(
            Message::UrlUnnamed,
            &format!("refused to proxy {url:?}: no rule has named a group by it"),
        );
        return Some(Err(Answer::SERVER_ERROR));
    };
    Some(way(request, service, name.to_bytes()).map(|(group, slot, _)| (group, slot, path)))
}

/// What mod_proxy's own modules make of the URL.
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

/// For a request that SetHandler sends here, mod_proxy has put the path of a file behind the URL.
/// FastCGI and its kin want that; all others want the path that the client asked for.
fn path_of_handler<'a>(request: &'a Request, slot: &Slot) -> Option<(&'a [u8], &'a [u8])> {
    if slot.wants_file || !request.is_by_handler() {
        return None;
    }
    let (_, prefix) = split_slot_url(request.handler_behind(PROXY)?.c_str().to_bytes())?;
    // The slot's base ends in a slash, and the path begins with one.
    let prefix = prefix.strip_prefix(b"/").unwrap_or(prefix);
    let path = request.path()?.to_bytes();
    let joined = prefix.is_empty() || prefix.ends_with(b"/");
    Some((prefix, if joined { path.strip_prefix(b"/").unwrap_or(path) } else { path }))
}

/// pre_request: whose worker is it? Found by pointer, where mod_proxy would search by name.
pub(super) fn worker(request: &Request) -> Option<Worker> {
    match State::known(request).and_then(|state| state.worker.get()) {
        Some(worker) => Some(worker),
        // It has taken the place of another one, whose state it does not have.
        None => noted_worker(request),
    }
}

#[inline]
fn noted_worker(request: &Request) -> Option<Worker> {
    Service::of(request)?.site.noted(request.note(NOTE)?)
}

/// scheme_handler: a request in a slot is sent by that slot's worker, or not at all.
pub(super) fn check_worker(request: &Request, chosen: Option<Worker>) -> Answer {
    match worker(request) {
        Some(own) if Some(own) != chosen => {
            let text = "refused: another module has given a request of slot:// a worker that is not its slot's";
            request.log(Message::ForeignWorker, text);
            Answer::SERVER_ERROR
        }
        _ => Answer::DECLINED,
    }
}

fn no_group(request: &Request, name: &[u8]) -> Answer {
    let name = String::from_utf8_lossy(name);
    request.log(Message::NoGroup, &format!("slot://{name}: there is no <SlotGroup {name}>"));
    Answer::SERVER_ERROR
}

fn no_backend(request: &Request, slot: &Slot) -> Answer {
    let name = slot.name.to_string_lossy();
    request.log(Message::NoBackend, &format!("slot {name:?} has no backend: its address is -"));
    Answer::UNAVAILABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_mod_rewrite_made_of_a_slot_url_is_seen() {
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
