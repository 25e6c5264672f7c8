//! Requests that become tunnels, such as WebSockets: with `SlotDrain`, they are counted apart, because they may last
//! for days. Nothing here runs for a configuration without that directive.

use super::host::{Answer, Request, Worker};
use super::pin::of_backend;

/// scheme_handler: a request that asks for another protocol, from a backend that may grant it, is counted as a tunnel
/// from here on. mod_proxy has no hook for the moment in which the backend agrees.
pub(super) fn begin(request: &Request, worker: Option<Worker>) -> Answer {
    if request.asks_for_upgrade() && worker.is_some_and(Worker::makes_tunnels) {
        count(request);
    }
    Answer::DECLINED
}

#[cold]
fn count(request: &Request) {
    let pin = of_backend(request).filter(|pin| pin.group.more.tunnels);
    if let Some(pin) = pin.filter(|_| !request.is_sub_request()) {
        pin.become_tunnel();
        request.tell_answer();
    }
}

/// The backend answers in HTTP, so it has declined: the request is a plain one again.
pub(super) fn decline(request: &Request) {
    if let Some(pin) = of_backend(request) {
        pin.be_no_tunnel();
    }
}
