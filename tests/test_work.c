/* SPDX-License-Identifier: Apache-2.0 */
/* test_work.c - the record of work (gqa_output.work): tiles computed, masked and skipped, keys and
 * bytes read, multiply-adds.
 *
 * Two truths. Counts by hand, for a tile of 128 rows (the scalar kernels') and fold blocks of 256
 * keys. And `grid`: the picture of who sees whom, made pair by pair, laid under the grid of tiles;
 * it knows a kernel set's geometry, and nothing of spans, plans and walks.
 */
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
#include "support/small_layer.h"

enum { HQ = 4, HKV = 2, GROUP = HQ / HKV, DK = 16, DV = 8, MOST = 1100, FOLD = 256 };

static float q[MOST * HQ * DK], k[MOST * HKV * DK], v[MOST * HKV * DV], attn[MOST * HQ * DV];

/* A layer that is attention alone, and what is done with it. */
struct scene {
    gqa_config config;
    gqa_layer *layer;
    gqa_cache *cache;
    gqa_inputs in;
    int past, tokens; /* of the sequence before the call, and of the call (padding counted) */
    int threads;
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
    gqa_runtime runtime;
    gqa_cache_options options;
    gqa_error err;

    skip_refused(&s->config);
    gqa_runtime_init(&runtime);
    runtime.num_threads = s->threads;
    runtime.parallel_for = s->threads > 1 ? parallel_threads : NULL;
    if (gqa_create(&s->layer, &s->config, NULL, &runtime, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    gqa_cache_options_init(&options, s->layer);
    options.max_sequences = 2;
    options.max_tokens = MOST;
    assert_int_equal(gqa_cache_create(&s->cache, s->layer, &options, &err), GQA_OK);
    if (s->past > 0) {
        const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, s->past, HKV, DK);
        const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, s->past, HKV, DV);
        assert_int_equal(gqa_cache_append(s->cache, 0, &key, &value, NULL, &err), GQA_OK);
    }
}

static void scene_close(struct scene *s)
{
    gqa_cache_destroy(&s->cache);
    gqa_destroy(&s->layer);
}

/* The call of an opened scene. */
static gqa_work scene_call(struct scene *s)
{
    gqa_inputs in = s->in;
    gqa_output out;
    gqa_work work;
    gqa_error err;

    gqa_output_init(&out);
    gqa_work_init(&work);
    work.tiles = -77; /* it is filled, not added to */
    in.q_proj = gqa_tensor_3d(q, GQA_F32, s->tokens, HQ, DK);
    in.k_proj = gqa_tensor_3d(k, GQA_F32, s->tokens, HKV, DK);
    in.v_proj = gqa_tensor_3d(v, GQA_F32, s->tokens, HKV, DV);
    out.attn = gqa_tensor_3d(attn, GQA_F32, s->tokens, HQ, DV);
    out.work = &work;
    if (gqa_forward(s->layer, s->cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return work;
}

static gqa_work scene_run(struct scene *s)
{
    gqa_work work;

    scene_open(s);
    work = scene_call(s);
    scene_close(s);
    return work;
}

/* --- by hand -----------------------------------------------------------------------------------
 */

static void expect_tiles(const gqa_work *work, int tiles, int masked, int skipped)
{
    assert_int_equal(work->tile_rows, tiles > 0 ? 128 : 0);
    assert_int_equal(work->tiles, tiles);
    assert_int_equal(work->tiles_masked, masked);
    assert_int_equal(work->tiles_skipped, skipped);
}

/* pairs: of a query row and a key that are multiplied. */
static void expect_keys(const gqa_work *work, int64_t keys, int64_t pairs)
{
    assert_int_equal(work->keys_read, keys);
    assert_int_equal(work->kv_bytes, keys * (DK + DV) * 4);
    assert_int_equal(work->score_madds, pairs * DK);
    assert_int_equal(work->value_madds, pairs * DV);
    assert_int_equal(work->projection_madds, 0);
}

static void scalar_scene(struct scene *s, int past, int tokens)
{
    scene_init(s, past, tokens);
    s->config.isa = GQA_ISA_SCALAR;
}

/* 768 tokens of 2 heads: 12 tiles of 64 tokens per KV head, against 3 blocks. The tile of tokens
 * 64 i .. 64 i + 63 reads 64 (i + 1) keys: i / 4 whole blocks and one on the diagonal. */
static void full_causal_prefill(void **state)
{
    struct scene s;
    gqa_work work;

    (void)state;
    scalar_scene(&s, 0, 768);
    work = scene_run(&s);
    expect_tiles(&work, HKV * (4 * 1 + 4 * 2 + 4 * 3), HKV * 12, HKV * (4 * 2 + 4 * 1));
    expect_keys(&work, HKV * 64 * (12 * 13 / 2), (int64_t)HKV * 64 * (12 * 13 / 2) * 128);
}

/* Window 64: the tile i reads from key 64 i - 63, rounded down to a panel of 16 keys, on. That is
 * 64 (i - 1): it lies in the block before where i is a multiple of 4. */
static void window(void **state)
{
    struct scene s;
    gqa_work work;

    (void)state;
    scalar_scene(&s, 0, 768);
    s.config.sliding_window = 64;
    work = scene_run(&s);
    expect_tiles(&work, HKV * (12 + 2), HKV * (12 + 2), HKV * (36 - 14));
    expect_keys(&work, HKV * (64 + 11 * 128), (int64_t)HKV * (64 + 11 * 128) * 128);
}

/* Chunks of 256: each is a prefill of its own, with one block. */
static void chunk(void **state)
{
    struct scene s;
    gqa_work work;

    (void)state;
    scalar_scene(&s, 0, 768);
    s.config.attention_chunk_size = FOLD;
    work = scene_run(&s);
    expect_tiles(&work, HKV * 12, HKV * 12, HKV * 24);
    expect_keys(&work, HKV * 3 * 64 * (1 + 2 + 3 + 4), (int64_t)HKV * 3 * 64 * 10 * 128);
}

/* One token after 1023: blocks 0 to 3 are whole without a window. */
static void decode(void **state)
{
    struct scene s;
    gqa_work work;

    (void)state;
    scalar_scene(&s, 1023, 1);
    work = scene_run(&s);
    expect_tiles(&work, HKV * 4, 0, 0);
    expect_keys(&work, HKV * 1024, (int64_t)HKV * 1024 * GROUP);
}

/* ... with a window of 300 it sees keys 724 to 1023: panels from 720 on, in the blocks 2 (768 is
 * its end; masked at its beginning) and 3 (whole). */
static void decode_past_window(void **state)
{
    struct scene s;
    gqa_work work;

    (void)state;
    scalar_scene(&s, 1023, 1);
    s.config.sliding_window = 300;
    work = scene_run(&s);
    expect_tiles(&work, HKV * 2, HKV, HKV * 2);
    expect_keys(&work, HKV * 304, (int64_t)HKV * 304 * GROUP);
}

/* 100 columns, of which 10 on the left and 26 on the right are padding: 64 tokens, one tile. */
static void padding(void **state)
{
    static const int32_t first[1] = {10}, lengths[1] = {64};
    struct scene s;
    gqa_work work;

    (void)state;
    scalar_scene(&s, 0, 100);
    s.in.first_valid = first;
    s.in.lengths = lengths;
    work = scene_run(&s);
    expect_tiles(&work, HKV, HKV, 0);
    expect_keys(&work, HKV * 64, HKV * 64 * 128);
}

/* A mask that hides the first two blocks from every row skips them. */
static void mask_over_whole_blocks(void **state)
{
    static uint8_t mask[64 * 768];
    struct scene s;
    gqa_work work;

    (void)state;
    for (int i = 0; i < 64 * 768; i++) {
        mask[i] = i % 768 >= 2 * FOLD;
    }
    scalar_scene(&s, 704, 64);
    s.in.mask = gqa_tensor_4d(mask, GQA_U8, 1, 1, 64, 768);
    work = scene_run(&s);
    expect_tiles(&work, HKV, HKV, HKV * 2);
    expect_keys(&work, HKV * 256, (int64_t)HKV * 256 * 128);
    s.in.mask.data = NULL; /* without it two of the three are whole */
    work = scene_run(&s);
    expect_tiles(&work, HKV * 3, HKV, 0);
}

/* 40 tokens of an empty sequence 1 and of sequence 0, which holds 700: one tile each per KV head,
 * of 1 block and of 3; then sequence 0 is inactive. */
static void batch(void **state)
{
    static const int32_t both[2] = {1, 0}, one[2] = {1, -1};
    struct scene s;
    gqa_inputs in;
    gqa_output out;
    gqa_work work;

    (void)state;
    scalar_scene(&s, 700, 40);
    scene_open(&s);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    gqa_work_init(&work);
    in.sequences = both;
    in.q_proj = gqa_tensor_4d(q, GQA_F32, 2, 40, HQ, DK);
    in.k_proj = gqa_tensor_4d(k, GQA_F32, 2, 40, HKV, DK);
    in.v_proj = gqa_tensor_4d(v, GQA_F32, 2, 40, HKV, DV);
    out.attn = gqa_tensor_4d(attn, GQA_F32, 2, 40, HQ, DV);
    out.work = &work;
    assert_int_equal(gqa_forward(s.layer, s.cache, &in, &out, NULL, 0, NULL), GQA_OK);
    expect_tiles(&work, HKV * (1 + 3), HKV * (1 + 1), 0);
    expect_keys(&work, HKV * (40 + 740), (int64_t)HKV * (40 + 740) * 40 * GROUP);
    in.sequences = one; /* 40 more: 80 keys */
    assert_int_equal(gqa_forward(s.layer, s.cache, &in, &out, NULL, 0, NULL), GQA_OK);
    expect_tiles(&work, HKV, HKV, 0);
    expect_keys(&work, HKV * 80, (int64_t)HKV * 80 * 40 * GROUP);
    scene_close(&s);
}

/* gqa_attend over blocks 1 and 2 of four, on plain keys in bf16: the rest is no part of the grid.
 */
static void range_of_attend(void **state)
{
    struct scene s;
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_work work;

    (void)state;
    scalar_scene(&s, 0, 1);
    scene_open(&s);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    gqa_work_init(&work);
    in.query = gqa_tensor_4d(q, GQA_F32, 1, 64, HQ, DK);
    in.key = gqa_tensor_4d(k, GQA_BF16, 1, 1024, HKV, DK); /* some numbers */
    in.value = gqa_tensor_4d(v, GQA_F32, 1, 1024, HKV, DV);
    in.range_begin = FOLD;
    in.range_end = 3 * FOLD;
    out.output = gqa_tensor_4d(attn, GQA_F32, 1, 64, HQ, DV);
    out.work = &work;
    assert_int_equal(gqa_attend(s.layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    expect_tiles(&work, HKV * 2, 0, 0);
    assert_int_equal(work.keys_read, HKV * 512);
    assert_int_equal(work.kv_bytes, HKV * 512 * (DK * 2 + DV * 4));
    scene_close(&s);
}

/* Every key once per run of 256 tokens and KV head; multiply-adds for the pairs that see one
 * another: 600 * 601 / 2 without a window. */
static void backend_reference(void **state)
{
    struct scene s;
    gqa_work work;

    (void)state;
    scene_init(&s, 0, 600);
    s.config.backend = GQA_BACKEND_REFERENCE;
    work = scene_run(&s);
    expect_tiles(&work, 0, 0, 0);
    expect_keys(&work, HKV * (256 + 512 + 600), (int64_t)HQ * 600 * 601 / 2);
    s.config.sliding_window = 10;
    work = scene_run(&s);
    expect_keys(&work, HKV * (256 + 512 + 600), (int64_t)HQ * (600 * 10 - 45));
}

/* --- by a picture ------------------------------------------------------------------------------
 */

/* May token i see token j of the sequence, by the config alone? */
static bool sees(const gqa_config *c, int i, int j)
{
    const int chunk_size = c->attention_chunk_size;

    return (j <= i || c->bidirectional) && (c->sliding_window == 0 || j > i - c->sliding_window) &&
           (chunk_size == 0 || i / chunk_size == j / chunk_size);
}

/* Tokens [first, last] of the sequence, and their rows, against fold block `block` of `keys`. */
struct cell {
    int first, last, rows;
    int block, keys;
    int appended; /* keys that are there when the tile is computed */
};

/* The keys that the tile reads of this block: [*from, *to) with none left out between the first and
 * the last panel that one of its tokens sees in the whole sequence. */
static void cell_keys(const gqa_config *c, const struct cell *cell, int panel, int *from, int *to)
{
    int low = cell->keys, high = 0;

    for (int i = cell->first; i <= cell->last; i++) {
        for (int j = 0; j < cell->keys; j++) {
            if (sees(c, i, j)) {
                low = j < low ? j : low;
                high = j >= high ? j + 1 : high;
            }
        }
    }
    low -= low % panel;
    high = (high + panel - 1) / panel * panel;
    *from = low > cell->block * FOLD ? low : cell->block * FOLD;
    *to = high < (cell->block + 1) * FOLD ? high : (cell->block + 1) * FOLD;
}

static void count_cell(const struct scene *s, const struct cell *cell, gqa_work *work)
{
    int from, to;
    int64_t exist;
    bool whole = true;

    cell_keys(&s->config, cell, s->layer->params.kernels->panel_keys, &from, &to);
    if (from >= to) {
        work->tiles_skipped++;
        return;
    }
    for (int i = cell->first; i <= cell->last; i++) {
        for (int j = from; j < to; j++) {
            whole = whole && j < cell->keys && sees(&s->config, i, j);
        }
    }
    exist = (to < cell->appended ? to : cell->appended) - from;
    work->tiles++;
    work->tiles_masked += whole ? 0 : 1;
    work->keys_read += exist;
    work->kv_bytes += exist * (DK + DV) * (s->config.numerics == GQA_NUMERICS_BF16 ? 2 : 4);
    work->score_madds += exist * cell->rows * DK;
    work->value_madds += exist * cell->rows * DV;
}

/* Tiles do not cross the blocks of 256 tokens in which a call without projections is walked. */
static gqa_work grid(const struct scene *s)
{
    const int tile_rows = s->layer->params.kernels->tile_rows;
    const int keys = s->past + s->tokens;
    gqa_work work;

    gqa_work_init(&work);
    work.tile_rows = tile_rows;
    for (int begin = 0; begin < s->tokens; begin += 256) {
        const int n = s->tokens - begin < 256 ? s->tokens - begin : 256;
        for (int row = 0; row < n * GROUP; row += tile_rows) {
            const int end = row + tile_rows < n * GROUP ? row + tile_rows : n * GROUP;
            for (int block = 0; block * FOLD < keys; block++) {
                const struct cell cell = {s->past + begin + row / GROUP,
                                          s->past + begin + (end - 1) / GROUP,
                                          end - row,
                                          block,
                                          keys,
                                          s->config.bidirectional ? keys : s->past + begin + n};
                for (int head = 0; head < HKV; head++) {
                    count_cell(s, &cell, &work);
                }
            }
        }
    }
    return work;
}

static void set_rules(gqa_config *config, int rule)
{
    config->sliding_window = rule == 1 ? 37 : rule == 2 ? 300 : rule == 4 ? 50 : 0;
    config->attention_chunk_size = rule == 3 ? 100 : rule == 4 ? 300 : 0;
    config->bidirectional = rule == 5;
}

enum { RULES = 6, SIZES = 7 };

static const struct {
    int past, tokens;
} sizes[SIZES] = {{0, 1}, {0, 65}, {0, 577}, {255, 1}, {700, 1}, {1000, 5}, {300, 300}};

static void as_the_picture(gqa_numerics numerics)
{
    for (int i = 0; i < SIZES * RULES; i++) {
        struct scene s;
        gqa_work want, got;

        scene_init(&s, sizes[i / RULES].past, sizes[i / RULES].tokens);
        s.config.numerics = numerics;
        set_rules(&s.config, i % RULES);
        for (s.threads = 1; s.threads <= 4; s.threads++) {
            scene_open(&s);
            want = grid(&s);
            got = scene_call(&s);
            if (memcmp(&want, &got, sizeof want) != 0) {
                fail_msg(
                    "%d tokens after %d, rule %d, %d threads: %d tiles (%d masked, %d skipped) "
                    "of %d keys, not %d (%d, %d) of %d",
                    s.tokens, s.past, i % RULES, s.threads, (int)got.tiles, (int)got.tiles_masked,
                    (int)got.tiles_skipped, (int)got.keys_read, (int)want.tiles,
                    (int)want.tiles_masked, (int)want.tiles_skipped, (int)want.keys_read);
            }
            scene_close(&s);
        }
    }
}

static void as_the_picture_f32(void **state)
{
    (void)state;
    as_the_picture(GQA_NUMERICS_F32);
}

static void as_the_picture_bf16(void **state)
{
    (void)state;
    as_the_picture(GQA_NUMERICS_BF16);
}

/* The hooks of the tests: a cut by keys changes no count; with skipping switched off every count
 * but the bytes of a key shows it. */
static void hooks(void **state)
{
    struct scene s;
    gqa_work want, got;

    (void)state;
    scene_init(&s, 300, 300);
    s.config.sliding_window = 100;
    want = scene_run(&s);
    scene_open(&s);
    s.layer->params.knobs.force_key_cut = true;
    got = scene_call(&s);
    assert_memory_equal(&got, &want, sizeof want);
    scene_close(&s);
    scene_open(&s);
    s.layer->params.knobs.mask_all_blocks = true;
    got = scene_call(&s);
    assert_true(got.tiles > want.tiles && got.tiles_masked == got.tiles);
    assert_true(got.tiles_skipped < want.tiles_skipped && got.keys_read > want.keys_read);
    assert_true(got.score_madds > want.score_madds && got.value_madds > want.value_madds);
    scene_close(&s);
}

/* --- projections, and the struct ----------------------------------------------------------------
 */

/* hidden 24; q 4 x 16, k 2 x 16, v 2 x 8, gate 4 x 8, output 4 x 8. */
static void projections(void **state)
{
    enum { HIDDEN = 24, T = 5 };
    static const float zeros[HQ * DK * HIDDEN], x[T * HIDDEN];
    static float y[T * HIDDEN];
    const int64_t in_rows = HQ * DK + HKV * DK + HKV * DV + HQ * DV;
    struct scene s;
    gqa_weights weights;
    gqa_inputs in;
    gqa_output out;
    gqa_work work;

    (void)state;
    scene_init(&s, 0, T);
    s.config.hidden_size = HIDDEN;
    s.config.gate = GQA_GATE_ELEMENT;
    skip_refused(&s.config);
    gqa_weights_init(&weights);
    weights.wq = gqa_tensor_2d(zeros, GQA_F32, HQ * DK, HIDDEN);
    weights.wk = gqa_tensor_2d(zeros, GQA_F32, HKV * DK, HIDDEN);
    weights.wv = gqa_tensor_2d(zeros, GQA_F32, HKV * DV, HIDDEN);
    weights.wgate = gqa_tensor_2d(zeros, GQA_F32, HQ * DV, HIDDEN);
    weights.wo = gqa_tensor_2d(zeros, GQA_F32, HIDDEN, HQ * DV);
    assert_int_equal(gqa_create(&s.layer, &s.config, &weights, NULL, NULL), GQA_OK);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    gqa_work_init(&work);
    in.hidden_states = gqa_tensor_2d(x, GQA_F32, T, HIDDEN);
    out.hidden_states = gqa_tensor_2d(y, GQA_F32, T, HIDDEN);
    out.work = &work;
    assert_int_equal(gqa_forward(s.layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    assert_int_equal(work.projection_madds, T * HIDDEN * (in_rows + HQ * DV));
    assert_int_equal(work.tiles, HKV);
    out.hidden_states.data = NULL; /* up to the attention */
    out.attn = gqa_tensor_3d(attn, GQA_F32, T, HQ, DV);
    assert_int_equal(gqa_forward(s.layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    assert_int_equal(work.projection_madds, T * HIDDEN * in_rows);
    gqa_destroy(&s.layer);
}

/* A caller compiled against an older, shorter gqa_work: nothing beyond it is written. An older
 * gqa_output has no record at all. */
static void older_structs(void **state)
{
    struct scene s;
    gqa_inputs in;
    gqa_output out;
    gqa_work work;
    const size_t size = offsetof(gqa_work, score_madds);

    (void)state;
    scene_init(&s, 0, 3);
    scene_open(&s);
    gqa_inputs_init(&in);
    in.q_proj = gqa_tensor_3d(q, GQA_F32, 3, HQ, DK);
    in.k_proj = gqa_tensor_3d(k, GQA_F32, 3, HKV, DK);
    in.v_proj = gqa_tensor_3d(v, GQA_F32, 3, HKV, DV);
    memset(&work, 0x5a, sizeof work);
    gqa_work_init_sized(&work, size);
    gqa_output_init(&out);
    out.attn = gqa_tensor_3d(attn, GQA_F32, 3, HQ, DV);
    out.work = &work;
    assert_int_equal(gqa_forward(s.layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    assert_int_equal(work.struct_size, size);
    assert_int_equal(work.tiles, HKV);
    for (size_t i = size; i < sizeof work; i++) {
        assert_int_equal(((unsigned char *)&work)[i], 0x5a);
    }
    work.tiles = 0;
    out.struct_size = offsetof(gqa_output, work);
    assert_int_equal(gqa_forward(s.layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    assert_int_equal(work.tiles, 0);
    scene_close(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_causal_prefill),
        cmocka_unit_test(window),
        cmocka_unit_test(chunk),
        cmocka_unit_test(decode),
        cmocka_unit_test(decode_past_window),
        cmocka_unit_test(padding),
        cmocka_unit_test(mask_over_whole_blocks),
        cmocka_unit_test(batch),
        cmocka_unit_test(range_of_attend),
        cmocka_unit_test(backend_reference),
        cmocka_unit_test(as_the_picture_f32),
        cmocka_unit_test(as_the_picture_bf16),
        cmocka_unit_test(hooks),
        cmocka_unit_test(projections),
        cmocka_unit_test(older_structs),
    };

    return RUN_TESTS(argc, argv, tests);
}
