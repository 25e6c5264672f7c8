//! The Apache side. This file is its index: the directives, the hooks, the record.

mod check;
mod config;
mod docroot;
mod host;
mod older;
mod pin;
mod rewrite;
mod scheme;
mod site;
mod start;
mod workers;

use config::Config;
use host::{Directive, Hooks, MODULE, ModuleRecord, Proxy, check_version};

static DIRECTIVES: [Directive; 14] = [
    Directive::section(
        c"<SlotGroup",
        Config::open_group,
        Config::close_group,
        serve_groups,
        c"name of a group: the slots of one application stand in it",
    ),
    Directive::words(
        c"Slot",
        Config::add_slot,
        c"name of a slot, its backend's URL or -, and docroot=path of its static files",
    ),
    Directive::words(
        c"SlotDefault",
        Config::set_default,
        c"name of the slot that is active until the first flip",
    ),
    Directive::words(
        c"SlotOperator",
        Config::set_operator,
        c"group=name of the system's group that may flip without being root",
    ),
    Directive::words(
        c"SlotStateDir",
        Config::set_state_dir,
        c"directory of the record of the active slots, on a disk",
    ),
    Directive::words(
        c"SlotRuntimeDir",
        Config::set_runtime_dir,
        c"directory of the counts of requests, need not survive a reboot",
    ),
    Directive::hooking(
        c"SlotDocumentRoot",
        Config::set_document_root,
        serve_files,
        c"name of the group whose active slot's docroot is the DocumentRoot",
    ),
    Directive::observed(
        c"ProxyPassReverse",
        Config::see_reverse,
        c"a path and a URL, of mod_proxy; the URL may be a slot:// one",
    ),
    Directive::observed(
        c"ProxyPassReverseCookiePath",
        Config::see_reverse,
        c"a backend's path, or slot://name/path, and the public one, of mod_proxy",
    ),
    Directive::observed(
        c"ProxyPassReverseCookieDomain",
        Config::see_reverse,
        c"a backend's domain, or slot://name, and the public one, of mod_proxy",
    ),
    Directive::edited(
        c"RewriteRule",
        rewrite::mark_rule,
        c"a pattern, a URL that may be a slot:// one, and flags, of mod_rewrite",
    ),
    Directive::edited(
        c"SetHandler",
        rewrite::check_handler,
        c"a handler, or proxy:slot://name, of the core",
    ),
    Directive::edited(
        c"AddHandler",
        rewrite::check_handler,
        c"a handler, or proxy:slot://name, and extensions, of mod_mime",
    ),
    Directive::END,
];

fn register(hooks: &mut Hooks) {
    hooks
        .pre_config(begin)
        .check_config(check::check)
        .post_config(start::prepare)
        .child_init(start::attach)
        .request_end(pin::end);
}

/// Before the configuration is carried out.
fn begin() -> Result<(), String> {
    check_version()?;
    rewrite::offer();
    Ok(())
}

/// With the first `<SlotGroup>`: until there is one, no request pays for us.
fn serve_groups(hooks: &mut Hooks) {
    hooks.map_to_storage(scheme::enter).fixups(pin::mark);
    // It may be loaded after us, and it may not be loaded at all.
    if let Some(mod_proxy) = Proxy::find() {
        hooks
            .proxy_check(&mod_proxy, scheme::check_route)
            .proxy_canon(&mod_proxy, scheme::canonicalise)
            .proxy_pre_request(&mod_proxy, scheme::worker)
            .proxy_scheme(&mod_proxy, scheme::check_worker);
        if !mod_proxy.canonicalises_rules() {
            hooks.fixups_of_rules(older::finish_rule);
        }
        if !mod_proxy.canonicalises_handlers() {
            hooks.handler(older::start_handler);
        }
    }
}

/// With the first `SlotDocumentRoot`.
fn serve_files(hooks: &mut Hooks) {
    hooks.translate_first(docroot::enter).translate_last(docroot::map);
}

/// What `LoadModule slot_module` looks up.
#[allow(unsafe_code, reason = "the symbol's name is Apache's contract")]
#[allow(non_upper_case_globals, reason = "likewise")]
#[unsafe(no_mangle)]
pub(crate) static slot_module: ModuleRecord = ModuleRecord::new(MODULE, &DIRECTIVES, register);
