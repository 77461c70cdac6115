/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - see pool.h.
 *
 * A job is offered by one store: the ticket {epoch, n, next}. A worker joins it by moving next from
 * i to i + 1, which makes it slot i; the owner closes it by taking the ticket away, and knows from
 * it how many have joined. The epoch lets no worker join a job with what it read of an older one
 * (it would have to sleep through 2^32 jobs between two instructions).
 *
 * Nobody is lost to sleep: a worker counts itself a sleeper before its last look at the ticket, the
 * owner writes the ticket before it looks for sleepers, and all four are sequentially consistent.
 */
#include "parallel/pool.h"

#include "base/error.h"
#include "base/memory.h"
#include "parallel/futex.h"

#include <string.h>

/* Looks at a word before sleeping: about 20 to 100 microseconds. Longer than the gap between two
 * steps of a call, shorter than what anybody notices. */
enum { LOOKS = 2000 };

#define TICKET_END UINT64_MAX /* workers leave */

struct gqa_pool {
    gqa_runtime memory;
    int64_t process;
    int32_t threads, workers;
    _Alignas(GQA__ALIGN) _Atomic uint64_t ticket;
    void (*body)(void *arg, int slot); /* of the job; written before its ticket */
    void *arg;
    _Alignas(GQA__ALIGN) atomic_bool busy;
    _Atomic uint32_t sleepers;
    struct gqa__futex bell; /* rings (changes) when there is a job for sleepers */
    /* Twice the joined workers that are not done, counted down by each at its end and up by the
     * owner when it knows how many joined; plus 1 while the owner sleeps. */
    _Alignas(GQA__ALIGN) struct gqa__futex pending;
    pthread_t thread[]; /* [workers] */
};

static uint64_t make_ticket(uint32_t epoch, uint32_t n, uint32_t next)
{
    return (uint64_t)epoch << 32 | n << 16 | next;
}

static uint32_t epoch_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> 32);
}

static uint32_t n_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> 16) & 0xffffu;
}

static uint32_t next_of(uint64_t ticket)
{
    return (uint32_t)ticket & 0xffffu;
}

/* --- workers --------------------------------------------------------------------------------- */

/* Is there something to do for a worker whose last job was that of epoch last? It does not join a
 * job twice: when it came back, there was nothing left. */
static bool concerns(uint64_t ticket, uint32_t last)
{
    return ticket == TICKET_END || (next_of(ticket) < n_of(ticket) && epoch_of(ticket) != last);
}

/* The first ticket that concerns the worker. */
static uint64_t next_ticket(struct gqa_pool *pool, uint32_t last)
{
    for (;;) {
        uint32_t seen;

        for (int i = 0; i < LOOKS; i++) {
            uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
            if (concerns(ticket, last)) {
                return ticket;
            }
            gqa__relax();
        }
        seen = atomic_load(&pool->bell.value);
        atomic_fetch_add(&pool->sleepers, 1);
        if (!concerns(atomic_load(&pool->ticket), last)) {
            gqa__futex_wait(&pool->bell, seen);
        }
        atomic_fetch_sub(&pool->sleepers, 1);
    }
}

static void *work_for_pool(void *arg)
{
    struct gqa_pool *pool = arg;
    uint32_t last = 0;

    for (;;) {
        uint64_t ticket = next_ticket(pool, last);
        if (ticket == TICKET_END) {
            return NULL;
        }
        if (!atomic_compare_exchange_strong(&pool->ticket, &ticket, ticket + 1)) {
            continue; /* somebody else joined, or the job was closed: look again */
        }
        last = epoch_of(ticket);
        pool->body(pool->arg, (int)next_of(ticket));
        if (atomic_fetch_sub(&pool->pending.value, 2) == 3) { /* the last one, and it sleeps */
            gqa__futex_wake(&pool->pending, 1);
        }
    }
}

static void ring(struct gqa_pool *pool, uint32_t count)
{
    atomic_fetch_add(&pool->bell.value, 1);
    if (!GQA__FUTEX_LOCKS || pool->process == gqa__process()) { /* nobody sleeps after a fork */
        gqa__futex_wake(&pool->bell, count);
    }
}

/* --- the owner of a job ---------------------------------------------------------------------- */

/* Wait until the workers that joined are done. */
static void wait_for(struct gqa_pool *pool, uint32_t joined)
{
    uint32_t pending = atomic_fetch_add(&pool->pending.value, 2 * joined) + 2 * joined;

    for (int i = 0; i < LOOKS && pending != 0; i++) {
        gqa__relax();
        pending = atomic_load_explicit(&pool->pending.value, memory_order_acquire);
    }
    if (pending == 0) {
        return;
    }
    pending = atomic_fetch_or(&pool->pending.value, 1) | 1;
    while (pending != 1) {
        gqa__futex_wait(&pool->pending, pending);
        pending = atomic_load_explicit(&pool->pending.value, memory_order_acquire);
    }
    atomic_store_explicit(&pool->pending.value, 0, memory_order_relaxed);
}

bool gqa__pool_run(gqa_pool *pool, int32_t n, void (*body)(void *arg, int slot), void *arg)
{
    bool idle = false;
    uint64_t ticket;
    uint32_t sleepers;

    if (!atomic_compare_exchange_strong_explicit(&pool->busy, &idle, true, memory_order_acquire,
                                                 memory_order_relaxed)) {
        return false;
    }
    ticket = atomic_load_explicit(&pool->ticket, memory_order_relaxed);
    pool->body = body;
    pool->arg = arg;
    ticket = make_ticket(epoch_of(ticket) + 1, (uint32_t)n, 1);
    atomic_store(&pool->ticket, ticket);
    sleepers = atomic_load(&pool->sleepers);
    if (sleepers > 0) {
        ring(pool, sleepers < (uint32_t)n - 1 ? sleepers : (uint32_t)n - 1);
    }
    body(arg, 0);
    ticket = atomic_exchange(&pool->ticket, make_ticket(epoch_of(ticket), 0, 0));
    wait_for(pool, next_of(ticket) - 1);
    atomic_store_explicit(&pool->busy, false, memory_order_release);
    return true;
}

/* --- life ------------------------------------------------------------------------------------ */

gqa_status gqa__pool_create(gqa_pool **out, int32_t threads, const gqa_runtime *memory,
                            gqa_error *err)
{
    size_t size = sizeof(struct gqa_pool) + (size_t)(threads - 1) * sizeof(pthread_t);
    struct gqa_pool *pool;
    void *block;
    int32_t started;
    const gqa_status status = gqa__alloc(memory, size, "runtime.alloc", "a pool", &block, err);

    if (status != GQA_OK) {
        return status;
    }
    pool = block;
    memset(pool, 0, size);
    pool->memory = *memory;
    pool->process = gqa__process();
    pool->threads = threads;
    atomic_init(&pool->ticket, 0);
    atomic_init(&pool->busy, false);
    atomic_init(&pool->sleepers, 0);
    if (!gqa__futex_init(&pool->bell)) {
        goto no_bell;
    }
    if (!gqa__futex_init(&pool->pending)) {
        goto no_pending;
    }
    while (pool->workers < threads - 1 &&
           gqa__thread_start(&pool->thread[pool->workers], work_for_pool, pool)) {
        pool->workers++;
    }
    if (pool->workers == threads - 1) {
        *out = pool;
        return GQA_OK;
    }
    started = pool->workers;
    gqa__pool_destroy(pool);
    return gqa__fail(err, GQA_ERR_NOMEM, "threads", "is %d; the system gives only %d", (int)threads,
                     (int)started + 1);

no_pending:
    gqa__futex_destroy(&pool->bell);
no_bell:
    gqa__release(memory, pool);
    return gqa__fail(err, GQA_ERR_NOMEM, "threads", "the system has nothing to wait on");
}

void gqa__pool_destroy(gqa_pool *pool)
{
    gqa_runtime memory = pool->memory;

    /* A child of fork has no workers to wait for, and copies of what they wait on that must not be
     * touched. */
    if (pool->process == gqa__process()) {
        atomic_store(&pool->ticket, TICKET_END);
        ring(pool, (uint32_t)pool->workers);
        for (int32_t i = 0; i < pool->workers; i++) {
            pthread_join(pool->thread[i], NULL);
        }
        gqa__futex_destroy(&pool->pending);
        gqa__futex_destroy(&pool->bell);
    }
    gqa__release(&memory, pool);
}

int32_t gqa__pool_threads(const gqa_pool *pool)
{
    return pool->threads;
}
