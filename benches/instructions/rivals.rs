//! The compared ways to one backend and to one file.

/// A way to a backend or to a file.
pub(crate) struct Rival {
    /// The row's name.
    pub(crate) name: &'static str,
    /// The row that this one is compared to; its own name if there is none.
    pub(crate) than: &'static str,
    /// mod_slot's promise: at most this many instructions more than that row, and no allocation more.
    pub(crate) at_most: Option<f64>,
    /// The requested path. APP is replaced.
    pub(crate) path: &'static str,
    /// The modules that it needs besides mod_proxy and mod_proxy_http.
    pub(crate) modules: &'static [&'static str],
    /// Whether mod_slot is loaded, with a group of two slots for each application.
    pub(crate) slot: bool,
    /// What the row shows, for the table.
    pub(crate) note: &'static str,
    /// Directives that appear once. APP and ROOT are replaced.
    pub(crate) once: &'static str,
    /// Directives for each application. The one that gets the requests comes first, because mod_proxy's search for
    /// the ProxyPass line would otherwise grow with the number of applications. APP and BACKEND are replaced.
    pub(crate) each: &'static str,
}

const PROXIED: Rival = Rival {
    name: "proxypass",
    than: "proxypass",
    at_most: None,
    path: "/APP/hello?a=1",
    modules: &[],
    slot: false,
    note: "ProxyPass to a fixed address, without mod_slot",
    once: "",
    each: r#"ProxyPass "/APP/" "http://BACKEND/APP/""#,
};

const STATIC: Rival = Rival {
    name: "documentroot",
    than: "documentroot",
    path: "/hello.txt",
    note: "a file below a fixed DocumentRoot, without mod_slot",
    once: r#"DocumentRoot "ROOT/blue""#,
    each: "",
    ..PROXIED
};

/// All rows in the order of measuring: each comes after the row that it is compared to.
pub(crate) const RIVALS: [Rival; 8] = [
    PROXIED,
    Rival {
        name: "slot",
        at_most: Some(0.0),
        slot: true,
        note: "ProxyPass to slot://",
        each: r#"ProxyPass "/APP/" "slot://APP/APP/""#,
        ..PROXIED
    },
    Rival {
        name: "beside",
        slot: true,
        note: "ProxyPass to a fixed address; mod_slot is loaded, but unused",
        ..PROXIED
    },
    Rival {
        name: "modules",
        modules: &["alias", "rewrite", "setenvif"],
        note: "ProxyPass to a fixed address; mod_alias, mod_rewrite and mod_setenvif are loaded, but unused",
        ..PROXIED
    },
    Rival {
        name: "balancer",
        modules: &["slotmem_shm", "lbmethod_byrequests", "proxy_balancer"],
        note: "ProxyPass to a balancer:// of one member",
        each: r#"ProxyPass "/APP/" "balancer://APP/APP/"
<Proxy balancer://APP>
    BalancerMember http://BACKEND
</Proxy>"#,
        ..PROXIED
    },
    Rival {
        name: "rewritemap",
        modules: &["rewrite"],
        note: "RewriteMap txt: and RewriteRule [P]",
        once: r#"RewriteEngine On
RewriteMap active txt:ROOT/active.txt
RewriteRule "^/(app[0-9]+)/(.*)" "http://${active:$1}/$1/$2" [P]"#,
        each: "<Proxy http://BACKEND>\n    ProxySet keepalive=On\n</Proxy>",
        ..PROXIED
    },
    STATIC,
    Rival {
        name: "slotroot",
        at_most: Some(FILE),
        slot: true,
        note: "a file below SlotDocumentRoot",
        once: "SlotDocumentRoot APP",
        ..STATIC
    },
];

/// The limit for a file: entering and leaving the slot, its count, its note and its three variables. It leaves some
/// room, because builds of Apache and APR differ.
const FILE: f64 = 500.0;
