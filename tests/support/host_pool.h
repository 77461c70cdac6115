/* SPDX-License-Identifier: Apache-2.0 */
/* host_pool.h - a host's pool of blocks with a table, streams of keys for it, and a cache that is
 * compared with it. */
#ifndef TEST_HOST_POOL_H
#define TEST_HOST_POOL_H

#include "support/host_keys.h"

enum { HOST_BATCH = 3, HOST_MOST_BLOCKS = 64, HOST_POOL = 160 };

/* A host's pool of blocks, and the table of its sequences. */
struct host_pool {
    struct host_shape shape;
    struct host_types types;
    int32_t blocks, block_size, width; /* max_blocks */
    bool flush;                        /* denormals of what becomes int8 count as zero */
    void *k, *v;
    float *k_scale, *v_scale; /* of int8, else NULL */
    int64_t elements[4];      /* of these four */
    gqa_block_kv kv;
    int32_t table[HOST_BATCH * HOST_MOST_BLOCKS];
    int32_t lengths[HOST_BATCH];
    int32_t order[HOST_POOL]; /* ids in a random order; the first `used` are taken */
    int32_t used;
};

/* Keys and values of the entries as they come, exact in the pool's formats, but of int8. */
struct host_stream {
    float *k, *v; /* [HOST_BATCH][most][hkv][d] */
    int32_t most;
};

/* All NaN, blocks in a random order; V may lie in another order than K, and int8 and its scales
 * apart. */
void host_pool_open(struct host_pool *p, const struct host_shape *shape, struct host_types types,
                    int32_t block_size, gqa_block_order order, uint64_t *random);
void host_pool_close(struct host_pool *p);

/* A pool with the same blocks and table in memory of its own. */
void host_pool_copy(struct host_pool *copy, const struct host_pool *p);
bool host_pool_same_memory(const struct host_pool *a, const struct host_pool *b);

/* Blocks for n keys of the entry, beside those that it has. */
void host_pool_take(struct host_pool *p, int32_t b, int32_t n);

/* Where value d of a key lies in a tensor of the pool, in elements. */
int64_t host_pool_element(const struct host_pool *p, const gqa_tensor *t, int32_t b, int32_t index,
                          int32_t head, int32_t d);

/* Key `index` of the entry, as the host itself writes it: int8 by the rule of support/stored_row.h.
 */
void host_pool_put(struct host_pool *p, const struct host_stream *s, int32_t b, int32_t index);

/* Is it there as the host would write it, where any NaN is one? flushed: with denormals as zeros.
 */
bool host_pool_holds(const struct host_pool *p, const struct host_stream *s, int32_t b,
                     int32_t index, bool flushed);

void host_stream_open(struct host_stream *s, const struct host_pool *p, int32_t most,
                      enum host_fill fill, uint64_t *random);
void host_stream_close(struct host_stream *s);

/* n keys or values of an entry. */
gqa_tensor host_stream_tensor(const struct host_stream *s, const struct host_pool *p, bool value,
                              int32_t b, int32_t first, int32_t n);

/* A cache of HOST_BATCH sequences whose storage types, where there is a choice, are the pool's. */
gqa_cache *host_cache_like(const gqa_layer *layer, const struct host_set *set,
                           const struct host_pool *p, int32_t tokens);

#endif
