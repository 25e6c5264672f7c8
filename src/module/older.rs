//! What mod_proxy of an older Apache leaves undone for the URLs that come after map_to_storage.
//!
//! It asks canon_handlers in its fixups, which ran before those of mod_rewrite up to 2.4.62: the URL of a directory's
//! RewriteRule was sent as the rule wrote it. Up to 2.4.59, the URL of a SetHandler was sent as it was, too. In such an
//! Apache the hooks of this file are called at the times when a newer one would ask our canon_handler. They do no harm in
//! one that has the newer way from a distribution's patch.

use super::host::{Answer, Proxy, Request};
use super::pin::State;
use super::scheme::{PROXY, canonicalise, canonicalise_other, late_way, take_as_is};
use super::site::Service;
use crate::address::SLOT;

/// Whether mod_proxy asks canon_handlers before mod_rewrite's fixups.
pub(super) fn leaves_rules() -> bool {
    Proxy::find().is_some_and(|mod_proxy| !mod_proxy.canonicalises_rules())
}

/// Whether mod_proxy sends the URL of a SetHandler as it is.
pub(super) fn leaves_handlers() -> bool {
    Proxy::find().is_some_and(|mod_proxy| !mod_proxy.canonicalises_handlers())
}

/// fixups, after those of mod_rewrite: a directory's rule may have given the request a URL.
pub(super) fn finish_rule(request: &Request) -> Answer {
    if !request.is_reverse_proxied() {
        return Answer::DECLINED;
    }
    let (Some(service), Some(url)) = (Service::of(request), request.filename_behind(PROXY)) else {
        return Answer::DECLINED;
    };
    if is_finished(request) {
        return Answer::DECLINED;
    }
    let answer = match late_way(request, service, url) {
        Some(Ok(way)) => take_as_is(request, service, way),
        Some(Err(answer)) => answer,
        None => canonicalise_other(request, url),
    };
    go_on(answer)
}

/// handler, before that of mod_proxy: makes `SetHandler "proxy:slot://…"` a request of mod_proxy's.
pub(super) fn start_handler(request: &Request) -> Answer {
    if request.is_proxied() {
        return Answer::DECLINED;
    }
    let handler = request.handler_behind(PROXY).and_then(|url| url.strip_scheme(SLOT));
    let (Some(_), Some(service)) = (handler, Service::of(request)) else { return Answer::DECLINED };
    let answer = request.start_by_handler(|| {
        let Some(url) = request.filename_behind(PROXY) else { return Answer::SERVER_ERROR };
        match late_way(request, service, url) {
            // Its module would encode the path of the file.
            Some(Ok(way)) if way.1.wants_file => take_as_is(request, service, way),
            Some(Ok(_)) => canonicalise(request, url),
            Some(Err(answer)) => answer,
            None => Answer::SERVER_ERROR,
        }
    });
    go_on(answer)
}

/// Whether mod_proxy's fixups have brought the URL that the request has into the form of its slot.
fn is_finished(request: &Request) -> bool {
    State::known(request).is_some_and(|state| state.sent.get() == request.filename_address())
}

/// mod_proxy's own hook comes next, unless the request ends here.
fn go_on(answer: Answer) -> Answer {
    if answer == Answer::OK { Answer::DECLINED } else { answer }
}
