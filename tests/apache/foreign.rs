//! Beside other modules, which may change requests in every way that Apache allows.

use crate::backend::Backend;
use crate::site::Site;

/// Two groups beside a module that changes requests.
fn started(backends: &[Backend; 3]) -> Site {
    let mut site = Site::new();
    let module = site.build_module("tests/apache/foreign/foreign.c");
    let [blue, green, admin] = backends.each_ref().map(|backend| backend.address);
    site.start(&format!(
        "LoadModule foreign_module {}\n<SlotGroup app>\nSlot blue http://{blue}\nSlot green \
         http://{green}\n</SlotGroup>\n<SlotGroup admin>\nSlot only http://{admin}\n</SlotGroup>\n<Location \
         /admin/>\nRequire all denied\n</Location>\nProxyPass /admin/ slot://admin/\nProxyPass /plain/ \
         http://{green}/\nProxyPass /app/ slot://app/\n",
        module.display()
    ));
    site
}

fn backends() -> [Backend; 3] {
    ["blue", "green", "admin"].map(Backend::named)
}

#[test]
fn a_request_of_a_slot_with_a_worker_of_another_is_refused() {
    let backends = backends();
    let site = started(&backends);
    let other = format!("X-Steal: http://{}/", backends[1].address);
    assert!(site.get("/app/x").text().starts_with("slot=blue "));
    let answer = site.ask("GET", "/app/x", &[&other]);
    assert_eq!(answer.status(), 500, "{}", answer.text());
    assert!(site.log().contains("a worker that is not its slot's"), "{}", site.log());
    // The module may use the slot's own worker, and change requests of no slot.
    let own = format!("X-Steal: http://{}/", backends[1].address);
    site.flip("green");
    assert!(site.ask("GET", "/app/x", &[&own]).text().starts_with("slot=green "), "{}", site.log());
    assert!(site.ask("GET", "/plain/x", &[&own]).text().starts_with("slot=green "));
}

#[test]
fn a_slot_url_composed_by_a_rewrite_is_refused() {
    let backends = backends();
    let site = started(&backends);
    for name in ["proxy:slot://admin/x", "proxy:SLOT://admin/x", "proxy:slot://app/x"] {
        let answer = site.ask("GET", "/anything", &[&format!("X-Filename: {name}")]);
        assert_eq!(answer.status(), 500, "{name}: {}", answer.text());
    }
    assert!(site.log().contains("no rule and no route has this slot:// URL"), "{}", site.log());
    let plain = format!("X-Filename: proxy:http://{}/x", backends[0].address);
    assert!(site.ask("GET", "/anything", &[&plain]).text().starts_with("slot=blue "));
}
