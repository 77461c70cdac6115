/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_kernels.c - flash_fwd and cte beyond the golden files: what they warn of, odd sizes
 * against exact attention, which tiles they compute, operands that are rounded first, and the same
 * bits traced and for any threads. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "support/kernel_twin.h"
#include "support/neuron_operands.h"
#include "support/parallel.h"
#include "support/program.h"

static const struct neuron_sizes plain = {1, 512, 512, 2, 1, 16, GQA_BF16};

#define FLASH GQA_NEURON_FLASH_FWD
#define CTE   GQA_NEURON_CTE

/* --- what is warned of -------------------------------------------------------------------------
 */

static void expect_warning(struct neuron_rig *rig, gqa_neuron_warning_code code, int times)
{
    neuron_rig_run(rig, NULL);
    assert_int_equal(neuron_rig_warnings(rig, code), times);
}

/* Learned sinks and a mask change no bit of flash_fwd, and are reported. */
static void test_flash_drops(void **state)
{
    const struct neuron_shape sinks = {GQA_BF16, 2, -1, 0, 0};
    const struct neuron_shape mask = {GQA_U8, 1, 1, 512, 512};
    const struct neuron_odds odds = {1, 2};
    struct neuron_rig rig;
    float *without, *with;

    (void)state;
    neuron_rig_open(&rig, GQA_NEURON_FLASH_FWD, 1);
    neuron_operands_fill(&rig, &plain);
    without = neuron_rig_run(&rig, NULL);
    assert_int_equal(rig.output.warning_count, 0);
    neuron_rig_fill(&rig, &rig.call.sinks, &sinks, 4.0f);
    neuron_rig_mask(&rig, &rig.call.mask, &mask, &odds);
    with = neuron_rig_run(&rig, NULL);
    assert_int_equal(rig.output.warning_count, 2);
    assert_int_equal(neuron_rig_warnings(&rig, GQA_NEURON_WARN_SINKS_DROPPED), 1);
    assert_int_equal(neuron_rig_warnings(&rig, GQA_NEURON_WARN_MASK_IGNORED), 1);
    assert_string_equal(rig.output.warnings[0].field, "call.sinks");
    assert_string_equal(rig.output.warnings[0].text, "flash_fwd drops learned sinks");
    assert_memory_equal(without, with, 512 * 2 * 16 * sizeof *with);
    neuron_rig_close(&rig);
}

/* Rows beyond the last whole tile stay as they were; f32 results hold bf16 numbers. */
static void test_flash_rows_and_format(void **state)
{
    const struct neuron_sizes sizes = {1, 200, 512, 1, 1, 8, GQA_F32};
    struct neuron_rig rig;
    float *values;

    (void)state;
    neuron_rig_open(&rig, GQA_NEURON_FLASH_FWD, 2);
    neuron_operands_fill(&rig, &sizes);
    values = neuron_rig_run(&rig, NULL);
    assert_int_equal(neuron_rig_warnings(&rig, GQA_NEURON_WARN_ROWS_NOT_WRITTEN), 1);
    assert_int_equal(neuron_rig_warnings(&rig, GQA_NEURON_WARN_OUT_ROUNDED), 1);
    for (int i = 0; i < 200 * 8; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        assert_true((bits & 0xffff) == 0);
        assert_true((bits != 0) == (i < 128 * 8)); /* the rig's memory is zero */
    }
    neuron_rig_close(&rig);
}

/* Packing: a row at or beyond its bound sees the key at the bound; an empty range sees none. */
static void test_cte_packing(void **state)
{
    const struct neuron_sizes sizes = {1, 128, 128, 1, 1, 8, GQA_BF16};
    struct neuron_operands operands;
    struct neuron_rig rig;
    int32_t *min, *max;
    float *values;

    (void)state;
    neuron_rig_open(&rig, GQA_NEURON_CTE, 3);
    operands = neuron_operands_fill(&rig, &sizes);
    min = neuron_rig_memory(&rig, 128, sizeof *min);
    max = neuron_rig_memory(&rig, 128, sizeof *max);
    for (int t = 0; t < 128; t++) {
        max[t] = 128;
    }
    rig.call.bound_min = min;
    rig.call.bound_max = max;
    expect_warning(&rig, GQA_NEURON_WARN_BOUND_ADMITTED, 0);
    max[9] = 5;
    expect_warning(&rig, GQA_NEURON_WARN_BOUND_ADMITTED, 1);
    assert_int_equal(neuron_rig_warnings(&rig, GQA_NEURON_WARN_ROWS_WITHOUT_KEYS), 0);
    min[9] = 5; /* [5, 5] is not empty: its row is V of key 5 */
    values = neuron_rig_run(&rig, NULL);
    assert_memory_equal(values + 9 * 8, operands.v + 5 * 8, 8 * sizeof(float));
    min[9] = 7; /* [7, 5] */
    expect_warning(&rig, GQA_NEURON_WARN_ROWS_WITHOUT_KEYS, 1);
    rig.call.bidirectional = 1;
    max[9] = 128;
    min[9] = 0;
    expect_warning(&rig, GQA_NEURON_WARN_ROWS_WITHOUT_KEYS, 0);
    neuron_rig_close(&rig);
}

/* --- odd sizes against exact attention ---------------------------------------------------------
 */

struct odd {
    const char *name;
    gqa_neuron_profile profile;
    const struct neuron_sizes *sizes;
    int window, wcte, prior, used, cp_degree, cp_offset, cp_strided, bidirectional, sinks;
    float scale;
};

static const struct neuron_sizes b2_t129_k700_h2_1_d130 = {2, 129, 700, 2, 1, 130, GQA_BF16};
static const struct neuron_sizes b1_t257_k257_h3_3_d5 = {1, 257, 257, 3, 3, 5, GQA_BF16};
static const struct neuron_sizes b1_t1001_k1001_h2_2_d9 = {1, 1001, 1001, 2, 2, 9, GQA_BF16};
static const struct neuron_sizes b1_t2049_k2049_h1_1_d3 = {1, 2049, 2049, 1, 1, 3, GQA_BF16};
static const struct neuron_sizes b1_t100_k256_h1_1_d7 = {1, 100, 256, 1, 1, 7, GQA_BF16};
static const struct neuron_sizes b2_t131_k131_h6_2_d130 = {2, 131, 131, 6, 2, 130, GQA_BF16};
static const struct neuron_sizes b1_t700_k700_h1_1_d3 = {1, 700, 700, 1, 1, 3, GQA_BF16};
static const struct neuron_sizes b1_t1200_k1200_h1_1_d4 = {1, 1200, 1200, 1, 1, 4, GQA_BF16};
static const struct neuron_sizes b1_t131_k131_h2_1_d17 = {1, 131, 131, 2, 1, 17, GQA_BF16};
static const struct neuron_sizes b1_t20_k20_h1_1_d6 = {1, 20, 20, 1, 1, 6, GQA_BF16};
static const struct neuron_sizes b1_t600_k600_h1_1_d6 = {1, 600, 600, 1, 1, 6, GQA_BF16};
static const struct neuron_sizes b1_t65_k999_h1_1_d8 = {1, 65, 999, 1, 1, 8, GQA_BF16};
static const struct neuron_sizes b1_t300_k300_h1_1_d8 = {1, 300, 300, 1, 1, 8, GQA_BF16};
static const struct neuron_sizes b1_t100_k700_h1_1_d8 = {1, 100, 700, 1, 1, 8, GQA_BF16};
static const struct neuron_sizes b1_t100_k1700_h1_1_d8 = {1, 100, 1700, 1, 1, 8, GQA_BF16};
static const struct neuron_sizes b1_t230_k690_h1_1_d8 = {1, 230, 690, 1, 1, 8, GQA_BF16};
static const struct neuron_sizes b1_t130_k10300_h1_1_d4 = {1, 130, 10300, 1, 1, 4, GQA_BF16};
static const struct neuron_sizes b1_t130_k130_h1_1_d4 = {1, 130, 130, 1, 1, 4, GQA_BF16};

static const struct odd odds[] = {
    {"causal", FLASH, &b2_t129_k700_h2_1_d130, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f},
    {"window 1", FLASH, &b1_t257_k257_h3_3_d5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f},
    {"window 130", FLASH, &b1_t1001_k1001_h2_2_d9, 130, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f},
    {"large tiles", FLASH, &b1_t2049_k2049_h1_1_d3, 300, 0, 0, 0, 0, 0, 0, 0, 0, 0.25f},
    {"wcte", FLASH, &b1_t100_k256_h1_1_d7, 128, 1, 0, 0, 0, 0, 0, 0, 0, 0.0f},
    {"causal", CTE, &b2_t131_k131_h6_2_d130, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0.0f},
    {"window 5", CTE, &b1_t700_k700_h1_1_d3, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0.0f},
    {"window 333", CTE, &b1_t1200_k1200_h1_1_d4, 333, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f},
    {"prefix", CTE, &b1_t131_k131_h2_1_d17, 0, 0, 77, 50, 0, 0, 0, 0, 1, 0.0f},
    {"prefix, window", CTE, &b1_t600_k600_h1_1_d6, 200, 0, 600, 599, 0, 0, 0, 0, 0, 0.0f},
    {"prefix, window 2", CTE, &b1_t20_k20_h1_1_d6, 2, 0, 40, 33, 0, 0, 0, 0, 0, 0.0f},
    {"bidirectional", CTE, &b1_t65_k999_h1_1_d8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0.0f},
    {"scale", CTE, &b1_t300_k300_h1_1_d8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0.3f},
    {"contiguous", CTE, &b1_t100_k700_h1_1_d8, 0, 0, 0, 0, 7, 500, 0, 0, 1, 0.0f},
    {"contiguous, window", CTE, &b1_t100_k1700_h1_1_d8, 37, 0, 0, 0, 17, 1000, 0, 0, 1, 0.0f},
    {"strided", CTE, &b1_t230_k690_h1_1_d8, 0, 0, 0, 0, 3, 2, 1, 0, 0, 0.0f},
    {"strided, window", CTE, &b1_t230_k690_h1_1_d8, 150, 0, 0, 0, 3, 1, 1, 0, 0, 0.0f},
    {"sections", CTE, &b1_t130_k10300_h1_1_d4, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0.0f},
    {"sections, prefix", CTE, &b1_t130_k130_h1_1_d4, 0, 0, 10111, 10000, 0, 0, 0, 0, 1, 0.0f},
};

/* A case with its operands. */
struct odd_case {
    const struct odd *odd;
    struct neuron_rig rig;
    struct kernel_twin twin; /* the call, for exact attention */
};

static void fill_odd(struct odd_case *c)
{
    const struct odd *const odd = c->odd;
    const struct neuron_sizes *const s = odd->sizes;
    const struct neuron_shape prior = {GQA_BF16, s->batch, odd->prior, s->hkv, s->dim};
    const struct neuron_shape sinks = {GQA_BF16, s->hq, -1, 0, 0};
    gqa_neuron_call *const call = &c->rig.call;
    const struct neuron_operands values = neuron_operands_fill(&c->rig, s);

    c->twin.q = values.q;
    c->twin.k = values.k;
    c->twin.v = values.v;
    if (odd->prior > 0) {
        c->twin.k_prior = neuron_rig_fill(&c->rig, &call->k_prior, &prior, 2.0f);
        c->twin.v_prior = neuron_rig_fill(&c->rig, &call->v_prior, &prior, 1.0f);
    }
    if (odd->sinks != 0) {
        c->twin.sinks = neuron_rig_fill(&c->rig, &call->sinks, &sinks, 3.0f);
    }
}

static void open_odd(struct odd_case *c, const struct odd *odd)
{
    gqa_neuron_call *const call = &c->rig.call;
    struct kernel_twin *const twin = &c->twin;

    memset(c, 0, sizeof *c);
    c->odd = odd;
    neuron_rig_open(&c->rig, odd->profile, (uint64_t)odd->sizes->tokens);
    fill_odd(c);
    twin->batch = odd->sizes->batch;
    twin->tokens = odd->sizes->tokens;
    twin->keys = odd->sizes->keys;
    twin->hq = odd->sizes->hq;
    twin->hkv = odd->sizes->hkv;
    twin->d = odd->sizes->dim;
    twin->prior = odd->prior;
    twin->window = call->window = odd->window;
    twin->wcte = call->windowed_context_encoding = odd->wcte;
    twin->used = call->prior_used = odd->used;
    twin->cp_degree = call->cp_degree = odd->cp_degree;
    twin->cp_offset = call->cp_offset = odd->cp_offset;
    twin->cp_strided = call->cp_strided = odd->cp_strided;
    twin->bidirectional = call->bidirectional = odd->bidirectional;
    twin->scale = call->scale = odd->scale;
    call->lift_limits = 1;
}

static void check_odd(const struct odd_case *c, const float *got)
{
    const struct neuron_sizes *const s = c->odd->sizes;
    double want[KERNEL_DIM], bound;

    for (int b = 0; b < s->batch; b++) {
        for (int t = 0; t<s->tokens; t += s->tokens> 500 ? 7 : 1) {
            for (int h = 0; h < s->hq && kernel_exact_row(&c->twin, b, h, t, want, &bound); h++) {
                const float *const row = got + ((int64_t)(b * s->tokens + t) * s->hq + h) * s->dim;
                for (int d = 0; d < s->dim; d++) {
                    if (!(fabs((double)row[d] - want[d]) <= bound)) {
                        fail_msg("%s: row %d of head %d is %g, exact %g, bound %g", c->odd->name, t,
                                 h, (double)row[d], want[d], bound);
                    }
                }
            }
        }
    }
}

/* --- traces ------------------------------------------------------------------------------------
 */

struct seen {
    int64_t events, tiles, skipped, keys, hbm_bytes, madds, last_order;
    bool in_order;
};

static void watch(void *user, const gqa_neuron_tile *tile)
{
    struct seen *const seen = user;
    const bool computed = tile->fate <= GQA_NEURON_ALL_MASKED;

    assert_int_equal(tile->struct_size, sizeof *tile);
    assert_true(tile->rows >= 1 && tile->rows <= 128);
    assert_int_equal(tile->order, seen->events);
    seen->events++;
    seen->hbm_bytes += tile->hbm_bytes;
    seen->madds += tile->madds;
    if (tile->event == GQA_NEURON_MM1) {
        seen->tiles += computed;
        seen->skipped += !computed;
        seen->keys += (int64_t)tile->rows * tile->keys;
        assert_true(computed == (tile->s != NULL) || tile->fate == GQA_NEURON_FILLED);
        assert_true(!computed || tile->rows_without_keys < tile->rows ||
                    tile->fate == GQA_NEURON_ALL_MASKED);
    }
}

/* The same bits alone, on threads in any order, and traced; the trace tells of each row and key
 * that is loaded exactly once, and its counts are those of the output. */
static void test_odd_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof odds / sizeof odds[0]; i++) {
        const struct odd *const odd = &odds[i];
        const struct neuron_sizes *const s = odd->sizes;
        const size_t bytes =
            (size_t)s->batch * (size_t)s->tokens * (size_t)s->hq * (size_t)s->dim * sizeof(float);
        gqa_runtime runtime;
        struct odd_case c;
        struct seen seen = {0};
        gqa_neuron_output alone;
        float *first, *other;
        int64_t loaded;

        print_message("%s: %s\n", odd->profile == CTE ? "cte" : "flash_fwd", odd->name);
        open_odd(&c, odd);
        first = neuron_rig_run(&c.rig, NULL);
        alone = c.rig.output;
        check_odd(&c, first);
        gqa_runtime_init(&runtime);
        runtime.num_threads = 3;
        runtime.parallel_for = i % 2 == 0 ? parallel_threads : parallel_reversed;
        other = neuron_rig_run(&c.rig, &runtime);
        assert_memory_equal(first, other, bytes);
        assert_int_equal(c.rig.output.tiles, alone.tiles);
        assert_int_equal(c.rig.output.hbm_bytes, alone.hbm_bytes);
        assert_int_equal(c.rig.output.madds, alone.madds);
        c.rig.call.trace = watch;
        c.rig.call.trace_user = &seen;
        other = neuron_rig_run(&c.rig, &runtime);
        assert_memory_equal(first, other, bytes);
        assert_int_equal(seen.tiles, alone.tiles);
        assert_int_equal(seen.skipped, alone.tiles_skipped);
        assert_int_equal(seen.hbm_bytes, alone.hbm_bytes);
        assert_int_equal(seen.madds, alone.madds);
        loaded = odd->window > 0 && odd->cp_degree > 0 && odd->cp_strided == 0
                     ? (s->tokens + odd->window - 1 + 511) / 512 * 512
                     : s->keys;
        assert_int_equal(seen.keys, (int64_t)s->batch * s->hq * s->tokens * (loaded + odd->prior));
        neuron_rig_close(&c.rig);
    }
}

/* Tiles counted by hand. */
static void test_tile_counts(void **state)
{
    const struct neuron_sizes sizes = {1, 4096, 4096, 1, 1, 1, GQA_BF16};
    struct neuron_rig rig;

    (void)state;
    /* Query tile i reaches the large tile of 2048 keys that holds its first row: 16 query tiles
     * one, 16 both. A sub-tile of 512 is computed if it begins at or before the first row: query
     * tiles 4 n .. 4 n + 3 compute n + 1. */
    neuron_rig_open(&rig, GQA_NEURON_FLASH_FWD, 4);
    neuron_operands_fill(&rig, &sizes);
    neuron_rig_run(&rig, NULL);
    assert_int_equal(rig.output.tiles, 4 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8));
    assert_int_equal(rig.output.tiles + rig.output.tiles_skipped, 32 * 8);
    /* K and V once, q for every large tile that is computed; bf16. */
    assert_int_equal(rig.output.hbm_bytes, 2 * (2 * 4096 + 128 * (16 + 32)));
    /* Scores of the sub-tiles, and P v of whole large tiles. */
    assert_int_equal(rig.output.madds, 128 * (512 * rig.output.tiles + 2048 * 48));
    /* Window 1: the large tile that ends right before the first row is left out. */
    rig.call.window = 1;
    rig.call.seq_tile = 512;
    neuron_rig_run(&rig, NULL);
    assert_int_equal(rig.output.tiles, 32);
    neuron_rig_close(&rig);

    /* Group g computes the K tiles that begin at or before its last row: the same numbers. */
    neuron_rig_open(&rig, GQA_NEURON_CTE, 4);
    neuron_operands_fill(&rig, &sizes);
    neuron_rig_run(&rig, NULL);
    assert_int_equal(rig.output.tiles, 4 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8));
    assert_int_equal(rig.output.tiles + rig.output.tiles_skipped, 32 * 8);
    assert_int_equal(rig.output.hbm_bytes, 2 * (2 * 4096 + 4096));
    /* V tiles of 128: g + 1 of them. */
    assert_int_equal(rig.output.madds, 128 * (512 * rig.output.tiles + 128 * (32 * 33 / 2)));
    neuron_rig_close(&rig);
}

/* NaN where no tile of the last rows is computed: their bits stay. */
static void test_skipped_tiles_are_not_read(void **state)
{
    const struct neuron_sizes sizes = {1, 1536, 1536, 1, 1, 8, GQA_F32};
    const gqa_neuron_profile profiles[] = {GQA_NEURON_FLASH_FWD, GQA_NEURON_CTE};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct neuron_rig rig;
        float *clean, *planted;

        neuron_rig_open(&rig, profiles[i], 5);
        neuron_operands_fill(&rig, &sizes);
        rig.call.window = 100;
        rig.call.seq_tile = profiles[i] == GQA_NEURON_FLASH_FWD ? 512 : 0;
        clean = neuron_rig_run(&rig, NULL);
        for (int64_t k = 0; k < 512; k++) {
            for (int64_t d = 0; d < 8; d++) {
                ((float *)rig.call.k.data)[k * rig.call.k.stride[1] + d] = NAN;
                ((float *)rig.call.v.data)[k * rig.call.v.stride[1] + d] = NAN;
            }
        }
        planted = neuron_rig_run(&rig, NULL);
        assert_true(planted[0] != planted[0]);
        /* From row 640 on: 640 - 100 > 511. */
        assert_memory_equal(clean + 640 * 8, planted + 640 * 8, (1536 - 640) * 8 * sizeof *clean);
        neuron_rig_close(&rig);
    }
}

/* --- operands of f32 ---------------------------------------------------------------------------
 */

/* A tensor of the rig with every number rounded to bf16, in place. */
static void round_tensor(gqa_tensor *tensor)
{
    for (int64_t r = 0; r < tensor->shape[0] * tensor->shape[1] * tensor->shape[2]; r++) {
        for (int64_t d = 0; d < tensor->shape[3]; d++) {
            float *const x = (float *)tensor->data + r * tensor->stride[2] + d;
            uint16_t half;
            const gqa_tensor from = gqa_tensor_1d(x, GQA_F32, 1);
            const gqa_tensor to = gqa_tensor_1d(&half, GQA_BF16, 1);
            assert_int_equal(gqa_convert(&from, &to, NULL), GQA_OK);
            assert_int_equal(gqa_convert(&to, &from, NULL), GQA_OK);
        }
    }
}

/* q, k and v are rounded to bf16 before anything else: to do it beforehand changes no bit. One
 * operand at a time, so that each is seen. */
static void test_operands_are_rounded(void **state)
{
    const struct neuron_sizes sizes = {1, 256, 512, 1, 1, 24, GQA_F32};
    const gqa_neuron_profile profiles[] = {GQA_NEURON_FLASH_FWD, GQA_NEURON_CTE};

    (void)state;
    for (int i = 0; i < 2; i++) {
        for (int which = 0; which < 3; which++) {
            struct neuron_rig rig;
            gqa_tensor *tensor;
            float *given, *rounded;

            neuron_rig_open(&rig, profiles[i], 6);
            neuron_operands_fill(&rig, &sizes);
            rig.call.scale = 0.3f; /* cte: q as it is */
            tensor = which == 0 ? &rig.call.q : which == 1 ? &rig.call.k : &rig.call.v;
            given = neuron_rig_run(&rig, NULL);
            round_tensor(tensor);
            rounded = neuron_rig_run(&rig, NULL);
            assert_memory_equal(given, rounded, 256 * 24 * sizeof *given);
            neuron_rig_close(&rig);
        }
    }
}

/* --- the end of a row --------------------------------------------------------------------------
 */

struct ending {
    float o[128 * 8]; /* of the section, not normalised */
    int compared;
};

static void compare_ending(void *user, const gqa_neuron_tile *tile)
{
    struct ending *const ending = user;

    if (tile->event == GQA_NEURON_LARGE) {
        memcpy(ending->o, tile->o, (size_t)(tile->rows * tile->dim) * sizeof(float));
    }
    for (int32_t i = 0; tile->event == GQA_NEURON_ROWS && i < tile->rows * tile->dim; i++) {
        const float recip = 1.0f / tile->l[i / tile->dim];
        const float want = ending->o[i] * recip;
        assert_memory_equal(&tile->o[i], &want, sizeof want);
        ending->compared++;
    }
}

/* cte multiplies by a reciprocal that is rounded to f32, and does not divide. */
static void test_cte_reciprocal(void **state)
{
    const struct neuron_sizes sizes = {1, 128, 128, 1, 1, 8, GQA_F32};
    struct ending ending = {{0.0f}, 0};
    struct neuron_rig rig;

    (void)state;
    neuron_rig_open(&rig, GQA_NEURON_CTE, 9);
    neuron_operands_fill(&rig, &sizes);
    rig.call.trace = compare_ending;
    rig.call.trace_user = &ending;
    neuron_rig_run(&rig, NULL);
    assert_int_equal(ending.compared, 128 * 8);
    neuron_rig_close(&rig);
}

/* Masked scores of a static mask are scaled with the others. */
static void compare_fill(void *user, const gqa_neuron_tile *tile)
{
    if (tile->event == GQA_NEURON_MM1) {
        assert_int_equal(tile->masking, GQA_NEURON_MASKING_AFFINE);
        assert_true(tile->s[1] == -FLT_MAX * 0.5f); /* row 0, key 1 */
        ++*(int *)user;
    }
}

static void test_cte_mask_is_scaled(void **state)
{
    const struct neuron_sizes sizes = {1, 128, 128, 1, 1, 8, GQA_BF16};
    struct neuron_rig rig;
    int compared = 0;

    (void)state;
    neuron_rig_open(&rig, GQA_NEURON_CTE, 10);
    neuron_operands_fill(&rig, &sizes);
    rig.call.scale = 0.5f;
    rig.call.trace = compare_fill;
    rig.call.trace_user = &compared;
    neuron_rig_run(&rig, NULL);
    assert_int_equal(compared, 1);
    neuron_rig_close(&rig);
}

static void count_large_tiles(void *user, const gqa_neuron_tile *tile)
{
    if (tile->event == GQA_NEURON_LARGE) {
        assert_int_equal(tile->large, *(int *)user);
        ++*(int *)user;
    }
}

/* P v is summed over 2048 keys at a time. */
static void test_cte_large_tiles(void **state)
{
    const struct neuron_sizes sizes = {1, 1, 4097, 1, 1, 2, GQA_BF16};
    struct neuron_rig rig;
    int large = 0;

    (void)state;
    neuron_rig_open(&rig, GQA_NEURON_CTE, 11);
    neuron_operands_fill(&rig, &sizes);
    rig.call.bidirectional = 1;
    rig.call.trace = count_large_tiles;
    rig.call.trace_user = &large;
    neuron_rig_run(&rig, NULL);
    assert_int_equal(large, 3);
    neuron_rig_close(&rig);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flash_drops),
        cmocka_unit_test(test_flash_rows_and_format),
        cmocka_unit_test(test_cte_packing),
        cmocka_unit_test(test_odd_sizes),
        cmocka_unit_test(test_tile_counts),
        cmocka_unit_test(test_skipped_tiles_are_not_read),
        cmocka_unit_test(test_operands_are_rounded),
        cmocka_unit_test(test_cte_reciprocal),
        cmocka_unit_test(test_cte_large_tiles),
        cmocka_unit_test(test_cte_mask_is_scaled),
    };
    return RUN_TESTS(argc, argv, tests);
}
