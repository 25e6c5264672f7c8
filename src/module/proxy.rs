//! `slot://GROUP/path`: a scheme of mod_proxy. It is turned into the URL of the request's slot, with
//! that slot's own worker.
//!
//! ProxyPass, ProxyPassMatch and a server's RewriteRule have given the request its `slot://` URL
//! when map_to_storage comes; a directory's RewriteRule and SetHandler do it later. All of them end
//! in mod_proxy's canon_handler.

use super::address::{SLOT, split_slot_url};
use super::host::{Answer, Kept, Level, Request, Text, Worker};
use super::request::{State, enter_and_mark, find_group, stay_and_mark};
use super::site::{Service, Slot};
use std::ffi::CStr;

const PROXY: &[u8; 6] = b"proxy:";

/// map_to_storage, before all others: the slot is known before `<If>` and `<Proxy>` are looked at.
#[inline]
pub(super) fn enter(request: &mut Request) -> Answer {
    if request.is_proxied() { enter_proxied(request) } else { Answer::DECLINED }
}

/// Not inline: files are not to pay for it.
#[inline(never)]
fn enter_proxied(request: &Request) -> Answer {
    let Some(service) = request.service() else { return Answer::DECLINED };
    let Some(url) = request.filename_behind(PROXY) else { return Answer::DECLINED };
    if service.site.rewrites
        && let Some(unwrapped) = unwrap(request, url.c_str().to_bytes())
    {
        request.set_filename(&[PROXY, unwrapped]);
        return enter_url(request, service, &unwrapped[SLOT.len()..]);
    }
    enter_text(request, service, url).unwrap_or(Answer::DECLINED)
}

/// fixups: `SetHandler "proxy:slot://…"`. Whether that is the handler.
pub(super) fn enter_by_handler(request: &Request, service: Kept<Service>) -> Option<Answer> {
    enter_text(request, service, request.handler_behind(PROXY)?)
}

fn enter_text(request: &Request, service: Kept<Service>, url: Text<'_>) -> Option<Answer> {
    let url = url.starts_with(SLOT).then(|| url.c_str().to_bytes())?;
    Some(enter_url(request, service, &url[SLOT.len()..]))
}

/// `url` is what is behind `slot://`.
fn enter_url(request: &Request, service: Kept<Service>, url: &[u8]) -> Answer {
    if request.is_forward_proxied() {
        return Answer::DECLINED;
    }
    let group = match find_group(&request.root(), &service.site, url) {
        Ok((group, _)) => group,
        Err(name) => return no_group(request, name),
    };
    match enter_and_mark(request, service, group) {
        Some(_) => Answer::DECLINED,
        None => Answer::UNAVAILABLE,
    }
}

/// mod_rewrite knows no scheme of ours: it takes `slot://app/x` for a path, and makes it
/// `http://this.server/slot://app/x` or, in a directory, `http://this.server/its/path/slot://app/x`.
#[inline(never)]
fn unwrap<'a>(request: &Request, url: &'a [u8]) -> Option<&'a [u8]> {
    let path = url.strip_prefix(request.own_url().to_bytes())?;
    if split_slot_url(path).is_some() {
        return Some(path);
    }
    let at = path.windows(8).position(|bytes| bytes.eq_ignore_ascii_case(b"/slot://"))? + 1;
    // The directory that the rule stands in, and not something that a client has sent.
    let file = request.mapped_file()?.to_bytes().strip_prefix(b"/")?;
    file.starts_with(&path[..at]).then_some(&path[at..])
}

/// canon_handler: has mod_proxy's own modules canonicalise the URL of the slot, so that the backend
/// is sent what a ProxyPass to it would send.
pub(super) fn canonicalise(request: &mut Request, url: Text<'_>) -> Answer {
    let Some(service) = request.service() else { return Answer::DECLINED };
    match behind_slot(request, &service, url) {
        Some(url) if request.is_reverse_proxied() => canonicalise_slot(request, service, url),
        _ => {
            // Whatever this request was before, it is none of ours now.
            if let Some(state) = request.known_state::<State>() {
                state.worker.set(None);
            }
            Answer::DECLINED
        }
    }
}

/// What is behind `slot://` in a URL of ours.
fn behind_slot<'a>(request: &Request, service: &Service, url: Text<'a>) -> Option<&'a CStr> {
    if url.starts_with(SLOT) {
        return Some(&url.c_str()[SLOT.len()..]);
    }
    if !service.site.rewrites {
        return None;
    }
    let whole = url.c_str();
    let unwrapped = unwrap(request, whole.to_bytes())?;
    Some(&whole[whole.count_bytes() - unwrapped.len() + SLOT.len()..])
}

#[inline(never)]
fn canonicalise_slot(request: &Request, service: Kept<Service>, url: &CStr) -> Answer {
    let (group, path) = match find_group(&request.root(), &service.site, url.to_bytes()) {
        Ok(found) => found,
        Err(name) => return no_group(request, name),
    };
    let Some(chosen) = stay_and_mark(request, service, group) else { return Answer::UNAVAILABLE };
    let (Some(base), Some(mod_proxy)) = (&chosen.base, &service.site.proxy) else {
        return no_backend(request, &chosen);
    };
    let worker = service.worker(group, chosen.place, path);
    let answer = if let Some((prefix, path)) = path_of_handler(request, &chosen) {
        mod_proxy.canonicalise(request, &[base.to_bytes(), prefix, path])
    } else if let Some(name) = &chosen.http_name
        && matches!(path.first(), Some(b'/') | None)
    {
        let start = url.count_bytes() - path.len();
        mod_proxy.canonicalise_http(request, name, &url[start + usize::from(!path.is_empty())..])
    } else {
        mod_proxy.canonicalise(request, &[base.to_bytes(), path.strip_prefix(b"/").unwrap_or(path)])
    };
    if answer == Answer::OK {
        request.state::<State>().worker.set(worker);
    }
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
pub(super) fn worker(request: &mut Request) -> Option<Worker> {
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
