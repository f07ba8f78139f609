/* Counts the file operations below a watched folder and makes one of them fail or be the process group's last.

Loaded with LD_PRELOAD, idle until faults_arm() is called or SCATCACHE_FAULTS names what to arm with (so that spawned
processes are armed too). A step is (operation, path below the folder with hexadecimal names as "*", its occurrence):
the same step in every run, whatever thread takes it. Counts are shared by all processes that map the control file.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define N_SLOTS 16384

enum mode { TRACE, KILL, TEAR, FAIL_ONCE, FAIL_PATH, FAIL_ROOM };

/* Mirrored by shim.py. */
struct control {
    int32_t mode, error, occurrence, n_hits;
    char operation[16], path[1024];
    int32_t lock, unused;
    struct { uint64_t hash; uint64_t count; } slots[N_SLOTS];
};

static struct control *control;
static char watched[PATH_MAX];
static size_t watched_length;
static int trace = -1;

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

int faults_arm(const char *folder, const char *control_path, const char *trace_path) {
    int file = (int)syscall(SYS_openat, AT_FDCWD, control_path, O_RDWR | O_CLOEXEC, 0);
    if (file < 0) return errno;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (mapped == MAP_FAILED) return errno;
    if (*trace_path) {
        trace = (int)syscall(SYS_openat, AT_FDCWD, trace_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (trace < 0) return errno;
    }
    snprintf(watched, sizeof watched, "%s/", folder);
    watched_length = strlen(watched);
    __atomic_store_n(&control, mapped, __ATOMIC_SEQ_CST);
    return 0;
}

__attribute__((constructor)) static void arm_from_environment(void) {
    const char *value = getenv("SCATCACHE_FAULTS");
    if (!value) return;
    char *text = strdup(value), *rest = text;
    const char *folder = strsep(&rest, "\n"), *path = strsep(&rest, "\n"), *traced = strsep(&rest, "\n");
    if (folder && path && traced && faults_arm(folder, path, traced)) abort();
    free(text);
}

/* The path of `name` seen from the folder `at`; no link is resolved. */
static int spell(int at, const char *name, char *out) {
    if (!name) return 0;
    if (name[0] == '/') return snprintf(out, PATH_MAX, "%s", name) < PATH_MAX;
    char folder[PATH_MAX];
    if (at == AT_FDCWD) {
        if (syscall(SYS_getcwd, folder, sizeof folder) < 0) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        long n = syscall(SYS_readlinkat, AT_FDCWD, link, folder, sizeof folder - 1);
        if (n < 0) return 0;
        folder[n] = 0;
    }
    return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

static int spell_open(int file, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    if (n <= 0 || out[0] != '/') return 0;
    out[n] = 0;
    char *deleted = strstr(out, " (deleted)");
    if (deleted && !deleted[10]) *deleted = 0;
    return 1;
}

static int is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

/* The part below the watched folder, runs of 32 hexadecimal digits as "*"; 0 for other paths. */
static int normalise(const char *path, char *out) {
    if (strncmp(path, watched, watched_length)) return 0;
    const char *from = path + watched_length;
    while (*from == '/') from++;
    char *to = out, *end = out + 1000;
    while (*from && to < end) {
        int n = 0;
        while (is_hex(from[n]) && n < 32) n++;
        if (n == 32) {
            *to++ = '*', from += 32;
        } else {
            *to++ = *from++;
        }
    }
    *to = 0;
    return 1;
}

static uint64_t count_step(const char *operation, const char *path) {
    uint64_t hash = 1469598103934665603u;
    for (const char *c = operation; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    hash = (hash ^ 255) * 1099511628211u;
    for (const char *c = path; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    hash |= !hash;
    while (__atomic_exchange_n(&control->lock, 1, __ATOMIC_ACQUIRE)) {}
    size_t slot = hash % N_SLOTS;
    while (control->slots[slot].hash && control->slots[slot].hash != hash) slot = (slot + 1) % N_SLOTS;
    control->slots[slot].hash = hash;
    uint64_t n = ++control->slots[slot].count;
    __atomic_store_n(&control->lock, 0, __ATOMIC_RELEASE);
    return n;
}

static void end_group(void) {
    syscall(SYS_kill, 0, SIGKILL);
    for (;;) pause();
}

static int needs_room(const char *operation) {
    static const char *const kinds[] = {"open", "write", "mkdir", "link", "allocate", NULL};
    for (int kind = 0; kinds[kind]; kind++)
        if (!strcmp(operation, kinds[kind])) return 1;
    return 0;
}

enum verdict { GO_ON, FAIL, GO_HALF };

/* Takes one step: ends the group, or says whether the operation fails (with errno set), or is to be torn. */
static enum verdict take(const char *operation, const char *path, const char *other) {
    char normal[1024], also[1024];
    int kept = errno;
    if (!normalise(path, normal)) {
        if (!other || !normalise(other, normal)) return GO_ON;
        other = NULL;
    }
    if (!other || !normalise(other, also)) also[0] = 0;
    uint64_t n = count_step(operation, normal);
    if (trace >= 0) {
        char line[1200];
        int length = snprintf(line, sizeof line, "%s\t%s\t%lu\t%d\n", operation, normal, (unsigned long)n, getpid());
        syscall(SYS_write, trace, line, length);
    }
    errno = kept;
    if (control->mode == TRACE) return GO_ON;
    int is_path = !strcmp(normal, control->path) || !strcmp(also, control->path);
    int is_step = n == (uint64_t)control->occurrence && !strcmp(operation, control->operation)
        && !strcmp(normal, control->path);
    int hits = __atomic_load_n(&control->n_hits, __ATOMIC_SEQ_CST);
    int fails = is_step && !hits;
    if (control->mode == FAIL_PATH) fails = is_step || (hits && is_path);
    if (control->mode == FAIL_ROOM) fails = is_step || (hits && needs_room(operation));
    if (!fails) return GO_ON;
    __atomic_add_fetch(&control->n_hits, 1, __ATOMIC_SEQ_CST);
    if (control->mode == KILL) end_group();
    if (control->mode == TEAR) return GO_HALF;
    errno = control->error;
    return FAIL;
}

static enum verdict take_at(const char *operation, int at, const char *name) {
    char path[PATH_MAX];
    if (!control || !spell(at, name, path)) return GO_ON;
    return take(operation, path, NULL);
}

static enum verdict take_open(const char *operation, int file) {
    char path[PATH_MAX];
    if (!control || !spell_open(file, path)) return GO_ON;
    return take(operation, path, NULL);
}

static enum verdict take_two(const char *operation, int from_at, const char *from, int to_at, const char *to) {
    char source[PATH_MAX], target[PATH_MAX];
    if (!control || !spell(from_at, from, source) || !spell(to_at, to, target)) return GO_ON;
    return take(operation, target, source);
}

static const char *opens(int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    return writes ? "open" : "look";
}

#define MODE_OF(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *name, int flags, ...) {
    MODE_OF(flags)
    REAL("open", int, const char *, int, ...);
    return take_at(opens(flags), AT_FDCWD, name) == FAIL ? -1 : real(name, flags, mode);
}

int open64(const char *name, int flags, ...) {
    MODE_OF(flags)
    REAL("open64", int, const char *, int, ...);
    return take_at(opens(flags), AT_FDCWD, name) == FAIL ? -1 : real(name, flags, mode);
}

int openat(int at, const char *name, int flags, ...) {
    MODE_OF(flags)
    REAL("openat", int, int, const char *, int, ...);
    return take_at(opens(flags), at, name) == FAIL ? -1 : real(at, name, flags, mode);
}

int openat64(int at, const char *name, int flags, ...) {
    MODE_OF(flags)
    REAL("openat64", int, int, const char *, int, ...);
    return take_at(opens(flags), at, name) == FAIL ? -1 : real(at, name, flags, mode);
}

int creat(const char *name, mode_t mode) {
    REAL("creat", int, const char *, mode_t);
    return take_at("open", AT_FDCWD, name) == FAIL ? -1 : real(name, mode);
}

static const char *opens_stream(const char *mode) { return mode[0] == 'r' && !strchr(mode, '+') ? "look" : "open"; }

FILE *fopen(const char *name, const char *mode) {
    REAL("fopen", FILE *, const char *, const char *);
    return take_at(opens_stream(mode), AT_FDCWD, name) == FAIL ? NULL : real(name, mode);
}

FILE *fopen64(const char *name, const char *mode) {
    REAL("fopen64", FILE *, const char *, const char *);
    return take_at(opens_stream(mode), AT_FDCWD, name) == FAIL ? NULL : real(name, mode);
}

ssize_t write(int file, const void *data, size_t n) {
    REAL("write", ssize_t, int, const void *, size_t);
    enum verdict verdict = take_open("write", file);
    if (verdict == GO_HALF) {
        real(file, data, n / 2);
        end_group();
    }
    return verdict == FAIL ? -1 : real(file, data, n);
}

#define WRITES(name, type, call, ...) \
    type name(__VA_ARGS__) { \
        REAL(#name, type, __VA_ARGS__); \
        enum verdict verdict = take_open("write", file); \
        if (verdict == GO_HALF) end_group(); \
        return verdict == FAIL ? -1 : real call; \
    }

WRITES(pwrite, ssize_t, (file, data, n, at), int file, const void *data, size_t n, off_t at)
WRITES(pwrite64, ssize_t, (file, data, n, at), int file, const void *data, size_t n, off64_t at)
WRITES(writev, ssize_t, (file, parts, n), int file, const struct iovec *parts, int n)
WRITES(sendfile, ssize_t, (file, from, at, n), int file, int from, off_t *at, size_t n)
WRITES(sendfile64, ssize_t, (file, from, at, n), int file, int from, off64_t *at, size_t n)
WRITES(copy_file_range, ssize_t, (from, from_at, file, at, n, flags), int from, off64_t *from_at, int file,
    off64_t *at, size_t n, unsigned flags)

#define ON_FILE(name, operation, type, failed, call, ...) \
    type name(__VA_ARGS__) { \
        REAL(#name, type, __VA_ARGS__); \
        return take_open(operation, file) == FAIL ? (failed) : real call; \
    }

ON_FILE(fsync, "fsync", int, -1, (file), int file)
ON_FILE(fdatasync, "fsync", int, -1, (file), int file)
ON_FILE(ftruncate, "truncate", int, -1, (file, n), int file, off_t n)
ON_FILE(ftruncate64, "truncate", int, -1, (file, n), int file, off64_t n)
ON_FILE(fallocate, "allocate", int, -1, (file, mode, at, n), int file, int mode, off_t at, off_t n)
ON_FILE(posix_fallocate, "allocate", int, errno, (file, at, n), int file, off_t at, off_t n)
ON_FILE(posix_fallocate64, "allocate", int, errno, (file, at, n), int file, off64_t at, off64_t n)
ON_FILE(read, "read", ssize_t, -1, (file, data, n), int file, void *data, size_t n)
ON_FILE(pread, "read", ssize_t, -1, (file, data, n, at), int file, void *data, size_t n, off_t at)
ON_FILE(pread64, "read", ssize_t, -1, (file, data, n, at), int file, void *data, size_t n, off64_t at)
ON_FILE(readv, "read", ssize_t, -1, (file, parts, n), int file, const struct iovec *parts, int n)

#define ON_NAME(name, operation, at, call, ...) \
    int name(__VA_ARGS__) { \
        REAL(#name, int, __VA_ARGS__); \
        return take_at(operation, at, path) == FAIL ? -1 : real call; \
    }

ON_NAME(unlink, "unlink", AT_FDCWD, (path), const char *path)
ON_NAME(unlinkat, flags & AT_REMOVEDIR ? "rmdir" : "unlink", at, (at, path, flags), int at, const char *path, int flags)
ON_NAME(rmdir, "rmdir", AT_FDCWD, (path), const char *path)
ON_NAME(mkdir, "mkdir", AT_FDCWD, (path, mode), const char *path, mode_t mode)
ON_NAME(mkdirat, "mkdir", at, (at, path, mode), int at, const char *path, mode_t mode)
ON_NAME(truncate, "truncate", AT_FDCWD, (path, n), const char *path, off_t n)
ON_NAME(symlink, "link", AT_FDCWD, (target, path), const char *target, const char *path)
ON_NAME(symlinkat, "link", at, (target, at, path), const char *target, int at, const char *path)

#define ON_TWO(name, operation, from_at, to_at, call, ...) \
    int name(__VA_ARGS__) { \
        REAL(#name, int, __VA_ARGS__); \
        return take_two(operation, from_at, from, to_at, to) == FAIL ? -1 : real call; \
    }

ON_TWO(rename, "rename", AT_FDCWD, AT_FDCWD, (from, to), const char *from, const char *to)
ON_TWO(renameat, "rename", from_at, to_at, (from_at, from, to_at, to), int from_at, const char *from, int to_at,
    const char *to)
ON_TWO(renameat2, "rename", from_at, to_at, (from_at, from, to_at, to, flags), int from_at, const char *from,
    int to_at, const char *to, unsigned flags)
ON_TWO(link, "link", AT_FDCWD, AT_FDCWD, (from, to), const char *from, const char *to)
ON_TWO(linkat, "link", from_at, to_at, (from_at, from, to_at, to, flags), int from_at, const char *from, int to_at,
    const char *to, int flags)
