//! What Apache writes to the group file about deploys: the directives, the site, and the members of balancers.

use crate::site::Site;
use serde_json::{Value, json};
use std::fs;

fn group(site: &Site, name: &str) -> Value {
    let text = fs::read(site.path().join(format!("run/{name}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn the_group_file_has_what_the_directives_say() {
    let mut site = Site::new();
    site.start(
        "<SlotGroup app>\nSlot a http://127.0.0.1:1 unit=app-a\nSlot b http://127.0.0.1:2 unit=app-b.service\n\
         SlotHealthCheck uri=/up expect=200 passes=3\nSlotWarmUp uri=/ count=50\n\
         SlotAutoRollback max5xx=1%\nSlotDrain timeout=5min tunnels=0\n\
         SlotHook before-flip timeout=5s /bin/echo \"two words\"\nSlotHook after-flip /bin/true\n</SlotGroup>\n\
         <SlotGroup bare>\nSlot a http://127.0.0.1:3\nSlotDrain off\nSlotHealthCheck off\n</SlotGroup>",
    );
    let app = group(&site, "app");
    assert_eq!(
        [&app["slots"][0]["unit"], &app["slots"][1]["unit"]],
        ["app-a.service", "app-b.service"]
    );
    assert_eq!((&app["health"]["uri"], &app["health"]["passes"]), (&json!("/up"), &json!(3)));
    assert_eq!((&app["health"]["expect"], &app["warm"]["count"]), (&json!("200"), &json!(50)));
    assert_eq!(app["rollback"]["window"], 120_000);
    assert_eq!(app["drain"], json!({"timeout": 300_000, "tunnels": 0}));
    let hooks = json!([
        {"event": "before-flip", "timeout": 5000, "command": ["/bin/echo", "two words"]},
        {"event": "after-flip", "timeout": 300_000, "command": ["/bin/true"]},
    ]);
    assert_eq!(app["hooks"], hooks);
    let bare = group(&site, "bare");
    for key in ["site", "health", "warm", "rollback", "drain", "hooks"] {
        assert_eq!(bare.get(key), None, "{key}");
    }
}

#[test]
fn the_site_is_the_virtual_host_that_has_a_route_to_the_group() {
    let mut site = Site::new().with(&["rewrite"]);
    site.docroots(&["a"]);
    let names = [
        "plain", "port", "tls", "fast", "files", "rule", "handler", "nameless", "unrouted",
        "shared", "main",
    ];
    let groups: String = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            format!(
                "<SlotGroup {name}>\nSlot a http://127.0.0.1:{} docroot=ROOT/a\n</SlotGroup>\n",
                at + 1
            )
        })
        .collect();
    site.start(&format!(
        "{groups}<VirtualHost *>\nServerName plain.example\nProxyPass /x/ slot://plain/\n\
         ProxyPassReverse / slot://unrouted/\nProxyPass /f/ slot://Files/\nProxyPass /s/ slot://shared/\n\
         </VirtualHost>\n\
         <VirtualHost *:8443>\nServerName port.example\n<Location /x>\nProxyPass slot://port/\n</Location>\n\
         ProxyPass /s/ slot://shared/\n</VirtualHost>\n\
         <VirtualHost *:443>\nServerName tls.example\nProxyPass / slot://tls/\n</VirtualHost>\n\
         <VirtualHost *:80>\nServerName https://fast.example:444\nProxyPass / slot://fast/\n</VirtualHost>\n\
         <VirtualHost *:80>\nServerName files.example:80\nSlotDocumentRoot files\n</VirtualHost>\n\
         <VirtualHost *:80>\nServerName rule.example\nRewriteEngine on\nRewriteRule ^/(.*) slot://rule/$1 [P]\n\
         <Files *.php>\nSetHandler proxy:slot://handler\n</Files>\n</VirtualHost>\n\
         <VirtualHost 127.0.0.1:80>\nProxyPass / slot://nameless/\n</VirtualHost>\n\
         <VirtualHost *:81>\nProxyPass / slot://main/\n</VirtualHost>",
    ));
    for (name, host, proto) in [
        ("plain", "plain.example", "http"),
        ("port", "port.example:8443", "http"),
        ("tls", "tls.example", "https"),
        ("fast", "fast.example:444", "https"),
        ("files", "files.example", "http"),
        ("rule", "rule.example", "http"),
        ("handler", "rule.example", "http"),
        ("shared", "plain.example", "http"),
        ("main", "localhost:81", "http"),
    ] {
        assert_eq!(group(&site, name)["site"], json!({"host": host, "proto": proto}), "{name}");
    }
    for name in ["nameless", "unrouted"] {
        assert_eq!(group(&site, name).get("site"), None, "{name}");
    }
}

#[test]
fn a_balancer_of_a_slot_has_its_members_in_the_group_file() {
    let mut site = Site::new().with(&["proxy_balancer", "slotmem_shm", "lbmethod_byrequests"]);
    site.start(
        "<SlotGroup app>\nSlot a balancer://blue\nSlot b balancer://Green/ctx\nSlot c http://127.0.0.1:3\n\
         </SlotGroup>\n<Proxy balancer://blue>\nBalancerMember http://127.0.0.1:11\n\
         BalancerMember http://127.0.0.1:12 status=+D\nBalancerMember unix:/run/x.sock|http://x/\n\
         BalancerMember http://127.0.0.1:13 status=+H\n</Proxy>\n\
         <VirtualHost *:80>\n<Proxy balancer://green>\nBalancerMember http://127.0.0.1:14\n</Proxy>\n\
         ProxyPass / slot://app/\n</VirtualHost>",
    );
    let slots = group(&site, "app")["slots"].clone();
    let blue = ["http://127.0.0.1:11", "unix:/run/x.sock|http://x/", "http://127.0.0.1:13"];
    assert_eq!(slots[0]["members"], json!(blue));
    assert_eq!(slots[1]["members"], json!(["http://127.0.0.1:14"]));
    assert_eq!(slots[2].get("members"), None);
}
