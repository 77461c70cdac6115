/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_call.h - a call on the host's blocks that is good until a fault spoils it: by gqa_attend,
 * or by gqa_forward, which appends or only reads. It must be refused by name, on backend cpu and on
 * reference, and nothing may be written.
 */
#ifndef TEST_BLOCKS_CALL_H
#define TEST_BLOCKS_CALL_H

#include <stdbool.h>

#include "gqa/gqa.h"

enum { B = 2, T = 3, BLOCKS = 6, SIZE = 16, WIDTH = 3, HQ = 4, HKV = 2, DK = 16, DV = 8 };

/* Entries that hold 20 and 5 keys get T more, or are asked for their last T. Keys, values and
 * scales lie in memory that all calls of a program have in common. */
struct blocks_call {
    const gqa_layer *layer;
    gqa_cache *cache;
    gqa_block_kv kv;
    gqa_inputs in;
    gqa_attend_inputs attend;
    bool attends, reads; /* gqa_attend, or gqa_forward that appends nothing */
    int32_t table[B * WIDTH], lengths[B], positions[B * WIDTH * SIZE], ids[B * T], sequences[B];
    int64_t slots[B * T];
};

/* Layers for the calls of a program: setup and teardown of its tests. */
int blocks_calls_open(void **state);
int blocks_calls_close(void **state);

/* Of backend cpu, and of reference, or NULL where it is not built; a cache of the first. */
const gqa_layer *blocks_layer(bool reference);
gqa_cache *blocks_cache(void);

void blocks_good_call(struct blocks_call *c, bool attends, bool reads);
gqa_status blocks_run(struct blocks_call *c, gqa_error *err);

/* K and V become int8 with scales. */
void blocks_int8(struct blocks_call *c);

struct blocks_fault {
    void (*spoil)(struct blocks_call *c);
    const char *what, *field;
    gqa_status status;
};

#define BAD(name, field)                                                                           \
    {                                                                                              \
        name, #name, field, GQA_ERR_ARG                                                            \
    }
#define SHAPE(name, field)                                                                         \
    {                                                                                              \
        name, #name, field, GQA_ERR_SHAPE                                                          \
    }
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* Fails the test unless the call is refused as the fault says. */
void blocks_refuse(const struct blocks_fault *fault, bool attends, bool reads);

/* Does one of n faults name this field? */
bool blocks_named(const struct blocks_fault *list, size_t n, const char *field);

/* Fails the test unless the message of the spoilt call, which appends, says this. */
void blocks_message(void (*spoil)(struct blocks_call *c), const char *says);

#endif
