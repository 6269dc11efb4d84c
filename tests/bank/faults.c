/* Stands between a process and the system: at a chosen call that changes a folder, kills the process or fails.

   cc -shared -fPIC -o faults.so faults.c -ldl; LD_PRELOAD=faults.so python ...; then, from Python,
   ctypes.CDLL(None).faults_arm(b"/the/folder", mode, number). It can also write a log of all changes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, KILL, TEAR, FAIL_EIO, FAIL_ENOSPC, COUNT };
static char folder[4096];
static int mode = OFF, logging = -1;
static long left = 0, seen = 0;
#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

void faults_arm(const char *path, int what, long number) {
    strncpy(folder, path, sizeof folder - 1);
    mode = what, left = number, seen = 0;
}
long faults_seen(void) { return seen; }
void faults_log(const char *path, const char *file) {
    strncpy(folder, path, sizeof folder - 1);
    logging = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
}
static int inside(const char *path) { return *folder && path && !strncmp(path, folder, strlen(folder)); }
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    if (n < 0) return 0;
    path[n] = 0;
    char *deleted = strstr(path, " (deleted)");
    if (deleted) return 0;
    return fd != logging && inside(path);
}
static void note(char kind, const char *path, const char *other, int64_t offset, const void *data, int64_t size) {
    if (logging < 0) return;
    REAL(write);
    char head[8800];
    int n = snprintf(head, sizeof head, "%c\t%s\t%s\t%lld\t%lld\n", kind, path, other, (long long)offset, (long long)size);
    real(logging, head, n);
    if (data) real(logging, data, size);
}
void faults_mark(const char *text) { note('a', text, "", 0, NULL, 0); }
/* Returns whether the call has to fail. */
static int strike(void) {
    if (mode == OFF) return 0;
    __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST); /* files are synced by several threads */
    if (mode == COUNT || __atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST)) return 0;
    if (mode == KILL || mode == TEAR) { kill(getpid(), SIGKILL); pause(); }
    errno = mode == FAIL_EIO ? EIO : ENOSPC;
    return 1;
}
static ssize_t put(int fd, const void *data, size_t size, off_t offset) {
    char path[4096];
    REAL(pwrite);
    if (path_of(fd, path)) {
        if (mode == TEAR && left == 1 && size > 1) real(fd, data, size / 2, offset);
        if (strike()) return -1;
        note('w', path, "", offset, data, size);
    }
    return real(fd, data, size, offset);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return put(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return put(fd, data, size, offset); }
ssize_t write(int fd, const void *data, size_t size) {
    char path[4096];
    REAL(write);
    if (path_of(fd, path)) {
        if (mode == TEAR && left == 1 && size > 1) real(fd, data, size / 2);
        if (strike()) return -1;
        note('w', path, "", lseek(fd, 0, SEEK_CUR), data, size);
    }
    return real(fd, data, size);
}
static int sync_of(int fd) {
    char path[4096];
    if (path_of(fd, path)) {
        if (strike()) return -1;
        note('s', path, "", 0, NULL, 0);
    }
    return 0; /* nothing here needs the disk itself */
}
int fsync(int fd) { return sync_of(fd); }
int fdatasync(int fd) { return sync_of(fd); }
static int cut(int fd, off_t size) {
    char path[4096];
    REAL(ftruncate);
    if (path_of(fd, path)) {
        if (strike()) return -1;
        note('t', path, "", size, NULL, 0);
    }
    return real(fd, size);
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off_t size) { return cut(fd, size); }
int unlink(const char *path) {
    REAL(unlink);
    if (inside(path)) {
        if (strike()) return -1;
        note('u', path, "", 0, NULL, 0);
    }
    return real(path);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    if (inside(to)) {
        if (strike()) return -1;
        note('r', from, to, 0, NULL, 0);
    }
    return real(from, to);
}
int mkdir(const char *path, mode_t rights) {
    REAL(mkdir);
    if (inside(path)) {
        if (strike()) return -1;
        note('m', path, "", 0, NULL, 0);
    }
    return real(path, rights);
}
int rmdir(const char *path) {
    REAL(rmdir);
    if (inside(path)) {
        if (strike()) return -1;
        note('d', path, "", 0, NULL, 0);
    }
    return real(path);
}
static int opened(const char *path, int flags, mode_t rights) {
    REAL(open);
    if (inside(path) && (flags & O_CREAT) && access(path, F_OK)) {
        if (strike()) return -1;
        note('c', path, "", 0, NULL, 0);
    }
    return real(path, flags, rights);
}
#define RIGHTS va_list list; va_start(list, flags); mode_t rights = flags & O_CREAT ? va_arg(list, int) : 0; va_end(list)
int open(const char *path, int flags, ...) { RIGHTS; return opened(path, flags, rights); }
int open64(const char *path, int flags, ...) { RIGHTS; return opened(path, flags, rights); }
