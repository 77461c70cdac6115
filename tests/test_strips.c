/* SPDX-License-Identifier: Apache-2.0 */
/* test_strips.c - products with weights in place: the bits of the packed ones, on every kernel set.
 *
 * Every strip ends at a page that may not be touched and may only be read itself; so does the
 * scratch. Formats (also mixed), row strides, cuts of the strips, odd sizes, values that are not
 * numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/number.h"
#include "base/tensor.h"
#include "linear/linear.h"
#include "support/guarded_buffer.h"
#include "support/host.h"
#include "support/kernels_under_test.h"
#include "support/program.h"
#include "support/random.h"

enum { MAX_STRIPS = 64, MIXED = 100, LARGE = 2000000 };

/* How the matrix lies: strips of `cut` rows (0 = one strip), rows `gap` elements apart from one
 * another, all of one format or mixed. */
struct lie {
    int64_t cut, gap;
    int dtype;
};
static const struct lie lies[] = {
    {0, 0, GQA_F32},  {0, 0, GQA_BF16},  {0, 0, GQA_F16},   {0, 1, GQA_BF16}, {0, 7, GQA_F32},
    {16, 0, GQA_F32}, {16, 0, GQA_BF16}, {13, 3, GQA_BF16}, {29, 5, MIXED},   {37, 0, GQA_F16},
    {0, 0, MIXED},    {1, 2, MIXED},     {0, 0, GQA_I8},    {19, 5, GQA_I8}};

struct shape {
    int32_t tokens;
    int64_t out, in;
};
static const struct shape shapes[] = {
    {1, 1, 1},      {1, 16, 32},     {1, 64, 64},    {2, 33, 31},    {3, 130, 96},  {4, 63, 515},
    {5, 50, 1024},  {1, 70, 1100},   {17, 33, 160},  {33, 48, 2048}, {64, 49, 513}, {131, 40, 64},
    {290, 35, 104}, {130, 70, 1056}, {3, 300, 1100}, {40, 200, 2049}};

static char current[200];

static void check_that(bool good, const char *what, int line)
{
    if (!good) {
        fail_msg("%s: %s (line %d)", current, what, line);
    }
}
#define check(what) check_that(what, #what, __LINE__)

struct problem {
    struct gqa__linear packed, placed;
    struct shape shape;
    struct guarded_buffer strips[MAX_STRIPS];
    float *line; /* [in] */
    float *x;    /* [tokens][in] */
    void *memory[2];
};

static void *zeros(size_t size)
{
    void *memory = aligned_alloc(64, (size + 127) / 64 * 64);
    assert_non_null(memory);
    memset(memory, 0, size);
    return memory;
}

/* Now and then a denormal, an infinity or a NaN. */
static void plant(float *x, int64_t n, uint64_t *state)
{
    for (int64_t i = 0; i < n; i++) {
        const uint64_t dice = random_next(state) % 4096;
        if (dice < 3) {
            x[i] = dice == 0   ? 1e-40f
                   : dice == 1 ? gqa__f32_from_bits(0x7f800000u)
                               : gqa__f32_from_bits(0xffa12345u);
        }
    }
}

static gqa_dtype format_of(const struct lie *lie, int64_t strip)
{
    return lie->dtype == MIXED ? (gqa_dtype)(strip % 3) : (gqa_dtype)lie->dtype;
}

/* One row of integers with its scale, of both. */
static void fill_integers(struct problem *p, int8_t *to, int64_t row, uint64_t *state)
{
    const float scale = random_float(state);
    for (int64_t i = 0; i < p->shape.in; i++) {
        to[i] = (int8_t)(random_next(state) % 256 - 128);
    }
    gqa__linear_set_int8(&p->packed, row, to, scale, 0.0f);
    p->placed.scale[row] = scale;
}

/* Strip s: rows [first, first + rows), in a mapping of its own; the packed linear gets the same. */
static void make_strip(struct problem *p, const struct lie *lie, int32_t s, int64_t first,
                       uint64_t *state)
{
    const int64_t cut = lie->cut > 0 ? lie->cut : p->shape.out;
    const int64_t rows = p->shape.out - first < cut ? p->shape.out - first : cut;
    const int64_t stride = p->shape.in + lie->gap, in = p->shape.in;
    gqa_tensor t = gqa_tensor_2d(NULL, format_of(lie, s), rows, in);
    const int64_t elements = (rows - 1) * stride + in;
    p->strips[s] = guarded_new((size_t)elements * gqa__dtype_size(t.dtype));
    t.data = p->strips[s].data;
    for (int64_t r = 0; r < rows; r++) {
        float bias = random_float(state);
        if (t.dtype == GQA_I8) {
            fill_integers(p, (int8_t *)t.data + r * stride, first + r, state);
            gqa__linear_set_bias(&p->placed, first + r, bias);
            gqa__linear_set_bias(&p->packed, first + r, bias);
            continue;
        }
        for (int64_t i = 0; i < in; i++) {
            p->line[i] = random_float(state);
        }
        plant(p->line, in, state);
        gqa__store_f32(&t, r * stride, p->line, in);
        if (t.dtype == GQA_F32) { /* a NaN with a payload */
            memcpy((float *)t.data + r * stride, p->line, (size_t)in * sizeof(float));
        }
        gqa__load_f32(p->line, &t, r * stride, in);
        gqa__linear_set_row(&p->packed, first + r, p->line, bias);
        gqa__linear_set_bias(&p->placed, first + r, bias);
    }
    p->placed.strips[s] = (struct gqa__strip){t.data, stride, first, t.dtype};
    guarded_allow(&p->strips[s], PROT_READ);
}

static void make(struct problem *p, const struct gqa__kernels *kernels, const struct shape *shape,
                 const struct lie *lie, bool with_bias)
{
    const int64_t cut = lie->cut > 0 ? lie->cut : shape->out;
    uint64_t state = 77;
    size_t bytes;
    memset(p, 0, sizeof *p);
    p->shape = *shape;
    p->packed.kernels = kernels;
    p->packed.out = shape->out;
    p->packed.in = shape->in;
    p->packed.int8 = lie->dtype == GQA_I8;
    p->placed = p->packed;
    p->placed.strip_count = (int32_t)((shape->out + cut - 1) / cut);
    for (int i = 0; i < 2; i++) {
        struct gqa__linear *const linear = i == 0 ? &p->packed : &p->placed;
        assert_true(gqa__linear_bytes(linear, with_bias, &bytes));
        p->memory[i] = zeros(bytes);
        gqa__linear_place(linear, p->memory[i], with_bias);
    }
    p->line = zeros((size_t)shape->in * sizeof *p->line);
    p->x = zeros((size_t)(shape->tokens * shape->in) * sizeof *p->x);
    random_floats(&state, p->x, shape->tokens * shape->in, 1.0f);
    for (int32_t s = 0; s < p->placed.strip_count; s++) {
        make_strip(p, lie, s, s * cut, &state);
    }
}

static void unmake(struct problem *p)
{
    for (int32_t s = 0; s < p->placed.strip_count; s++) {
        check(guarded_free(&p->strips[s]));
    }
    free(p->line);
    free(p->x);
    free(p->memory[0]);
    free(p->memory[1]);
}

/* Outputs [begin, end), the others stay as they were. */
static float *run(const struct problem *p, const struct gqa__linear *linear, int64_t begin,
                  int64_t end, const gqa_runtime *runtime)
{
    const size_t floats = (size_t)(p->shape.tokens * p->shape.out);
    struct guarded_buffer scratch =
        guarded_new(gqa__linear_scratch_bytes(linear, p->shape.tokens, runtime));
    float *const y = zeros(floats * sizeof *y), *const add = zeros(floats * sizeof *add);
    const struct gqa__epilogue after = {0.9f, -0.5f, add + begin, p->shape.out};
    uint64_t state = 5;
    random_floats(&state, add, (int64_t)floats, 1.0f);
    memset(scratch.data, 0xff, scratch.size); /* NaN */
    if (p->shape.out % 2 != 0) {              /* every other shape clips and adds */
        gqa__linear_run(&(struct gqa__product){.linear = linear,
                                               .x = p->x,
                                               .x_stride = p->shape.in,
                                               .tokens = p->shape.tokens,
                                               .out_begin = begin,
                                               .out_end = end,
                                               .y = y + begin,
                                               .y_stride = p->shape.out,
                                               .after = after,
                                               .scratch = scratch.data},
                        runtime);
    } else {
        gqa__linear_run(&(struct gqa__product){.linear = linear,
                                               .x = p->x,
                                               .x_stride = p->shape.in,
                                               .tokens = p->shape.tokens,
                                               .out_begin = begin,
                                               .out_end = end,
                                               .y = y + begin,
                                               .y_stride = p->shape.out,
                                               .scratch = scratch.data},
                        runtime);
    }
    free(add);
    check(guarded_free(&scratch));
    return y;
}

static void compare(const struct problem *p, int64_t begin, int64_t end, int32_t threads)
{
    struct host host;
    gqa_runtime runtime;
    float *want, *got;
    runtime = host_start(&host, threads);
    want = run(p, &p->packed, begin, end, &runtime);
    got = run(p, &p->placed, begin, end, &runtime);
    check(same_floats("in place", got, want, p->shape.tokens * p->shape.out));
    free(want);
    free(got);
}

static void test_kernel_set(void **state)
{
    const struct kernels_under_test *const test = *state;
    const int64_t step = test->kernels->out_step;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (size_t j = 0; j < sizeof lies / sizeof lies[0]; j++) {
            const struct shape *const shape = &shapes[i];
            struct problem p;
            snprintf(current, sizeof current,
                     "%s tokens=%d out=%d in=%d strips of %d, gap %d, dtype %d", test->name,
                     (int)shape->tokens, (int)shape->out, (int)shape->in, (int)lies[j].cut,
                     (int)lies[j].gap, lies[j].dtype);
            if ((lies[j].cut > 0 && shape->out > MAX_STRIPS * lies[j].cut) ||
                (shape->tokens * shape->out * shape->in > LARGE && (i + j) % 4 != 0)) {
                continue;
            }
            guarded_report(current);
            make(&p, test->kernels, shape, &lies[j], (i + j) % 2 == 0);
            compare(&p, 0, shape->out, 1);
            compare(&p, 0, shape->out, 3);
            if (shape->out > 2 * step) { /* ranges that begin or end inside a unit */
                compare(&p, step, shape->out, 2);
                compare(&p, 0, 2 * step, 1);
            }
            unmake(&p);
        }
    }
}

int main(int argc, char **argv)
{
    static struct kernels_under_test sets[MAX_KERNELS_UNDER_TEST];
    static struct CMUnitTest tests[MAX_KERNELS_UNDER_TEST];
    const int32_t n = add_kernels8(sets, list_kernels_under_test(sets));
    for (int32_t i = 0; i < n; i++) {
        tests[i] = (struct CMUnitTest)cmocka_unit_test_prestate(test_kernel_set, &sets[i]);
        tests[i].name = sets[i].name;
    }
    return run_test_program(argc, argv, tests, (size_t)n, NULL, NULL);
}
