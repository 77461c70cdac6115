/* SPDX-License-Identifier: Apache-2.0 */
/* host_pool.c - see host_pool.h. */
#include "support/host_pool.h"

#include <stdlib.h>
#include <string.h>

#include "support/program.h"
#include "support/random.h"

void host_pool_open(struct host_pool *p, const struct host_shape *shape, gqa_dtype dtype,
                    int32_t block_size, gqa_block_order order, uint64_t *random)
{
    const int64_t rows = (int64_t)HOST_POOL * shape->hkv * block_size;

    memset(p, 0, sizeof *p);
    p->shape = *shape;
    p->dtype = dtype;
    p->block_size = block_size;
    p->width = HOST_MOST_BLOCKS;
    p->k = host_memory(rows * shape->dk, dtype);
    p->v = host_memory(rows * shape->dv, dtype);
    gqa_block_kv_init(&p->kv);
    p->kv.key = gqa_blocks_of(p->k, dtype, order, HOST_POOL, shape->hkv, block_size, shape->dk);
    /* V in another order than K, now and then. */
    if (random_u32(random) % 3 == 0) {
        order = (gqa_block_order)((order + 1) % 3);
    }
    p->kv.value = gqa_blocks_of(p->v, dtype, order, HOST_POOL, shape->hkv, block_size, shape->dv);
    p->kv.block_table = p->table;
    p->kv.max_blocks = p->width;
    p->kv.lengths = p->lengths;
    for (int32_t i = 0; i < HOST_POOL; i++) {
        const int32_t j = random_between(random, 0, i);
        p->order[i] = p->order[j];
        p->order[j] = i;
    }
    for (int32_t i = 0; i < HOST_BATCH * HOST_MOST_BLOCKS; i++) {
        p->table[i] = 0x7fffffff; /* no block: nobody may look */
    }
}

void host_pool_close(struct host_pool *p)
{
    free(p->k);
    free(p->v);
}

/* Blocks for n keys of the entry. */
void host_pool_take(struct host_pool *p, int32_t b, int32_t n)
{
    for (int32_t i = 0; i * p->block_size < n; i++) {
        int32_t *const id = &p->table[b * p->width + i];
        if (*id == 0x7fffffff) {
            assert_true(p->used < HOST_POOL && i < p->width);
            *id = p->order[p->used++];
        }
    }
}

int64_t host_pool_element(const struct host_pool *p, const gqa_tensor *t, int32_t b, int32_t index,
                          int32_t head, int32_t d)
{
    return p->table[b * p->width + index / p->block_size] * t->stride[0] + head * t->stride[1] +
           index % p->block_size * t->stride[2] + d * t->stride[3];
}

/* Key `index` of the entry, as the host itself writes it. */
void host_pool_put(struct host_pool *p, const struct host_stream *s, int32_t b, int32_t index)
{
    for (int32_t h = 0; h < p->shape.hkv; h++) {
        const int64_t row = ((int64_t)b * s->most + index) * p->shape.hkv + h;
        for (int32_t d = 0; d < p->shape.dk; d++) {
            host_put(p->k, host_pool_element(p, &p->kv.key, b, index, h, d),
                     s->k[row * p->shape.dk + d], p->dtype);
        }
        for (int32_t d = 0; d < p->shape.dv; d++) {
            host_put(p->v, host_pool_element(p, &p->kv.value, b, index, h, d),
                     s->v[row * p->shape.dv + d], p->dtype);
        }
    }
}

static float *stream_floats(int64_t n)
{
    float *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

void host_stream_open(struct host_stream *s, const struct host_pool *p, int32_t most,
                      enum host_fill fill, uint64_t *random)
{
    const int64_t n = (int64_t)HOST_BATCH * most * p->shape.hkv;

    s->most = most;
    s->k = stream_floats(n * p->shape.dk);
    s->v = stream_floats(n * p->shape.dv);
    host_values(s->k, n * p->shape.dk, p->dtype, fill == HOST_DENSE ? HOST_RARE : fill, random);
    host_values(s->v, n * p->shape.dv, p->dtype, fill, random);
}

void host_stream_close(struct host_stream *s)
{
    free(s->k);
    free(s->v);
}

gqa_tensor host_stream_tensor(const struct host_stream *s, const struct host_pool *p, bool value,
                              int32_t b, int32_t first, int32_t n)
{
    const int32_t dim = value ? p->shape.dv : p->shape.dk;
    const float *const x =
        (value ? s->v : s->k) + ((int64_t)b * s->most + first) * p->shape.hkv * dim;

    return gqa_tensor_3d(x, GQA_F32, n, p->shape.hkv, dim);
}

/* A cache of HOST_BATCH sequences whose storage type, where there is a choice, is the pool's. */
gqa_cache *host_cache_like(const gqa_layer *layer, const struct host_set *set,
                           const struct host_pool *p, int32_t tokens)
{
    gqa_cache_options options;
    gqa_cache *cache = NULL;

    gqa_cache_options_init(&options, layer);
    options.max_sequences = HOST_BATCH;
    options.max_tokens = tokens;
    options.page_size = 64;
    if (set->numerics == GQA_NUMERICS_F32) {
        options.dtype_k = options.dtype_v = p->dtype;
    }
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    return cache;
}
