/* A machine that has slept: clock_gettime(2) as it is after suspend. What goes on meanwhile is ahead by so many seconds as
 * the file ASLEEP_SECONDS_IN says, in eight bytes; what stands still is not. Loaded by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *asleep;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ASLEEP_SECONDS_IN");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (file < 0)
        abort();
    asleep = mmap(NULL, sizeof *asleep, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (asleep == MAP_FAILED)
        abort();
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (result == 0 && asleep && (clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME))
        time->tv_sec += *asleep;
    return result;
}
