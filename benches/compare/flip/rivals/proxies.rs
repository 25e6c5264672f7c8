//! The rivals that are not Apache: nginx, HAProxy, Caddy.

use super::process::{done, program, sh, start};
use super::{Place, SLOTS, Switch};
use crate::apache;
use crate::http::Client;
use crate::server::Kept;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

const NGINX: &str = include_str!("../conf/nginx.conf");
const UPSTREAM: &str = include_str!("../conf/upstream.conf");
const HAPROXY: &str = include_str!("../conf/haproxy.cfg");
const CADDY: &str = include_str!("../conf/caddy.json");

struct Nginx {
    _server: Kept,
    program: PathBuf,
    root: PathBuf,
}

pub(super) fn nginx(place: &Place<'_>) -> Result<Box<dyn Switch>, String> {
    place.write_both("upstream.conf", UPSTREAM)?;
    place.write("nginx.conf", &place.fill(NGINX, 0))?;
    let program = program("nginx");
    let mut command = crate::command(&program);
    command.arg("-p").arg(place.root).args(["-c", "nginx.conf"]);
    let server = start(place, command)?;
    Ok(Box::new(Nginx { _server: server, program, root: place.root.into() }))
}

impl Switch for Nginx {
    fn flip(&self, to: usize) -> Result<(), String> {
        let script = format!(
            "cp {}.upstream.conf upstream.conf && exec {} -p \"$PWD\" -c nginx.conf -s reload",
            SLOTS[to],
            self.program.display()
        );
        done(sh(&script).current_dir(&self.root))
    }
}

struct Haproxy {
    _server: Kept,
    socket: PathBuf,
}

pub(super) fn haproxy(place: &Place<'_>) -> Result<Box<dyn Switch>, String> {
    place.write("haproxy.cfg", &place.fill(HAPROXY, 0))?;
    let mut command = crate::command(program("haproxy"));
    command.args(["-db", "-f", "haproxy.cfg"]);
    let server = start(place, command)?;
    Ok(Box::new(Haproxy { _server: server, socket: place.root.join("haproxy.sock") }))
}

impl Switch for Haproxy {
    fn flip(&self, to: usize) -> Result<(), String> {
        let fault = |e: std::io::Error| e.to_string();
        let mut socket = UnixStream::connect(&self.socket).map_err(fault)?;
        let (new, old) = (SLOTS[to], SLOTS[1 - to]);
        let line = format!("set server app/{new} state ready; set server app/{old} state maint\n");
        socket.write_all(line.as_bytes()).map_err(fault)?;
        let mut said = String::new();
        socket.read_to_string(&mut said).map_err(fault)?;
        if said.trim().is_empty() { Ok(()) } else { Err(said) }
    }
}

struct Caddy {
    _server: Kept,
    admin: SocketAddr,
    backends: [SocketAddr; 2],
}

pub(super) fn caddy(place: &Place<'_>) -> Result<Box<dyn Switch>, String> {
    let admin = apache::free_port().map_err(|e| e.to_string())?;
    let text = place.fill(CADDY, 0).replace("@ADMIN@", &admin.to_string());
    place.write("caddy.json", &text)?;
    fs::create_dir(place.root.join("data")).map_err(|e| e.to_string())?;
    let mut command = crate::command(program("caddy"));
    command.args(["run", "--config", "caddy.json"]);
    command.env("XDG_DATA_HOME", place.root.join("data"));
    command.env("XDG_CONFIG_HOME", place.root.join("data"));
    let server = start(place, command)?;
    let backends = place.backends.each_ref().map(|backend| backend.address);
    Ok(Box::new(Caddy { _server: server, admin, backends }))
}

impl Switch for Caddy {
    fn flip(&self, to: usize) -> Result<(), String> {
        const UPSTREAMS: &str = "/config/apps/http/servers/main/routes/0/handle/0/upstreams";
        let host = format!("Host: {}", self.admin);
        let body = format!("[{{\"dial\": \"{}\"}}]", self.backends[to]);
        let fields = [host.as_str(), "Content-Type: application/json"];
        let answer = Client::of(self.admin).ask_with("PATCH", UPSTREAMS, &fields, body.as_bytes());
        match answer.map_err(|e| e.to_string())? {
            answer if answer.status() == 200 => Ok(()),
            answer => Err(format!("{}\n{}", answer.start, answer.text())),
        }
    }
}
