//! The Apache side. This file is its index: the directives, and the hooks in Apache's order.

mod aside;
mod check;
mod child;
mod claim;
mod config;
mod docroot;
mod failures;
mod group;
mod hold;
mod host;
mod kept;
mod maintenance;
mod offer;
mod older;
mod pin;
mod publish;
mod refusal;
mod reverse;
mod rewrite;
mod scheme;
mod several;
mod site;
mod start;
mod tunnel;
mod variable;
mod vhost;
mod workers;

use config::{Lines, PARK, SlotModule};
use host::Order::{BeforeAll, First, Last, Middle, ReallyFirst};
use host::{Directive, Hook, Loaded, Module, ModuleData};
use std::ffi::CStr;

/// A request pays for the hooks of these directives only where they are used.
const GROUP: &CStr = c"<SlotGroup";
const DOCUMENT_ROOT: &CStr = c"SlotDocumentRoot";
const DRAIN: &CStr = c"SlotDrain";
const AUTO_ROLLBACK: &CStr = c"SlotAutoRollback";
const MAINTENANCE: &CStr = c"SlotMaintenance";

/// All hooks, in the order in which Apache calls them: the start, a child, a request. First, the functions that other
/// modules may call, and the variable of expressions.
static HOOKS: [Hook; 28] = [
    Hook::offer::<offer::RequestSlot>(),
    Hook::offer::<offer::RequestGeneration>(),
    Hook::offer::<offer::ActiveSlot>(),
    Hook::variable::<variable::SlotOfRequest>(),
    Hook::pre_config(Middle, start::begin),
    Hook::check_config(Middle, check::check),
    Hook::post_config(Last, start::prepare),
    Hook::child_init(Middle, child::attach).after([c"mod_proxy.c"]),
    Hook::parking().with(PARK),
    Hook::translate_name(ReallyFirst, docroot::enter).with(DOCUMENT_ROOT),
    Hook::check_trans(ReallyFirst, scheme::check_route).with(GROUP),
    Hook::translate_name(Last, docroot::map).with(DOCUMENT_ROOT),
    Hook::map_to_storage(ReallyFirst, scheme::enter).with(GROUP),
    Hook::fixups(ReallyFirst, scheme::mark).after([c"core.c"]).with(GROUP),
    Hook::fixups(First, older::finish_rule)
        .after([c"mod_rewrite.c", c"mod_proxy.c"])
        .with(GROUP)
        .only_if(older::leaves_rules),
    Hook::handler(ReallyFirst, older::start_handler).with(GROUP).only_if(older::leaves_handlers),
    // Before all others, which would be called a second time for a request that was parked.
    Hook::handler(BeforeAll, hold::park).with(PARK),
    Hook::canon_handler(ReallyFirst, scheme::canon::canonicalise).with(GROUP),
    // mod_proxy_balancer's is at "first": this one comes before it.
    Hook::pre_request(ReallyFirst, scheme::worker::choose).with(GROUP),
    Hook::scheme_handler(ReallyFirst, scheme::worker::check).with(GROUP),
    Hook::scheme_handler(ReallyFirst, tunnel::begin).with(DRAIN),
    Hook::answer(tunnel::decline).with(DRAIN),
    Hook::request_status(Last, failures::note).with(AUTO_ROLLBACK),
    Hook::error_filter(Last, refusal::begin_page).with(MAINTENANCE),
    Hook::error_page(refusal::give_type).with(MAINTENANCE),
    Hook::request_end(pin::end),
    Hook::parked_close(hold::close).with(PARK),
    Hook::log_transaction(ReallyFirst, failures::count).with(AUTO_ROLLBACK),
    // Last, Apache writes the access log and clears the request's pool, which calls `pin::over`.
];

static DIRECTIVES: [Directive<SlotModule>; 21] = [
    Directive::section(
        GROUP,
        Lines::open_group,
        Lines::close_group,
        c"name of a group, which contains the slots of one application",
    ),
    Directive::words(
        c"Slot",
        Lines::add_slot,
        c"name of a slot, its backend's URL or -, docroot=path of its static files, unit=name of its systemd service",
    ),
    Directive::words(
        c"SlotDefault",
        Lines::set_default,
        c"name of the slot that is active until the first flip",
    ),
    Directive::words(
        c"SlotOperator",
        Lines::set_operator,
        c"group=name of a group of this system whose members may flip without root",
    ),
    Directive::words(
        c"SlotHealthCheck",
        Lines::set_health,
        c"when a slot of the group is healthy: uri=/path expect=200 and more, or off",
    ),
    Directive::words(
        c"SlotWarmUp",
        Lines::set_warm_up,
        c"requests that a slot gets before it becomes active: uri=/path count=n and more, or off",
    ),
    Directive::words(
        AUTO_ROLLBACK,
        Lines::set_rollback,
        c"when a flip is undone by itself: window=time max5xx=share minrequests=n, or off",
    ),
    Directive::words(
        DRAIN,
        Lines::set_drain,
        c"how long a slot may take to become empty: timeout=time tunnels=time, or off",
    ),
    Directive::line(
        MAINTENANCE,
        Lines::set_maintenance,
        c"how requests are answered during maintenance: page=file allow=expression retryafter=seconds static=on, or off",
    ),
    Directive::line(
        c"SlotHold",
        Lines::set_hold,
        c"how requests wait while the group is held: timeout=time queue=n rate=n park=on",
    ),
    Directive::words(
        c"SlotHook",
        Lines::add_hook,
        c"event of a deploy, timeout=time if it is not 300s, and a program with its arguments",
    ),
    Directive::words(
        c"SlotStateDir",
        Lines::set_state_dir,
        c"directory on a disk, for the files that record the active slots",
    ),
    Directive::words(
        c"SlotRuntimeDir",
        Lines::set_runtime_dir,
        c"directory for the counts of requests; it need not survive a reboot",
    ),
    Directive::words(
        DOCUMENT_ROOT,
        Lines::set_document_root,
        c"name of a group; the docroot of its active slot becomes the DocumentRoot",
    ),
    Directive::observed(
        c"ProxyPassReverse",
        Lines::see_reverse,
        c"of mod_proxy: a path and a URL, which may be a slot:// URL",
    ),
    Directive::observed(
        c"ProxyPassReverseCookiePath",
        Lines::see_reverse,
        c"of mod_proxy: a backend's path, or slot://name/path, and the public path",
    ),
    Directive::observed(
        c"ProxyPassReverseCookieDomain",
        Lines::see_reverse,
        c"of mod_proxy: a backend's domain, or slot://name, and the public domain",
    ),
    Directive::edited(
        c"RewriteRule",
        rewrite::mark_rule,
        c"of mod_rewrite: a pattern, a URL, which may be a slot:// URL, and flags",
    ),
    Directive::edited(
        c"SetHandler",
        rewrite::check_handler,
        c"of the core: a handler, which may be proxy:slot://name",
    ),
    Directive::edited(
        c"AddHandler",
        rewrite::check_handler,
        c"of mod_mime: a handler, which may be proxy:slot://name, and extensions",
    ),
    Directive::END,
];

#[allow(unsafe_code, reason = "the one module of this shared object")]
// SAFETY: the only implementation.
unsafe impl Module for SlotModule {
    type Lines = Lines;
    type Serving = site::Service;
    type State = kept::State;

    fn lines(server: usize) -> Lines {
        Lines::of(server)
    }
}

impl Loaded for SlotModule {
    fn data() -> &'static ModuleData<Self> {
        &slot_module
    }
}

/// What `LoadModule slot_module` looks up.
#[allow(unsafe_code, reason = "the symbol's name is Apache's contract")]
#[allow(non_upper_case_globals, reason = "likewise")]
#[unsafe(no_mangle)]
static slot_module: ModuleData<SlotModule> = ModuleData::new(c"mod_slot.c", &DIRECTIVES, &HOOKS);
