//! The compared ways to switch a server between two backends, each configured as its manual says.

mod httpd;
mod process;
mod proxies;

use crate::apache::Parts;
use crate::backend::Backend;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// The names of the slots and of their backends.
pub(crate) const SLOTS: [&str; 2] = ["blue", "green"];

/// A server and its way to flip.
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    /// The command or request of a flip, for the table.
    pub(crate) how: &'static str,
    /// What stores the result, for the table.
    pub(crate) keeps: &'static str,
    /// The number of flips in a round: fewer if each takes a second.
    pub(crate) flips: usize,
    start: fn(&Place<'_>) -> Result<Box<dyn Switch>, String>,
}

/// A running server, which starts with blue active; stopped on drop.
pub(crate) trait Switch {
    /// Makes this slot active, and returns when the command returns.
    fn flip(&self, to: usize) -> Result<(), String>;
}

/// The directory of a server's files, its address, and its backends.
pub(crate) struct Place<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) root: &'a Path,
    pub(crate) listen: SocketAddr,
    pub(crate) backends: &'a [Backend; 2],
}

impl Rival {
    pub(crate) fn start(&self, place: &Place<'_>) -> Result<Box<dyn Switch>, String> {
        (self.start)(place).map_err(|why| format!("{}: {why}", self.name))
    }
}

impl Place<'_> {
    /// Replaces the placeholders of a configuration; `active` is the slot for `@ACTIVE@`.
    fn fill(&self, text: &str, active: usize) -> String {
        let [blue, green] = self.backends;
        text.replace("@ROOT@", &self.root.display().to_string())
            .replace("@LISTEN@", &self.listen.to_string())
            .replace("@MODULE@", &self.parts.module.display().to_string())
            .replace("@BLUE@", &blue.address.to_string())
            .replace("@GREEN@", &green.address.to_string())
            .replace("@ACTIVE@", &self.backends[active].address.to_string())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        fs::write(self.root.join(name), text).map_err(|e| format!("{name}: {e}"))
    }

    /// Writes `text` for each slot as `blue.NAME` and `green.NAME`, and blue's again as `NAME`.
    fn write_both(&self, name: &str, text: &str) -> Result<(), String> {
        for (number, slot) in SLOTS.iter().enumerate() {
            self.write(&format!("{slot}.{name}"), &self.fill(text, number))?;
        }
        self.write(name, &self.fill(text, 0))
    }
}

pub(crate) const RIVALS: [Rival; 7] = [
    Rival {
        name: "slotctl flip",
        how: "`slotctl flip app green`",
        keeps: "a file, synced before it returns",
        flips: 20,
        start: httpd::slot,
    },
    Rival {
        name: "copy, graceful",
        how: "`cp green.vhost.conf vhost.conf && apache2 -k graceful`",
        keeps: "a file, not synced",
        flips: 6,
        start: httpd::graceful,
    },
    Rival {
        name: "RewriteMap txt:",
        how: "`cp green.app.txt app.new && mv app.new app.txt`",
        keeps: "a file, not synced",
        flips: 20,
        start: httpd::rewritemap,
    },
    Rival {
        name: "balancer-manager",
        how: "GET for the nonce, POST to enable green, POST to disable blue, on one connection",
        keeps: "Apache's memory",
        flips: 20,
        start: httpd::balancer,
    },
    Rival {
        name: "nginx reload",
        how: "`cp green.upstream.conf upstream.conf && nginx -s reload`",
        keeps: "a file, not synced",
        flips: 20,
        start: proxies::nginx,
    },
    Rival {
        name: "HAProxy socket",
        how: "`set server app/green state ready; set server app/blue state maint`",
        keeps: "HAProxy's memory",
        flips: 20,
        start: proxies::haproxy,
    },
    Rival {
        name: "Caddy API",
        how: "PATCH of the route's `upstreams` to the admin API",
        keeps: "Caddy's memory, and its autosave file",
        flips: 20,
        start: proxies::caddy,
    },
];
