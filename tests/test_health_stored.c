/* SPDX-License-Identifier: Apache-2.0 */
/* test_health_stored.c - what a health report (gqa_output.health) says of storing K and V: rows
 * planted in every storage type, counted by hand; then drawn rows, whose codes are written out in
 * double by support/stored_row.h, in every pair of types, on every kernel set and backend, threads,
 * page sizes and pieces; and the host's own blocks. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/cache_kinds.h"
#include "support/forced_isa.h"
#include "support/host_keys.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"
#include "support/stored_row.h"

enum { HQ = 2, HKV = 2, DK = 40, DV = 35, N = 37, BATCH = 2 };

/* Keys and values of one call: BATCH entries of N columns, entry b with b on the left as padding.
 */
struct scene {
    gqa_config config;
    gqa_dtype type_k, type_v;
    int32_t page_size, threads;
    float q[BATCH][N][HQ][DK], k[BATCH][N][HKV][DK], v[BATCH][N][HKV][DV];
    float attn[BATCH][N][HQ][DV];
    const gqa_block_kv *blocks; /* or NULL */
};

static gqa_layer *scene_layer(struct scene *s)
{
    gqa_layer *layer = NULL;
    gqa_runtime runtime;
    gqa_error err;
    gqa_runtime_init(&runtime);
    runtime.num_threads = s->threads;
    runtime.parallel_for = s->threads > 1 ? parallel_threads : NULL;
    const gqa_status status = create_unforced(&layer, &s->config, NULL, &runtime, &err);
    if (status != GQA_OK && status != GQA_ERR_UNSUPPORTED) {
        fail_msg("%s", err.message);
    }
    return layer;
}

static gqa_cache *scene_cache(const struct scene *s, const gqa_layer *layer)
{
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_error err;
    gqa_cache_options_init(&options, layer);
    options.max_sequences = BATCH;
    options.max_tokens = 512;
    options.page_size = s->page_size;
    options.dtype_k = s->type_k;
    options.dtype_v = s->type_v;
    if (gqa_cache_create(&cache, layer, &options, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return cache;
}

/* Columns [from, from + n) of the call. With neither cache nor s->blocks the call keeps its keys
 * for itself. */
static void scene_forward(struct scene *s, const gqa_layer *layer, gqa_cache *cache, int from,
                          int n, gqa_health *health)
{
    const int32_t first_valid[BATCH] = {0, from == 0 ? 1 : 0};
    gqa_inputs in;
    gqa_output out;
    gqa_error err;
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.q_proj = gqa_tensor_4d(s->q[0][from], GQA_F32, BATCH, n, HQ, DK);
    in.k_proj = gqa_tensor_4d(s->k[0][from], GQA_F32, BATCH, n, HKV, DK);
    in.v_proj = gqa_tensor_4d(s->v[0][from], GQA_F32, BATCH, n, HKV, DV);
    out.attn = gqa_tensor_4d(s->attn[0][from], GQA_F32, BATCH, n, HQ, DV);
    in.q_proj.stride[0] = (int64_t)N * HQ * DK;
    in.k_proj.stride[0] = (int64_t)N * HKV * DK;
    in.v_proj.stride[0] = (int64_t)N * HKV * DV;
    out.attn.stride[0] = (int64_t)N * HQ * DV;
    in.first_valid = first_valid;
    in.blocks = s->blocks;
    out.health = health;
    if (gqa_forward(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
}

static void expect(const gqa_health_stored *got, const gqa_health_stored *want, const char *what,
                   gqa_dtype type)
{
    if (memcmp(got, want, sizeof *got) != 0) {
        fail_msg("%s of type %d: %d values, %d lost, %d vanished, %d saturated; not %d %d %d %d",
                 what, (int)type, (int)got->values, (int)got->lost, (int)got->vanished,
                 (int)got->saturated, (int)want->values, (int)want->lost, (int)want->vanished,
                 (int)want->saturated);
    }
}

/* ---- by hand ---- */

/* The first elements of a row, the others are 0, and what becomes of them. */
struct plant {
    gqa_dtype type;
    int flush;
    float x[4];
    int lost, vanished, saturated;
};

static const struct plant plants[] = {
    /* A scale of 1: halves go to the even code, 0 is no value that vanished. */
    {GQA_I8, 0, {127, -126.4f, 0.5f, 0.51f}, 0, 1, 1},
    {GQA_I8, 0, {-127, 126.5f, -127, 0.4f}, 0, 1, 2},
    {GQA_I8, 0, {126.6f, 127, -0.4f, 126.4f}, 0, 1, 2},
    /* A NaN, or an infinity, takes the row with it; of a NaN nothing is lost. */
    {GQA_I8, 0, {NAN, 1, 2, 3}, DK - 1, 0, 0},
    {GQA_I8, 0, {INFINITY, NAN, 2, 3}, DK - 1, 0, 0},
    {GQA_I8, 0, {-INFINITY, 1, 2, 3}, DK, 0, 0},
    /* Too small for a scale: below 127 * 2^-126 all is 0. */
    {GQA_I8, 0, {0x1p-120f, -0x1p-149f, -0.0f, 0}, 0, 2, 0},
    {GQA_I8, 0, {0x1p-119f, 0, 0, 0}, 0, 0, 1},
    /* The largest sizes are numbers like others. */
    {GQA_I8, 0, {FLT_MAX, -FLT_MAX, 1, 0}, 0, 1, 2},
    {GQA_I4, 0, {7, 0.5f, -6.5f, 6.51f}, 0, 1, 2},
    {GQA_I4, 0, {NAN, 1, 0, 0}, 31, 0, 0}, /* the second group of 8 is well */
    {GQA_E4M3, 0, {448, 0x1p-10f, 0x1.1p-10f, 432.1f}, 0, 1, 2},
    {GQA_E4M3, 0, {448, 432, -0x1p-11f, -431.9f}, 0, 1, 2}, /* 432 lies between 416 and 448 */
    {GQA_E4M3, 0, {INFINITY, 1, NAN, 0}, DK - 1, 0, 0},
    {GQA_E4M3_240, 0, {240, 0x1p-10f, 232.1f, 231.9f}, 0, 1, 2},
    {GQA_F16, 0, {65519.996f, 65520, -1e30f, INFINITY}, 0, 0, 2},
    {GQA_F16, 0, {0x1p-25f, -0x1.1p-25f, NAN, -0x1p-140f}, 0, 2, 0},
    {GQA_BF16, 0, {FLT_MAX, -0x1.fefffep127f, -INFINITY, NAN}, 0, 0, 1},
    {GQA_BF16, 0, {0x1p-149f, 0x1p-134f, 0x1.8p-134f, 0x1p-126f}, 0, 2, 0},
    {GQA_BF16, 1, {0x1p-149f, 0x1p-127f, 0x1.8p-134f, 0x1p-126f}, 0, 3, 0},
    {GQA_F32, 0, {0x1p-149f, FLT_MAX, INFINITY, NAN}, 0, 0, 0},
    {GQA_F32, 1, {0x1p-149f, FLT_MAX, INFINITY, -0x1p-127f}, 0, 2, 0},
};

/* In K of head 1, or V, of one token; all else is 0. */
static void planted_rows(void **state)
{
    static struct scene s;
    (void)state;
    for (size_t i = 0; i < sizeof plants / sizeof plants[0] * 2; i++) {
        const struct plant *const p = &plants[i / 2];
        const bool value = i % 2 != 0, row_lost = p->lost >= DV - 1;
        gqa_health health;
        memset(&s, 0, sizeof s);
        s.config = attention_config(HQ, HKV, DK, DV);
        s.config.denormals = p->flush ? GQA_DENORMALS_FLUSH : GQA_DENORMALS_KEEP;
        s.type_k = value ? GQA_F32 : p->type;
        s.type_v = value ? p->type : GQA_F32;
        s.page_size = 16;
        s.threads = 1;
        memcpy(value ? s.v[1][20][1] : s.k[1][20][1], p->x, sizeof p->x);
        gqa_layer *layer = scene_layer(&s);
        gqa_cache *cache = scene_cache(&s, layer);
        gqa_health_init(&health);
        health.stored_k.lost = health.stored_v.values = 17; /* filled, not added to */
        scene_forward(&s, layer, cache, 0, N, &health);
        gqa_cache_destroy(&cache);
        gqa_destroy(&layer);
        const int lost = value && row_lost ? p->lost - DK + DV : p->lost;
        const int64_t tokens = (int64_t)(2 * N - 1) * HKV;
        const gqa_health_stored none_k = {tokens * DK, 0, 0, 0}, none_v = {tokens * DV, 0, 0, 0};
        const gqa_health_stored want = {tokens * (value ? DV : DK), lost, p->vanished,
                                        p->saturated};
        expect(&health.stored_k, value ? &none_k : &want, "planted K", p->type);
        expect(&health.stored_v, value ? &want : &none_v, "planted V", p->type);
    }
}

/* ---- drawn ---- */

static void count_row(gqa_health_stored *count, const float *x, int n, gqa_dtype type, bool flush)
{
    static struct stored_row row;
    float seen[STORED_ROW_MOST];
    for (int d = 0; d < n; d++) {
        seen[d] = flush && fpclassify(x[d]) == FP_SUBNORMAL ? 0.0f : x[d];
    }
    stored_row(&row, seen, n, type);
    for (int d = 0; d < n; d++) {
        const double y = row.code[d];
        const float scale = row.scales > 0 ? row.scale[d / row.group] : 1.0f;
        const double most = type == GQA_I8     ? 127
                            : type == GQA_I4   ? 7
                            : type == GQA_E4M3 ? 448
                                               : 240;
        count->values++;
        count->lost += isnan(scale) && !isnan(x[d]);
        count->vanished += !isnan(scale) && y == 0.0 && x[d] != 0.0f;
        count->saturated += row.scales > 0 ? fabs(y) == most : isinf(y) && !isinf(x[d]);
    }
}

/* Of a row one element may be an outlier, and in a few there are no numbers. */
static void draw_rows(uint64_t *random, float *x, int rows, int n)
{
    for (int r = 0; r < rows; r++) {
        const bool odd = random_between(random, 0, 9) == 0;
        const float size = ldexpf(1.0f, random_between(random, -130, 124));
        for (int d = 0; d < n; d++) {
            x[r * n + d] = cache_value(random, odd) * (random_between(random, 0, 3) ? size : 1.0f);
        }
        x[r * n + random_between(random, 0, n - 1)] *= random_between(random, 0, 1) ? 1e3f : 1.0f;
    }
}

/* Is it a token that is skipped where it says so? */
static bool skipped(int b, int t)
{
    return (b + t) % 4 == 0;
}

/* What both must count: column 0 of entry 1 is padding, and holds an outlier and a NaN as others
 * do. */
static void scene_counts(const struct scene *s, bool flush, gqa_health_stored *k,
                         gqa_health_stored *v)
{
    memset(k, 0, sizeof *k);
    memset(v, 0, sizeof *v);
    for (int i = 0; i < BATCH * N * HKV; i++) {
        const int b = i / (N * HKV), t = i / HKV % N;
        if ((b == 0 || t > 0) && (s->blocks == NULL || !skipped(b, t))) {
            count_row(k, (&s->k[0][0][0][0]) + (int64_t)i * DK, DK, s->type_k, flush);
            count_row(v, (&s->v[0][0][0][0]) + (int64_t)i * DV, DV, s->type_v, flush);
        }
    }
}

static void add_counts(gqa_health_stored *to, const gqa_health_stored *from)
{
    to->values += from->values;
    to->lost += from->lost;
    to->vanished += from->vanished;
    to->saturated += from->saturated;
}

static void same_caches(const gqa_cache *a, const gqa_cache *b)
{
    static float k[2][N][HKV][DK], v[2][N][HKV][DV];
    for (int sequence = 0; sequence < BATCH; sequence++) {
        const gqa_cache *const caches[2] = {a, b};
        const int n = gqa_cache_length(a, sequence);
        for (int i = 0; i < 2; i++) {
            const gqa_tensor to_k = gqa_tensor_3d(k[i], GQA_F32, HKV, n, DK);
            const gqa_tensor to_v = gqa_tensor_3d(v[i], GQA_F32, HKV, n, DV);
            assert_int_equal(gqa_cache_read(caches[i], sequence, 0, &to_k, &to_v, NULL, NULL),
                             GQA_OK);
        }
        assert_memory_equal(k[0], k[1], (size_t)n * sizeof k[0][0]);
        assert_memory_equal(v[0], v[1], (size_t)n * sizeof v[0][0]);
    }
}

/* The whole scene in pieces of so many columns; the reports' sums. The bits are those of a run
 * without a report, cache included. */
static void check_scene(struct scene *s, const gqa_layer *layer, int piece,
                        const gqa_health_stored *want_k, const gqa_health_stored *want_v)
{
    static float attn[BATCH][N][HQ][DV];
    gqa_cache *plain = scene_cache(s, layer), *cache = scene_cache(s, layer);
    gqa_health_stored k = {0}, v = {0};
    for (int from = 0; from < N; from += piece) {
        scene_forward(s, layer, plain, from, from + piece < N ? piece : N - from, NULL);
    }
    memcpy(attn, s->attn, sizeof attn);
    for (int from = 0; from < N; from += piece) {
        gqa_health health;
        gqa_health_init(&health);
        scene_forward(s, layer, cache, from, from + piece < N ? piece : N - from, &health);
        add_counts(&k, &health.stored_k);
        add_counts(&v, &health.stored_v);
    }
    assert_memory_equal(attn, s->attn, sizeof attn);
    same_caches(plain, cache);
    gqa_cache_destroy(&plain);
    gqa_cache_destroy(&cache);
    expect(&k, want_k, "K", s->type_k);
    expect(&v, want_v, "V", s->type_v);
}

static bool allowed(gqa_dtype type, gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_F32 || type == GQA_BF16 || stored_scaled(type);
}

/* Every pair of types; kernel sets, backends, threads, pages and pieces go round. */
static void drawn_rows(void **state)
{
    static const gqa_dtype types[] = {GQA_F32,  GQA_BF16,     GQA_F16, GQA_I8,
                                      GQA_E4M3, GQA_E4M3_240, GQA_I4};
    static const gqa_isa sets[] = {GQA_ISA_SCALAR, GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_AMX,
                                   GQA_ISA_NEON};
    static struct scene s;
    uint64_t random = 5;
    (void)state;
    for (int i = 0; i < 7 * 7 * 2; i++) {
        const gqa_numerics numerics = i % 2 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32;
        gqa_health_stored k, v;
        s.type_k = types[i / 2 % 7];
        s.type_v = types[i / 14];
        if (!allowed(s.type_k, numerics) || !allowed(s.type_v, numerics)) {
            continue;
        }
        draw_rows(&random, &s.q[0][0][0][0], BATCH * N * HQ, DK);
        draw_rows(&random, &s.k[0][0][0][0], BATCH * N * HKV, DK);
        draw_rows(&random, &s.v[0][0][0][0], BATCH * N * HKV, DV);
        s.config = attention_config(HQ, HKV, DK, DV);
        s.config.numerics = numerics;
        s.config.denormals = i % 3 == 0 ? GQA_DENORMALS_FLUSH : GQA_DENORMALS_KEEP;
        const bool flush = s.config.denormals == GQA_DENORMALS_FLUSH;
        scene_counts(&s, flush && numerics == GQA_NUMERICS_F32, &k, &v);
        for (int j = 0; j < 7; j++) {
            s.config.isa = j < 5 ? sets[j] : GQA_ISA_AUTO;
            s.config.backend = j < 5 ? GQA_BACKEND_CPU : GQA_BACKEND_REFERENCE;
            s.config.reference_f64 = j == 6;
            s.threads = 1 + (i + j) % 4;
            s.page_size = 16 << ((i + 2 * j) % 6);
            gqa_layer *layer = j < 5 || !flush ? scene_layer(&s) : NULL;
            if (layer != NULL) {
                check_scene(&s, layer, 5 + (i * 7 + j * 11) % N, &k, &v);
                gqa_destroy(&layer);
            }
        }
    }
}

/* The host's blocks of 16 tokens, entry 1 from the last one down. In two calls, of which each skips
 * some tokens. */
static void hosts_blocks(void **state)
{
    enum { BLOCKS = 6, SLOTS = 16, FIRST = 21 };
    static const gqa_dtype formats[] = {GQA_F32, GQA_BF16, GQA_F16, GQA_I8};
    static const int32_t table[BATCH][3] = {{2, 0, 1}, {5, 4, 3}};
    static struct scene s;
    uint64_t random = 21;
    (void)state;
    for (int i = 0; i < 4 * 3 * 4; i++) {
        const gqa_dtype format = formats[i % 4];
        const gqa_block_order order = (gqa_block_order)(i / 4 % 3);
        const int kind = i / 12;
        static float scales[2][BLOCKS * HKV * SLOTS];
        int32_t lengths[BATCH] = {0, 0};
        int64_t slots[BATCH * N];
        gqa_health_stored k, v, got_k = {0}, got_v = {0};
        gqa_block_kv blocks;
        draw_rows(&random, &s.q[0][0][0][0], BATCH * N * HQ, DK);
        draw_rows(&random, &s.k[0][0][0][0], BATCH * N * HKV, DK);
        draw_rows(&random, &s.v[0][0][0][0], BATCH * N * HKV, DV);
        s.config = attention_config(HQ, HKV, DK, DV);
        s.config.backend = kind == 3 ? GQA_BACKEND_REFERENCE : GQA_BACKEND_CPU;
        s.config.denormals = kind == 1 ? GQA_DENORMALS_FLUSH : GQA_DENORMALS_KEEP;
        skip_refused(&s.config);
        s.type_k = s.type_v = format;
        s.threads = 1 + i % 4;
        s.blocks = &blocks;
        void *const keys = host_memory((int64_t)BLOCKS * HKV * SLOTS * DK, format);
        void *const values = host_memory((int64_t)BLOCKS * HKV * SLOTS * DV, format);
        gqa_block_kv_init(&blocks);
        blocks.key = gqa_blocks_of(keys, format, order, BLOCKS, HKV, SLOTS, DK);
        blocks.value = gqa_blocks_of(values, format, order, BLOCKS, HKV, SLOTS, DV);
        if (format == GQA_I8) {
            blocks.key_scale = gqa_tensor_3d(scales[0], GQA_F32, BLOCKS, HKV, SLOTS);
            blocks.value_scale = gqa_tensor_3d(scales[1], GQA_F32, BLOCKS, HKV, SLOTS);
        }
        blocks.block_table = table[0];
        blocks.max_blocks = 3;
        blocks.lengths = lengths;
        blocks.slot_mapping = slots;
        scene_counts(&s, kind == 1, &k, &v);
        gqa_layer *layer = scene_layer(&s);
        for (int from = 0; from < N; from += FIRST) {
            const int n = from == 0 ? FIRST : N - FIRST;
            gqa_health health;
            gqa_health_init(&health);
            for (int j = 0; j < BATCH * n; j++) {
                const int b = j / n, t = from + j % n, index = t - b;
                slots[j] = skipped(b, t) || index < 0
                               ? -1
                               : (int64_t)table[b][index / SLOTS] * SLOTS + index % SLOTS;
            }
            scene_forward(&s, layer, NULL, from, n, &health);
            add_counts(&got_k, &health.stored_k);
            add_counts(&got_v, &health.stored_v);
            lengths[0] = FIRST;
            lengths[1] = FIRST - 1;
        }
        expect(&got_k, &k, "K in blocks", format);
        expect(&got_v, &v, "V in blocks", format);
        gqa_destroy(&layer);
        free(keys);
        free(values);
    }
}

/* Without a cache K and V lie in the workspace, as the products read them. A call that appends
 * nothing stores nothing. */
static void without_a_cache(void **state)
{
    static struct scene s;
    (void)state;
    for (int numerics = 0; numerics < 2; numerics++) {
        const gqa_dtype type = numerics ? GQA_BF16 : GQA_F32;
        const gqa_health_stored none = {0};
        gqa_health_stored k, v;
        gqa_health health;
        uint64_t random = 8;
        gqa_attend_inputs in;
        gqa_attend_output out;
        draw_rows(&random, &s.q[0][0][0][0], BATCH * N * HQ, DK);
        draw_rows(&random, &s.k[0][0][0][0], BATCH * N * HKV, DK);
        draw_rows(&random, &s.v[0][0][0][0], BATCH * N * HKV, DV);
        s.config = attention_config(HQ, HKV, DK, DV);
        s.config.numerics = (gqa_numerics)numerics;
        skip_refused(&s.config);
        s.type_k = s.type_v = type;
        s.page_size = 16;
        s.threads = 1;
        gqa_layer *layer = scene_layer(&s);
        gqa_cache *cache = scene_cache(&s, layer);
        scene_counts(&s, false, &k, &v);
        gqa_health_init(&health);
        scene_forward(&s, layer, NULL, 0, N, &health);
        expect(&health.stored_k, &k, "own K", type);
        expect(&health.stored_v, &v, "own V", type);
        scene_forward(&s, layer, cache, 0, N, NULL);
        gqa_attend_inputs_init(&in);
        gqa_attend_output_init(&out);
        in.query = gqa_tensor_4d(s.q, GQA_F32, BATCH, N, HQ, DK);
        out.output = gqa_tensor_4d(s.attn, GQA_F32, BATCH, N, HQ, DV);
        out.health = &health;
        assert_int_equal(gqa_attend(layer, cache, &in, &out, NULL, 0, NULL), GQA_OK);
        expect(&health.stored_k, &none, "read K", type);
        expect(&health.stored_v, &none, "read V", type);
        gqa_cache_destroy(&cache);
        gqa_destroy(&layer);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_rows),
        cmocka_unit_test(drawn_rows),
        cmocka_unit_test(hosts_blocks),
        cmocka_unit_test(without_a_cache),
    };
    return RUN_TESTS(argc, argv, tests);
}
