/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_convert.c - the entries load and store of every kernel set against kernels8, bit by
 * bit, in every rounding direction of the host: all 65536 values of bf16 and of f16, and for each
 * the f32 values around the middle to the next. Names and repetition as in test_kernels.c.
 */
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fpmode.h"
#include "base/number.h"
#include "base/tensor.h"
#include "support/guarded_buffer.h"
#include "support/host_mode.h"
#include "support/kernels8.h"
#include "support/kernels_under_test.h"

enum { VALUES = 65536, NEAR = 7 };

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

static const struct host_mode modes[] = {{FE_TONEAREST, false, false}, {FE_UPWARD, true, false},
                                         {FE_DOWNWARD, false, false},  {FE_TOWARDZERO, true, false},
                                         {FE_TONEAREST, false, true},  {FE_UPWARD, false, true}};

/* By the entry in a host's mode, as every public function calls it. */
static void load_in(const struct host_mode *mode, const struct gqa__kernels *kernels, float *dst,
                    const void *src, int64_t n, gqa_dtype dtype)
{
    gqa__fpmode saved;
    host_mode_enter(mode);
    saved = gqa__fpmode_enter();
    kernels->load(dst, src, n, dtype);
    gqa__fpmode_leave(saved);
    check(host_mode_leave(mode));
}

static void store_in(const struct host_mode *mode, const struct gqa__kernels *kernels, void *dst,
                     const float *src, int64_t n, gqa_dtype dtype)
{
    gqa__fpmode saved;
    host_mode_enter(mode);
    saved = gqa__fpmode_enter();
    kernels->store(dst, src, n, dtype);
    gqa__fpmode_leave(saved);
    check(host_mode_leave(mode));
}

static void every_value(void **state)
{
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);

    for (int32_t i = 0; i < 12; i++) {
        const gqa_dtype dtype = i % 2 == 0 ? GQA_BF16 : GQA_F16;
        struct guarded_buffer src = guarded_new(VALUES * sizeof(uint16_t));
        struct guarded_buffer got = guarded_new(VALUES * sizeof(float));
        float *want = malloc(VALUES * sizeof *want);
        snprintf(current, sizeof current, "%s load dtype=%d mode=%d\n", test->name, (int)dtype,
                 (int)(i / 2));
        check(want != NULL);
        for (int32_t h = 0; h < VALUES; h++) {
            ((uint16_t *)src.data)[h] = (uint16_t)h;
        }
        load_in(&modes[i / 2], test->kernels, got.data, src.data, VALUES, dtype);
        second->load(want, src.data, VALUES, dtype);
        for (int32_t h = 0; h < VALUES; h++) {
            if (memcmp(&want[h], (float *)got.data + h, sizeof *want) != 0) {
                print_error("0x%04x: 0x%08x, not 0x%08x\n", (unsigned)h,
                            gqa__f32_bits(((float *)got.data)[h]), gqa__f32_bits(want[h]));
                check(0);
            }
        }
        free(want);
        check(guarded_free(&src) && guarded_free(&got));
    }
}

/* The f32 numbers around value h of the format: itself, its neighbours, the middle to the next
 * value away from zero and its neighbours, and that value's lower neighbour. */
static void near_value(float near[NEAR], uint32_t h, gqa_dtype dtype)
{
    float here, next;
    uint32_t bits[2], middle;
    const struct gqa__kernels *second = gqa_test_kernels8(GQA_NUMERICS_F32);
    const uint16_t two[2] = {(uint16_t)h, (uint16_t)((h & 0x7fffu) < 0x7fffu ? h + 1 : h)};
    second->load(&here, &two[0], 1, dtype);
    second->load(&next, &two[1], 1, dtype);
    bits[0] = gqa__f32_bits(here);
    bits[1] = gqa__f32_bits(next);
    middle = bits[0] + (bits[1] - bits[0]) / 2; /* in f32's own steps; of denormals, as values: */
    if (here == here && next == next && (h & 0x7fffu) < 0x400u && dtype == GQA_F16) {
        middle = gqa__f32_bits(0.5f * here + 0.5f * next);
    }
    near[0] = here;
    near[1] = gqa__f32_from_bits(bits[0] + 1);
    near[2] = gqa__f32_from_bits(bits[0] - ((bits[0] & 0x7fffffffu) != 0));
    near[3] = gqa__f32_from_bits(middle);
    near[4] = gqa__f32_from_bits(middle + 1);
    near[5] = gqa__f32_from_bits(middle - ((middle & 0x7fffffffu) != 0));
    near[6] = gqa__f32_from_bits(bits[1] - ((bits[1] & 0x7fffffffu) != 0));
}

static void every_rounding(void **state)
{
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);
    const int64_t n = (int64_t)VALUES * NEAR;

    for (int32_t i = 0; i < 18; i++) {
        const gqa_dtype dtype = i % 3 == 0 ? GQA_BF16 : i % 3 == 1 ? GQA_F16 : GQA_F32;
        const size_t size = gqa__dtype_size(dtype);
        struct guarded_buffer src = guarded_new((size_t)n * sizeof(float));
        struct guarded_buffer got = guarded_new((size_t)n * size);
        unsigned char *want = malloc((size_t)n * size);
        snprintf(current, sizeof current, "%s store dtype=%d mode=%d\n", test->name, (int)dtype,
                 (int)(i / 3));
        check(want != NULL);
        for (uint32_t h = 0; h < VALUES; h++) {
            near_value((float *)src.data + (int64_t)h * NEAR, h,
                       dtype == GQA_F32 ? GQA_F16 : dtype);
        }
        store_in(&modes[i / 3], test->kernels, got.data, src.data, n, dtype);
        second->store(want, src.data, n, dtype);
        for (int64_t k = 0; k < n; k++) {
            if (memcmp(want + (size_t)k * size, (unsigned char *)got.data + (size_t)k * size,
                       size) != 0) {
                print_error("of 0x%08x\n", gqa__f32_bits(((float *)src.data)[k]));
                check(0);
            }
        }
        free(want);
        check(guarded_free(&src) && guarded_free(&got));
    }
}

/* Any length, from any element on; nothing else is read or written. */
static void odd_lengths(void **state)
{
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);

    for (int32_t i = 0; i < 3 * 70; i++) {
        const gqa_dtype dtype = i % 3 == 0 ? GQA_BF16 : i % 3 == 1 ? GQA_F16 : GQA_F32;
        const size_t size = gqa__dtype_size(dtype), n = (size_t)i / 3;
        struct guarded_buffer narrow = guarded_new(n * size), back = guarded_new(n * size);
        struct guarded_buffer wide = guarded_new(n * sizeof(float));
        float want[70];
        unsigned char narrow_want[70 * sizeof(float)];
        snprintf(current, sizeof current, "%s dtype=%d n=%d\n", test->name, (int)dtype, (int)n);
        for (size_t b = 0; b < n * size; b++) {
            ((unsigned char *)narrow.data)[b] = (unsigned char)(b * 37 + n);
        }
        test->kernels->load(wide.data, narrow.data, (int64_t)n, dtype);
        second->load(want, narrow.data, (int64_t)n, dtype);
        check(n == 0 || memcmp(wide.data, want, n * sizeof *want) == 0);
        test->kernels->store(back.data, wide.data, (int64_t)n, dtype);
        second->store(narrow_want, want, (int64_t)n, dtype);
        check(n == 0 || memcmp(back.data, narrow_want, n * size) == 0);
        check(guarded_free(&narrow) && guarded_free(&back) && guarded_free(&wide));
    }
}

int main(int argc, char **argv)
{
    static const struct kernel_test kinds[] = {
        {"load", every_value}, {"store", every_rounding}, {"odd lengths", odd_lengths}};

    guarded_report(current);
    return run_kernel_tests(argc, argv, kinds, sizeof kinds / sizeof kinds[0], false);
}
