/* A module for the tests: it makes an Apache look like an older one to the other modules.
 *
 *     OlderMagic N     the minor module magic number of Apache is N
 *     OlderFixups On   mod_proxy's fixups come before those of mod_rewrite, as up to 2.4.62: the URL of a
 *                      directory's rule is hidden from them. It is encoded, and has its query, as it was then.
 */
#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_request.h>
#include <mod_proxy.h>
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

module AP_MODULE_DECLARE_DATA older_module;

/* Kept with a request: the name of the file before the rules, and the one that is hidden from mod_proxy. */
struct names {
    char *before, *hidden;
};

static int is_proxied(request_rec *r)
{
    return r->proxyreq == PROXYREQ_REVERSE && r->filename && !strncmp(r->filename, "proxy:", 6);
}

/* What mod_proxy's fixups did at this time. */
static int before_rules(request_rec *r)
{
    struct names *names = apr_pcalloc(r->pool, sizeof *names);
    if (is_proxied(r)) {
        int answer = proxy_run_canon_handler(r, apr_pstrdup(r->pool, r->filename + 6));
        if (answer != OK && answer != DECLINED)
            return answer;
    }
    names->before = r->filename;
    ap_set_module_config(r->request_config, &older_module, names);
    return DECLINED;
}

static int after_rules(request_rec *r)
{
    struct names *names = ap_get_module_config(r->request_config, &older_module);
    if (names && is_proxied(r)) {
        names->hidden = r->filename;
        r->filename = "hidden";
    }
    return DECLINED;
}

static int after_proxy(request_rec *r)
{
    struct names *names = ap_get_module_config(r->request_config, &older_module);
    if (names && names->hidden) {
        r->filename = names->hidden;
        if (names->hidden != names->before) {
            const char *url = ap_os_escape_path(r->pool, names->hidden, 1);
            r->filename = apr_pstrcat(r->pool, url, r->args ? "?" : "", r->args, NULL);
        }
    }
    return DECLINED;
}

static const char *set_magic(cmd_parms *cmd, void *conf, const char *number)
{
    (void)cmd, (void)conf;
    core_module.minor_version = atoi(number);
    return NULL;
}

static const char *set_fixups(cmd_parms *cmd, void *conf, int on)
{
    static const char *const rewrite[] = { "mod_rewrite.c", NULL };
    static const char *const proxy[] = { "mod_proxy.c", NULL };
    static const char *const slot[] = { "mod_slot.c", NULL };
    const char *module = apr_hook_debug_current;
    (void)cmd, (void)conf;
    if (on) {
        apr_hook_debug_current = "older.c";
        ap_hook_fixups(before_rules, NULL, rewrite, APR_HOOK_REALLY_FIRST);
        ap_hook_fixups(after_rules, rewrite, proxy, APR_HOOK_FIRST);
        ap_hook_fixups(after_proxy, proxy, slot, APR_HOOK_FIRST);
        apr_hook_debug_current = module;
    }
    return NULL;
}

/* While the file is read, so that other modules see it when they carry out their directives. */
static const command_rec directives[] = {
    AP_INIT_TAKE1("OlderMagic", set_magic, NULL, RSRC_CONF | EXEC_ON_READ, "a number"),
    AP_INIT_FLAG("OlderFixups", set_fixups, NULL, RSRC_CONF | EXEC_ON_READ, "On or Off"),
    { NULL }
};

AP_DECLARE_MODULE(older) = { STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, directives, NULL, 0 };
