/* SPDX-License-Identifier: Apache-2.0 */
/* test_shortcuts.c - what is done where it lies, when nobody looks: the caller's rows may go to the
 * cache and to the scores as they are only if no stage changes them, and outputs of all formats
 * hold all heads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/oracle.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum {
    T = 7,
    Q = SMALL_HQ * SMALL_DK,
    K = SMALL_HKV * SMALL_DK,
    V = SMALL_HKV * SMALL_DV,
    O = SMALL_HQ * SMALL_DV
};

static void plain(gqa_config *c)
{
    c->rope = GQA_ROPE_NONE;
}

static void rope(gqa_config *c)
{
    c->rope = GQA_ROPE_HALF;
}

static void part_of_rope(gqa_config *c)
{
    c->rope = GQA_ROPE_INTERLEAVED;
    c->rotary_dim = 4;
}

static void clip(gqa_config *c)
{
    plain(c);
    c->clip_qkv = 0.25f;
}

static void key_multiplier(gqa_config *c)
{
    plain(c);
    c->key_multiplier = 0.5f;
}

static void v_scale(gqa_config *c)
{
    plain(c);
    c->v_scale = 0.5f;
}

static void v_norm(gqa_config *c)
{
    plain(c);
    c->v_norm = GQA_NORM_RMS;
}

static void qk_norm(gqa_config *c)
{
    plain(c);
    c->qk_norm_scope = GQA_QK_NORM_HEAD;
    c->qk_norm = GQA_NORM_RMS;
}

static void temperature(gqa_config *c)
{
    plain(c);
    c->query_temperature = GQA_QUERY_TEMPERATURE_MINISTRAL;
    c->query_temperature_scale = 0.5f;
    c->query_temperature_floor = 2.0f;
}

static void gate(gqa_config *c)
{
    plain(c);
    c->gate = GQA_GATE_ELEMENT;
}

static void (*const edits[])(gqa_config *) = {
    plain, rope, part_of_rope, clip, key_multiplier, v_scale, v_norm, qk_norm, temperature, gate};

/* What a call from projections gave: attn, lse, and what the cache then holds. */
struct trace {
    float attn[T * O], lse[T * SMALL_HQ], k[T * K], v[T * V];
};

static void ignore_tap(void *user, gqa_stage stage, int32_t b, int32_t first,
                       const gqa_tensor *tensor)
{
    (void)user, (void)stage, (void)b, (void)first, (void)tensor;
}

/* Rows of `width` values with a gap of `gap` behind each. */
static gqa_tensor rows(const float *x, int heads, int dim, int gap)
{
    gqa_tensor t = gqa_tensor_3d(x, GQA_F32, T, heads, dim);
    t.stride[0] += gap;
    return t;
}

static void run(const gqa_layer *layer, const gqa_config *config, int gap, gqa_tap tap,
                struct trace *trace)
{
    static float q[T * (Q + 8)], k[T * (K + 8)], v[T * (V + 8)], g[T * (O + 8)];
    struct {
        float *x;
        int width;
    } all[] = {{q, Q}, {k, K}, {v, V}, {g, O}};
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_inputs in;
    gqa_output out;
    uint64_t seed = 11;
    for (int a = 0; a < 4; a++) { /* the same values, however far apart */
        for (int i = 0; i < T * all[a].width; i++) {
            all[a].x[i / all[a].width * (all[a].width + gap) + i % all[a].width] =
                2.0f * random_float(&seed);
        }
    }
    gqa_cache_options_init(&options, layer);
    options.max_tokens = T;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.q_proj = rows(q, SMALL_HQ, SMALL_DK, gap);
    in.k_proj = rows(k, SMALL_HKV, SMALL_DK, gap);
    in.v_proj = rows(v, SMALL_HKV, SMALL_DV, gap);
    if (config->gate != GQA_GATE_NONE) {
        in.gate_proj = rows(g, SMALL_HQ, SMALL_DV, gap);
    }
    in.tap = tap;
    memset(trace, 0, sizeof *trace);
    out.attn = gqa_tensor_3d(trace->attn, GQA_F32, T, SMALL_HQ, SMALL_DV);
    out.lse = gqa_tensor_2d(trace->lse, GQA_F32, T, SMALL_HQ);
    assert_int_equal(gqa_forward(layer, cache, &in, &out, NULL, 0, NULL), GQA_OK);
    gqa_tensor key = gqa_tensor_3d(trace->k, GQA_F32, SMALL_HKV, T, SMALL_DK);
    gqa_tensor value = gqa_tensor_3d(trace->v, GQA_F32, SMALL_HKV, T, SMALL_DV);
    assert_int_equal(gqa_cache_read(cache, 0, 0, &key, &value, NULL, NULL), GQA_OK);
    gqa_cache_destroy(&cache);
}

/* With a tap every stage is run; without one the same bits come out. Each edit alone must keep the
 * rows from being used as they are, and does change them. */
static void projections_without_a_tap(void **state)
{
    static struct trace untouched, tapped, untapped;
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        for (int gap = 0; gap <= 8; gap += 8) {
            struct weight_set model;
            gqa_layer *layer = NULL;
            small_set_init(&model);
            edits[i](&model.config);
            weight_set_fill(&model);
            assert_int_equal(gqa_create(&layer, &model.config, &model.weights, NULL, NULL), GQA_OK);
            run(layer, &model.config, gap, ignore_tap, &tapped);
            run(layer, &model.config, gap, NULL, &untapped);
            assert_memory_equal(&tapped, &untapped, sizeof tapped);
            if (i == 0) {
                untouched = tapped;
            } else {
                assert_memory_not_equal(&tapped, &untouched, sizeof tapped);
            }
            gqa_destroy(&layer);
            weight_set_free(&model);
        }
    }
}

/* Every head of every query, rounded once. */
static void attend_in_every_format(void **state)
{
    static float q[T * Q], k[T * K], v[T * V], f32[T * O];
    static uint16_t narrow[T * O];
    struct small_layer small;
    gqa_attend_inputs in;
    gqa_attend_output out;
    (void)state;
    small_layer_open(&small, NULL);
    memcpy(q, small.x, sizeof q);
    memcpy(k, small.x + T * Q, sizeof k);
    memcpy(v, small.x + T * (Q + K), sizeof v);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_3d(q, GQA_F32, T, SMALL_HQ, SMALL_DK);
    in.key = gqa_tensor_3d(k, GQA_F32, T, SMALL_HKV, SMALL_DK);
    in.value = gqa_tensor_3d(v, GQA_F32, T, SMALL_HKV, SMALL_DV);
    out.output = gqa_tensor_3d(f32, GQA_F32, T, SMALL_HQ, SMALL_DV);
    assert_int_equal(gqa_attend(small.layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    for (int format = GQA_BF16; format <= GQA_F16; format++) {
        memset(narrow, 0xff, sizeof narrow);
        out.output = gqa_tensor_3d(narrow, (gqa_dtype)format, T, SMALL_HQ, SMALL_DV);
        assert_int_equal(gqa_attend(small.layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
        for (int i = 0; i < T * O; i++) {
            double want = oracle_round((double)f32[i], (gqa_dtype)format);
            double got = oracle_at(&out.output, 0, i / O, i / SMALL_DV % SMALL_HQ, i % SMALL_DV);
            assert_true(got == want);
        }
    }
    small_layer_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projections_without_a_tap),
        cmocka_unit_test(attend_in_every_format),
    };
    return RUN_TESTS(argc, argv, tests);
}
