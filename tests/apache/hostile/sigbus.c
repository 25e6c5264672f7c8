/* A module for the tests: it reads mapped files that may be cut short, and recovers from it with a handler
 * of SIGBUS and siglongjmp. It is there before mod_slot's handler (in child_init), or comes later.
 *
 *     GET /sigbus?early     reads such a file; the handler is the one of child_init
 *     GET /sigbus?late      puts the handler on top of what is there now, first; it passes on what is not
 *                           its own, and stays
 *     GET /sigbus?once      likewise, and takes it away afterwards
 *     GET /sigbus?nobody    reads such a file without being ready for it
 *
 * The answer is "recovered" and whether SIGBUS is "open" or "blocked" for the thread.
 */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static __thread sigjmp_buf *volatile back;
static struct sigaction before_early, before_late;
static volatile sig_atomic_t is_late;

static void pass_on(const struct sigaction *to, int signal, siginfo_t *info, void *context)
{
    if (to->sa_flags & SA_SIGINFO)
        to->sa_sigaction(signal, info, context);
    else if (to->sa_handler != SIG_DFL && to->sa_handler != SIG_IGN)
        to->sa_handler(signal);
    else
        sigaction(signal, to, NULL);
}

static void early(int signal, siginfo_t *info, void *context)
{
    if (back)
        siglongjmp(*back, 1);
    pass_on(&before_early, signal, info, context);
}

static void late(int signal, siginfo_t *info, void *context)
{
    if (back)
        siglongjmp(*back, 1);
    pass_on(&before_late, signal, info, context);
}

static void install(void (*handler)(int, siginfo_t *, void *), struct sigaction *before)
{
    struct sigaction action = { .sa_flags = SA_SIGINFO };
    action.sa_sigaction = handler;
    sigaction(SIGBUS, &action, before);
}

static int read_cut(void)
{
    FILE *file = tmpfile();
    if (!file || ftruncate(fileno(file), PAGE))
        return -1;
    volatile char *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fileno(file), 0);
    if (page == MAP_FAILED || ftruncate(fileno(file), 0))
        return -1;
    int got = page[0];
    munmap((void *)page, PAGE);
    fclose(file);
    return got;
}

static const char *recover(void)
{
    sigjmp_buf here;
    sigset_t mask;
    const char *said = "nothing";
    if (!sigsetjmp(here, 1)) {
        back = &here;
        read_cut();
    }
    else
        said = "recovered";
    back = NULL;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    return sigismember(&mask, SIGBUS) ? "blocked" : said;
}

static int handler(request_rec *r)
{
    if (strcmp(r->uri, "/sigbus"))
        return DECLINED;
    const char *how = r->args ? r->args : "";
    ap_set_content_type(r, "text/plain");
    if (!strcmp(how, "nobody"))
        return read_cut() ? HTTP_INTERNAL_SERVER_ERROR : OK;
    int puts = (!strcmp(how, "late") && !is_late) || !strcmp(how, "once");
    if (puts)
        install(late, &before_late);
    is_late |= !strcmp(how, "late");
    ap_rprintf(r, "%s\n", recover());
    if (!strcmp(how, "once"))
        sigaction(SIGBUS, &before_late, NULL);
    return OK;
}

static void child_init(apr_pool_t *pool, server_rec *server)
{
    (void)pool;
    (void)server;
    install(early, &before_early);
}

static void hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_FIRST);
}

AP_DECLARE_MODULE(sigbus) = { STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks, 0 };
