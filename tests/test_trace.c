/* SPDX-License-Identifier: Apache-2.0 */
/* test_trace.c - the trace of backend cpu (gqa_inputs.trace): every tile is told of, with its fate,
 * its rows' keys and its states; and a trace changes no bit.
 *
 * The truths: the picture of who sees whom, pair by pair, which the told tiles must cover and which
 * knows nothing of spans and walks; gqa_output.work, whose counts are the events' sums; softmax
 * states in double.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layer/layer.h"
#include "support/forced_isa.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { HQ = 6, HKV = 2, GROUP = HQ / HKV, DK = 10, DV = 9, MOST = 1100, FOLD = 256 };
enum { MOST_ROWS = 128, MOST_EVENTS = 4096 };

static float q[MOST * HQ * DK], k[MOST * HKV * DK], v[MOST * HKV * DV];
static float attn[2][MOST * HQ * DV], lse[2][MOST * HQ];

/* --- calls -------------------------------------------------------------------------------------
 */

/* One event, with what its pointers showed. */
struct told {
    gqa_tile tile;
    int32_t begin[MOST_ROWS], end[MOST_ROWS];
    float m[MOST_ROWS], l[MOST_ROWS];
};

struct log {
    struct told told[MOST_EVENTS]; /* [count] */
    int count;
};

static struct log logs[2];

static void keep(void *user, const gqa_tile *tile)
{
    struct log *const log = user;
    struct told *const told = &log->told[log->count];
    const size_t rows = (size_t)tile->rows;

    assert_true(log->count++ < MOST_EVENTS && tile->rows <= MOST_ROWS && tile->rows > 0);
    memset(told, 0, sizeof *told);
    told->tile = *tile;
    if (tile->fate > GQA_TILE_MASKED) {
        assert_true(tile->seen_begin == NULL && tile->seen_end == NULL);
        assert_true(tile->m == NULL && tile->l == NULL);
        return;
    }
    memcpy(told->begin, tile->seen_begin, rows * sizeof *told->begin);
    memcpy(told->end, tile->seen_end, rows * sizeof *told->end);
    memcpy(told->m, tile->m, rows * sizeof *told->m);
    memcpy(told->l, tile->l, rows * sizeof *told->l);
    told->tile.seen_begin = told->tile.seen_end = NULL;
    told->tile.m = told->tile.l = NULL;
}

/* Attention alone: `tokens` after `past`, which are in sequence 0. */
struct scene {
    gqa_config config;
    gqa_layer *layer;
    gqa_cache *cache;
    gqa_inputs in;
    const uint8_t *mask; /* [tokens][past + tokens], or NULL */
    int past, tokens, threads;
};

static void scene_init(struct scene *s, int past, int tokens)
{
    memset(s, 0, sizeof *s);
    s->config = attention_config(HQ, HKV, DK, DV);
    gqa_inputs_init(&s->in);
    s->past = past;
    s->tokens = tokens;
    s->threads = 1;
}

static void scene_open(struct scene *s)
{
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, s->past, HKV, DK);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, s->past, HKV, DV);
    gqa_runtime runtime;
    gqa_cache_options options;
    gqa_error err;

    skip_refused(&s->config);
    gqa_runtime_init(&runtime);
    runtime.num_threads = s->threads;
    runtime.parallel_for = s->threads > 1 ? parallel_threads : NULL;
    s->layer = attention_layer(&s->config, &runtime);
    gqa_cache_options_init(&options, s->layer);
    options.max_sequences = 2;
    options.max_tokens = MOST;
    assert_int_equal(gqa_cache_create(&s->cache, s->layer, &options, &err), GQA_OK);
    if (s->past > 0) {
        assert_int_equal(gqa_cache_append(s->cache, 0, &key, &value, NULL, &err), GQA_OK);
    }
}

static void scene_close(struct scene *s)
{
    gqa_cache_destroy(&s->cache);
    gqa_destroy(&s->layer);
}

/* The call, into attn[form] and lse[form], traced into log unless that is NULL. */
static gqa_work scene_call(const struct scene *s, int form, struct log *log)
{
    gqa_inputs in = s->in;
    gqa_output out;
    gqa_work work;
    gqa_error err;

    gqa_output_init(&out);
    gqa_work_init(&work);
    in.q_proj = gqa_tensor_3d(q, GQA_F32, s->tokens, HQ, DK);
    in.k_proj = gqa_tensor_3d(k + s->past * HKV * DK, GQA_F32, s->tokens, HKV, DK);
    in.v_proj = gqa_tensor_3d(v + s->past * HKV * DV, GQA_F32, s->tokens, HKV, DV);
    out.attn = gqa_tensor_3d(attn[form], GQA_F32, s->tokens, HQ, DV);
    out.lse = gqa_tensor_2d(lse[form], GQA_F32, s->tokens, HQ);
    out.work = &work;
    if (log != NULL) {
        log->count = 0;
        in.trace = keep;
        in.trace_user = log;
    }
    if (gqa_forward(s->layer, s->cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return work;
}

/* --- the truths --------------------------------------------------------------------------------
 */

/* May token i of the call see token j of the sequence? */
static bool sees(const struct scene *s, int i, int j)
{
    const gqa_config *const c = &s->config;
    const int at = s->past + i, size = c->attention_chunk_size;

    return (j <= at || c->bidirectional) &&
           (c->sliding_window == 0 || j > at - c->sliding_window) &&
           (size == 0 || at / size == j / size) &&
           (s->mask == NULL || s->mask[i * (s->past + s->tokens) + j] != 0);
}

/* The events' sums are what the call counted. */
static void check_sums(const struct log *log, const gqa_work *work)
{
    gqa_work sum = {0};

    for (int n = 0; n < log->count; n++) {
        const gqa_tile *const tile = &log->told[n].tile;
        const bool computed = tile->fate <= GQA_TILE_MASKED;
        assert_int_equal(tile->struct_size, sizeof *tile);
        assert_int_equal(tile->order, n);
        sum.tiles += computed;
        sum.tiles_masked += tile->fate == GQA_TILE_MASKED;
        sum.tiles_skipped += !computed;
        sum.keys_read += computed ? tile->keys : 0;
        sum.kv_bytes += tile->kv_bytes;
        sum.score_madds += tile->score_madds;
        sum.value_madds += tile->value_madds;
    }
    sum.struct_size = work->struct_size;
    sum.tile_rows = work->tile_rows;
    assert_memory_equal(&sum, work, sizeof sum);
}

/* Keys [first, *last) from the first to the last that row r of the tile sees among [from, to). */
static int first_seen(const struct scene *s, const gqa_tile *tile, int r, int from, int to,
                      int *last)
{
    const int i = (tile->row + r) / GROUP;
    int first = to;

    *last = from;
    for (int j = to - 1; j >= from; j--) {
        if (sees(s, i, j)) {
            first = j;
            *last = *last > j ? *last : j + 1;
        }
    }
    return first;
}

/* What a tile says of its rows' keys, pair by pair; and that its fate is the true one. */
static void check_tile(const struct scene *s, const struct told *told)
{
    const gqa_tile *const tile = &told->tile;
    const int keys = s->past + s->tokens, end = tile->key + tile->keys;
    const int block_end = (tile->block + 1) * FOLD < keys ? (tile->block + 1) * FOLD : keys;
    int without = 0, pairs = 0, low = keys, high = 0, last;

    assert_true(tile->key >= tile->block * FOLD && end <= block_end && tile->keys > 0);
    for (int r = 0; r < tile->rows; r++) {
        const int from = first_seen(s, tile, r, tile->block * FOLD, block_end, &last);
        const int first = first_seen(s, tile, r, 0, keys, &high);
        low = first < low ? first : low;
        without += from == block_end;
        if (tile->fate > GQA_TILE_MASKED) {
            assert_int_equal(from, block_end);
            assert_true(tile->fate != GQA_TILE_SKIPPED_LEFT || end <= first);
            assert_true(tile->fate != GQA_TILE_SKIPPED_RIGHT || tile->key >= high);
            continue;
        }
        if (from == block_end) {
            assert_int_equal(told->begin[r], told->end[r]);
        } else {
            assert_int_equal(tile->key + told->begin[r], from);
            assert_int_equal(tile->key + told->end[r], last);
        }
        for (int j = tile->key; j < end; j++) {
            pairs += sees(s, (tile->row + r) / GROUP, j);
        }
    }
    assert_int_equal(tile->rows_without_keys, without);
    assert_true(tile->fate != GQA_TILE_WHOLE || pairs == tile->rows * tile->keys);
    assert_true(tile->fate != GQA_TILE_SKIPPED_HIDDEN || s->mask != NULL);
}

/* Maximum and sum of a row's scores over the tile's keys, in double, in base-2 units.
 *
 * A score of f32 is off by at most e = (Dk + 2) 2^-24 sum |q k| scale log2(e): Dk roundings of the
 * chain, one of the scale, one of the scaled q. A sum of n terms up to 1 is off by 2 e ln 2 through
 * scores and maximum, 2^-23 through each exponential and n 2^-24 through the additions, relative.
 */
static void check_states(const struct scene *s, const struct told *told)
{
    const gqa_tile *const tile = &told->tile;
    const double unit = s->layer->params.shape.score_scale * 1.4426950408889634;

    for (int r = 0; r < tile->rows && tile->fate <= GQA_TILE_MASKED; r++) {
        const int i = (tile->row + r) / GROUP, h = tile->head * GROUP + (tile->row + r) % GROUP;
        double score[FOLD], most = -INFINITY, sum = 0, slack = 0;
        for (int j = 0; j < tile->keys; j++) {
            const float *const row = q + (i * HQ + h) * DK;
            const float *const key = k + ((tile->key + j) * HKV + tile->head) * DK;
            double size = 0;
            score[j] = sees(s, i, tile->key + j) ? 0 : -INFINITY;
            for (int d = 0; d < DK; d++) {
                score[j] += (double)row[d] * (double)key[d] * unit;
                size += fabs((double)row[d] * (double)key[d]) * unit;
            }
            most = fmax(most, score[j]);
            slack = fmax(slack, (DK + 2) * 0x1p-24 * size);
        }
        for (int j = 0; j < tile->keys; j++) {
            sum += isinf(most) ? 0 : exp2(score[j] - most);
        }
        if (isinf(most)) {
            assert_true(isinf(told->m[r]) && told->m[r] < 0 && told->l[r] == 0);
        } else {
            assert_true(fabs((double)told->m[r] - most) <= slack);
            assert_true(fabs((double)told->l[r] - sum) <=
                        sum * (1.4 * slack + 0x1p-23 + tile->keys * 0x1p-24));
        }
    }
}

/* Every tile of rows meets every block once, and all rows are in a tile: so the grid is whole. */
static void check_grid(const struct scene *s, const struct log *log)
{
    static uint8_t met[HKV][MOST * GROUP][(MOST + FOLD - 1) / FOLD];
    const int blocks = (s->past + s->tokens + FOLD - 1) / FOLD;

    memset(met, 0, sizeof met);
    for (int n = 0; n < log->count; n++) {
        const gqa_tile *const tile = &log->told[n].tile;
        assert_true(tile->row + tile->rows <= s->tokens * GROUP && tile->block < blocks);
        for (int r = tile->row; r < tile->row + tile->rows; r++) {
            assert_int_equal(met[tile->head][r][tile->block]++, 0);
        }
    }
    for (int h = 0; h < HKV; h++) {
        for (int r = 0; r < s->tokens * GROUP; r++) {
            for (int b = 0; b < blocks; b++) {
                assert_int_equal(met[h][r][b], 1);
            }
        }
    }
}

/* Heads rise; within a head and a block of 256 tokens the last rows come first, keys rise. */
static void check_order(const struct log *log)
{
    for (int n = 1; n < log->count; n++) {
        const gqa_tile *const a = &log->told[n - 1].tile, *const b = &log->told[n].tile;
        if (a->row == b->row && a->head == b->head) {
            assert_int_equal(b->block, a->block + 1);
            assert_true(b->key > a->key);
        } else {
            assert_true(b->head > a->head || b->row < a->row ||
                        b->row / GROUP / 256 > a->row / GROUP / 256);
        }
    }
}

static void same_results(const struct scene *s)
{
    assert_memory_equal(attn[0], attn[1], (size_t)s->tokens * HQ * DV * sizeof(float));
    assert_memory_equal(lse[0], lse[1], (size_t)s->tokens * HQ * sizeof(float));
}

/* A scene untraced, and traced: every check. Events are the same with any number of threads. */
static void check_scene(struct scene *s)
{
    for (s->threads = 1; s->threads <= 4; s->threads += 3) {
        struct log *const log = &logs[s->threads > 1];
        gqa_work plain, work;
        scene_open(s);
        plain = scene_call(s, 0, NULL);
        scene_close(s);
        scene_open(s);
        work = scene_call(s, 1, log);
        assert_memory_equal(&plain, &work, sizeof plain);
        same_results(s);
        check_sums(log, &work);
        check_grid(s, log);
        check_order(log);
        for (int n = 0; n < log->count; n++) {
            check_tile(s, &log->told[n]);
            if (s->config.numerics == GQA_NUMERICS_F32) {
                check_states(s, &log->told[n]);
            }
        }
        scene_close(s);
    }
    assert_int_equal(logs[0].count, logs[1].count);
    assert_memory_equal(logs[0].told, logs[1].told, (size_t)logs[0].count * sizeof logs[0].told[0]);
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void set_rules(gqa_config *config, int rule)
{
    config->sliding_window = rule == 1   ? 37
                             : rule == 2 ? 300
                             : rule == 4 ? 50
                             : rule == 6 ? FOLD
                                         : 0;
    config->attention_chunk_size = rule == 3 ? 100 : rule == 4 ? 300 : 0;
    config->bidirectional = rule == 5;
}

static void as_the_picture(gqa_numerics numerics, gqa_isa isa)
{
    static const struct {
        int past, tokens;
    } sizes[] = {{0, 1}, {0, 65}, {0, 577}, {255, 1}, {511, 1}, {700, 1}, {1000, 5}, {300, 300}};

    for (int size = 0; size < 8; size++) {
        for (int rule = 0; rule < 7; rule++) {
            struct scene s;
            scene_init(&s, sizes[size].past, sizes[size].tokens);
            s.config.numerics = numerics;
            s.config.isa = isa;
            set_rules(&s.config, rule);
            check_scene(&s);
        }
    }
}

static void as_the_picture_f32(void **state)
{
    (void)state;
    as_the_picture(GQA_NUMERICS_F32, GQA_ISA_AUTO);
}

static void as_the_picture_bf16(void **state)
{
    (void)state;
    as_the_picture(GQA_NUMERICS_BF16, GQA_ISA_AUTO);
}

static void as_the_picture_scalar(void **state)
{
    (void)state;
    as_the_picture(GQA_NUMERICS_F32, GQA_ISA_SCALAR);
}

/* A mask of every kind: whole blocks hidden in the middle, rows without keys, single pairs. */
static void a_mask(void **state)
{
    enum { PAST = 700, T = 90, KEYS = PAST + T };
    static uint8_t mask[T * KEYS];
    uint64_t random = 11;
    struct scene s;

    (void)state;
    for (int i = 0; i < T * KEYS; i++) {
        const int row = i / KEYS, key = i % KEYS;
        mask[i] = (key < FOLD || key >= 2 * FOLD) && row % 9 != 4 && random_u32(&random) % 4 != 0;
    }
    scene_init(&s, PAST, T);
    s.mask = mask;
    s.in.mask = gqa_tensor_4d(mask, GQA_U8, 1, 1, T, KEYS);
    check_scene(&s);
    for (int n = 0; n < logs[0].count; n++) {
        assert_true((logs[0].told[n].tile.fate == GQA_TILE_SKIPPED_HIDDEN) ==
                    (logs[0].told[n].tile.block == 1));
    }
}

/* Batch entries and padding: rows count the call's columns. Entry 0 has tokens 3 .. 12 of 20. */
static void a_batch(void **state)
{
    static const int32_t sequences[2] = {1, 0}, first[2] = {3, 0}, lengths[2] = {10, 20};
    struct scene s;
    gqa_inputs in;
    gqa_output out;

    (void)state;
    scene_init(&s, 300, 20);
    scene_open(&s);
    in = s.in;
    gqa_output_init(&out);
    in.sequences = sequences;
    in.first_valid = first;
    in.lengths = lengths;
    in.q_proj = gqa_tensor_4d(q, GQA_F32, 2, 20, HQ, DK);
    in.k_proj = gqa_tensor_4d(k, GQA_F32, 2, 20, HKV, DK);
    in.v_proj = gqa_tensor_4d(v, GQA_F32, 2, 20, HKV, DV);
    in.trace = keep;
    in.trace_user = &logs[0];
    logs[0].count = 0;
    out.attn = gqa_tensor_4d(attn[0], GQA_F32, 2, 20, HQ, DV);
    assert_int_equal(gqa_forward(s.layer, s.cache, &in, &out, NULL, 0, NULL), GQA_OK);
    for (int n = 0; n < logs[0].count; n++) {
        const gqa_tile *const tile = &logs[0].told[n].tile;
        const int row = first[tile->batch] * GROUP, end = row + lengths[tile->batch] * GROUP;
        assert_true(tile->row >= row && tile->row + tile->rows <= end);
        assert_true(tile->key + tile->keys <= (tile->batch == 0 ? 10 : 320));
        assert_true(tile->fate <= GQA_TILE_MASKED);
        assert_int_equal(tile->order, n);
    }
    scene_close(&s);
}

/* gqa_attend on a range of plain keys, with rows that stand before, in and after it, each alone: a
 * row of the first kind has all blocks on its right, one of the last, by its window, on its left.
 */
static void a_range(void **state)
{
    static const struct {
        int32_t position;
        gqa_tile_fate fate;
    } rows[] = {{100, GQA_TILE_SKIPPED_RIGHT},
                {-5, GQA_TILE_SKIPPED_RIGHT},
                {600, GQA_TILE_MASKED},
                {1000, GQA_TILE_SKIPPED_LEFT}};
    struct scene s;

    (void)state;
    scene_init(&s, 0, 1);
    s.config.sliding_window = 64;
    scene_open(&s);
    for (size_t n = 0; n < sizeof rows / sizeof rows[0]; n++) {
        gqa_attend_inputs in;
        gqa_attend_output out;
        gqa_work work;

        gqa_attend_inputs_init(&in);
        gqa_attend_output_init(&out);
        gqa_work_init(&work);
        in.query = gqa_tensor_4d(q, GQA_F32, 1, 1, HQ, DK);
        in.key = gqa_tensor_4d(k, GQA_F32, 1, 1024, HKV, DK);
        in.value = gqa_tensor_4d(v, GQA_F32, 1, 1024, HKV, DV);
        in.position_ids = &rows[n].position;
        in.range_begin = 2 * FOLD;
        in.range_end = 3 * FOLD;
        in.trace = keep;
        in.trace_user = &logs[0];
        logs[0].count = 0;
        out.output = gqa_tensor_4d(attn[0], GQA_F32, 1, 1, HQ, DV);
        out.work = &work;
        assert_int_equal(gqa_attend(s.layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
        check_sums(&logs[0], &work);
        assert_int_equal(logs[0].count, HKV);
        for (int h = 0; h < HKV; h++) {
            assert_int_equal(logs[0].told[h].tile.fate, rows[n].fate);
            assert_int_equal(logs[0].told[h].tile.block, 2);
        }
    }
    scene_close(&s);
}

/* A callback may call the library: here the whole scene once more, inside of the first event. */
struct nested {
    struct scene *scene;
    bool done;
};

static void call_again(void *user, const gqa_tile *tile)
{
    struct nested *const nested = user;

    (void)tile;
    if (!nested->done) {
        nested->done = true;
        scene_open(nested->scene);
        scene_call(nested->scene, 1, NULL);
        scene_close(nested->scene);
    }
}

static void a_call_inside(void **state)
{
    for (int numerics = 0; numerics < 2; numerics++) {
        struct scene s, inner;
        struct nested nested = {&inner, false};

        (void)state;
        scene_init(&s, 300, 300);
        s.config.numerics = numerics == 0 ? GQA_NUMERICS_F32 : GQA_NUMERICS_BF16;
        inner = s;
        s.in.trace = call_again;
        s.in.trace_user = &nested;
        scene_open(&s);
        scene_call(&s, 0, NULL);
        scene_close(&s);
        assert_true(nested.done);
        same_results(&s);
    }
}

/* The other backends have no such tiles. */
static void other_backends(void **state)
{
    static const gqa_backend backends[] = {GQA_BACKEND_REFERENCE, GQA_BACKEND_NEURON};

    (void)state;
    for (int b = 0; b < 2; b++) {
        gqa_config config = attention_config(HQ, HKV, DK, DK);
        gqa_attend_inputs in;
        gqa_attend_output out;
        gqa_inputs forward;
        gqa_output result;
        gqa_layer *layer;
        gqa_error err;

        config.backend = backends[b];
        layer = attention_layer(&config, NULL);
        gqa_attend_inputs_init(&in);
        gqa_attend_output_init(&out);
        gqa_inputs_init(&forward);
        gqa_output_init(&result);
        in.query = forward.q_proj = gqa_tensor_3d(q, GQA_F32, 2, HQ, DK);
        in.key = in.value = forward.k_proj = forward.v_proj = gqa_tensor_3d(k, GQA_F32, 2, HKV, DK);
        out.output = result.attn = gqa_tensor_3d(attn[0], GQA_F32, 2, HQ, DK);
        in.trace = forward.trace = keep;
        in.trace_user = forward.trace_user = &logs[0];
        logs[0].count = 0;
        assert_int_equal(gqa_attend(layer, NULL, &in, &out, NULL, 0, &err), GQA_ERR_ARG);
        assert_string_equal(err.field, "inputs.trace");
        assert_int_equal(gqa_forward(layer, NULL, &forward, &result, NULL, 0, &err), GQA_ERR_ARG);
        assert_string_equal(err.field, "inputs.trace");
        assert_non_null(strstr(err.message, "config.backend is not GQA_BACKEND_CPU"));
        assert_int_equal(logs[0].count, 0);
        gqa_destroy(&layer);
    }
}

int main(int argc, char **argv)
{
    uint64_t random = 7;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_picture_f32),
        cmocka_unit_test(as_the_picture_bf16),
        cmocka_unit_test(as_the_picture_scalar),
        cmocka_unit_test(a_mask),
        cmocka_unit_test(a_batch),
        cmocka_unit_test(a_range),
        cmocka_unit_test(a_call_inside),
        cmocka_unit_test(other_backends),
    };

    random_floats(&random, q, MOST * HQ * DK, 2.0f);
    random_floats(&random, k, MOST * HKV * DK, 2.0f);
    random_floats(&random, v, MOST * HKV * DV, 1.0f);
    return RUN_TESTS(argc, argv, tests);
}
