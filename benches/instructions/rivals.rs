//! The ways to one backend, and to one file, that are compared.

/// One of them.
pub(crate) struct Rival {
    /// The row's name.
    pub(crate) name: &'static str,
    /// The row that it is compared to; its own name for none.
    pub(crate) than: &'static str,
    /// How many instructions it may cost more than that row, and not one allocation:
    /// mod_slot's promise.
    pub(crate) at_most: Option<f64>,
    /// What is asked for. APP is filled in.
    pub(crate) path: &'static str,
    /// Modules that it needs beyond mod_proxy and mod_proxy_http.
    pub(crate) modules: &'static [&'static str],
    /// Whether mod_slot is loaded, with a group of two slots for each application.
    pub(crate) slot: bool,
    /// What it does.
    pub(crate) note: &'static str,
    /// Its directives. APP and ROOT are filled in.
    pub(crate) once: &'static str,
    /// Its directives for each application, the one that is asked for being the first: so what
    /// grows is not mod_proxy's search for the ProxyPass line, which is the same for all. APP and
    /// BACKEND are filled in.
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

/// In the order in which they are measured: a row comes after the one that it is compared to.
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
        note: "ProxyPass to a fixed address; mod_slot is loaded, but has no part in it",
        ..PROXIED
    },
    Rival {
        name: "modules",
        modules: &["alias", "rewrite", "setenvif"],
        note: "ProxyPass to a fixed address; mod_alias, mod_rewrite and mod_setenvif are loaded, but have no part in it",
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

/// What a file may cost more: to enter the slot and to leave it, its count, its note, its three
/// variables. A little more than it does, for Apache and APR are not built alike everywhere.
const FILE: f64 = 500.0;
