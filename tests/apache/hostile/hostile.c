/* A module for the tests: what an attacker who executes code in a child of Apache could do. Each attempt
 * is a line of the answer: its name, and OK or what the system said.
 *
 *     GET /hostile?attack&PATH            on a file that the parent has mapped for its children
 *     GET /hostile?attack-own&PATH        the same on a file that the child maps itself: it may
 *     GET /hostile?descriptors            what the child has open
 *     GET /hostile?scribble&PATH&N[&keep] nonsense of the kind N all over a mapped file, or all over
 *                                         it but for its header; &first, over its first row alone
 *     GET /hostile?lock&PATH&N            locks a file that is open, from its byte N on, in a process that
 *                                         outlives the child; the answer is its number
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define WORD 64
#define ROW 28736

static void say(request_rec *r, const char *name, int done)
{
    int error = errno;
    ap_rprintf(r, "%s\t%s\n", name, done ? "OK" : strerrorname_np(error));
}

static void try(request_rec *r, const char *name, long result)
{
    say(r, name, result >= 0);
}

/* Where the file is mapped. */
static char *mapped(const char *path, size_t *len)
{
    char line[2 * PAGE], perms[8], file[PAGE];
    unsigned long from, to;
    char *found = NULL;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %4095[^\n]", &from, &to, perms, file) == 4
            && !strcmp(file, path)) {
            found = (char *)from;
            *len = to - from;
        }
    }
    if (maps)
        fclose(maps);
    return found;
}

/* A descriptor of the file, or of any file in its directory. */
static int descriptor(const char *path, int of_directory)
{
    char link[64], file[PAGE];
    const char *slash = strrchr(path, '/');
    for (int fd = 0; fd < 1024; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, file, sizeof file - 1);
        file[len < 0 ? 0 : len] = 0;
        if (of_directory ? !strncmp(file, path, slash - path + 1) : !strcmp(file, path))
            return fd;
    }
    errno = EBADF;
    return -1;
}

/* A word is written where it may be: the test would see the change. */
static void map_and_write(request_rec *r, const char *name, void *at, int fd)
{
    int fixed = at ? MAP_FIXED : 0;
    char *page = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | fixed, fd, 0);
    say(r, name, page != MAP_FAILED);
    if (page != MAP_FAILED)
        page[WORD] ^= 1;
}

static void attack_memory(request_rec *r, const char *path, char *page, pid_t parent)
{
    char bytes[8] = "scribble", there[64];
    struct iovec from = { bytes, sizeof bytes }, to = { page + WORD, sizeof bytes };
    int done = mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    try(r, "mprotect", done);
    if (!done)
        page[WORD] ^= 1;
    try(r, "process_vm_writev", process_vm_writev(parent, &from, 1, &to, 1, 0));
    try(r, "madvise-remove", madvise(page, PAGE, MADV_REMOVE));
    try(r, "allowed-madvise-dontneed", madvise(page, PAGE, MADV_DONTNEED));
    try(r, "allowed-futex", syscall(SYS_futex, page + WORD + 4, FUTEX_WAKE, 1000, NULL, NULL, 0));
    snprintf(there, sizeof there, "/proc/self/map_files/%lx-%lx", (long)page, (long)page + PAGE);
    try(r, "root-map_files", open(there, O_RDWR));
    int fd = descriptor(path, 0);
    map_and_write(r, "mmap-of-descriptor", NULL, fd);
    try(r, "punch-by-descriptor",
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
    fd = descriptor(path, 1);
    snprintf(there, sizeof there, "/proc/self/fd/%d", fd);
    try(r, "reopen-descriptor-of-directory", fd < 0 ? -1 : open(there, O_RDWR));
    fd = open(path, O_RDONLY);
    try(r, "allowed-open-for-reading", fd);
    snprintf(there, sizeof there, "/proc/self/fd/%d", fd);
    try(r, "reopen-for-writing", open(there, O_RDWR));
    map_and_write(r, "root-mmap-of-reader", NULL, fd);
    map_and_write(r, "root-mmap-over-mapping", page, fd);
    try(r, "root-write-to-reader", write(fd, bytes, 1));
    try(r, "root-lease", fcntl(fd, F_SETLEASE, F_RDLCK));
    try(r, "allowed-flock", flock(fd, LOCK_EX | LOCK_NB));
}

static void attack_parent(request_rec *r, const char *path, pid_t parent)
{
    const char *names[] = { "fd", "map_files", "mem", "cwd", "environ", NULL };
    for (const char **name = names; *name; name++) {
        const char *there = apr_psprintf(r->pool, "/proc/%d/%s", parent, *name);
        try(r, apr_pstrcat(r->pool, "root-parent-", *name, NULL), open(there, O_RDONLY));
    }
    const char *root = apr_psprintf(r->pool, "/proc/%d/root%s", parent, path);
    try(r, "root-parent-root", open(root, O_RDWR));
    try(r, "root-ptrace", ptrace(PTRACE_SEIZE, parent, NULL, NULL));
    try(r, "root-signal", parent == getpid() ? (errno = EPERM, -1) : kill(parent, SIGUSR1));
}

static void attack_path(request_rec *r, const char *path)
{
    const char *beside = apr_pstrcat(r->pool, path, ".hostile", NULL);
    map_and_write(r, "open-and-mmap", NULL, open(path, O_RDWR));
    try(r, "chmod", chmod(path, 0666));
    try(r, "root-chown", chown(path, 0, getgid()));
    try(r, "utime", utimensat(AT_FDCWD, path, NULL, 0));
    try(r, "link", link(path, beside));
    unlink(beside);
    try(r, "symlink", symlink("/etc/passwd", beside));
    unlink(beside);
    try(r, "mkdir", mkdir(beside, 0777));
    rmdir(beside);
    try(r, "mkfifo", mkfifo(beside, 0666));
    unlink(beside);
    try(r, "create", open(beside, O_RDWR | O_CREAT, 0666));
    try(r, "rename-over", rename(beside, path));
    try(r, "rename-away", rename(path, beside));
    rename(beside, path);
    try(r, "truncate", truncate(path, 0));
    try(r, "unlink", unlink(path));
}

static void attack(request_rec *r, const char *path, int own)
{
    size_t len;
    if (own) {
        int fd = open(path, O_RDWR);
        if (mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
            return say(r, "setup", 0);
    }
    char *page = mapped(path, &len);
    if (!page)
        return say(r, "setup", 0);
    pid_t parent = own ? getpid() : getppid();
    attack_memory(r, path, page, parent);
    attack_parent(r, path, parent);
    attack_path(r, path);
}

static void descriptors(request_rec *r)
{
    char link[64], file[PAGE];
    for (int fd = 0; fd < 1024; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, file, sizeof file - 1);
        if (len > 0)
            ap_rprintf(r, "%.*s\t%s\n", (int)len, file,
                       (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY ? "reads" : "writes");
    }
}

static unsigned long seed = 88172645463325252;

static unsigned long random_word(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static unsigned long nonsense(int kind, size_t at)
{
    static const char escapes[] = "\033[2J\033]0;\n\r\202\x9b";
    unsigned long word;
    switch (kind) {
    case 0: return random_word();
    case 1: return ~0UL;
    case 2: return 0;
    case 3: return random_word() & 1 ? 1UL << 63 : ~0UL - random_word() % 3;
    default:
        /* Notes that seem to be taken, of slots that there are, with text for a terminal. */
        memcpy(&word, escapes + at / 8 % 5, 8);
        return at % 128 == 64 ? 1 + at / 128 % 3 : at % 128 == 8 ? ~0UL : word;
    }
}

static void scribble(request_rec *r, const char *path, int kind, const char *keep)
{
    size_t len, at = keep ? PAGE : 0;
    char *from = mapped(path, &len);
    if (!from)
        return say(r, "setup", 0);
    if (keep && !strcmp(keep, "first"))
        len = PAGE + ROW;
    for (; at < len; at += 8)
        *(unsigned long *)(from + at) = nonsense(kind, at);
    say(r, "scribble", 1);
}

static void lock_all(int fd, int from, int how)
{
    struct flock byte = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
    for (byte.l_start = from; byte.l_start < 10000; byte.l_start++)
        fcntl(fd, how, &byte);
}

static void lock_rows(request_rec *r, const char *path, int from)
{
    int fd = descriptor(path, 0), tell[2];
    pid_t daemon = 0;
    if (fd < 0 || pipe(tell))
        return say(r, "setup", 0);
    pid_t child = fork();
    if (!child) {
        if ((daemon = fork())) {
            (void)!write(tell[1], &daemon, sizeof daemon);
            _exit(0);
        }
        lock_all(fd, from, F_SETLK);
        (void)!ftruncate(fd, 0);
        (void)!pwrite(fd, "nonsense", 8, 3);
        setsid();
        for (int other = 0; other < 1024; other++)
            if (other != fd)
                close(other);
        /* The bytes that others have locked, as soon as those are free. */
        lock_all(fd, from, F_SETLKW);
        sleep(60);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    (void)!read(tell[0], &daemon, sizeof daemon);
    ap_rprintf(r, "%d\n", daemon);
}

static int handler(request_rec *r)
{
    char *rest, *args = apr_pstrdup(r->pool, r->args ? r->args : "");
    if (strcmp(r->uri, "/hostile"))
        return DECLINED;
    const char *verb = apr_strtok(args, "&", &rest);
    const char *path = apr_strtok(NULL, "&", &rest);
    const char *kind = apr_strtok(NULL, "&", &rest);
    const char *keep = apr_strtok(NULL, "&", &rest);
    ap_set_content_type(r, "text/plain");
    if (!strcmp(verb, "descriptors"))
        descriptors(r);
    else if (!strcmp(verb, "scribble"))
        scribble(r, path, atoi(kind), keep);
    else if (!strcmp(verb, "lock"))
        lock_rows(r, path, atoi(kind));
    else
        attack(r, path, !strcmp(verb, "attack-own"));
    return OK;
}

static void hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_FIRST);
}

AP_DECLARE_MODULE(hostile) = { STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks, 0 };
