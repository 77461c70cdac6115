/* SPDX-License-Identifier: Apache-2.0 */
/* futex.h - sleeping until a word changes, and the other calls to the system that a pool makes.
 *
 * Linux has the futex call. Elsewhere (or with GQA__NO_FUTEX) a mutex and a condition variable do
 * the same.
 */
#ifndef GQA__FUTEX_H
#define GQA__FUTEX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if !defined(__linux__) && !defined(GQA__NO_FUTEX)
#define GQA__NO_FUTEX 1
#endif

#if defined(GQA__NO_FUTEX)
enum { GQA__FUTEX_LOCKS = 1 }; /* waiting and waking take a lock, which a fork may find taken */
#else
enum { GQA__FUTEX_LOCKS = 0 };
#endif

/* A word on which threads sleep. value is read and changed freely; wake after a change. */
struct gqa__futex {
    _Atomic uint32_t value;
#if defined(GQA__NO_FUTEX)
    pthread_mutex_t lock;
    pthread_cond_t changed;
#endif
};

/* False if the system has no means. */
bool gqa__futex_init(struct gqa__futex *futex);
void gqa__futex_destroy(struct gqa__futex *futex);

/* Sleep while value == seen. May return early: look again. */
void gqa__futex_wait(struct gqa__futex *futex, uint32_t seen);
/* Wake at least count sleepers, if there are as many. */
void gqa__futex_wake(struct gqa__futex *futex, uint32_t count);

/* Start a thread with all signals blocked, named where threads have names. */
bool gqa__thread_start(pthread_t *thread, void *(*body)(void *arg), void *arg);

/* CPUs that are online, at least 1. */
int32_t gqa__online_cpus(void);

/* The process, so that a child of fork is told from its parent. */
int64_t gqa__process(void);

/* Between two looks at a word that another thread is about to change. */
static inline void gqa__relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" : : : "memory"); /* yield is too short to save anything */
#endif
}

#endif
