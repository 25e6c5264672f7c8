/* mod_slot.h: what other modules can ask mod_slot about slots.
 *
 * These are optional functions of APR, so a module that uses them is built without mod_slot, and loads where mod_slot is
 * not loaded. Look them up in an optional_fn_retrieve hook; the result is NULL without mod_slot:
 *
 *     static APR_OPTIONAL_FN_TYPE(mod_slot_request_slot) *request_slot;
 *
 *     static void retrieve(void)
 *     {
 *         request_slot = APR_RETRIEVE_OPTIONAL_FN(mod_slot_request_slot);
 *     }
 *
 *     ap_hook_optional_fn_retrieve(retrieve, NULL, NULL, APR_HOOK_MIDDLE);
 *
 * None of them takes a lock, allocates, or has a request enter a slot. Names of groups are compared without regard to
 * case.
 */
#ifndef MOD_SLOT_H
#define MOD_SLOT_H

#include <httpd.h>
#include <apr_optional.h>

/* The name of the slot of `group` in which the request is, or was when it ended. With NULL for `group`: of the first
 * group that the request entered, as in the variable SLOT.
 *
 * Sub-requests and internal redirects are in the slot of the client's request. NULL if the request is in no slot of the
 * group: it has not entered yet, uses no such group, there is no such group, or maintenance has refused it. A request
 * enters in translate_name (SlotDocumentRoot), in map_to_storage (ProxyPass, rules of the server), or later (SetHandler
 * and rules of a directory). A request that was held may be in another slot after its handler began than before.
 *
 * Call it on the thread that works on the request. The text lives as long as the request.
 */
APR_DECLARE_OPTIONAL_FN(const char *, mod_slot_request_slot, (request_rec *r, const char *group));

/* The generation of the group when the request entered that slot: each change of the group, such as a flip, adds one. 0
 * where mod_slot_request_slot returns NULL. */
APR_DECLARE_OPTIONAL_FN(apr_uint32_t, mod_slot_request_generation, (request_rec *r, const char *group));

/* The name of the slot of `group` that is active at this moment. It is never the answer for a request: the next flip may
 * come before that enters. NULL if there is no such group, or if the slot was configured after this process began.
 *
 * Call it in a child of Apache, on any thread, from child_init on. `s` is any server of the running configuration. The
 * text lives as long as that.
 */
APR_DECLARE_OPTIONAL_FN(const char *, mod_slot_active_slot, (server_rec *s, const char *group));

#endif
