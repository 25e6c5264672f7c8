//! An Apache that is older than the headers of the module's build. A test module makes today's
//! Apache look like it.

use crate::backend::Backend;
use crate::routing;
use crate::site::Site;

/// Lines that make Apache look like one with this minor module magic number, in which mod_proxy's
/// fixups run before mod_rewrite's if `early_fixups`.
pub(crate) fn lines(site: &Site, magic: u32, early_fixups: bool) -> String {
    let module = site.build_module("tests/apache/older/older.c");
    // An older Apache has that order, and cannot look like a newer one.
    let fixups = if early_fixups && site.magic() >= 135 { "On" } else { "Off" };
    let magic = magic.min(site.magic());
    format!(
        "LoadModule older_module {}\nOlderMagic {magic}\nOlderFixups {fixups}\n",
        module.display()
    )
}

#[test]
fn an_apache_before_2_4_52_is_refused_with_its_version() {
    let site = Site::new();
    let group = "<SlotGroup app>\nSlot a http://127.0.0.1:8081\n</SlotGroup>\n";
    let (passed, said) = site.configtest(&format!("{}{group}", lines(&site, 120, false)));
    assert!(!passed, "{said}");
    for words in
        ["mod_slot needs Apache httpd 2.4.52 or newer: this is 2.4.", "20120211:120, and 121"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let (passed, said) = site.configtest(&format!("{}{group}", lines(&site, 121, false)));
    assert!(passed, "{said}");
}

/// A per-directory rule takes a request out of its slot, or into one.
const RULES: &str = r#"
ProxyPass "/pass/" "slot://app/"
<Location "/pass/out/">
    RewriteEngine On
    RewriteRule "^" "http://OTHER%{REQUEST_URI}" [P]
</Location>
<Location "/in/">
    RewriteEngine On
    RewriteRule "^" "slot://app%{REQUEST_URI}" [P]
</Location>
<Location "/handler/">
    SetHandler "proxy:slot://app"
</Location>
"#;

#[test]
fn a_rule_or_a_handler_leads_to_one_backend_in_each_version() {
    // Each step is a version that added something; also with the newer order of fixups, which
    // distributions backport.
    for (magic, early) in [(121, true), (121, false), (129, true), (134, true), (142, false)] {
        let other = Backend::named("other");
        let site = Site::new().with(&["rewrite"]);
        let rules = RULES.replace("OTHER", &other.address.to_string());
        let first = lines(&site, magic, early);
        let (site, _backends) = routing::site(site, &format!("{first}{rules}"));
        for slot in ["blue", "green"] {
            site.flip(slot);
            for (path, expected) in [
                ("/pass/x?y", format!("slot={slot} GET /x?y ")),
                ("/pass/out/x?y", "slot=other GET /pass/out/x?y ".into()),
                ("/in/x?y", format!("slot={slot} GET /in/x?y ")),
                ("/in/a%20b?c=%20d", format!("slot={slot} GET /in/a%20b?c=%20d ")),
                ("/handler/x?y", format!("slot={slot} GET /handler/x?y ")),
                ("/handler/a%20b", format!("slot={slot} GET /handler/a%20b ")),
            ] {
                let text = site.get(path).text();
                assert!(
                    text.starts_with(&expected),
                    "{magic} {early} {path}: {text}\n{}",
                    site.log()
                );
            }
        }
    }
}
