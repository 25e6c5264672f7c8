//! What mod_proxy of an older Apache does not do for URLs that come after map_to_storage.
//!
//! mod_proxy asks canon_handlers in its fixups. Up to 2.4.62, these ran before the fixups of mod_rewrite, so the URL of
//! a directory's RewriteRule was sent as the rule wrote it. Up to 2.4.59, the URL of a SetHandler was sent as it was,
//! too. In such an Apache, the hooks of this file run where a newer one would ask our canon_handler. They do no
//! harm in an Apache with the newer behaviour from a distribution's patch.

use super::host::{Answer, Proxy, Request};
use super::kept::State;
use super::scheme::PROXY;
use super::scheme::canon::{canonicalise, canonicalise_other, late_way, take_as_is};
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

/// handler, before that of mod_proxy: gives `SetHandler "proxy:slot://…"` to mod_proxy.
pub(super) fn start_handler(request: &Request) -> Answer {
    if request.is_proxied() {
        return Answer::DECLINED;
    }
    let handler = request.handler_behind(PROXY).and_then(|url| url.strip_scheme(SLOT));
    let (Some(_), Some(service)) = (handler, Service::of(request)) else { return Answer::DECLINED };
    let answer = request.start_by_handler(|| {
        let Some(url) = request.filename_behind(PROXY) else { return Answer::SERVER_ERROR };
        match late_way(request, service, url) {
            // The module of its scheme would encode the path of the file.
            Some(Ok(way)) if way.1.wants_file => take_as_is(request, service, way),
            Some(Ok(_)) => canonicalise(request, url),
            Some(Err(answer)) => answer,
            None => Answer::SERVER_ERROR,
        }
    });
    go_on(answer)
}

/// Whether mod_proxy's fixups have already made the URL of the request that of its slot.
fn is_finished(request: &Request) -> bool {
    State::known(request).is_some_and(|state| state.sent.get() == request.filename_address())
}

/// mod_proxy's own hook comes next, unless the request ends here.
fn go_on(answer: Answer) -> Answer {
    if answer == Answer::OK { Answer::DECLINED } else { answer }
}
