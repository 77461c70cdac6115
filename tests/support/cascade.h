/* SPDX-License-Identifier: Apache-2.0 */
/* cascade.h - sequences in a cache that share pages, calls on them, and what the calls gave. */
#ifndef TEST_CASCADE_H
#define TEST_CASCADE_H

#include <stdbool.h>

#include "gqa/gqa.h"
#include "support/random.h"

enum {
    CASCADE_SEQUENCES = 12,
    CASCADE_KEYS = 2048,  /* most of a sequence */
    CASCADE_TOKENS = 160, /* most of a call */
    CASCADE_HQ = 6,
    CASCADE_HKV = 2,
    CASCADE_DK = 20,
    CASCADE_DV = 12
};

struct cascade_answer {
    float attn[CASCADE_TOKENS][CASCADE_HQ][CASCADE_DV], lse[CASCADE_TOKENS][CASCADE_HQ];
    float m[CASCADE_TOKENS][CASCADE_HQ], l[CASCADE_TOKENS][CASCADE_HQ],
        o[CASCADE_TOKENS][CASCADE_HQ][CASCADE_DV];
    gqa_work work;
    gqa_health health;
};

struct cascade {
    uint64_t random; /* state of the generator */
    gqa_config config;
    float sinks[CASCADE_HQ], slopes[CASCADE_HQ];
    gqa_layer *plain, *other; /* one thread; some threads and some way */
    gqa_cache *shared, *apart;
    bool rotate_k, rotate_v; /* of caches of a quantised type */
    bool rings;              /* the caches give back what no token can see any more */
    int32_t sequences;
    float q[CASCADE_TOKENS][CASCADE_HQ][CASCADE_DK], k[CASCADE_KEYS][CASCADE_HKV][CASCADE_DK],
        v[CASCADE_KEYS][CASCADE_HKV][CASCADE_DV];
    struct cascade_answer a, b;
    gqa_error err;
};

/* A layer for s->config. False if this machine has no such kernel set. */
bool cascade_layer(struct cascade *s, int32_t threads, gqa_layer **layer);

/* A cache for s->plain. */
gqa_cache *cascade_cache(struct cascade *s, int32_t page_size, gqa_dtype type_k, gqa_dtype type_v);

/* n tokens into s->k and s->v, one in 200 with a NaN or a large value in V. */
void cascade_keys(struct cascade *s, int32_t n);

/* ... and to a sequence of s->shared. */
void cascade_append(struct cascade *s, int32_t sequence, int32_t n);

void cascade_close(struct cascade *s);

#endif
