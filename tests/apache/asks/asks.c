/* A module that asks mod_slot, for the tests of include/mod_slot.h. It answers in fields of the response and in the
 * error log. Headers of the request:
 *   X-Group: NAME     the group to ask about; App without it
 *   X-Wait: FILE      fixups logs that it waits, and asks when the file exists
 *   X-Sub: PATH       fixups makes a sub-request, and asks about it
 *   X-Redirect: PATH  the handler redirects the request internally
 */
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <apr_strings.h>
#include <mod_slot.h>

APLOG_USE_MODULE(asks);

static APR_OPTIONAL_FN_TYPE(mod_slot_request_slot) *request_slot;
static APR_OPTIONAL_FN_TYPE(mod_slot_request_generation) *request_generation;
static APR_OPTIONAL_FN_TYPE(mod_slot_active_slot) *active_slot;

static void retrieve(void)
{
    request_slot = APR_RETRIEVE_OPTIONAL_FN(mod_slot_request_slot);
    request_generation = APR_RETRIEVE_OPTIONAL_FN(mod_slot_request_generation);
    active_slot = APR_RETRIEVE_OPTIONAL_FN(mod_slot_active_slot);
}

static const char *shown(const char *name)
{
    return name != NULL ? name : "null";
}

static const char *header(request_rec *r, const char *name)
{
    return apr_table_get(r->headers_in, name);
}

static const char *group(request_rec *r)
{
    const char *name = header(r, "X-Group");

    return name != NULL ? name : "App";
}

static void tell(request_rec *r, const char *field, const char *answer)
{
    apr_table_set(r->err_headers_out, field, shown(answer));
}

static int early(request_rec *r)
{
    tell(r, "X-Early", apr_psprintf(r->pool, "%s %u %s", shown(request_slot(r, group(r))),
                                    request_generation(r, group(r)), shown(active_slot(r->server, group(r)))));
    return DECLINED;
}

static void await_file(request_rec *r, const char *path)
{
    apr_finfo_t found;
    int tries;

    ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r, "asks: waits");
    for (tries = 0; tries < 2000 && apr_stat(&found, path, APR_FINFO_TYPE, r->pool) != APR_SUCCESS; tries++)
        apr_sleep(10000);
}

static int ask(request_rec *r)
{
    const char *wait = header(r, "X-Wait"), *sub = header(r, "X-Sub");

    if (r->main != NULL)
        return DECLINED;
    if (wait != NULL)
        await_file(r, wait);
    tell(r, "X-Slot", request_slot(r, group(r)));
    tell(r, "X-Generation", apr_psprintf(r->pool, "%u", request_generation(r, group(r))));
    tell(r, "X-First", request_slot(r, NULL));
    tell(r, "X-Unknown", request_slot(r, "nobody") ? "?" : active_slot(r->server, "nobody"));
    tell(r, "X-Active", active_slot(r->server, group(r)));
    if (r->prev != NULL)
        tell(r, "X-Is-Redirect", "yes");
    if (sub != NULL) {
        request_rec *made = ap_sub_req_lookup_uri(sub, r, NULL);

        tell(r, "X-Sub-Slot", apr_psprintf(r->pool, "%s %u", shown(request_slot(made, group(r))),
                                           request_generation(made, group(r))));
        ap_destroy_sub_req(made);
    }
    return DECLINED;
}

static int redirect(request_rec *r)
{
    const char *path = header(r, "X-Redirect");

    if (path == NULL || r->prev != NULL)
        return DECLINED;
    ap_internal_redirect(path, r);
    return OK;
}

static int log_it(request_rec *r)
{
    ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r, "asks: %d %s %u", r->status, shown(request_slot(r, group(r))),
                  request_generation(r, group(r)));
    return DECLINED;
}

static int null_is_no_error(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void)pconf;
    (void)plog;
    (void)ptemp;
    /* Functions are looked up after this in the first pass, and before it in the second one. */
    if (request_slot == NULL)
        return OK;
    if (request_slot(NULL, "App") != NULL || request_generation(NULL, NULL) != 0 || active_slot(NULL, "App") != NULL
        || active_slot(s, NULL) != NULL)
        return HTTP_INTERNAL_SERVER_ERROR;
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_optional_fn_retrieve(retrieve, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(null_is_no_error, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_post_read_request(early, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_fixups(ask, NULL, NULL, APR_HOOK_LAST);
    ap_hook_handler(redirect, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_log_transaction(log_it, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA asks_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
