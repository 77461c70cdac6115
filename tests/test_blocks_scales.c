/* SPDX-License-Identifier: Apache-2.0 */
/* test_blocks_scales.c - int8 in the host's own blocks as no cache holds it: scales below zero,
 * that are denormal or not finite, the code -128, one scale for all tokens of a head. What the
 * header says of them, by memcmp, and the same bits on every kernel set. Then scales at the end of
 * the range where denormals are flushed, and what a call counts and finds.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/host_keys.h"
#include "support/host_pool.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { TOKENS = 3, KEYS = 333 };

static const struct host_shape shape = {6, 2, 80, 48};
static const struct host_types int8 = {GQA_I8, GQA_I8};
static float q[HOST_BATCH * TOKENS * 6 * 80];

struct answer {
    float output[HOST_BATCH * TOKENS * 6 * 48], lse[HOST_BATCH * TOKENS * 6];
    gqa_work work;
    gqa_health health;
};

static void attend(const gqa_layer *layer, const gqa_cache *cache, const struct host_pool *p,
                   struct answer *answer)
{
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_error err = {.message = ""};

    memset(answer, 0, sizeof *answer);
    gqa_work_init(&answer->work);
    gqa_health_init(&answer->health);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_4d(q, GQA_F32, HOST_BATCH, TOKENS, shape.hq, shape.dk);
    in.blocks = cache == NULL ? &p->kv : NULL;
    in.leave_out_sinks = 1;
    out.output = gqa_tensor_4d(answer->output, GQA_F32, HOST_BATCH, TOKENS, shape.hq, shape.dv);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, HOST_BATCH, TOKENS, shape.hq);
    out.work = &answer->work;
    out.health = &answer->health;
    if (gqa_attend(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
}

/* A pool whose entries hold KEYS, 17 and 1 keys. */
static void fill_pool(struct host_pool *p, struct host_stream *s, int32_t block_size,
                      gqa_block_order order, uint64_t *random)
{
    static const int32_t lengths[HOST_BATCH] = {KEYS, 17, 1};

    host_pool_open(p, &shape, int8, block_size, order, random);
    host_stream_open(s, p, KEYS, HOST_PLAIN, random);
    for (int32_t b = 0; b < HOST_BATCH; b++) {
        p->lengths[b] = lengths[b];
        host_pool_take(p, b, lengths[b]);
        for (int32_t i = 0; i < lengths[b]; i++) {
            host_pool_put(p, s, b, i);
        }
    }
}

/* What a host did to a row: the code and the scale that it has. */
struct change {
    const char *name;
    float scale, same_as; /* what takes the row's place here, and there; 0: its own */
    int sign, same_sign;  /* by which codes and own scales are multiplied here, and there */
    bool all;             /* or one row in five */
};

static float scale_after(float own, float given, int sign)
{
    return given == 0.0f && !signbit(given) ? own * (float)sign : given;
}

/* Changes rows of K (or V) of a: b stays what should give the same. */
static void change_rows(struct host_pool *a, struct host_pool *b, bool value,
                        const struct change *change)
{
    const gqa_tensor *const t = value ? &a->kv.value : &a->kv.key;
    const gqa_tensor *const st = value ? &a->kv.value_scale : &a->kv.key_scale;
    int8_t *const codes[] = {value ? a->v : a->k, value ? b->v : b->k};
    float *const scales[] = {value ? a->v_scale : a->k_scale, value ? b->v_scale : b->k_scale};

    for (int32_t e = 0; e < HOST_BATCH; e++) {
        for (int32_t i = change->all ? 0 : e + 1; i < a->lengths[e]; i += change->all ? 1 : 5) {
            const int64_t block = a->table[e * a->width + i / a->block_size];
            for (int32_t h = 0; h < shape.hkv; h++) {
                const int64_t at =
                    block * st->stride[0] + h * st->stride[1] + i % a->block_size * st->stride[2];
                scales[0][at] = scale_after(scales[0][at], change->scale, change->sign);
                scales[1][at] = scale_after(scales[1][at], change->same_as, change->same_sign);
                for (int32_t d = 0; d < (value ? shape.dv : shape.dk); d++) {
                    const int64_t code = host_pool_element(a, t, e, i, h, d);
                    codes[0][code] = (int8_t)(codes[0][code] * change->sign);
                    codes[1][code] = (int8_t)(codes[1][code] * change->same_sign);
                }
            }
        }
    }
}

static gqa_layer *layer_of(int i)
{
    gqa_config config = attention_config(shape.hq, shape.hkv, shape.dk, shape.dv);
    gqa_layer *layer = NULL;

    if (i < host_set_count) {
        return host_layer(&host_sets[i], &shape, 0, false, NULL);
    }
    config.backend = GQA_BACKEND_REFERENCE;
    return gqa_create(&layer, &config, NULL, NULL, NULL) == GQA_OK ? layer : NULL;
}

static void any_scales(void **state)
{
    static const struct change changes[] = {
        {"codes and scale of the other sign", 0.0f, 0.0f, -1, 1, false},
        {"all codes and scales of the other sign", 0.0f, 0.0f, -1, 1, true},
        {"a denormal for a scale of no size", 0x1.fffffcp-127f, -0.0f, 1, 1, false},
        {"a negative denormal", -0x1p-149f, 0x1p-149f, 1, 1, false},
        {"infinity for NaN", INFINITY, NAN, 1, 1, false},
        {"infinity below zero for NaN", -INFINITY, -NAN, 1, 1, false},
    };
    static struct answer got, want, first;
    uint64_t random = 5;
    (void)state;

    random_floats(&random, q, sizeof q / sizeof q[0], 1.0f);
    for (size_t c = 0; c < 2 * sizeof changes / sizeof changes[0]; c++) {
        struct host_pool a, b;
        struct host_stream s;
        bool known = false;
        fill_pool(&a, &s, c % 3 == 0 ? 16 : 80, (gqa_block_order)(c % 3), &random);
        host_pool_copy(&b, &a);
        b.kv.key.data = b.k;
        b.kv.value.data = b.v;
        b.kv.key_scale.data = b.k_scale;
        b.kv.value_scale.data = b.v_scale;
        b.kv.block_table = b.table;
        b.kv.lengths = b.lengths;
        change_rows(&a, &b, c % 2 != 0, &changes[c / 2]);
        for (int i = 0; i <= host_set_count; i++) {
            gqa_layer *layer = layer_of(i);
            if (layer == NULL) {
                continue;
            }
            attend(layer, NULL, &a, &got);
            attend(layer, NULL, &b, &want);
            if (memcmp(&got, &want, sizeof got) != 0) {
                fail_msg("%s (%s): other bits (%s)", changes[c / 2].name, c % 2 != 0 ? "V" : "K",
                         i < host_set_count ? host_sets[i].name : "reference");
            }
            if (known && i < host_set_count &&
                (memcmp(got.output, first.output, sizeof got.output) != 0 ||
                 memcmp(got.lse, first.lse, sizeof got.lse) != 0)) {
                fail_msg("%s: other bits on %s", changes[c / 2].name, host_sets[i].name);
            }
            first = known ? first : got;
            known = true;
            gqa_destroy(&layer);
        }
        host_pool_close(&a);
        host_pool_close(&b);
        host_stream_close(&s);
    }
}

/* Of one head the scale of all tokens, by strides of 0; and -128 in every place. One key alone: the
 * output is its value. */
static void one_scale(void **state)
{
    static const float scale[2] = {0.25f, -0.5f};
    static struct answer got, first;
    uint64_t random = 6;
    bool known = false;
    (void)state;

    random_floats(&random, q, sizeof q / sizeof q[0], 1.0f);
    for (int i = 0; i <= host_set_count; i++) {
        gqa_layer *layer = layer_of(i);
        struct host_pool p;
        struct host_stream s;
        uint64_t same = 7;
        if (layer == NULL) {
            continue;
        }
        fill_pool(&p, &s, 48, GQA_BLOCKS_TOKENS, &same);
        memset(p.k, -128, (size_t)p.elements[0]);
        memset(p.v, -128, (size_t)p.elements[1]);
        p.kv.key_scale = p.kv.value_scale = gqa_tensor_3d(scale, GQA_F32, p.blocks, 2, 48);
        p.kv.key_scale.stride[0] = p.kv.key_scale.stride[2] = 0;
        p.kv.value_scale.stride[0] = p.kv.value_scale.stride[2] = 0;
        p.kv.key_scale.stride[1] = p.kv.value_scale.stride[1] = 1;
        attend(layer, NULL, &p, &got);
        for (int32_t j = 0; j < HOST_BATCH * TOKENS * 6 * 48; j++) {
            const int32_t last = 2 * TOKENS * 6 * 48 + (TOKENS - 1) * 6 * 48;
            const float want = j / 48 % 6 < 3 ? -32.0f : 64.0f;
            /* A sum of weights, each rounded to 2^-16 of the largest, and a quotient: 1 part in
             * 2^14 is more than that. */
            if (j >= last && fabsf(got.output[j] - want) > fabsf(want) * 0x1p-14f) {
                fail_msg("output %d is %g, not %g", (int)j, (double)got.output[j], (double)want);
            }
        }
        if (known && i < host_set_count) {
            assert_memory_equal(got.output, first.output, sizeof got.output);
        }
        first = known ? first : got;
        known = true;
        host_pool_close(&p);
        host_stream_close(&s);
        gqa_destroy(&layer);
    }
}

/* The cache's report and counts, where some rows are NaN. */
static void work_and_health(void **state)
{
    static struct answer got, want;
    const struct host_set set = {GQA_ISA_AUTO, GQA_NUMERICS_F32, "auto"};
    gqa_layer *layer = host_layer(&set, &shape, 0, false, NULL);
    struct host_pool p;
    struct host_stream s;
    gqa_cache *cache;
    uint64_t random = 8;
    (void)state;

    assert_non_null(layer);
    host_pool_open(&p, &shape, int8, 16, GQA_BLOCKS_HEADS, &random);
    host_stream_open(&s, &p, KEYS, HOST_DENSE, &random);
    s.k[3 * shape.dk + 1] = NAN;
    cache = host_cache_like(layer, &set, &p, KEYS);
    for (int32_t b = 0; b < HOST_BATCH; b++) {
        p.lengths[b] = KEYS - 100 * b;
        host_pool_take(&p, b, p.lengths[b]);
        for (int32_t i = 0; i < p.lengths[b]; i++) {
            host_pool_put(&p, &s, b, i);
        }
        const gqa_tensor k = host_stream_tensor(&s, &p, false, b, 0, p.lengths[b]);
        const gqa_tensor v = host_stream_tensor(&s, &p, true, b, 0, p.lengths[b]);
        assert_int_equal(gqa_cache_append(cache, b, &k, &v, NULL, NULL), GQA_OK);
    }
    attend(layer, NULL, &p, &got);
    attend(layer, cache, &p, &want);
    /* Of a cache's keys nobody counts the numbers. Whole rows are NaN, of which one value was odd.
     */
    assert_int_equal(got.health.k.values, (KEYS * 3 - 300) * shape.hkv * shape.dk);
    assert_true(got.health.v.nan >= shape.dv && got.health.v.nan % shape.dv == 0);
    assert_true(got.health.nan_scores > 0);
    got.health.k = want.health.k;
    got.health.v = want.health.v;
    got.health.large_v = want.health.large_v;
    assert_memory_equal(&got, &want, sizeof got);
    assert_true(got.work.kv_bytes > 0);
    gqa_cache_destroy(&cache);
    host_pool_close(&p);
    host_stream_close(&s);
    gqa_destroy(&layer);
}

/* Rows of which the largest size is about 127 * 2^-126, so that a denormal would have a code: with
 * flush it has none. Written by gqa_forward. */
static void flushed_rows(void **state)
{
    for (int i = 0; i < 2 * host_set_count; i++) {
        const bool flush = i % 2 != 0;
        gqa_layer *layer = host_layer(&host_sets[i / 2], &shape, 0, flush, NULL);
        static float k[HOST_BATCH * 2 * 80], v[HOST_BATCH * 2 * 48], out[HOST_BATCH * 6 * 48];
        static const float largest[] = {0x1.fcp-120f, 0x1.fep-120f, 0x1.fap-120f};
        struct host_pool p;
        struct host_stream s;
        gqa_inputs in;
        gqa_output output;
        gqa_error err = {.message = ""};
        uint64_t random = 9;
        if (layer == NULL) {
            continue;
        }
        host_pool_open(&p, &shape, int8, 16, GQA_BLOCKS_TOKENS, &random);
        p.flush = flush && host_sets[i / 2].numerics == GQA_NUMERICS_F32;
        host_stream_open(&s, &p, 1, HOST_PLAIN, &random);
        for (int32_t b = 0; b < HOST_BATCH * 2; b++) {
            for (int32_t d = 0; d < 80; d++) {
                k[b * 80 + d] = d == 7 ? largest[b / 2] : (d % 3 == 0 ? -0x1.8p-127f : 0x1p-126f);
                v[b * 48 + d % 48] = k[b * 80 + d];
            }
        }
        memcpy(s.k, k, sizeof k);
        memcpy(s.v, v, sizeof v);
        gqa_inputs_init(&in);
        gqa_output_init(&output);
        for (int32_t b = 0; b < HOST_BATCH; b++) {
            host_pool_take(&p, b, 1);
        }
        in.q_proj = gqa_tensor_4d(q, GQA_F32, HOST_BATCH, 1, shape.hq, shape.dk);
        in.k_proj = gqa_tensor_4d(k, GQA_F32, HOST_BATCH, 1, shape.hkv, shape.dk);
        in.v_proj = gqa_tensor_4d(v, GQA_F32, HOST_BATCH, 1, shape.hkv, shape.dv);
        in.blocks = &p.kv;
        output.attn = gqa_tensor_4d(out, GQA_F32, HOST_BATCH, 1, shape.hq, shape.dv);
        if (gqa_forward(layer, NULL, &in, &output, NULL, 0, &err) != GQA_OK) {
            fail_msg("%s", err.message);
        }
        for (int32_t b = 0; b < HOST_BATCH; b++) {
            if (!host_pool_holds(&p, &s, b, 0, false)) {
                fail_msg("row %d: other codes (%s, flush %d)", (int)b, host_sets[i / 2].name,
                         (int)flush);
            }
        }
        host_pool_close(&p);
        host_stream_close(&s);
        gqa_destroy(&layer);
    }
    (void)state;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_scales), cmocka_unit_test(one_scale),
                                       cmocka_unit_test(work_and_health),
                                       cmocka_unit_test(flushed_rows)};

    return RUN_TESTS(argc, argv, tests);
}
