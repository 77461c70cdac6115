/* futex.c - see futex.h. */
#if defined(__linux__)
#define _GNU_SOURCE /* pthread_setname_np, syscall */
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE
#else
#define _POSIX_C_SOURCE 200809L
#endif
#include "parallel/futex.h"

#include <signal.h>
#include <unistd.h>

#if defined(GQA__NO_FUTEX)

bool gqa__futex_init(struct gqa__futex *futex)
{
    atomic_init(&futex->value, 0);
    if (pthread_mutex_init(&futex->lock, NULL) != 0) {
        return false;
    }
    if (pthread_cond_init(&futex->changed, NULL) != 0) {
        pthread_mutex_destroy(&futex->lock);
        return false;
    }
    return true;
}

void gqa__futex_destroy(struct gqa__futex *futex)
{
    pthread_cond_destroy(&futex->changed);
    pthread_mutex_destroy(&futex->lock);
}

void gqa__futex_wait(struct gqa__futex *futex, uint32_t seen)
{
    pthread_mutex_lock(&futex->lock);
    while (atomic_load(&futex->value) == seen) {
        pthread_cond_wait(&futex->changed, &futex->lock);
    }
    pthread_mutex_unlock(&futex->lock);
}

void gqa__futex_wake(struct gqa__futex *futex, uint32_t count)
{
    (void)count;
    /* With the lock: a thread that saw the old value sleeps by now and hears it. */
    pthread_mutex_lock(&futex->lock);
    pthread_cond_broadcast(&futex->changed);
    pthread_mutex_unlock(&futex->lock);
}

#else

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>

/* FUTEX_WAIT and FUTEX_WAKE with FUTEX_PRIVATE_FLAG, as linux/futex.h has them: a libc other than
 * glibc comes without the kernel's headers. */
enum { WAIT_PRIVATE = 0 | 128, WAKE_PRIVATE = 1 | 128 };

bool gqa__futex_init(struct gqa__futex *futex)
{
    atomic_init(&futex->value, 0);
    return true;
}

void gqa__futex_destroy(struct gqa__futex *futex)
{
    (void)futex;
}

void gqa__futex_wait(struct gqa__futex *futex, uint32_t seen)
{
    int kept = errno; /* the caller's: a value that changed meanwhile is no error of his */

    syscall(SYS_futex, &futex->value, WAIT_PRIVATE, seen, NULL, NULL, 0);
    errno = kept;
}

void gqa__futex_wake(struct gqa__futex *futex, uint32_t count)
{
    int kept = errno;

    syscall(SYS_futex, &futex->value, WAKE_PRIVATE, count < INT_MAX ? count : INT_MAX, NULL, NULL,
            0);
    errno = kept;
}

#endif

#if defined(_WIN32) /* through winpthreads, which MinGW brings */

bool gqa__thread_start(pthread_t *thread, void *(*body)(void *arg), void *arg)
{
    return pthread_create(thread, NULL, body, arg) == 0; /* there are no signals to block */
}

static long online_cpus(void)
{
    return pthread_num_processors_np();
}

#else

bool gqa__thread_start(pthread_t *thread, void *(*body)(void *arg), void *arg)
{
    sigset_t all, own;
    bool started;

    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &own) != 0) {
        return false;
    }
    started = pthread_create(thread, NULL, body, arg) == 0; /* inherits the mask */
    pthread_sigmask(SIG_SETMASK, &own, NULL);
#if defined(__linux__)
    if (started) {
        pthread_setname_np(*thread, "gqa-pool");
    }
#endif
    return started;
}

static long online_cpus(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN);
}

#endif

int32_t gqa__online_cpus(void)
{
    const long n = online_cpus();

    return n < 1 ? 1 : n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

int64_t gqa__process(void)
{
    return (int64_t)getpid();
}
