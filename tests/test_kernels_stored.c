/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_stored.c - blocks of few rows, and K and V as a cache stores them: the entry `block`
 * of every kernel set that reads them so, against the same block of operands whose rows are not
 * known to be few, bit by bit, whole and in parts. (test_kernels has that one against the single
 * entries.) Rows, codes and results end at a page that may not be touched. Names and repetition as
 * in test_kernels.c.
 */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fold.h"
#include "base/number.h"
#include "base/storage.h"
#include "support/guarded_buffer.h"
#include "support/host_mode.h"
#include "support/kernels_under_test.h"
#include "support/random.h"

enum { MOST_RUNS = 16 };

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

static int32_t up(int32_t n, int32_t step)
{
    return (n + step - 1) / step * step;
}

/* --- a case ----------------------------------------------------------------------------------- */

struct scene {
    const struct gqa__kernels *kernels;
    gqa_dtype k_type, v_type;
    int32_t rows, ld, dk, dv, keys, runs;
    int32_t run_keys[MOST_RUNS];
    struct guarded_buffer q, k[MOST_RUNS], v[MOST_RUNS], k_scale, v_scale, lo, hi;
    struct guarded_buffer wide_k[MOST_RUNS], wide_v[MOST_RUNS]; /* as operands */
    bool ranges;
};

/* The value of element i of a row that is stored as `type`, written down once more. */
static float value_of(const void *row, int64_t i, gqa_dtype type)
{
    if (type == GQA_F32) {
        return ((const float *)row)[i];
    }
    if (type == GQA_BF16) {
        return gqa__bf16_to_f32(((const uint16_t *)row)[i]);
    }
    if (type == GQA_F16) {
        return gqa__f16_to_f32(((const uint16_t *)row)[i]);
    }
    const int code = ((const uint8_t *)row)[i], size = code & 127, exponent = size >> 3;
    const double value = exponent == 0 ? ldexp(size, -9) : ldexp(8 + size % 8, exponent - 10);
    return (float)(code > 127 ? -value : value);
}

/* A finite element; of e4m3 every code that is a number. */
static void draw(void *row, int64_t i, gqa_dtype type, uint64_t *state)
{
    const float x = random_float(state) * (random_u32(state) % 50 == 0 ? 0x1p-14f : 1.0f);

    if (type == GQA_F32) {
        ((float *)row)[i] = x;
    } else if (type == GQA_BF16) {
        ((uint16_t *)row)[i] = gqa__f32_to_bf16(x);
    } else if (type == GQA_F16) {
        ((uint16_t *)row)[i] = gqa__f32_to_f16(x); /* denormals among them */
    } else {
        const uint32_t code = random_u32(state) % 256;
        ((uint8_t *)row)[i] = (uint8_t)(code % 128 == 127 ? code - 1 : code);
    }
}

static void set_operand(void *row, int64_t i, float x, gqa_dtype operand)
{
    if (operand == GQA_F32) {
        ((float *)row)[i] = x;
    } else {
        ((uint16_t *)row)[i] = (uint16_t)(gqa__f32_bits(x) >> 16); /* exact */
    }
}

/* Elements [outer][stride], of which [used_outer][used] are drawn and the others zero: as they are
 * stored, and as operands. */
static void fill(struct guarded_buffer *stored, struct guarded_buffer *wide, gqa_dtype type,
                 gqa_dtype operand, int32_t outer, int32_t stride, int32_t used_outer, int32_t used,
                 uint64_t *state)
{
    const size_t size = gqa__stored_bytes(type, 1), operand_size = operand == GQA_F32 ? 4 : 2;

    *stored = guarded_new((size_t)outer * (size_t)stride * size);
    *wide = guarded_new((size_t)outer * (size_t)stride * operand_size);
    memset(stored->data, 0, stored->size);
    memset(wide->data, 0, wide->size);
    for (int32_t r = 0; r < used_outer; r++) {
        for (int32_t i = 0; i < used; i++) {
            const int64_t at = (int64_t)r * stride + i;
            draw(stored->data, at, type, state);
            set_operand(wide->data, at, value_of(stored->data, at, type), operand);
        }
    }
}

static struct guarded_buffer scales(int32_t keys, uint64_t *state)
{
    struct guarded_buffer scale = guarded_new((size_t)keys * 4);

    for (int32_t i = 0; i < keys; i++) {
        ((float *)scale.data)[i] = (1.5f + random_float(state)) * 0.01f;
    }
    return scale;
}

static void draw_runs(struct scene *scene, uint64_t *state)
{
    const int32_t panel = scene->kernels->panel_keys;
    const int32_t most = random_between(state, 0, 1) == 0 ? panel : GQA__FOLD_BLOCK;

    for (scene->keys = scene->runs = 0; scene->runs < 1 + random_between(state, 0, 7);) {
        const int32_t n = panel * random_between(state, 1, most / panel);
        if (scene->keys + n > GQA__FOLD_BLOCK) {
            break;
        }
        scene->run_keys[scene->runs++] = n;
        scene->keys += n;
    }
}

static void draw_ranges(struct scene *scene, uint64_t *state)
{
    scene->lo = guarded_new((size_t)scene->ld * 4);
    scene->hi = guarded_new((size_t)scene->ld * 4);
    memset(scene->lo.data, 0, scene->lo.size);
    memset(scene->hi.data, 0, scene->hi.size);
    for (int32_t r = 0; r < scene->rows; r++) {
        ((int32_t *)scene->lo.data)[r] = random_between(state, 0, scene->keys);
        ((int32_t *)scene->hi.data)[r] = random_between(state, 0, scene->keys);
    }
}

/* rows, dims, types and kernels are set. */
static void draw_scene(struct scene *scene, uint64_t *state)
{
    const struct gqa__kernels *const kernels = scene->kernels;
    const int32_t k_row = up(scene->dk, kernels->depth_step);
    const int32_t v_row = up(scene->dv, kernels->value_step);
    struct guarded_buffer q = guarded_new((size_t)(scene->rows * scene->dk) * 4);
    const struct gqa__row_map map = {.token_stride = scene->dk, .group = 1, .count = scene->rows};

    scene->ld = up(scene->rows, kernels->lanes);
    scene->ranges = random_between(state, 0, 2) == 0;
    draw_runs(scene, state);
    draw_ranges(scene, state);
    random_floats(state, q.data, (int64_t)scene->rows * scene->dk, 2.0f);
    scene->q = guarded_new(kernels->q_bytes(scene->dk, scene->ld));
    kernels->pack_q(&(struct gqa__pack_q_args){.dst = scene->q.data,
                                               .q = q.data,
                                               .map = &map,
                                               .ld = scene->ld,
                                               .dk = scene->dk,
                                               .scale = 0.18f});
    check(guarded_free(&q));
    for (int32_t i = 0; i < scene->runs; i++) {
        const int32_t n = scene->run_keys[i];
        fill(&scene->k[i], &scene->wide_k[i], scene->k_type, kernels->operand, n, k_row, n,
             scene->dk, state);
        if (kernels->v_transposed) {
            fill(&scene->v[i], &scene->wide_v[i], scene->v_type, kernels->operand, v_row, n,
                 scene->dv, n, state);
        } else {
            fill(&scene->v[i], &scene->wide_v[i], scene->v_type, kernels->operand, n, v_row, n,
                 scene->dv, state);
        }
    }
    scene->k_scale = scales(scene->keys, state);
    scene->v_scale = scales(scene->keys, state);
}

static void free_scene(struct scene *scene)
{
    for (int32_t i = 0; i < scene->runs; i++) {
        check(guarded_free(&scene->k[i]) && guarded_free(&scene->v[i]));
        check(guarded_free(&scene->wide_k[i]) && guarded_free(&scene->wide_v[i]));
    }
    check(guarded_free(&scene->q) && guarded_free(&scene->k_scale));
    check(guarded_free(&scene->v_scale) && guarded_free(&scene->lo) && guarded_free(&scene->hi));
}

/* --- a block ---------------------------------------------------------------------------------- */

enum way { OPERANDS, STORED, STORED_PARTS };

/* The block by its parts, with the rules between them. */
static void call_parts(const struct gqa__kernels *kernels, struct gqa__block block)
{
    const struct gqa__score_rules *const rules = block.rules;

    block.rules = NULL;
    block.part = GQA__BLOCK_SCORES;
    kernels->block(&block);
    if (rules != NULL) {
        kernels->apply_rules(block.s, rules);
    }
    block.part = GQA__BLOCK_VALUES;
    kernels->block(&block);
}

/* m [rows], l [rows], o [dv][rows] */
static float *compute(const struct scene *scene, enum way way, const struct host_mode *mode)
{
    const bool stored = way != OPERANDS;
    const struct gqa__kernels *const kernels = scene->kernels;
    const size_t room = (size_t)GQA__FOLD_BLOCK * (size_t)kernels->tile_rows * 4;
    const size_t lanes = (size_t)scene->ld;
    struct guarded_buffer s = guarded_new(room), p = guarded_new(room);
    struct guarded_buffer scratch = guarded_new(kernels->scratch_bytes);
    struct guarded_buffer state = guarded_new((size_t)(scene->dv + 2) * lanes * 4);
    struct gqa__score_rules rules = {
        .keys = scene->keys, .ld = scene->ld, .lo = scene->lo.data, .hi = scene->hi.data};
    float *const m = state.data, *const got = calloc((size_t)(scene->dv + 2) * lanes, 4);
    struct gqa__key_run run[MOST_RUNS];
    const struct gqa__block block = {
        .q = scene->q.data,
        .ld = scene->ld,
        .dk = scene->dk,
        .dv = scene->dv,
        .rows = stored ? scene->rows : 0,
        .keys = scene->keys,
        .runs = scene->runs,
        .run = run,
        .k_type = stored ? scene->k_type : kernels->operand,
        .v_type = stored ? scene->v_type : kernels->operand,
        .k_scale = gqa__e4m3(scene->k_type) ? scene->k_scale.data : NULL,
        .v_scale = gqa__e4m3(scene->v_type) ? scene->v_scale.data : NULL,
        .rules = scene->ranges ? &rules : NULL,
        .s = s.data,
        .p = p.data,
        .scratch = scratch.data,
        .state = {m, m + lanes, m + 2 * lanes}};

    check(got != NULL);
    for (int32_t i = 0; i < scene->runs; i++) {
        run[i] = (struct gqa__key_run){.k = stored ? scene->k[i].data : scene->wide_k[i].data,
                                       .k_stride = up(scene->dk, kernels->depth_step),
                                       .v = stored ? scene->v[i].data : scene->wide_v[i].data,
                                       .v_stride = kernels->v_transposed
                                                       ? scene->run_keys[i]
                                                       : up(scene->dv, kernels->value_step),
                                       .keys = scene->run_keys[i]};
    }
    host_mode_enter(mode);
    if (way == STORED_PARTS) {
        call_parts(kernels, block);
    } else {
        kernels->block(&block);
    }
    (void)host_mode_leave(mode); /* flags are the library's own affair: gqa_forward keeps them */
    for (int32_t i = 0; i < scene->dv + 2; i++) {
        memcpy(got + i * scene->rows, m + (size_t)i * lanes, (size_t)scene->rows * 4);
    }
    check(guarded_free(&s) && guarded_free(&p) && guarded_free(&scratch) && guarded_free(&state));
    return got;
}

static void compare(struct scene *scene, uint64_t seed, const char *name,
                    const struct host_mode *mode)
{
    const size_t bytes = (size_t)(scene->dv + 2) * (size_t)scene->rows * 4;
    uint64_t state = seed;
    float *want, *got, *parts;

    draw_scene(scene, &state);
    snprintf(current, sizeof current,
             "%s stored: seed=%d rows=%d dk=%d dv=%d keys=%d runs=%d types %d %d ranges=%d\n", name,
             (int)seed, (int)scene->rows, (int)scene->dk, (int)scene->dv, (int)scene->keys,
             (int)scene->runs, (int)scene->k_type, (int)scene->v_type, scene->ranges);
    want = compute(scene, OPERANDS, mode);
    got = compute(scene, STORED, mode);
    parts = compute(scene, STORED_PARTS, mode);
    check(memcmp(want, got, bytes) == 0);
    check(memcmp(want, parts, bytes) == 0);
    free(want);
    free(got);
    free(parts);
    free_scene(scene);
}

static bool reads(const struct gqa__kernels *kernels, gqa_dtype type)
{
    return type == kernels->operand || gqa__e4m3(type) || kernels->operand == GQA_F32;
}

static void test_stored(void **state)
{
    static const gqa_dtype types[] = {GQA_F32, GQA_BF16, GQA_F16, GQA_E4M3, GQA_E4M3_240};
    static const int32_t dims[] = {1, 7, 8, 16, 30, 33, 64, 80, 96, 128, 129, 512};
    static const struct host_mode plain = {FE_TONEAREST, false, false};
    const struct kernels_under_test *test = *state;
    uint64_t seed = 1;

    if (test->kernels->stored_rows == 0) {
        return;
    }
    for (size_t i = 0; i < 25; i++) {
        struct scene scene = {
            .kernels = test->kernels, .k_type = types[i / 5], .v_type = types[i % 5]};
        if (!reads(test->kernels, scene.k_type) || !reads(test->kernels, scene.v_type)) {
            continue;
        }
        for (int32_t n = 0; n < 12; n++, seed++) {
            uint64_t random = seed * 977;
            scene.rows = 1 + (int32_t)(seed % (uint64_t)test->kernels->stored_rows);
            scene.dk = dims[n];
            scene.dv = dims[random_between(&random, 0, n == 11 ? 11 : 10)];
            compare(&scene, seed, test->name, &plain);
        }
    }
}

/* Both in a mode that takes denormals for zero. */
static void test_flushing(void **state)
{
    static const struct host_mode flush = {FE_TONEAREST, true, false};
    const struct kernels_under_test *test = *state;

    if (test->kernels->stored_rows == 0) {
        return;
    }
    for (uint64_t seed = 1; seed < 9; seed++) {
        struct scene scene = {.kernels = test->kernels,
                              .k_type = GQA_E4M3,
                              .v_type = GQA_E4M3_240,
                              .rows = 1 + (int32_t)(seed % (uint64_t)test->kernels->stored_rows),
                              .dk = 64,
                              .dv = 33};
        compare(&scene, seed, test->name, &flush);
    }
}

int main(int argc, char **argv)
{
    static const struct kernel_test kinds[] = {{"stored", test_stored},
                                               {"flushing", test_flushing}};

    guarded_report(current);
    return run_kernel_tests(argc, argv, kinds, sizeof kinds / sizeof kinds[0], false);
}
