//! The virtual host that has a route to a group, as its clients know it; and the members of a slot's balancer.

use super::check::{Maps, targets_of};
use super::config::Lines;
use super::host::{Proxy, Server, Setup, for_each_directive};
use super::reverse::own_lines;
use crate::group::Site;
use crate::group::health::Proto;

/// All servers of the configuration, in its order: the main one first.
pub(super) struct Hosts(Vec<Host>);

struct Host {
    server: Server,
    /// How clients know it; `None` if the configuration does not name it.
    site: Option<Site>,
    /// The group of its SlotDocumentRoot.
    document_root: Option<String>,
    /// The groups to which other lines of it send requests.
    targets: Vec<String>,
}

/// What the lines of a server say of it.
#[derive(Clone, Copy, Default)]
struct Said {
    has_name: bool,
    /// `SSLEngine`, if it is there.
    tls: Option<bool>,
}

impl Hosts {
    pub(super) fn read(setup: &Setup, lines: &Lines) -> Self {
        // The list has the virtual hosts backwards.
        let mut servers: Vec<_> = setup.servers().collect();
        servers[1..].reverse();
        let (mut said, mut targets) =
            (vec![Said::default(); servers.len()], vec![Vec::new(); servers.len()]);
        let maps = Maps::read();
        let _ = for_each_directive(|line| {
            let is_one = line.is("ServerName") || line.is("SSLEngine");
            let found = targets_of(&maps, line);
            if (is_one || !found.is_empty())
                && let Some(at) = servers.iter().position(|server| line.is_of(*server))
            {
                targets[at].extend(found.into_iter().map(str::to_owned));
                said[at].has_name |= line.is("ServerName");
                if line.is("SSLEngine") {
                    said[at].tls =
                        Some(line.args.trim().trim_matches('"').eq_ignore_ascii_case("on"));
                }
            }
            Ok::<_, ()>(())
        });
        let of_main = said.first().copied().unwrap_or_default();
        let each = servers.into_iter().zip(said).zip(targets);
        let host = |((server, said), targets)| Host {
            server,
            site: site(setup.main, server, of_main, said),
            document_root: document_root(setup.main, lines, server),
            targets,
        };
        Self(each.map(host).collect())
    }

    /// The site of a group: the first server whose SlotDocumentRoot it is, or else the first one that sends it requests
    /// in another way. Servers without a name do not count.
    pub(super) fn site_of(&self, group: &str) -> Option<Site> {
        let is = |name: &String| name.eq_ignore_ascii_case(group);
        let named = || self.0.iter().filter(|host| host.site.is_some());
        let by_root = named().find(|host| host.document_root.as_ref().is_some_and(is));
        let found = by_root.or_else(|| named().find(|host| host.targets.iter().any(is)));
        found?.site.clone()
    }

    /// The URLs of the members of a balancer, in the first server that has it.
    pub(super) fn members(&self, balancer: &str) -> Vec<String> {
        let Some(proxy) = Proxy::find() else { return Vec::new() };
        let mut servers = self.0.iter().map(|host| host.server);
        let found = servers.find(|server| proxy.has_balancer(*server, balancer));
        found.map(|server| proxy.members(server, balancer)).unwrap_or_default()
    }
}

/// How clients know a server. A virtual host without a ServerName has that of the main server, if Apache gave it that.
fn site(main: Server, server: Server, of_main: Said, said: Said) -> Option<Site> {
    let (scheme, host, port) = server.name();
    let inherits = of_main.has_name && server.has_name_of(main);
    if host.is_empty() || !(said.has_name || inherits) {
        return None;
    }
    let scheme = scheme.or(if inherits { main.name().0 } else { None });
    let tls = said.tls.or(of_main.tls) == Some(true);
    let is_https = match scheme.as_deref() {
        Some(scheme) => scheme.eq_ignore_ascii_case("https"),
        None => port == 443 || tls,
    };
    let (proto, usual) = if is_https { (Proto::Https, 443) } else { (Proto::Http, 80) };
    let host = match port {
        0 => host,
        port if port == usual => host,
        port => format!("{host}:{port}"),
    };
    Some(Site { host, proto })
}

/// The group of `SlotDocumentRoot` in `server`. A virtual host inherits that of the main server, whose lines are
/// `of_main`, unless it has a root of its own.
pub(super) fn document_root(main: Server, of_main: &Lines, server: Server) -> Option<String> {
    own_lines(&server)
        .and_then(|lines| lines.document_root.clone())
        .or_else(|| of_main.document_root.clone().filter(|_| !server.has_document_root(main)))
}
