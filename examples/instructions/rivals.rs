//! The ways to one backend, and to one file, that are compared.

/// One of them.
pub(crate) struct Rival {
    /// The row's name.
    pub(crate) name: &'static str,
    /// The row that it is compared to; its own name for none.
    pub(crate) than: &'static str,
    /// It may not cost more than that row: mod_slot's promise.
    pub(crate) promised: bool,
    /// What is asked for.
    pub(crate) path: &'static str,
    /// Modules that it needs beyond mod_proxy and mod_proxy_http.
    pub(crate) modules: &'static [&'static str],
    /// Whether mod_slot is loaded, with a group.
    pub(crate) slot: bool,
    /// What it does.
    pub(crate) note: &'static str,
    /// Its directives. BACKEND and ROOT are filled in.
    pub(crate) says: &'static str,
}

const PROXIED: Rival = Rival {
    name: "proxypass",
    than: "proxypass",
    promised: false,
    path: "/api/hello?a=1",
    modules: &[],
    slot: false,
    note: "ProxyPass to a fixed address, without mod_slot",
    says: r#"ProxyPass "/api/" "http://BACKEND/api/""#,
};

const STATIC: Rival = Rival {
    name: "documentroot",
    than: "documentroot",
    path: "/hello.txt",
    note: "a file below a fixed DocumentRoot, without mod_slot",
    says: r#"DocumentRoot "ROOT/blue""#,
    ..PROXIED
};

/// In the order in which they are measured: a row comes after the one that it is compared to.
pub(crate) const RIVALS: [Rival; 7] = [
    PROXIED,
    Rival {
        name: "slot",
        promised: true,
        slot: true,
        note: "ProxyPass to slot://app",
        says: r#"ProxyPass "/api/" "slot://app/api/""#,
        ..PROXIED
    },
    Rival {
        name: "beside",
        slot: true,
        note: "ProxyPass to a fixed address; mod_slot is loaded, but has no part in it",
        ..PROXIED
    },
    Rival {
        name: "balancer",
        modules: &["slotmem_shm", "lbmethod_byrequests", "proxy_balancer"],
        note: "ProxyPass to balancer://app of one member",
        says: r#"ProxyPass "/api/" "balancer://app/api/"
<Proxy balancer://app>
    BalancerMember http://BACKEND
</Proxy>"#,
        ..PROXIED
    },
    Rival {
        name: "rewritemap",
        modules: &["rewrite"],
        note: "RewriteMap txt: and RewriteRule [P]",
        says: r#"RewriteEngine On
RewriteMap app txt:ROOT/app.txt
RewriteRule "^/api/(.*)" "http://${app:active}/api/$1" [P]
<Proxy http://BACKEND>
    ProxySet keepalive=On
</Proxy>"#,
        ..PROXIED
    },
    STATIC,
    Rival {
        name: "slotroot",
        slot: true,
        note: "a file below SlotDocumentRoot",
        says: "SlotDocumentRoot app",
        ..STATIC
    },
];
