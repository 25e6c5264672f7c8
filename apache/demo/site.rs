//! The site of the demo: the docroots and the configuration of its private Apache.

use crate::release::{HEALTH, Slot};
use crate::{CONNECTIONS, SLOTS};
use std::net::SocketAddr;
use std::path::Path;
use std::{fs, io};
use support::apache::{self, Parts};

/// Writes the docroots and the configuration.
///
/// # Errors
///
/// What the system said.
pub(crate) fn lay_out(
    parts: &Parts,
    root: &Path,
    at: SocketAddr,
    slots: &[Slot; 2],
) -> io::Result<()> {
    for slot in slots {
        let docroot = root.join(slot.name);
        fs::create_dir(&docroot)?;
        fs::write(docroot.join("index.html"), page(slot.name))?;
    }
    let modules = ["mpm_event", "unixd", "authz_core", "log_config", "mime", "dir", "proxy"];
    let [blue, green] = slots;
    let configuration = format!(
        r#"{preamble}{modules}{http}LoadModule slot_module {module}
StartServers 2
ThreadsPerChild 25
MinSpareThreads 25
MaxSpareThreads 100
MaxRequestWorkers 100
TypesConfig /dev/null
AddType text/html .html
DirectoryIndex index.html
SlotStateDir {root}/state
SlotRuntimeDir {root}/run
<SlotGroup app>
    Slot blue  http://{blue} docroot={root}/blue
    Slot green http://{green} docroot={root}/green
    SlotDefault blue
    SlotHealthCheck  uri={HEALTH} expect=200 interval=100ms startup=1s
    SlotAutoRollback window=10s max5xx=2% minrequests=100
    SlotHold         queue={CONNECTIONS}
</SlotGroup>
SlotDocumentRoot app
ProxyPass "/api/" "slot://app/api/"
<Directory {root}>
    Require all granted
</Directory>
CustomLog access.log "%t \"%r\" %>s slot=%{{SLOT}}e generation=%{{SLOT_GENERATION}}e"
"#,
        preamble = apache::preamble(root, at),
        modules = parts.load(&modules),
        http = parts.load(&["proxy_http"]),
        module = parts.module.display(),
        blue = blue.address,
        green = green.address,
        root = root.display(),
    );
    fs::write(root.join("httpd.conf"), configuration)
}

/// A page whose colour shows the slot of its docroot; its script asks the backend for the backend's slot.
fn page(slot: &str) -> String {
    let colour = if slot == SLOTS[0] { "#1f5fbf" } else { "#1f8f4f" };
    include_str!("page.html").replace("SLOT", slot).replace("COLOUR", colour)
}
