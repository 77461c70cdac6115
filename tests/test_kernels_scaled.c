/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_scaled.c - rows of the scaled types (int8, e4m3, int4) through every kernel set:
 * what append_k and append_v store against support/stored_row.h, and every code as an operand
 * against kernels8, bit by bit. Names and repetition as in test_kernels.c.
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

#include "base/number.h"
#include "base/storage.h"
#include "support/guarded_buffer.h"
#include "support/host_mode.h"
#include "support/kernels8.h"
#include "support/kernels_under_test.h"
#include "support/random.h"
#include "support/stored_row.h"

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

static const gqa_dtype types[] = {GQA_I8, GQA_E4M3, GQA_E4M3_240, GQA_I4};

/* What a row is made of. */
enum row_kind {
    ROW_PLAIN,
    ROW_WIDE,
    ROW_ZERO,
    ROW_TINY,
    ROW_TIES,
    ROW_NAN,
    ROW_INF,
    ROW_LARGE,
    ROW_KINDS
};

/* Sizes between 2^-30 and 1 in WIDE, so that e4m3 meets its finest step; half steps of the scale in
 * TIES; a scale that is denormal in TINY; FLT_MAX, or 2^63 and more, in LARGE. */
static void fill_row(float *x, int32_t n, enum row_kind kind, uint64_t *state)
{
    for (int32_t d = 0; d < n; d++) {
        x[d] = random_float(state);
        x[d] = kind == ROW_WIDE ? ldexpf(x[d], -(int)(random_u32(state) % 30)) : x[d];
        x[d] = kind == ROW_ZERO ? copysignf(0.0f, x[d]) : x[d];
        x[d] = kind == ROW_TINY ? x[d] * 0x1p-121f : x[d];
        x[d] = kind == ROW_TIES ? (float)((int)(random_u32(state) % 29) - 14) * 0.5f : x[d];
        x[d] = kind == ROW_LARGE ? x[d] * (random_u32(state) % 2 == 0 ? 0x1p64f : 0x1p127f) : x[d];
    }
    if (kind == ROW_TIES) {
        x[0] = n % 3 == 0 ? 7.0f : n % 3 == 1 ? 127.0f : 448.0f; /* the scale is 1 for one type */
    }
    if (kind == ROW_NAN || kind == ROW_INF) {
        x[random_u32(state) % (uint32_t)n] =
            kind == ROW_NAN ? gqa__f32_from_bits(0xff800001u) : -INFINITY;
    }
}

/* A page of a kernel set, and what goes into it. */
struct append_case {
    gqa_dtype type;
    bool value;
    int32_t dim, n, slot, slots;
};

/* Rows of a page as the cache lays them out. */
struct place {
    bool transposed;
    int32_t rows, stride; /* bytes */
};

static struct place place_of(const struct gqa__kernels *kernels, const struct append_case *c)
{
    const int32_t step = c->value ? kernels->value_step : kernels->depth_step;
    const int32_t wide = (c->dim + step - 1) / step * step;
    if (c->type == GQA_I8) {
        return (struct place){false, c->slots, (c->dim + 15) / 16 * 16};
    }
    if (c->type == GQA_I4) {
        return (struct place){false, c->slots, (c->dim + 31) / 32 * 16};
    }
    if (c->value && kernels->v_transposed) {
        return (struct place){true, wide, c->slots};
    }
    return (struct place){false, c->slots, wide};
}

static void check_append(const struct kernels_under_test *test, const struct append_case *c)
{
    const struct gqa__kernels *kernels = test->kernels;
    const bool bf16 = kernels->numerics == GQA_NUMERICS_BF16;
    const struct place place = place_of(kernels, c);
    const int32_t scales = c->type == GQA_I4 ? (c->dim + 31) / 32 : 1;
    struct guarded_buffer page = guarded_new((size_t)place.rows * (size_t)place.stride);
    struct guarded_buffer scale = guarded_new((size_t)(scales * c->slots) * 4);
    struct guarded_buffer src = guarded_new((size_t)(c->n * (c->dim + 3)) * 4);
    uint8_t *want = calloc(page.size, 1);
    float *x = src.data;
    uint64_t state = (uint64_t)(c->dim * 31 + c->n);
    const struct gqa__append_args args = {.page = page.data,
                                          .stride = place.stride,
                                          .slot = c->slot,
                                          .n = c->n,
                                          .src = x,
                                          .src_stride = c->dim + 3,
                                          .dim = c->dim,
                                          .storage = c->type,
                                          .scale = scale.data,
                                          .scale_stride = c->slots};
    bool special = false, got = false;

    snprintf(current, sizeof current, "%s append %s type=%d dim=%d n=%d slot=%d\n", test->name,
             c->value ? "v" : "k", (int)c->type, c->dim, c->n, c->slot);
    check(want != NULL);
    memset(page.data, 0, page.size);
    memset(scale.data, 0, scale.size);
    for (int32_t i = 0; i < c->n; i++) {
        fill_row(x + i * (c->dim + 3), c->dim, (enum row_kind)((i + c->dim) % ROW_KINDS), &state);
    }
    if (c->value) {
        got = kernels->append_v(&args);
    } else {
        kernels->append_k(&args);
    }
    for (int32_t s = 0; s < c->slots; s++) {
        const bool held = s >= c->slot && s < c->slot + c->n;
        struct stored_row row;
        stored_row(&row, x + (held ? s - c->slot : 0) * (c->dim + 3), c->dim, c->type);
        for (int32_t d = 0; d < c->dim && held; d++) {
            const int32_t byte = stored_byte(d, c->type);
            const int32_t at = place.transposed ? d * place.stride + s : s * place.stride + byte;
            want[at] |= (uint8_t)(stored_bits(&row, d, c->type) << stored_shift(d, c->type));
        }
        for (int32_t g = 0; g < scales; g++) {
            const float right = held ? row.scale[g] : 0.0f;
            const float have = ((float *)scale.data)[g * c->slots + s];
            check(isnan(right) ? gqa__f32_bits(have) == 0x7fc00000u
                               : gqa__f32_bits(have) == gqa__f32_bits(right));
            special |= held && (isnan(right) || (bf16 && right >= 0x1p55f));
        }
    }
    check(memcmp(want, page.data, page.size) == 0);
    check(!c->value || got == (special && !stored_integer(c->type)));
    free(want);
    check(guarded_free(&page) && guarded_free(&scale) && guarded_free(&src));
}

static void test_append(void **state)
{
    for (int32_t dim = 1; dim < 140; dim += dim < 40 ? 3 : 17) {
        for (size_t i = 0; i < 2 * sizeof types / sizeof types[0]; i++) {
            const struct append_case one = {types[i / 2], i % 2 != 0, dim, 1, 5, 16};
            const struct append_case some = {types[i / 2], i % 2 != 0, dim, 19, 3, 32};
            const struct append_case last = {types[i / 2], i % 2 != 0,       dim,
                                             1 + dim % 5,  64 - 1 - dim % 5, 64};
            check_append(*state, &one);
            check_append(*state, &some);
            check_append(*state, &last);
        }
    }
}

/* A denormal value becomes zero before the scale is taken, where the page flushes. */
static void test_flush(void **state)
{
    const struct kernels_under_test *test = *state;
    const float x[3] = {0x1p-127f, 0x1p-126f, 0.0f};
    uint8_t code[64] = {0};
    float scale[64] = {0};
    struct gqa__append_args args = {.page = code,
                                    .stride = 16,
                                    .n = 1,
                                    .src = x,
                                    .src_stride = 3,
                                    .dim = 3,
                                    .storage = GQA_I8,
                                    .scale = scale,
                                    .scale_stride = 16};
    float y[3] = {0x1.8p-127f, 0x1.fcp-120f, 0.0f}; /* the scale is 2^-126 */
    snprintf(current, sizeof current, "%s flush\n", test->name);
    test->kernels->append_k(&args);
    check(code[0] == 0 && code[1] == 0 && scale[0] == 0.0f); /* a denormal scale is 0 */
    args.src = y;
    test->kernels->append_k(&args);
    check(code[0] == 1 && code[1] == 127 && scale[0] == 0x1p-126f);
    args.flush = true;
    test->kernels->append_k(&args);
    check(code[0] == 0 && code[1] == 127 && scale[0] == 0x1p-126f);
}

/* Rows of n codes of e4m3; all of them from 256 on. In a mode that the host's thread may be in. */
static void check_expand(const struct kernels_under_test *test, int32_t rows, int32_t n,
                         const struct host_mode *mode)
{
    const bool bf16 = test->kernels->numerics == GQA_NUMERICS_BF16;
    const size_t operand = bf16 ? 2 : 4;
    struct guarded_buffer src = guarded_new((size_t)(rows * n));
    struct guarded_buffer dst = guarded_new((size_t)rows * (size_t)(n + 2) * operand);
    unsigned char *want = calloc(dst.size + 1, 1);
    struct gqa__expand_args args = {.dst = dst.data,
                                    .dst_stride = n + 2,
                                    .src = src.data,
                                    .src_stride = n,
                                    .rows = rows,
                                    .n = n};

    snprintf(current, sizeof current, "%s expand rows=%d n=%d flush=%d\n", test->name, rows, n,
             mode->flush);
    check(want != NULL);
    memset(dst.data, 0, dst.size);
    for (size_t i = 0; i < src.size; i++) {
        ((uint8_t *)src.data)[i] = (uint8_t)(i * 37 + (size_t)n);
    }
    host_mode_enter(mode);
    test->kernels->expand(&args);
    check(host_mode_leave(mode));
    args.dst = want;
    gqa_test_kernels8(test->kernels->numerics)->expand(&args);
    check(memcmp(dst.data, want, dst.size) == 0);
    free(want);
    check(guarded_free(&src) && guarded_free(&dst));
}

static void test_expand(void **state)
{
    static const struct host_mode modes[] = {
        {FE_TONEAREST, false, false}, {FE_UPWARD, true, false}, {FE_TOWARDZERO, true, true}};

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        check_expand(*state, 3, 256, &modes[i]);
        for (int32_t n = 0; n < 140; n += n < 70 ? 1 : 11) {
            check_expand(*state, 1 + n % 5, n, &modes[i]);
        }
    }
}

/* gqa__e4m3_value of every code, against the definition in double. */
static void test_values(void **state)
{
    (void)state;
    for (int code = 0; code < 256; code++) {
        const int size = code & 127, exponent = size >> 3;
        const double value = exponent == 0 ? ldexp(size, -9) : ldexp(8 + size % 8, exponent - 10);
        const float want = (float)(code > 127 ? -value : value);
        const uint32_t bits = size == 127 ? 0x7fc00000u : gqa__f32_bits(want);
        snprintf(current, sizeof current, "value of code %d\n", code);
        check(gqa__f32_bits(gqa__e4m3_value((uint8_t)code)) == bits);
    }
}

int main(int argc, char **argv)
{
    static const struct kernel_test kinds[] = {{"append", test_append},
                                               {"flush", test_flush},
                                               {"expand", test_expand},
                                               {"values", test_values}};

    guarded_report(current);
    return run_kernel_tests(argc, argv, kinds, sizeof kinds / sizeof kinds[0], false);
}
