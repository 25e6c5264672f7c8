//! ProxyPassReverse to a `slot://` URL. A backend names itself in Location and Set-Cookie, and not the group: each
//! such line becomes one for each slot.

use super::config::{GroupLines, Lines, SlotModule};
use super::host::{Proxy, ReverseMap, Server, Setup};
use crate::address::{Address, split_slot_url};

/// Rewrites the maps of all servers and sections.
pub(super) fn map_back(proxy: &Proxy, setup: &Setup, groups: &[GroupLines]) {
    let expand = |url: &str, one: &dyn Fn(&Address, &str) -> String| {
        let (name, path) = split_slot_url(url.as_bytes())?;
        let group = groups.iter().find(|group| group.name.as_bytes().eq_ignore_ascii_case(name))?;
        let path = std::str::from_utf8(path).ok()?;
        let addresses = group.slots.iter().filter_map(|slot| slot.address.as_ref());
        Some(addresses.map(|address| one(address, path)).collect())
    };
    let urls = |url: &str| expand(url, &|address, path| format!("{}{path}", address.base));
    let paths = |url: &str| expand(url, &|address, path| format!("{}{path}", address.path()));
    let hosts = |url: &str| expand(url, &|address, _| address.host().to_owned());
    let places = setup.servers().filter_map(|server| own_lines(&server).map(|l| l.reverse.clone()));
    let maps = places.flatten().filter_map(|place| ReverseMap::of_place(proxy, place));
    let maps =
        maps.chain(setup.servers().filter_map(|server| ReverseMap::of_server(proxy, server)));
    for map in maps {
        map.expand(setup.pool, urls, paths, hosts);
    }
}

/// The lines of a server that has some of its own: a virtual host without any shares those of the main server.
pub(super) fn own_lines(server: &Server) -> Option<&Lines> {
    server.lines::<SlotModule>().filter(|lines| lines.server == server.key())
}
