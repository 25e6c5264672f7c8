//! `slot://GROUP/path`: a scheme of mod_proxy. It is turned into the URL of the request's slot, with
//! that slot's own worker.
//!
//! ProxyPass, ProxyPassMatch and a server's RewriteRule have given the request its `slot://` URL
//! when map_to_storage comes; a directory's RewriteRule and SetHandler do it later. All of them end
//! in mod_proxy's canon_handler.

use super::address::{SLOT, split_slot_url};
use super::host::{Answer, Kept, Level, Proxy, Request, Text, Worker};
use super::request::{State, Way, enter_and_mark, way_of_entered};
use super::site::{Service, Slot};
use std::ffi::CStr;

const PROXY: &[u8; 6] = b"proxy:";

/// map_to_storage, before all others: the slot is known before `<If>` and `<Proxy>` are looked at.
#[inline]
pub(super) fn enter(request: &Request) -> Answer {
    if request.is_proxied() { enter_proxied(request) } else { Answer::DECLINED }
}

/// Not inline: files are not to pay for it.
#[inline(never)]
fn enter_proxied(request: &Request) -> Answer {
    let Some(service) = request.service() else { return Answer::DECLINED };
    let Some(url) = request.filename_behind(PROXY) else { return Answer::DECLINED };
    if service.site.rewrites
        && let Some(answer) = enter_rewritten(request, service, url)
    {
        return answer;
    }
    enter_text(request, service, url).unwrap_or(Answer::DECLINED)
}

/// mod_rewrite made the URL out of a `slot://` URL.
#[inline(never)]
fn enter_rewritten(request: &Request, service: Kept<Service>, url: Text<'_>) -> Option<Answer> {
    let url = unwrap(request, url.c_str())?.to_bytes();
    request.set_filename(&[PROXY, SLOT, url]);
    Some(enter_url(request, service, url))
}

/// fixups: `SetHandler "proxy:slot://…"`. Whether that is the handler.
#[inline(never)]
pub(super) fn enter_by_handler(request: &Request, service: Kept<Service>) -> Option<Answer> {
    enter_text(request, service, request.handler_behind(PROXY)?)
}

#[inline(always)]
fn enter_text(request: &Request, service: Kept<Service>, url: Text<'_>) -> Option<Answer> {
    Some(enter_url(request, service, url.strip_scheme(SLOT)?.c_str().to_bytes()))
}

/// `url` is what is behind `slot://`.
#[inline(always)]
fn enter_url(request: &Request, service: Kept<Service>, url: &[u8]) -> Answer {
    if request.is_forward_proxied() {
        return Answer::DECLINED;
    }
    way(request, service, url).err().unwrap_or(Answer::DECLINED)
}

/// mod_rewrite knows no scheme of ours: it takes `slot://app/x` for a path, and makes it
/// `http://this.server/slot://app/x` or, in a directory, `http://this.server/its/path/slot://app/x`. What
/// is behind `slot://` there.
#[inline(never)]
fn unwrap<'a>(request: &Request, url: &'a CStr) -> Option<&'a CStr> {
    let path = url.to_bytes().strip_prefix(request.own_url().to_bytes())?;
    let unwrapped = if split_slot_url(path).is_some() {
        path
    } else {
        let at = path.windows(8).position(|bytes| bytes.eq_ignore_ascii_case(b"/slot://"))? + 1;
        // The directory that the rule stands in, and not something that a client has sent.
        let file = request.mapped_file()?.to_bytes().strip_prefix(b"/")?;
        file.starts_with(&path[..at]).then_some(&path[at..])?
    };
    Some(&url[url.count_bytes() - unwrapped.len() + SLOT.len()..])
}

/// canon_handler: has mod_proxy's own modules canonicalise the URL of the slot, so that the backend
/// is sent what a ProxyPass to it would send.
pub(super) fn canonicalise(request: &Request, url: Text<'_>) -> Answer {
    let Some(service) = request.service() else { return Answer::DECLINED };
    if let Some(url) = url.strip_scheme(SLOT)
        && request.is_reverse_proxied()
    {
        return canonicalise_slot(request, service, url.c_str());
    }
    canonicalise_other(request, service, url)
}

/// mod_rewrite has made the URL out of a `slot://` URL, or it is none of ours.
#[inline(never)]
fn canonicalise_other(request: &Request, service: Kept<Service>, url: Text<'_>) -> Answer {
    if service.site.rewrites
        && request.is_reverse_proxied()
        && let Some(url) = unwrap(request, url.c_str())
    {
        return canonicalise_slot(request, service, url);
    }
    // Whatever this request was before, it is none of ours now.
    if let Some(state) = request.known_state::<State>() {
        state.worker.set(None);
    }
    Answer::DECLINED
}

/// `url` is what is behind `slot://`.
#[inline(never)]
fn canonicalise_slot(request: &Request, service: Kept<Service>, url: &CStr) -> Answer {
    let (group, chosen, path) = match way_of_entered(request, url.to_bytes()) {
        Some(way) => way,
        None => match late_way(request, service, url.to_bytes()) {
            Ok(way) => way,
            Err(answer) => return answer,
        },
    };
    let (Some(base), Some(mod_proxy)) = (&chosen.url, &service.site.proxy) else {
        return no_backend(request, &chosen);
    };
    let worker = service.worker(&group, &chosen, path);
    let answer = if chosen.is_http
        && !request.is_by_handler()
        && matches!(path.first(), Some(b'/') | None)
    {
        let start = url.count_bytes() - path.len();
        mod_proxy.canonicalise_http(request, base, &url[start + usize::from(!path.is_empty())..])
    } else {
        canonicalise_by_scheme(request, mod_proxy, &chosen, base, path)
    };
    if answer == Answer::OK {
        request.state::<State>().worker.set(worker);
    }
    answer
}

/// Finds the group that `url` names, and enters its active slot.
#[inline(always)]
fn way<'a>(request: &Request, service: Kept<Service>, url: &'a [u8]) -> Result<Way<'a>, Answer> {
    let found = service.find_part(|service| service.site.find(url));
    let (group, path) = found.map_err(|name| no_group(request, name))?;
    let slot = enter_and_mark(request, group).ok_or(Answer::UNAVAILABLE)?;
    Ok((group, slot, path))
}

/// The same in mod_proxy's canon_handler: for a request that has not entered before, or that is in
/// several slots, or that the client did not make.
#[cold]
#[inline(never)]
fn late_way<'a>(
    request: &Request,
    service: Kept<Service>,
    url: &'a [u8],
) -> Result<Way<'a>, Answer> {
    way(request, service, url)
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
    match path_of_handler(request, slot) {
        Some((prefix, path)) => mod_proxy.canonicalise(request, &[base, prefix, path]),
        None => mod_proxy.canonicalise(request, &[base, path.strip_prefix(b"/").unwrap_or(path)]),
    }
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
    request.known_state::<State>()?.worker.get()
}

fn no_group(request: &Request, name: &[u8]) -> Answer {
    let name = String::from_utf8_lossy(name);
    request.log(Level::Error, &format!("slot://{name}: there is no <SlotGroup {name}>"));
    Answer::SERVER_ERROR
}

fn no_backend(request: &Request, slot: &Slot) -> Answer {
    let name = slot.name.to_string_lossy();
    request.log(Level::Error, &format!("slot {name:?} has no backend: its address is -"));
    Answer::UNAVAILABLE
}
