//! Two Tomcats with many JSPs.

use crate::apache;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};
use support::tomcat::Services;
pub(crate) use support::tomcat::missing;

/// The slots. Tomcat runs in the first one at the beginning.
pub(super) const SLOTS: [&str; 2] = ["blue", "green"];

/// How many pages each application has; each is compiled at its first request.
pub(super) const PAGES: usize = 40;

/// The JVM has its default settings but for the size of its heap.
const JVM: [&str; 1] = ["-Xmx256m"];

/// The path of a page.
pub(super) fn page(number: usize) -> String {
    format!("/page{:02}.jsp", number % PAGES)
}

/// The Tomcats.
pub(super) struct Tomcats {
    services: Services,
    /// Where each one listens, once it runs.
    pub(super) addresses: [SocketAddr; 2],
}

impl Tomcats {
    /// Writes both, and starts neither.
    pub(super) fn new() -> Result<Self, String> {
        let services = Services::new().map_err(|e| e.to_string())?;
        let mut addresses = [([127, 0, 0, 1], 0).into(); 2];
        for (slot, address) in SLOTS.iter().zip(&mut addresses) {
            let written = write(&services.base(slot), slot);
            *address = written.map_err(|e| format!("{slot}: {e}"))?;
            services.add(slot, &JVM).map_err(|e| format!("{slot}: {e}"))?;
        }
        Ok(Self { services, addresses })
    }

    /// The program of the hooks: `service fresh` and `service stop`.
    pub(super) fn service(&self) -> PathBuf {
        self.services.program()
    }

    /// Starts the Tomcat of a slot, and waits until it listens, for a minute at most.
    pub(super) fn start(&self, slot: usize) -> Result<(), String> {
        self.services.start("fresh", SLOTS[slot], self.addresses[slot])
    }

    /// The output of a slot's Tomcat.
    pub(super) fn log(&self, slot: usize) -> String {
        self.services.log(SLOTS[slot])
    }
}

/// Writes the Tomcat of a slot. Returns where it is going to listen.
fn write(base: &Path, slot: &str) -> io::Result<SocketAddr> {
    let address = apache::free_port()?;
    for dir in ["conf", "logs", "temp", "work", "webapps", "app/WEB-INF"] {
        fs::create_dir_all(base.join(dir))?;
    }
    let server = include_str!("conf/server.xml").replace("PORT", &address.port().to_string());
    fs::write(base.join("conf/server.xml"), server.replace("BASE", &base.display().to_string()))?;
    fs::write(base.join("conf/web.xml"), include_str!("conf/web.xml"))?;
    let app = base.join("app");
    let empty = "<web-app xmlns=\"https://jakarta.ee/xml/ns/jakartaee\" version=\"6.0\" \
                 metadata-complete=\"true\"><absolute-ordering/></web-app>\n";
    fs::write(app.join("WEB-INF/web.xml"), empty)?;
    fs::write(app.join("health.jsp"), include_str!("conf/health.jsp"))?;
    for number in 0..PAGES {
        let text = include_str!("conf/page.jsp").replace("NUMBER", &number.to_string());
        fs::write(app.join(&page(number)[1..]), text.replace("SLOT", slot))?;
    }
    Ok(address)
}
