/* SPDX-License-Identifier: Apache-2.0 */
/* host_pool.c - see host_pool.h. */
#include "support/host_pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "support/program.h"
#include "support/random.h"
#include "support/stored_row.h"

static size_t host_element(gqa_dtype dtype)
{
    return dtype == GQA_F32 ? 4 : dtype == GQA_I8 ? 1 : 2;
}

/* K or V: *t, its memory, and of int8 its scales. Elements of int8 may be apart, and so may scales,
 * which lie by head or by token. */
static void open_half(struct host_pool *p, bool value, gqa_block_order order, uint64_t *random)
{
    const gqa_dtype dtype = value ? p->types.v : p->types.k;
    const int32_t dim = value ? p->shape.dv : p->shape.dk, hkv = p->shape.hkv;
    const int64_t rows = (int64_t)p->blocks * hkv * p->block_size;
    const bool int8 = dtype == GQA_I8;
    const int64_t apart = int8 && random_u32(random) % 4 == 0 ? 3 : 1;
    const int64_t scales_apart = random_u32(random) % 3 == 0 ? 5 : 1;
    gqa_tensor *const t = value ? &p->kv.value : &p->kv.key;
    gqa_tensor *const scale = value ? &p->kv.value_scale : &p->kv.key_scale;
    int64_t *const n = p->elements + (value ? 1 : 0);

    n[0] = rows * dim * apart;
    n[2] = int8 ? rows * scales_apart : 0;
    *t = gqa_blocks_of(host_memory(n[0], dtype), dtype, order, p->blocks, hkv, p->block_size, dim);
    for (int i = 0; i < 4 && int8; i++) {
        t->stride[i] *= apart;
    }
    if (int8) {
        *scale = gqa_tensor_3d(host_memory(n[2], GQA_F32), GQA_F32, p->blocks, hkv, p->block_size);
        if (random_u32(random) % 2 == 0) {
            scale->stride[1] = 1;
            scale->stride[2] = hkv;
        }
        for (int i = 0; i < 3; i++) {
            scale->stride[i] *= scales_apart;
        }
    }
    *(value ? &p->v : &p->k) = t->data;
    *(value ? &p->v_scale : &p->k_scale) = scale->data;
}

void host_pool_open(struct host_pool *p, const struct host_shape *shape, struct host_types types,
                    int32_t block_size, gqa_block_order order, uint64_t *random)
{
    memset(p, 0, sizeof *p);
    p->shape = *shape;
    p->types = types;
    p->blocks = block_size < 128 ? HOST_POOL : HOST_POOL / 4;
    p->block_size = block_size;
    p->width = HOST_MOST_BLOCKS;
    gqa_block_kv_init(&p->kv);
    open_half(p, false, order, random);
    /* V in another order than K, now and then. */
    if (random_u32(random) % 3 == 0) {
        order = (gqa_block_order)((order + 1) % 3);
    }
    open_half(p, true, order, random);
    p->kv.block_table = p->table;
    p->kv.max_blocks = p->width;
    p->kv.lengths = p->lengths;
    for (int32_t i = 0; i < p->blocks; i++) {
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
    free(p->k_scale);
    free(p->v_scale);
}

static void *copy_of(const void *data, int64_t n, gqa_dtype dtype)
{
    void *const copy = host_memory(n, dtype);

    memcpy(copy, data, (size_t)n * host_element(dtype));
    return copy;
}

void host_pool_copy(struct host_pool *copy, const struct host_pool *p)
{
    *copy = *p;
    copy->k = copy_of(p->k, p->elements[0], p->types.k);
    copy->v = copy_of(p->v, p->elements[1], p->types.v);
    copy->k_scale = p->k_scale != NULL ? copy_of(p->k_scale, p->elements[2], GQA_F32) : NULL;
    copy->v_scale = p->v_scale != NULL ? copy_of(p->v_scale, p->elements[3], GQA_F32) : NULL;
}

bool host_pool_same_memory(const struct host_pool *a, const struct host_pool *b)
{
    const size_t scale = sizeof(float);

    return memcmp(a->k, b->k, (size_t)a->elements[0] * host_element(a->types.k)) == 0 &&
           memcmp(a->v, b->v, (size_t)a->elements[1] * host_element(a->types.v)) == 0 &&
           (a->k_scale == NULL ||
            memcmp(a->k_scale, b->k_scale, (size_t)a->elements[2] * scale) == 0) &&
           (a->v_scale == NULL ||
            memcmp(a->v_scale, b->v_scale, (size_t)a->elements[3] * scale) == 0);
}

/* Blocks for n keys of the entry. */
void host_pool_take(struct host_pool *p, int32_t b, int32_t n)
{
    for (int32_t i = 0; i * p->block_size < n; i++) {
        int32_t *const id = &p->table[b * p->width + i];
        if (*id == 0x7fffffff) {
            assert_true(p->used < p->blocks && i < p->width);
            *id = p->order[p->used++];
        }
    }
}

/* Where a row lies in a tensor of the pool, in elements. */
static int64_t row_of(const struct host_pool *p, const gqa_tensor *t, int32_t b, int32_t index,
                      int32_t head)
{
    return p->table[b * p->width + index / p->block_size] * t->stride[0] + head * t->stride[1] +
           index % p->block_size * t->stride[2];
}

int64_t host_pool_element(const struct host_pool *p, const gqa_tensor *t, int32_t b, int32_t index,
                          int32_t head, int32_t d)
{
    return row_of(p, t, b, index, head) + d * t->stride[3];
}

static float flushed_value(float x)
{
    return fabsf(x) < 0x1p-126f ? 0.0f : x;
}

/* Row h of key `index`, as the stream has it. */
struct half {
    const gqa_tensor *t, *scale_t;
    void *data;
    float *scale; /* of the row */
    const float *x;
    struct stored_row row; /* of int8 */
    gqa_dtype dtype;
    int32_t dim;
};

static void half_of(struct half *half, const struct host_pool *p, const struct host_stream *s,
                    bool value, int32_t b, int32_t index, int32_t h)
{
    const int64_t row = ((int64_t)b * s->most + index) * p->shape.hkv + h;
    float x[STORED_ROW_MOST];

    half->dim = value ? p->shape.dv : p->shape.dk;
    half->dtype = value ? p->types.v : p->types.k;
    half->t = value ? &p->kv.value : &p->kv.key;
    half->scale_t = value ? &p->kv.value_scale : &p->kv.key_scale;
    half->data = value ? p->v : p->k;
    half->x = (value ? s->v : s->k) + row * half->dim;
    if (half->dtype == GQA_I8) {
        half->scale = (value ? p->v_scale : p->k_scale) + row_of(p, half->scale_t, b, index, h);
        for (int32_t d = 0; d < half->dim; d++) {
            x[d] = p->flush ? flushed_value(half->x[d]) : half->x[d];
        }
        stored_row(&half->row, x, half->dim, GQA_I8);
    }
}

/* Key `index` of the entry, as the host itself writes it. */
void host_pool_put(struct host_pool *p, const struct host_stream *s, int32_t b, int32_t index)
{
    for (int32_t i = 0; i < 2 * p->shape.hkv; i++) {
        struct half half;
        half_of(&half, p, s, i % 2 != 0, b, index, i / 2);
        for (int32_t d = 0; d < half.dim; d++) {
            const int64_t at = host_pool_element(p, half.t, b, index, i / 2, d);
            if (half.dtype == GQA_I8) {
                ((uint8_t *)half.data)[at] = (uint8_t)stored_bits(&half.row, d, GQA_I8);
            } else {
                host_put(half.data, at, half.x[d], half.dtype);
            }
        }
        if (half.dtype == GQA_I8) {
            *half.scale = half.row.scale[0];
        }
    }
}

static float value_at(const void *data, int64_t i, gqa_dtype dtype)
{
    return dtype == GQA_F32    ? ((const float *)data)[i]
           : dtype == GQA_BF16 ? gqa__bf16_to_f32(((const uint16_t *)data)[i])
                               : gqa__f16_to_f32(((const uint16_t *)data)[i]);
}

static bool same_number(float a, float b)
{
    return a == b || (a != a && b != b);
}

bool host_pool_holds(const struct host_pool *p, const struct host_stream *s, int32_t b,
                     int32_t index, bool flushed)
{
    for (int32_t i = 0; i < 2 * p->shape.hkv; i++) {
        struct half half;
        half_of(&half, p, s, i % 2 != 0, b, index, i / 2);
        if (half.dtype == GQA_I8 && !same_number(*half.scale, half.row.scale[0])) {
            return false;
        }
        for (int32_t d = 0; d < half.dim; d++) {
            const int64_t at = host_pool_element(p, half.t, b, index, i / 2, d);
            const float x = flushed ? flushed_value(half.x[d]) : half.x[d];
            if (half.dtype == GQA_I8
                    ? ((uint8_t *)half.data)[at] != (uint8_t)stored_bits(&half.row, d, GQA_I8)
                    : !same_number(value_at(half.data, at, half.dtype), x)) {
                return false;
            }
        }
    }
    return true;
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
    host_values(s->k, n * p->shape.dk, p->types.k, fill == HOST_DENSE ? HOST_RARE : fill, random);
    host_values(s->v, n * p->shape.dv, p->types.v, fill, random);
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

/* A cache of HOST_BATCH sequences whose storage types, where there is a choice, are the pool's. */
gqa_cache *host_cache_like(const gqa_layer *layer, const struct host_set *set,
                           const struct host_pool *p, int32_t tokens)
{
    gqa_cache_options options;
    gqa_cache *cache = NULL;

    gqa_cache_options_init(&options, layer);
    options.max_sequences = HOST_BATCH;
    options.max_tokens = tokens;
    options.page_size = 64;
    if (set->numerics == GQA_NUMERICS_F32 || p->types.k == GQA_I8) {
        options.dtype_k = p->types.k;
    }
    if (set->numerics == GQA_NUMERICS_F32 || p->types.v == GQA_I8) {
        options.dtype_v = p->types.v;
    }
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    return cache;
}
