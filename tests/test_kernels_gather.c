/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_gather.c - the entry gather of every kernel set against kernels8: all formats, sizes
 * around the widths of vectors, rows and columns in either order or both apart, with NaN,
 * infinities, denormals and values around 2^64; and that it finds one special value wherever it
 * lies. Names and repetition as in test_kernels.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "base/tensor.h"
#include "support/guarded_buffer.h"
#include "support/kernels8.h"
#include "support/kernels_under_test.h"
#include "support/random.h"

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

enum order { BY_ROWS, TURNED, APART, ORDERS };

struct problem {
    struct gqa__gather_args args;
    struct guarded_buffer src;
    int64_t elements;
};

/* Any bits: one value in `rare` is any at all, the others are plain numbers. */
static void fill(void *data, int64_t n, gqa_dtype dtype, int32_t rare, uint64_t *random)
{
    for (int64_t i = 0; i < n; i++) {
        float x = random_float(random);
        uint32_t bits = random_u32(random);
        const bool any = rare > 0 && bits % (uint32_t)rare == 0;
        bits = random_u32(random);
        if (dtype == GQA_F32) {
            ((float *)data)[i] =
                any ? gqa__f32_from_bits(bits % 3 == 0 ? bits & 0x807fffffu : bits) : x;
        } else {
            const uint16_t half = dtype == GQA_BF16 ? gqa__f32_to_bf16(x) : gqa__f32_to_f16(x);
            ((uint16_t *)data)[i] = any ? (uint16_t)bits : half;
        }
    }
}

/* Strides that are exact where they can be, so that what is read beyond the values is noticed. */
static void open_problem(struct problem *p, gqa_dtype dtype, enum order order, int32_t rows,
                         int32_t columns)
{
    const int64_t gap = (rows + columns) % 3;
    int64_t last;

    memset(p, 0, sizeof *p);
    p->args.dtype = dtype;
    p->args.rows = rows;
    p->args.columns = columns;
    p->args.row = order == BY_ROWS ? columns + gap : order == TURNED ? 1 : 3;
    p->args.column = order == BY_ROWS ? 1 : order == TURNED ? rows + gap : 3 * rows + gap;
    last = rows > 0 && columns > 0 ? (rows - 1) * p->args.row + (columns - 1) * p->args.column : -1;
    p->elements = last + 1;
    p->src = guarded_new((size_t)p->elements * gqa__dtype_size(dtype));
    p->args.src = p->src.data;
}

static uint32_t stored_bits(const void *data, int64_t i, gqa_dtype operand)
{
    return operand == GQA_F32
               ? gqa__f32_bits(gqa__canonical(((const float *)data)[i]))
               : gqa__f32_bits(gqa__canonical(gqa__bf16_to_f32(((const uint16_t *)data)[i])));
}

/* All of dst, of which columns beyond those asked for must stay. */
static void compare(const struct kernels_under_test *test, struct problem *p, int64_t stride)
{
    const gqa_dtype operand = test->kernels->operand;
    const int64_t n = p->args.rows > 0 ? (p->args.rows - 1) * stride + p->args.columns : 0;
    const size_t bytes = (size_t)n * gqa__dtype_size(operand);
    struct guarded_buffer got = guarded_new(bytes), want = guarded_new(bytes);
    struct gqa__gather_args args = p->args;
    bool special;

    args.stride = stride;
    args.dst = want.data;
    special = gqa_test_kernels8(test->kernels->numerics)->gather(&args);
    args.dst = got.data;
    check(test->kernels->gather(&args) == special);
    for (int64_t i = 0; i < n; i++) {
        check(stored_bits(got.data, i, operand) == stored_bits(want.data, i, operand));
    }
    args.dst = NULL;
    check(test->kernels->gather(&args) == special);
    check(guarded_free(&got) && guarded_free(&want));
}

static void every_form(void **state)
{
    static const int32_t sizes[] = {0, 1, 7, 16, 17, 31, 32, 33, 48, 64, 65};
    static const gqa_dtype formats[] = {GQA_F32, GQA_BF16, GQA_F16};
    const struct kernels_under_test *test = *state;
    const int32_t count = sizeof sizes / sizeof sizes[0];
    uint64_t random = 11;

    for (int32_t i = 0; i < 3 * ORDERS * count * count; i++) {
        const gqa_dtype dtype = formats[i % 3];
        const enum order order = (enum order)(i / 3 % ORDERS);
        const int32_t rows = sizes[i / 3 / ORDERS % count], columns = sizes[i / 3 / ORDERS / count];
        for (int32_t k = 0; k < 3; k++) {
            struct problem p;
            snprintf(current, sizeof current, "%s dtype=%d order=%d %d x %d fill=%d\n", test->name,
                     (int)dtype, (int)order, (int)rows, (int)columns, (int)k);
            open_problem(&p, dtype, order, rows, columns);
            p.args.flush = (i + k) % 2 != 0 && test->kernels->operand == GQA_F32;
            fill(p.src.data, p.elements, dtype, k == 0 ? 0 : k == 1 ? 2 : 2000, &random);
            compare(test, &p, columns + k % 3);
            check(guarded_free(&p.src));
        }
    }
}

/* Every value of 16 bits. */
static void every_half(void **state)
{
    const struct kernels_under_test *test = *state;

    for (int32_t i = 0; i < 2 * ORDERS; i++) {
        const gqa_dtype dtype = i % 2 == 0 ? GQA_BF16 : GQA_F16;
        for (int32_t first = 0; first < 65536; first += 1024) {
            struct problem p;
            snprintf(current, sizeof current, "%s dtype=%d order=%d from 0x%04x\n", test->name,
                     (int)dtype, (int)(i / 2), (unsigned)first);
            open_problem(&p, dtype, (enum order)(i / 2), 33, 33);
            for (int64_t e = 0; e < p.elements; e++) {
                ((uint16_t *)p.src.data)[e] = (uint16_t)(first + e % 1024);
            }
            compare(test, &p, 35);
            check(guarded_free(&p.src));
        }
    }
}

/* One value among plain ones: what it is, and where, decides the answer. */
static void one_special(void **state)
{
    static const float values[] = {0x1p64f, -0x1p64f, 0x1.fep63f, 3e38f, -0.0f, 1e-40f};
    const struct kernels_under_test *test = *state;

    for (int32_t i = 0; i < 7 * ORDERS * 2; i++) {
        const gqa_dtype dtype = i % 2 == 0 ? GQA_F32 : GQA_BF16;
        for (int32_t at = 0; at < 37 * 43; at += 23) {
            struct problem p;
            uint64_t random = (uint64_t)at;
            const float x = i / 2 % 7 < 6 ? values[i / 2 % 7] : gqa__f32_from_bits(0x7f800000u);
            int64_t e;
            snprintf(current, sizeof current, "%s dtype=%d order=%d %g at %d\n", test->name,
                     (int)dtype, (int)(i / 14), (double)x, (int)at);
            open_problem(&p, dtype, (enum order)(i / 14), 37, 43);
            fill(p.src.data, p.elements, dtype, 0, &random);
            e = at / 43 * p.args.row + at % 43 * p.args.column;
            if (dtype == GQA_F32) {
                ((float *)p.src.data)[e] = x;
            } else {
                ((uint16_t *)p.src.data)[e] = gqa__f32_to_bf16(x);
            }
            compare(test, &p, 43);
            check(guarded_free(&p.src));
        }
    }
}

int main(int argc, char **argv)
{
    static const struct kernel_test kinds[] = {
        {"forms", every_form}, {"halves", every_half}, {"special", one_special}};

    guarded_report(current);
    return run_kernel_tests(argc, argv, kinds, sizeof kinds / sizeof kinds[0], false);
}
