/* Makes fsync and fdatasync fail with EIO, once, as a disk does that lost what was written to it.
   Files whose path contains FAIL_SYNC_OF count; the call with number FAIL_SYNC_AT fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int calls;

static int fails(int file) {
    const char *of = getenv("FAIL_SYNC_OF"), *at = getenv("FAIL_SYNC_AT");
    char link[64], path[4096];
    ssize_t length;
    if (of == NULL || at == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strstr(path, of) == NULL) return 0;
    return __sync_add_and_fetch(&calls, 1) == atoi(at);
}

int fsync(int file) {
    if (fails(file)) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
    if (fails(file)) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
