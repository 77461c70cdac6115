/* SPDX-License-Identifier: Apache-2.0 */
/* test_health.c - the health report (gqa_output.health) of attention: the largest score, rows that
 * are empty or NaN and the sinks' shares are what a double loop over all pairs finds, and no bit of
 * a result changes.
 *
 * The loop knows q, k and the rules, and nothing of src. With numerics bf16 it takes operands that
 * are bf16, so only Q, once it is scaled, is rounded. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { B = 2, T = 5, K = 700, HQ = 6, HKV = 2, GROUP = HQ / HKV, DK = 24, DV = 9 };

/* Attention on plain keys: B entries of T queries, the last positions of their keys. */
struct scene {
    gqa_config config;
    int threads;
    float sinks[HQ], slopes[HQ];
    float q[B][T][HQ][DK], k[B][K][HKV][DK], v[B][K][HKV][DV];
    int32_t key_lengths[B], first_valid[B], lengths[B], begin[B][T], end[B][T];
    uint8_t mask[T][K];
    bool masked, bounded;
    float bias[T][K];
    bool biased;
    int32_t range_begin, range_end;
    gqa_states *states, *prior; /* NULL = none */
    const gqa_block_kv *blocks; /* NULL = plain keys */
    gqa_layer *layer;
    float out[B][T][HQ][DV], lse[B][T][HQ];
    gqa_error err;
};

/* Numbers that are bf16: operands round to themselves. */
static float coarse(uint64_t *random, float scale)
{
    return (float)random_between(random, -128, 128) / 128.0f * scale;
}

static void scene_init(struct scene *s, uint64_t seed)
{
    uint64_t random = seed;
    memset(s, 0, sizeof *s);
    s->config = attention_config(HQ, HKV, DK, DV);
    s->config.learned_sinks_size = 1;
    s->threads = 1;
    for (int i = 0; i < B * T * HQ * DK; i++) {
        (&s->q[0][0][0][0])[i] = coarse(&random, 2.0f);
    }
    for (int i = 0; i < B * K * HKV * DK; i++) {
        (&s->k[0][0][0][0])[i] = coarse(&random, 1.0f);
    }
    for (int i = 0; i < B * K * HKV * DV; i++) {
        (&s->v[0][0][0][0])[i] = coarse(&random, 1.0f);
    }
    for (int h = 0; h < HQ; h++) {
        s->sinks[h] = h == 4 ? -INFINITY : (float)h * 2.0f;
        s->slopes[h] = (float)(h + 1) / 64.0f;
    }
    for (int b = 0; b < B; b++) {
        s->key_lengths[b] = b == 0 ? K : 270;
        s->first_valid[b] = b;
        s->lengths[b] = T - b;
    }
    for (int i = 0; i < T * K; i++) {
        (&s->mask[0][0])[i] = random_between(&random, 0, 3) != 0;
        (&s->bias[0][0])[i] = random_between(&random, 0, 3) == 0 ? -INFINITY : coarse(&random, 3);
        (&s->begin[0][0])[i % (B * T)] = random_between(&random, 0, 200);
        (&s->end[0][0])[i % (B * T)] = random_between(&random, 150, 300);
    }
}

/* False if there is no such kernel set. */
static bool scene_open(struct scene *s)
{
    gqa_weights weights;
    gqa_runtime runtime;
    gqa_weights_init(&weights);
    gqa_runtime_init(&runtime);
    weights.sinks = gqa_tensor_1d(s->sinks, GQA_F32, HQ);
    runtime.num_threads = s->threads;
    runtime.parallel_for = s->threads > 1 ? parallel_threads : NULL;
    const gqa_status status = create_unforced(&s->layer, &s->config, &weights, &runtime, &s->err);
    if (status != GQA_OK && status != GQA_ERR_UNSUPPORTED) {
        fail_msg("%s", s->err.message);
    }
    return status == GQA_OK;
}

static gqa_status scene_attend(struct scene *s, gqa_health *health)
{
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_4d(s->q, GQA_F32, B, T, HQ, DK);
    in.blocks = s->blocks;
    if (s->blocks == NULL) {
        in.key = gqa_tensor_4d(s->k, GQA_F32, B, K, HKV, DK);
        in.value = gqa_tensor_4d(s->v, GQA_F32, B, K, HKV, DV);
        in.key_lengths = s->key_lengths;
    }
    in.first_valid = s->first_valid;
    in.lengths = s->lengths;
    in.range_begin = s->range_begin;
    in.range_end = s->range_end;
    if (s->masked) {
        in.mask = gqa_tensor_4d(s->mask, GQA_U8, 1, 1, T, K);
    }
    if (s->biased) {
        in.bias = gqa_tensor_4d(s->bias, GQA_F32, 1, 1, T, K);
    }
    if (s->bounded) {
        in.key_begin = &s->begin[0][0];
        in.key_end = &s->end[0][0];
    }
    out.output = gqa_tensor_4d(s->out, GQA_F32, B, T, HQ, DV);
    out.lse = gqa_tensor_3d(s->lse, GQA_F32, B, T, HQ);
    out.health = health;
    in.prior = s->prior;
    if (s->states != NULL) {
        out.states = *s->states;
    }
    return gqa_attend(s->layer, NULL, &in, &out, NULL, 0, &s->err);
}

/* The report of an opened scene, whose results are those without one. */
static gqa_health scene_report(struct scene *s)
{
    static float out[B][T][HQ][DV], lse[B][T][HQ];
    gqa_health health;
    assert_int_equal(scene_attend(s, NULL), GQA_OK);
    memcpy(out, s->out, sizeof out);
    memcpy(lse, s->lse, sizeof lse);
    gqa_health_init(&health);
    health.rows = -5; /* it is filled, not added to */
    health.sink_mean = 7.0;
    if (scene_attend(s, &health) != GQA_OK) {
        fail_msg("%s", s->err.message);
    }
    assert_memory_equal(out, s->out, sizeof out);
    assert_memory_equal(lse, s->lse, sizeof lse);
    return health;
}

/* ---- what a loop over all pairs finds ---- */

struct truth {
    int64_t rows, empty, sink_rows;
    double largest, bound; /* and how far the library's may be from it */
    double sink_sum, sink_largest;
};

static bool sees(const struct scene *s, int b, int t, int j)
{
    const int position = s->key_lengths[b] - s->lengths[b] + (t - s->first_valid[b]);
    if (j < s->range_begin || (s->range_end > 0 && j >= s->range_end) || j > position ||
        j >= s->key_lengths[b]) {
        return false;
    }
    if (s->config.sliding_window > 0 && j <= position - s->config.sliding_window) {
        return false;
    }
    if (s->bounded && (j < s->begin[b][t] || j >= s->end[b][t])) {
        return false;
    }
    return (!s->masked || s->mask[t][j] != 0) && (!s->biased || s->bias[t][j] != -INFINITY);
}

/* The score in natural units, and a bound on its error: Q scaled is rounded (to f32, or to bf16:
 * half of 2^-8), so is each of DK + 6 steps (2^-24 of the sum of sizes each; one more each of the
 * numbers that a rule adds or bends, whose slope is at most 1); tanh is off by two units. */
static double score(const struct scene *s, int b, int t, int h, int j, double *bound)
{
    const int position = s->key_lengths[b] - s->lengths[b] + (t - s->first_valid[b]);
    const double scale = 1.0 / sqrt((double)DK), cap = (double)s->config.softcap;
    const double rounding = s->config.numerics == GQA_NUMERICS_BF16 ? 0x1p-9 : 0x1p-24;
    double sum = 0.0, sizes = 0.0;
    for (int d = 0; d < DK; d++) {
        const double p = (double)s->q[b][t][h][d] * (double)s->k[b][j][h / GROUP][d] * scale;
        sum += p;
        sizes += fabs(p);
    }
    *bound = sizes * (1.01 * rounding + (DK + 6) * 0x1p-24);
    if (cap > 0.0) {
        sum = cap * tanh(sum / cap);
        *bound += cap * 6 * 0x1p-24;
    }
    if (s->config.alibi_slopes != NULL) {
        const double away = fabs((double)position - j) * (double)s->slopes[h];
        sum -= away;
        *bound += (away + fabs(sum)) * 4 * 0x1p-24;
    }
    if (s->biased) {
        sum += (double)s->bias[t][j];
        *bound += (fabs((double)s->bias[t][j]) + fabs(sum)) * 4 * 0x1p-24;
    }
    return sum;
}

/* One row. share: 1 / (1 + sum of e^(x - sink)). */
static void add_row(const struct scene *s, int b, int t, int h, struct truth *truth)
{
    const double sink = (double)s->sinks[h];
    double sum = 0.0, bound;
    int keys = 0;
    for (int j = 0; j < s->key_lengths[b]; j++) {
        if (sees(s, b, t, j)) {
            const double x = score(s, b, t, h, j, &bound);
            truth->largest = fmax(truth->largest, fabs(x));
            truth->bound = fmax(truth->bound, bound);
            sum += sink == -INFINITY ? 0.0 : exp(x - sink);
            keys++;
        }
    }
    truth->rows++;
    truth->empty += keys == 0;
    if (sink != -INFINITY) {
        truth->sink_rows++;
        truth->sink_sum += 1.0 / (1.0 + sum);
        truth->sink_largest = fmax(truth->sink_largest, 1.0 / (1.0 + sum));
    }
}

static struct truth scene_truth(const struct scene *s)
{
    struct truth truth = {0};
    for (int b = 0; b < B; b++) {
        for (int t = s->first_valid[b]; t < s->first_valid[b] + s->lengths[b]; t++) {
            for (int h = 0; h < HQ; h++) {
                add_row(s, b, t, h, &truth);
            }
        }
    }
    return truth;
}

/* A share off by d (log sum): at most d / 4, since share (1 - share) is. Scores are off by the
 * bound, p by 2^-23 (bf16: 8.6e-5), the sum by 64 + 16 additions of 2^-24; the mean is of whole
 * 2^-32. */
static void check_truth(struct scene *s, const gqa_health *health, const char *what)
{
    const struct truth truth = scene_truth(s);
    const double p = s->config.numerics == GQA_NUMERICS_BF16 ? 8.7e-5 : 0x1p-23;
    const double off = 0.25 * (truth.bound + p + 100 * 0x1p-24) + 0x1p-33;
    int64_t keys = 0; /* that exist in the range */
    double bound;
    for (int b = 0; b < B; b++) {
        for (int j = s->range_begin; j < s->key_lengths[b]; j++) {
            keys += s->range_end == 0 || j < s->range_end;
        }
    }
    assert_int_equal(health->k.values, keys * HKV * DK);
    assert_int_equal(health->v.values, keys * HKV * DV);
    if (health->rows != truth.rows || health->empty_rows != truth.empty ||
        health->sink_rows != truth.sink_rows || health->nan_rows != 0 || health->nan_scores != 0) {
        fail_msg("%s: rows %lld %lld sinks %lld, not %lld %lld %lld", what, (long long)health->rows,
                 (long long)health->empty_rows, (long long)health->sink_rows, (long long)truth.rows,
                 (long long)truth.empty, (long long)truth.sink_rows);
    }
    if (!(fabs(health->largest_score - truth.largest) <= truth.bound)) {
        fail_msg("%s: largest score %.9g, not %.9g", what, health->largest_score, truth.largest);
    }
    if (!(fabs(health->sink_mean - truth.sink_sum / (double)truth.sink_rows) <= off) ||
        !(fabs(health->sink_largest - truth.sink_largest) <= off)) {
        fail_msg("%s: sinks %.9g %.9g, not %.9g %.9g", what, health->sink_mean,
                 health->sink_largest, truth.sink_sum / (double)truth.sink_rows,
                 truth.sink_largest);
    }
    if (truth.largest > 0.0) { /* the place has such a score */
        const int b = health->largest_entry, t = health->largest_token, h = health->largest_head;
        assert_true(sees(s, b, t, health->largest_key));
        const double there = fabs(score(s, b, t, h, health->largest_key, &bound));
        assert_true(fabs(there - truth.largest) <= 2 * truth.bound);
    } else {
        assert_int_equal(health->largest_entry, -1);
    }
}

static const gqa_isa sets[] = {GQA_ISA_SCALAR, GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_AMX,
                               GQA_ISA_NEON};

/* The scene on every kernel set with 1, 2 and 4 threads: one report for all of a numerics, which is
 * the loop's; and backend reference (a report of its own). */
static void on_every_way(const struct scene *origin, const char *what)
{
    static struct scene s;
    for (int numerics = 0; numerics < 2; numerics++) {
        gqa_health first = {0};
        for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
            for (int threads = 1; threads <= 4; threads *= 2) {
                s = *origin;
                s.config.isa = sets[i];
                s.config.numerics = (gqa_numerics)numerics;
                s.config.alibi_slopes = s.config.alibi_slopes != NULL ? s.slopes : NULL;
                s.threads = threads;
                if (scene_open(&s)) {
                    const gqa_health health = scene_report(&s);
                    first = first.struct_size == 0 ? health : first;
                    assert_memory_equal(&first, &health, sizeof health);
                    check_truth(&s, &health, what);
                    gqa_destroy(&s.layer);
                }
            }
        }
    }
    for (int wide = 0; wide < 2; wide++) {
        s = *origin;
        s.config.backend = GQA_BACKEND_REFERENCE;
        s.config.reference_f64 = wide;
        s.config.alibi_slopes = s.config.alibi_slopes != NULL ? s.slopes : NULL;
        assert_true(scene_open(&s));
        const gqa_health health = scene_report(&s);
        check_truth(&s, &health, what);
        gqa_destroy(&s.layer);
    }
}

static void scores_rows_and_sinks(void **state)
{
    static struct scene s;
    (void)state;
    scene_init(&s, 1);
    on_every_way(&s, "causal");
    s.config.sliding_window = 37;
    on_every_way(&s, "window");
    scene_init(&s, 2);
    s.masked = true;
    s.config.softcap = 1.5f;
    on_every_way(&s, "mask, softcap");
    s.masked = false;
    s.bounded = true; /* some rows see nothing */
    on_every_way(&s, "key bounds");
    scene_init(&s, 3);
    s.biased = true;
    s.config.alibi_slopes = s.slopes;
    on_every_way(&s, "bias, slopes");
    s.range_begin = 256;
    s.range_end = 512;
    on_every_way(&s, "range");
    s.range_begin = 512; /* entry 1 has no key there */
    s.range_end = 0;
    on_every_way(&s, "range beyond keys");
}

/* Rows are told of with their prior states: the last part of the keys on top of the first ones has
 * the rows of the whole. */
static void rows_with_prior_states(void **state)
{
    static struct scene s;
    static float m[B][T][HQ], l[B][T][HQ], o[B][T][HQ][DV];
    gqa_states prior = {gqa_tensor_3d(m, GQA_F32, B, T, HQ), gqa_tensor_3d(l, GQA_F32, B, T, HQ),
                        gqa_tensor_4d(o, GQA_F32, B, T, HQ, DV), 0, 256};
    gqa_health whole, part;
    (void)state;
    scene_init(&s, 5);
    s.bounded = true;
    skip_refused(&s.config);
    assert_true(scene_open(&s));
    whole = scene_report(&s);
    s.states = &prior;
    s.range_end = 256;
    assert_int_equal(scene_attend(&s, NULL), GQA_OK);
    s.states = NULL;
    s.prior = &prior;
    s.range_begin = 256;
    s.range_end = 0;
    part = scene_report(&s);
    gqa_destroy(&s.layer);
    assert_true(whole.empty_rows > 0 && whole.sink_mean < 0.9);
    assert_int_equal(part.rows, whole.rows);
    assert_int_equal(part.empty_rows, whole.empty_rows);
    assert_int_equal(part.sink_rows, whole.sink_rows);
    assert_true(part.sink_mean == whole.sink_mean); /* the states are: the parts keep the bits */
}

/* Prior states are the caller's, and may be no states: rows without a sound sum have no share, and
 * the others are counted as ever. Queries are 0, so n keys and a state (0, l) share by n + l. */
static void prior_states_that_are_none(void **state)
{
    static struct scene s;
    static float m[B][T][HQ], l[B][T][HQ], o[B][T][HQ][DV];
    static const float odd[][2] = {{0, -1e30f}, {0, -INFINITY}, {0, INFINITY}, {0, NAN},
                                   {NAN, 1},    {INFINITY, 1},  {3, -1e3f}};
    const int odds = sizeof odd / sizeof odd[0];
    gqa_states prior = {gqa_tensor_3d(m, GQA_F32, B, T, HQ), gqa_tensor_3d(l, GQA_F32, B, T, HQ),
                        gqa_tensor_4d(o, GQA_F32, B, T, HQ, DV), 0, 256};
    (void)state;
    for (int backend = 0; backend < 3; backend++) {
        double sum = 0.0, largest = 0.0;
        int64_t rows = 0;
        scene_init(&s, 6);
        memset(s.q, 0, sizeof s.q);
        for (int i = 0; i < B * T * HQ; i++) {
            const int b = i / (T * HQ), t = i / HQ % T, h = i % HQ;
            const bool sound = i % 3 != 0, valid = t >= b && h != 4;
            const int keys = s.key_lengths[b] - T + 1 + t - 256; /* from 256 on, as entry 1 ends */
            (&m[0][0][0])[i] = sound ? 0.0f : odd[i / 3 % odds][0];
            (&l[0][0][0])[i] = sound ? (float)i : odd[i / 3 % odds][1];
            if (sound && valid) {
                const double share = 1.0 / (1.0 + (keys + i) * exp(-(double)s.sinks[h]));
                rows++;
                sum += share;
                largest = fmax(largest, share);
            }
        }
        s.config.backend = backend == 0 ? GQA_BACKEND_CPU : GQA_BACKEND_REFERENCE;
        s.config.reference_f64 = backend == 2;
        s.prior = &prior;
        s.range_begin = 256;
        skip_refused(&s.config);
        assert_true(scene_open(&s));
        const gqa_health health = scene_report(&s);
        gqa_destroy(&s.layer);
        assert_int_equal(health.rows, (2 * T - 1) * HQ);
        assert_int_equal(health.sink_rows, rows);
        assert_true(fabs(health.sink_mean - sum / (double)rows) <= 0x1p-33 + 1e-14);
        assert_true(fabs(health.sink_largest - largest) <= 1e-14);
    }
}

/* Keys that are alike: the first of the largest is told, and the shares are known: a softmax of n
 * zeros and a sink is 1 / (1 + n e^-sink). */
static void equal_scores(void **state)
{
    static struct scene s;
    gqa_health health;
    double sum = 0.0;
    (void)state;
    scene_init(&s, 1);
    memset(s.q, 0, sizeof s.q);
    s.masked = true;
    s.mask[0][0] = 0;
    s.mask[0][1] = s.mask[1][1] = 1;
    skip_refused(&s.config);
    assert_true(scene_open(&s));
    health = scene_report(&s);
    gqa_destroy(&s.layer);
    assert_true(health.largest_score == 0.0);
    assert_int_equal(health.largest_entry, 0);
    assert_int_equal(health.largest_token, 0);
    assert_int_equal(health.largest_head, 0);
    assert_int_equal(health.largest_key, 1);
    for (int b = 0; b < B; b++) {
        for (int t = s.first_valid[b]; t < s.first_valid[b] + s.lengths[b]; t++) {
            int n = 0;
            for (int j = 0; j < K; j++) {
                n += sees(&s, b, t, j);
            }
            for (int h = 0; h < HQ; h++) {
                sum += h == 4 ? 0.0 : 1.0 / (1.0 + n * exp(-(double)s.sinks[h]));
            }
        }
    }
    /* l is an exact count, so a share is off by the logarithm and the exponential alone. */
    assert_true(fabs(health.sink_mean - sum / (double)health.sink_rows) < 0x1p-32 + 1e-14);
}

/* Scores that are NaN, and infinite ones: hidden ones do not count. */
static void scores_that_are_no_numbers(void **state)
{
    static struct scene s;
    gqa_health health;
    (void)state;
    scene_init(&s, 4);
    s.k[0][3][1][7] = NAN;
    s.k[0][K - 1][0][0] = NAN; /* only the last token sees it */
    s.k[1][269][1][0] = INFINITY;
    s.q[1][4][5][0] = 1.0f;
    s.q[1][4][3][0] = s.q[1][4][4][0] = -1.0f;
    s.k[1][K - 1][0][0] = NAN; /* beyond the keys */
    skip_refused(&s.config);
    assert_true(scene_open(&s));
    health = scene_report(&s);
    gqa_destroy(&s.layer);
    assert_int_equal(health.nan_scores, T * GROUP + GROUP);
    assert_true(health.largest_score == INFINITY);
    assert_int_equal(health.largest_entry, 1);
    assert_int_equal(health.largest_token, 4);
    assert_int_equal(health.largest_head, 5);
    assert_int_equal(health.largest_key, 269);
    assert_int_equal(health.nan_rows, T * GROUP + GROUP + 1);
    assert_int_equal(health.k.nan, 2);
    assert_int_equal(health.k.inf, 1);
    assert_int_equal(health.k.values, (K + 270) * HKV * DK);
    assert_int_equal(health.v.values, (K + 270) * HKV * DV);
    assert_int_equal(health.q.values, (2 * T - 1) * HQ * DK);
    assert_int_equal(health.attn.values, (2 * T - 1) * HQ * DV);
    assert_int_equal(health.attn.nan, health.nan_rows * DV);
    assert_int_equal(health.q_proj.values + health.output.values, 0);
}

/* The host's blocks, in an order of their own, are what plain keys are: the same report. */
static void keys_in_blocks(void **state)
{
    enum { SIZE = 48, EACH = 15, ALL = B * EACH };
    static struct scene s;
    static float k[ALL][HKV][DK][SIZE], v[ALL][SIZE][HKV][DV];
    int32_t table[B][EACH];
    gqa_block_kv blocks;
    (void)state;
    scene_init(&s, 9);
    s.v[0][100][1][3] = 0x1p70f;
    s.k[1][7][0][2] = 0x1p-140f;
    memset(k, 0xff, sizeof k); /* NaN where nobody has a key */
    memset(v, 0xff, sizeof v);
    for (int i = 0; i < B * K; i++) {
        const int b = i / K, j = i % K, id = (b * EACH + j / SIZE) * 7 % ALL;
        table[b][j / SIZE] = id;
        for (int h = 0; h < HKV && j < s.key_lengths[b]; h++) {
            for (int d = 0; d < DK; d++) {
                k[id][h][d][j % SIZE] = s.k[b][j][h][d];
            }
            memcpy(v[id][j % SIZE][h], s.v[b][j][h], sizeof s.v[b][j][h]);
        }
    }
    gqa_block_kv_init(&blocks);
    blocks.key = gqa_blocks_of(k, GQA_F32, GQA_BLOCKS_TURNED, ALL, HKV, SIZE, DK);
    blocks.value = gqa_blocks_of(v, GQA_F32, GQA_BLOCKS_TOKENS, ALL, HKV, SIZE, DV);
    blocks.block_table = table[0];
    blocks.max_blocks = EACH;
    blocks.lengths = s.key_lengths;
    for (int numerics = 0; numerics < 2; numerics++) {
        s.config.numerics = (gqa_numerics)numerics;
        skip_refused(&s.config);
        assert_true(scene_open(&s));
        s.blocks = NULL;
        const gqa_health plain = scene_report(&s);
        s.blocks = &blocks;
        const gqa_health held = scene_report(&s);
        gqa_destroy(&s.layer);
        assert_true(plain.k.denormal == 1 && plain.large_v == 1 && plain.rows > 0);
        assert_memory_equal(&plain, &held, sizeof held);
    }
}

/* With numerics bf16 a value counts as large once it is rounded. */
static void large_values_once_rounded(void **state)
{
    static struct scene s;
    (void)state;
    scene_init(&s, 1);
    s.v[0][9][1][2] = 0x1.fffffep63f;
    s.v[0][10][1][2] = -0x1.fep63f;
    s.v[1][11][0][8] = -0x1p64f;
    for (int numerics = 0; numerics < 2; numerics++) {
        s.config.numerics = (gqa_numerics)numerics;
        s.config.isa = GQA_ISA_SCALAR;
        assert_true(scene_open(&s));
        assert_int_equal(scene_report(&s).large_v, 1 + numerics);
        gqa_destroy(&s.layer);
    }
}

/* A caller's shorter struct gets what it has room for. */
static void shorter_struct(void **state)
{
    static struct scene s;
    gqa_health health;
    (void)state;
    scene_init(&s, 1);
    skip_refused(&s.config);
    assert_true(scene_open(&s));
    memset(&health, 0, sizeof health);
    gqa_health_init_sized(&health, offsetof(gqa_health, rows));
    assert_int_equal(scene_attend(&s, &health), GQA_OK);
    assert_int_equal(health.struct_size, offsetof(gqa_health, rows));
    assert_true(health.largest_score > 0.0);
    assert_int_equal(health.rows + health.sink_rows, 0);
    gqa_destroy(&s.layer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_rows_and_sinks),      cmocka_unit_test(rows_with_prior_states),
        cmocka_unit_test(prior_states_that_are_none), cmocka_unit_test(equal_scores),
        cmocka_unit_test(scores_that_are_no_numbers), cmocka_unit_test(keys_in_blocks),
        cmocka_unit_test(large_values_once_rounded),  cmocka_unit_test(shorter_struct),
    };
    return RUN_TESTS(argc, argv, tests);
}
