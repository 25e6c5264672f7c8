//! `slot://GROUP/path`, a scheme of mod_proxy: it becomes the URL of the request's slot, with that slot's own worker.
//!
//! ProxyPass, ProxyPassMatch and a server's RewriteRule have given the request its `slot://` URL before
//! map_to_storage. There it becomes the URL of the slot, as if that stood in the route. A directory's RewriteRule and
//! SetHandler come later, in mod_proxy's canon_handler, as with any backend.

pub(super) mod canon;
pub(super) mod worker;

use super::group::{Group, Slot};
use super::host::{Answer, Kept, Message, Proxy, Request, Text};
use super::kept::{Routed, State};
use super::pin::{self, enter_and_mark};
use super::refusal::Purpose;
use super::several;
use super::site::Service;
use super::{docroot, rewrite};
use crate::address::SLOT;

pub(super) const PROXY: &[u8; 6] = b"proxy:";

/// Where a request goes: a group, the slot of it that the request is in, and the path in its URL.
pub(super) type Way<'a> = (Kept<Group>, Kept<Slot>, &'a [u8]);

/// map_to_storage, before all other modules: the slot is known before `<If>` and `<Proxy>` are evaluated.
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

/// Not inline, so that requests for files do not save and restore the registers that it uses.
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

/// A rule of mod_rewrite has made a `slot://` URL that is not in its text: a client may have sent it.
#[cold]
fn refuse_text(request: &Request, url: Text<'_>) -> Answer {
    let text = format!(
        "refused to proxy {:?}: no rule and no route has this slot:// URL in its text",
        url.c_str().to_string_lossy()
    );
    request.log(Message::UrlFromText, &text);
    Answer::SERVER_ERROR
}

/// For a URL that is not a `slot://` one: a server's RewriteRule has named the group, or it is another backend's.
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

/// Applies the sections for the slot's address and those for the `slot://` URL. mod_proxy removes the path of a
/// unix socket from the URL of a route before this, and from the URL of a rule after it.
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
    // If a request is mod_proxy's already, its handler is not used.
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
        several::list(request.root(), request);
    }
    Answer::DECLINED
}

/// Enters the slot that the handler names; `None` for another handler.
#[inline(never)]
fn enter_by_handler(request: &Request, service: Kept<Service>) -> Option<Answer> {
    let url = request.handler_behind(PROXY)?.strip_scheme(SLOT)?;
    Some(way(request, service, url.c_str().to_bytes()).err().unwrap_or(Answer::DECLINED))
}

/// check_trans, for a ProxyPass that matches: a slot that takes only WebSockets leaves other requests to the next
/// ProxyPass, as its address would.
#[inline]
pub(super) fn check_route(request: &Request, url: Text<'_>) -> Answer {
    if request.is_rewritten() {
        // If the ProxyPass takes the request, it gives it this very text as its URL.
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
    // The request enters only if the answer depends on its slot.
    let slot = match group.try_part(Group::all_websockets) {
        Some(slot) => Some(slot),
        None => enter_and_mark(request, group, Purpose::Backend),
    };
    let slot = slot.filter(|slot| slot.is_websocket);
    match (slot.as_deref().and_then(Slot::base), &service.site.proxy) {
        (Some(base), Some(mod_proxy)) => mod_proxy.check_trans(request, &base[PROXY.len()..]),
        _ => Answer::DECLINED,
    }
}

/// Finds the group that `url` names, and enters its active slot.
#[inline(always)]
fn way<'a>(request: &Request, service: Kept<Service>, url: &'a [u8]) -> Result<Way<'a>, Answer> {
    let found = service.find_part(|service| service.site.find(url));
    let (group, path) = found.map_err(|name| no_group(request, name))?;
    let slot = enter_and_mark(request, group, Purpose::Backend).ok_or(Answer::UNAVAILABLE)?;
    Ok((group, slot, path))
}

/// The same for a group that a RewriteRule has named; `None` for another URL.
#[inline(always)]
fn named_way<'a>(
    request: &'a Request,
    service: Kept<Service>,
    url: Text<'a>,
) -> Option<Result<Way<'a>, Answer>> {
    // The first bytes are enough to exclude most other URLs.
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
        let text = format!("refused to proxy {url:?}: no rule has named a group by it");
        request.log(Message::UrlUnnamed, &text);
        return Some(Err(Answer::SERVER_ERROR));
    };
    Some(way(request, service, name.to_bytes()).map(|(group, slot, _)| (group, slot, path)))
}

fn no_group(request: &Request, name: &[u8]) -> Answer {
    let name = String::from_utf8_lossy(name);
    let text = format!("slot://{name}: there is no <SlotGroup {name}>");
    request.log(Message::NoGroup, &text);
    Answer::SERVER_ERROR
}

fn no_backend(request: &Request, slot: &Slot) -> Answer {
    let name = slot.name.to_string_lossy();
    request.log(Message::NoBackend, &format!("slot {name:?} has no backend: its address is -"));
    Answer::UNAVAILABLE
}
