//! What a warm-up requests, and from which backends.

use super::line::Queries;
use super::log::{self, Log};
use super::result::{Progress, Warmed};
use super::run::{self, Get};
use crate::address::Address;
use crate::group::health::Trust;
use crate::group::warm::WarmUp;
use crate::group::{Group, Slot};
use crate::ops::http::why::Why;
use crate::ops::http::{Client, speaks_http};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// On each request, so that the application can recognise it, for example to keep it out of its statistics.
pub const HEADER: (&str, &str) = ("X-Slot-Warm-Up", "1");
/// The time limit of a request, if that of the warm-up is not shorter.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a slot cannot be warmed.
#[derive(Debug, thiserror::Error)]
pub enum Unwarmed {
    /// The backend is asked by another protocol.
    #[error(
        "slot {slot:?} cannot be warmed: {address} is no backend of http:// or https://, and slotctl speaks no \
         other protocol"
    )]
    Protocol {
        /// The slot.
        slot: String,
        /// The address of the slot, or of a member of its balancer.
        address: String,
    },
    /// Apache has named no members of the balancer.
    #[error(
        "slot {slot:?} cannot be warmed: no member of {address} is known. Members are those that the configuration \
         of Apache names with BalancerMember"
    )]
    NoMembers {
        /// The slot.
        slot: String,
        /// The address of the slot.
        address: String,
    },
    /// The access log cannot be read.
    #[error("the access log {} cannot be read: {why}. There is no other path to request", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The access log names no path.
    #[error(
        "the access log {} has no path to request: of {lines} lines at its end, {odd} are in another format than \
         common or combined, or not sane, and the others are no GET with a status of 200 to 399, or are files such \
         as pictures", path.display()
    )]
    NoPaths {
        /// The log.
        path: PathBuf,
        /// The lines that were read.
        lines: u64,
        /// The lines that were left out.
        odd: u64,
    },
    /// The requests cannot be made.
    #[error("slot {slot:?} cannot be warmed: {why}")]
    Client {
        /// The slot.
        slot: String,
        /// What is wrong.
        why: Why,
    },
}

/// A warm-up that can be run.
pub struct Plan {
    /// The paths, without doubles: first those of `uri=`, then those of the log.
    pub paths: Vec<String>,
    /// What an operator should know of the log.
    pub warnings: Vec<String>,
    backends: Vec<(String, Arc<dyn Get>)>,
    warm: WarmUp,
}

impl Plan {
    /// Plans the warm-up of a slot, and reads the access log. Sends nothing. `group` must be one that
    /// [`refuse_unproven`](crate::ops::proof::refuse_unproven) accepts, and the slot must
    /// [have a backend](has_backend).
    ///
    /// # Errors
    ///
    /// [`Unwarmed`].
    pub fn of(
        group: &Group,
        slot: &Slot,
        warm: &WarmUp,
        queries: Queries,
    ) -> Result<Self, Unwarmed> {
        let backends = addresses(slot)?.into_iter().map(|address| {
            let client = client(group, &address, warm);
            let client = client.map_err(|why| Unwarmed::Client { slot: slot.name.clone(), why })?;
            Ok((address.text, Arc::new(client) as Arc<dyn Get>))
        });
        let backends = backends.collect::<Result<_, Unwarmed>>()?;
        let mut plan =
            Self { paths: Vec::new(), warnings: Vec::new(), backends, warm: warm.clone() };
        plan.add(warm.uris.clone());
        if let Some(log) = &warm.log {
            plan.add_log(Path::new(log), queries)?;
        }
        Ok(plan)
    }

    /// The addresses of the backends.
    pub fn addresses(&self) -> Vec<&str> {
        self.backends.iter().map(|(address, _)| address.as_str()).collect()
    }

    /// How it is limited.
    pub fn warm(&self) -> &WarmUp {
        &self.warm
    }

    /// Requests the paths in turn, until the answers no longer become faster, or a limit of [`WarmUp`] is reached.
    /// Calls `tell` about ten times a second, and `stop` as often: true ends the warm-up at once. Requests that are
    /// under way then are left behind.
    pub fn run(&self, tell: impl FnMut(&Progress), stop: impl FnMut() -> bool) -> Warmed {
        run::run(&self.backends, &self.paths, &self.warm, tell, stop)
    }

    fn add(&mut self, paths: Vec<String>) {
        for path in paths {
            if !self.paths.contains(&path) {
                self.paths.push(path);
            }
        }
    }

    fn add_log(&mut self, path: &Path, queries: Queries) -> Result<(), Unwarmed> {
        let has_others = !self.paths.is_empty();
        let why = match log::read(path, queries, log::MOST) {
            Ok(Log { paths, .. }) if !paths.is_empty() => {
                self.add(paths);
                return Ok(());
            }
            Ok(Log { lines, odd, .. }) => Unwarmed::NoPaths { path: path.into(), lines, odd },
            Err(why) if has_others => {
                self.warnings
                    .push(format!("the access log {} cannot be read: {why}", path.display()));
                return Ok(());
            }
            Err(why) => Unwarmed::Log { path: path.into(), why },
        };
        match has_others {
            true => self.warnings.push(why.to_string()),
            false => return Err(why),
        }
        Ok(())
    }
}

/// Whether a slot has a backend, and not only static files, which need no warm-up.
pub fn has_backend(slot: &Slot) -> bool {
    slot.address != "-"
}

/// Finds the addresses that requests are sent to: that of the slot, or those of its balancer's members.
fn addresses(slot: &Slot) -> Result<Vec<Address>, Unwarmed> {
    let parse = |text: &str| {
        let address = Address::parse(text).ok().filter(speaks_http);
        let (slot, address_text) = (slot.name.clone(), text.to_owned());
        address.ok_or(Unwarmed::Protocol { slot, address: address_text })
    };
    match Address::parse(&slot.address).is_ok_and(|address| address.is_balancer()) {
        false => Ok(vec![parse(&slot.address)?]),
        true if slot.members.is_empty() => {
            let (slot, address) = (slot.name.clone(), slot.address.clone());
            Err(Unwarmed::NoMembers { slot, address })
        }
        true => slot.members.iter().map(|member| parse(member)).collect(),
    }
}

/// Creates a client that sends the `Host` and the protocol of the health check, or of the site.
fn client(group: &Group, address: &Address, warm: &WarmUp) -> Result<Client, Why> {
    let (health, site) = (group.health.as_ref(), group.site.as_ref());
    let host = health.and_then(|health| health.host.as_deref());
    let host = host.or(site.map(|site| site.host.as_str()));
    let proto = health.and_then(|health| health.proto).or(site.map(|site| site.proto));
    let trust = health.map_or(&Trust::System, |health| &health.trust);
    Client::new(address, host, proto, trust, warm.timeout.min(LIMIT))
}

impl Get for Client {
    fn get(&self, path: &str) -> Result<u16, String> {
        match Self::get(self, path, &[HEADER]) {
            Ok(answer) => Ok(answer.status),
            Err(why) => Err(why.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn warm_up(words: &[&str]) -> WarmUp {
        let mut warm = WarmUp::default();
        warm.set("warm", words).unwrap();
        warm
    }

    fn plan(slot: &Slot, warm: &WarmUp) -> Result<Plan, Unwarmed> {
        let group = Group::configured(Path::new("/c"), "app", "a", vec![slot.clone()]);
        Plan::of(&group, slot, warm, Queries::Drop)
    }

    #[test]
    fn only_http_backends_are_warmed() {
        let warm = warm_up(&["uri=/"]);
        for address in ["http://b:1", "https://b/x", "ws://b", "wss://b", "unix:/run/s|http://b"] {
            let plan = plan(&Slot::new("a", address, None), &warm).unwrap();
            assert_eq!(plan.addresses(), [address]);
        }
        assert!(!has_backend(&Slot::new("a", "-", None)));
        for address in ["ajp://b", "fcgi://b", "h2://b", "uwsgi://b", "balancer://b", "?"] {
            let why = plan(&Slot::new("a", address, None), &warm).err().unwrap().to_string();
            assert!(
                why.starts_with("slot \"a\" cannot be warmed: ") && why.contains(address),
                "{why}"
            );
        }
        let mut balancer = Slot::new("a", "balancer://b", None);
        balancer.members = vec!["http://b:1".into(), "http://b:2".into()];
        let found = plan(&balancer, &warm).unwrap();
        assert_eq!(found.addresses(), ["http://b:1", "http://b:2"]);
        balancer.members.push("ajp://b:3".into());
        let why = plan(&balancer, &warm).err().unwrap().to_string();
        assert!(why.contains("cannot be warmed: ajp://b:3"), "{why}");
    }

    #[test]
    fn paths_of_the_log_follow_the_configured_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let word = format!("log={}", path.display());
        let slot = Slot::new("a", "http://b", None);
        let why = plan(&slot, &warm_up(&[&word])).err().unwrap().to_string();
        assert!(why.contains("cannot be read: No such file"), "{why}");
        let warned = plan(&slot, &warm_up(&["uri=/a", &word])).unwrap();
        assert!(warned.warnings[0].ends_with("(os error 2)"), "{:?}", warned.warnings);

        fs::write(&path, "nothing\n").unwrap();
        let why = plan(&slot, &warm_up(&[&word])).err().unwrap().to_string();
        assert!(why.contains("of 1 lines at its end, 1 are in another format"), "{why}");
        let warned = plan(&slot, &warm_up(&["uri=/a", &word])).unwrap();
        assert_eq!((warned.paths.len(), warned.warnings.len()), (1, 1));

        let line = |path: &str| format!("h - - [t] \"GET {path} HTTP/1.1\" 200 1\n");
        fs::write(&path, ["/a", "/c", "/c", "/d?x"].map(line).concat()).unwrap();
        let found = plan(&slot, &warm_up(&["uri=/b?1", "uri=/a", "uri=/a", &word])).unwrap();
        assert_eq!(found.paths, ["/b?1", "/a", "/c", "/d"]);
    }
}
