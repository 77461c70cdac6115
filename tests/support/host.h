/* SPDX-License-Identifier: Apache-2.0 */
/* host.h - a host for tests: an allocator that counts, checks and can run dry, and threads. */
#ifndef TEST_HOST_H
#define TEST_HOST_H

#include "gqa/runtime.h"

struct host {
    int64_t calls;     /* of alloc so far */
    int64_t live;      /* blocks not yet released */
    int64_t fail_at;   /* the call, from 0, that gets NULL; -1 = none */
    int64_t fail_from; /* from this call on all get NULL; -1 = none */
    int64_t skew_at;   /* the call that gets memory `skew` bytes beside its alignment; -1 = none */
    int64_t skew_from; /* from this call on all get such memory; -1 = none */
    size_t skew;       /* a multiple of 8 */
    /* The last request, and the block that it got; NULL once that is released. */
    size_t size, align;
    void *block;
};

void host_init(struct host *host);

/* Callbacks that fail the test on a block that was overrun, never given out or released twice. */
gqa_runtime host_runtime(struct host *host);

/* host_init, and the same callbacks; more than one thread: each task has one of its own. */
gqa_runtime host_start(struct host *host, int32_t threads);

#endif
