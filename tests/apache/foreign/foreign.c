/* A module that meddles with requests as other modules could, for the tests of mod_slot. A header of the request
 * says how:
 *   X-Steal: URL      before mod_slot is asked, the request is given the worker that is declared for the URL
 *   X-Filename: NAME  as a rule of mod_rewrite without [P] could in httpd before 2.4.60, the request is given this
 *                     name of a file, for mod_proxy
 */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_proxy.h>

static int steal(proxy_worker **worker, proxy_balancer **balancer, request_rec *r, proxy_server_conf *conf,
                 char **url)
{
    const char *from = apr_table_get(r->headers_in, "X-Steal");

    (void)balancer;
    (void)url;
    if (from == NULL)
        return DECLINED;
    *worker = ap_proxy_get_worker_ex(r->pool, NULL, conf, from, 0);
    return *worker != NULL ? OK : DECLINED;
}

static int name_file(request_rec *r)
{
    const char *name = apr_table_get(r->headers_in, "X-Filename");

    if (name == NULL)
        return DECLINED;
    apr_table_setn(r->notes, "mod_rewrite_rewritten", "1");
    r->filename = apr_pstrdup(r->pool, name);
    r->handler = "proxy-server";
    r->proxyreq = PROXYREQ_REVERSE;
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    (void)pool;
    proxy_hook_pre_request(steal, NULL, NULL, APR_HOOK_REALLY_FIRST - 10);
    ap_hook_translate_name(name_file, NULL, NULL, APR_HOOK_FIRST);
}

module AP_MODULE_DECLARE_DATA foreign_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
