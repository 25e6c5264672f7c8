//! The rivals that are Apache: mod_slot, vhost file and graceful restart, RewriteMap, balancer-manager.

use super::process::{done, sh};
use super::{Place, SLOTS, Switch};
use crate::apache::{self, Apache};
use crate::http::Client;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

const COMMON: &str = include_str!("../conf/httpd.conf");
const SLOT: &str = include_str!("../conf/slot.conf");
const GRACEFUL: &str = include_str!("../conf/graceful.conf");
const VHOST: &str = include_str!("../conf/vhost.conf");
const REWRITEMAP: &str = include_str!("../conf/rewritemap.conf");
const BALANCER: &str = include_str!("../conf/balancer.conf");

/// A rival that flips by a command, whose last argument is the new slot's name.
struct Commanded {
    _apache: Apache,
    program: PathBuf,
    args: Vec<String>,
    root: PathBuf,
}

impl Switch for Commanded {
    fn flip(&self, to: usize) -> Result<(), String> {
        done(
            crate::command(&self.program)
                .args(&self.args)
                .arg(SLOTS[to])
                .current_dir(&self.root)
                .env("SLOT_STATE_DIR", self.root.join("state"))
                .env("SLOT_RUNTIME_DIR", self.root.join("run")),
        )
    }
}

fn commanded(place: &Place<'_>, apache: Apache, command: &Command) -> Box<dyn Switch> {
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let program = command.get_program().into();
    Box::new(Commanded { _apache: apache, program, args, root: place.root.into() })
}

fn start(place: &Place<'_>, modules: &[&str], text: &str) -> Result<Apache, String> {
    let always = ["mpm_event", "unixd", "authz_core", "proxy", "proxy_http"];
    let text = [
        apache::preamble(place.root, place.listen),
        place.parts.load(&always),
        place.parts.load(modules),
        COMMON.into(),
        place.fill(text, 0),
    ];
    place.write("httpd.conf", &text.concat())?;
    Apache::start(place.parts, place.root, place.listen)
}

pub(super) fn slot(place: &Place<'_>) -> Result<Box<dyn Switch>, String> {
    let apache = start(place, &[], SLOT)?;
    let mut command = crate::command(crate::slotctl()?);
    command.args(["flip", "app"]);
    Ok(commanded(place, apache, &command))
}

pub(super) fn graceful(place: &Place<'_>) -> Result<Box<dyn Switch>, String> {
    place.write_both("vhost.conf", VHOST)?;
    let apache = start(place, &[], GRACEFUL)?;
    let script = format!(
        "cp \"$1.vhost.conf\" vhost.conf && exec {} -f \"$PWD/httpd.conf\" -k graceful",
        place.parts.httpd.display()
    );
    Ok(commanded(place, apache, &sh(&script)))
}

pub(super) fn rewritemap(place: &Place<'_>) -> Result<Box<dyn Switch>, String> {
    place.write_both("app.txt", "active @ACTIVE@\n")?;
    let apache = start(place, &["rewrite"], REWRITEMAP)?;
    let script = "cp \"$1.app.txt\" app.new && exec mv app.new app.txt";
    Ok(commanded(place, apache, &sh(script)))
}

pub(super) fn balancer(place: &Place<'_>) -> Result<Box<dyn Switch>, String> {
    let modules = ["slotmem_shm", "lbmethod_byrequests", "proxy_balancer", "authz_host"];
    let apache = start(place, &modules, BALANCER)?;
    let members = place.backends.each_ref().map(|backend| format!("http://{}", backend.address));
    Ok(Box::new(Manager { _apache: apache, server: place.listen, members }))
}

/// The balancer-manager, used through HTTP like from a browser.
struct Manager {
    _apache: Apache,
    server: SocketAddr,
    members: [String; 2],
}

const MANAGER: &str = "/balancer-manager";

impl Switch for Manager {
    fn flip(&self, to: usize) -> Result<(), String> {
        let mut client = Client::of(self.server);
        let fields = [
            "Host: localhost",
            "Referer: http://localhost/balancer-manager",
            "Content-Type: application/x-www-form-urlencoded",
        ];
        let page = client.ask_with("GET", MANAGER, &fields[..2], &[]);
        let page = page.map_err(|e| e.to_string())?.text();
        let nonce = page.split("nonce=").nth(1).ok_or("the manager shows no nonce")?;
        let nonce: String =
            nonce.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect();
        for (member, disabled) in [(&self.members[to], 0), (&self.members[1 - to], 1)] {
            let form = format!("b=app&w={member}&nonce={nonce}&w_status_D={disabled}");
            let answer = client.ask_with("POST", MANAGER, &fields, form.as_bytes());
            let answer = answer.map_err(|e| e.to_string())?;
            if answer.status() != 200 {
                return Err(format!("{}\n{}", answer.start, answer.text()));
            }
        }
        Ok(())
    }
}
