/* SPDX-License-Identifier: Apache-2.0 */
/* test_residual.c - hidden_states, residual and the result where the caller has them.
 *
 * Without a tap rows of f32 are read and written in place, with one they are copied: both give the
 * same bits, for every format, for rows with gaps, with padding, in several passes and tasks, and
 * where a result lies on an input, row on row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/tensor.h"
#include "layer/layer.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { B = 2, T = 21, GAP = 3, ATTN = SMALL_HQ * SMALL_DV, ROW = 48, NONE = -1 };

/* Which results lie on which inputs. */
enum lie {
    APART,
    OUT_ON_X,
    OUT_ON_RESIDUAL,
    SUM_ON_X,
    SUM_ON_RESIDUAL,
    CROSSED,
    OUT_OVER_X,
    ATTN_OVER_X,
    LIES
};
static const char *const lies[LIES] = {"apart",      "out on x",        "out on residual",
                                       "sum on x",   "sum on residual", "crossed",
                                       "out over x", "attention over x"};

struct form {
    int x, residual; /* gqa_dtype, or NONE */
    int out, sum;
    int gap; /* elements between rows */
    enum lie lie;
};

struct way {
    bool add;   /* config.add_residual */
    bool twice; /* rows see later tokens: K and V of all blocks come first */
    int block;  /* tokens at a time */
    int threads;
    bool padded;
    bool tap;
};

/* What a run gives: [B][T] rows of hidden_states, residual and attention, absent ones zero. */
struct result {
    float out[B * T][SMALL_HIDDEN], sum[B * T][SMALL_HIDDEN], attn[B * T][ATTN];
};

static const int32_t first_valid[B] = {0, 2}, lengths[B] = {T, T - 6};

static void ignore(void *user, gqa_stage stage, int32_t b, int32_t first, const gqa_tensor *tensor)
{
    (void)user, (void)stage, (void)b, (void)first, (void)tensor;
}

static gqa_tensor rows(void *memory, int dtype, int gap)
{
    gqa_tensor t =
        gqa_tensor_3d(dtype == NONE ? NULL : memory, (gqa_dtype)(dtype & 3), B, T, SMALL_HIDDEN);
    t.stride[2] = 1;
    t.stride[1] = SMALL_HIDDEN + gap;
    t.stride[0] = T * t.stride[1] + gap;
    return t;
}

static void fill(const gqa_tensor *t, uint64_t seed)
{
    for (int i = 0; gqa__present(t) && i < B * T; i++) {
        float row[SMALL_HIDDEN];
        random_floats(&seed, row, SMALL_HIDDEN, 1.0f);
        gqa__store_f32(t, i / T * t->stride[0] + i % T * t->stride[1], row, SMALL_HIDDEN);
    }
}

static void take(float *to, const gqa_tensor *t, int width)
{
    for (int i = 0; gqa__present(t) && i < B * T; i++) {
        gqa__load_f32(to + (ptrdiff_t)i * width, t, i / T * t->stride[0] + i % T * t->stride[1],
                      width);
    }
}

static void run(const gqa_layer *layer, const struct form *form, const struct way *way,
                struct result *result)
{
    static float memory[5][B * T * ROW];
    const enum lie lie = form->lie;
    float *sum = lie == SUM_ON_X || lie == CROSSED ? memory[0]
                 : lie == SUM_ON_RESIDUAL          ? memory[1]
                                                   : memory[2];
    float *out = lie == OUT_ON_X                            ? memory[0]
                 : lie == OUT_OVER_X                        ? memory[0] + SMALL_HIDDEN
                 : lie == OUT_ON_RESIDUAL || lie == CROSSED ? memory[1]
                                                            : memory[3];
    gqa_inputs in;
    gqa_output output;
    memset(memory, 0xff, sizeof memory);
    memset(result, 0, sizeof *result);
    gqa_inputs_init(&in);
    gqa_output_init(&output);
    in.hidden_states = rows(memory[0], form->x, form->gap);
    in.residual = rows(memory[1], form->residual, form->gap);
    if (way->padded) {
        in.first_valid = first_valid;
        in.lengths = lengths;
    }
    in.tap = way->tap ? ignore : NULL;
    fill(&in.hidden_states, 5);
    fill(&in.residual, 6);
    output.residual = rows(sum, form->sum, form->gap);
    output.hidden_states = rows(out, form->out, form->gap);
    output.attn =
        gqa_tensor_4d(memory[lie == ATTN_OVER_X ? 0 : 4], GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    assert_int_equal(gqa_forward(layer, NULL, &in, &output, NULL, 0, NULL), GQA_OK);
    take(result->out[0], &output.hidden_states, SMALL_HIDDEN);
    take(result->sum[0], &output.residual, SMALL_HIDDEN);
    output.attn.stride[1] = ATTN;
    output.attn.stride[0] = T * ATTN;
    take(result->attn[0], &output.attn, ATTN);
}

/* May the results lie so? Row on row means the same format. */
static bool possible(const struct form *f)
{
    switch (f->lie) {
    case OUT_ON_X:
        return f->out == f->x;
    case OUT_ON_RESIDUAL:
        return f->out == f->residual;
    case SUM_ON_X:
        return f->sum == f->x;
    case SUM_ON_RESIDUAL:
        return f->sum == f->residual && f->sum != NONE;
    case CROSSED:
        return f->sum == f->x && f->out == f->residual;
    default:
        return true;
    }
}

static void check_form(gqa_layer *layer, const struct form *form, const struct way *way)
{
    struct form apart = *form;
    struct way copies = *way;
    struct result want, got;
    apart.lie = APART;
    copies.tap = true;
    copies.threads = 1;
    run(layer, &apart, &copies, &want);
    layer->params.knobs.token_block = way->block;
    run(layer, form, way, &got);
    layer->params.knobs.token_block = 0;
    if (memcmp(&want, &got, sizeof want) != 0) {
        fail_msg("%s: x %d residual %d out %d sum %d gap %d, add %d twice %d block %d threads %d: "
                 "other bits than with copies",
                 lies[form->lie], form->x, form->residual, form->out, form->sum, form->gap,
                 way->add, way->twice, way->block, way->threads);
    }
}

static void each_form(gqa_layer *layer, const struct way *way)
{
    static const int types[] = {NONE, GQA_F32, GQA_BF16, GQA_F16};
    struct form f;
    for (int i = 0; i < 3 * 4 * 3 * 4 * 2 * LIES; i++) {
        f.x = types[1 + i % 3];
        f.residual = types[i / 3 % 4];
        f.out = types[1 + i / 12 % 3];
        f.sum = types[i / 36 % 4];
        f.gap = i / 144 % 2 * GAP;
        f.lie = (enum lie)(i / 288);
        /* In any other way than row on row only a single block is read before it is written over.
         */
        if (possible(&f) && (f.lie < OUT_OVER_X || way->block == 0)) {
            check_form(layer, &f, way);
        }
    }
}

static void test_rows_in_place(void **state)
{
    static const int blocks[] = {0, 5};
    (void)state;
    for (int i = 0; i < 16; i++) {
        struct way way = {i % 2 == 0,         i / 2 % 2 == 1, blocks[i / 4 % 2],
                          i / 8 == 1 ? 3 : 1, i / 4 % 2 == 1, false};
        struct weight_set model;
        gqa_runtime runtime;
        gqa_layer *layer;
        gqa_runtime_init(&runtime);
        runtime.num_threads = way.threads;
        runtime.parallel_for = parallel_reversed;
        small_set_init(&model);
        model.config.input_norm = GQA_NORM_RMS;
        model.config.add_residual = way.add;
        model.config.residual_multiplier = way.add ? 0.75f : 0.0f;
        model.config.bidirectional = way.twice;
        weight_set_fill(&model);
        assert_int_equal(gqa_create(&layer, &model.config, &model.weights, &runtime, NULL), GQA_OK);
        each_form(layer, &way);
        gqa_destroy(&layer);
        weight_set_free(&model);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_in_place),
    };
    return RUN_TESTS(argc, argv, tests);
}
