/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_engine.c - the machine of Neuron's profiles: exponentials and logarithms are the
 * double functions rounded once, also at the ends of the range and beside ties; sums and product
 * groups are exact, or f32 in rising order. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mathd.h"
#include "neuron/engine.h"
#include "support/fewer_cases.h"
#include "support/program.h"
#include "support/random.h"

/* --- exp and log -------------------------------------------------------------------------------
 */

static void same_exp(float x)
{
    const float want = (float)gqa__exp((double)x), got = gqa__engine_exp(x);

    if (memcmp(&want, &got, sizeof want) != 0) {
        fail_msg("exp(%a) is %a, not %a", (double)x, (double)got, (double)want);
    }
}

/* Of all f32 those whose exponential, as a double, comes nearest to the middle of two f32: at most
 * 4 units of its last place, or 32 where the argument is far from a multiple of ln 2. */
static const float near_ties[] = {
    0x1.fdff02p-17f, 0x1.cd3982p-14f, 0x1.8d7cb6p-12f, -0x1.c1c4b8p-10f, -0x1.e1dbe2p-8f,
    -0x1.d2259ap+3f, 0x1.f613acp-4f,  0x1.b78498p-1f,  0x1.cce332p+0f,   0x1.172096p+2f,
    0x1.48e1c4p+2f,  0x1.f12cdcp+3f,  0x1.97f0f6p+4f,  0x1.060e1ep+6f,   0x1.112856p+6f,
    -0x1.cf6ab2p-3f, -0x1.c1cd9ap-2f, -0x1.edfb24p-1f, -0x1.03d5bep+0f,  -0x1.7f4296p+0f,
    -0x1.705ce4p+1f, -0x1.f02a66p+1f, -0x1.b3f43cp+3f};

/* gqa__exp is right to 1.2e-16 (test_mathd), so its rounding is that of the exact value but beside
 * a tie, where both have the same double to round. */
static void test_exp(void **state)
{
    const int n = fewer_cases(400000);
    uint64_t random = 1;

    (void)state;
    for (int i = 0; i < n; i++) {
        const float x = random_float(&random);
        same_exp(x * 104.0f);
        same_exp(x * 20.0f);
        same_exp(x * 0.01f);
    }
    for (size_t i = 0; i < sizeof near_ties / sizeof near_ties[0]; i++) {
        same_exp(near_ties[i]);
    }
    for (uint32_t bits = 0x3f800000u, i = 0; i < (uint32_t)n; i++, bits++) { /* from 1.0 on */
        same_exp(gqa__f32_from_bits(bits));
        same_exp(-gqa__f32_from_bits(bits));
    }
}

static void test_exp_ends(void **state)
{
    const float last = 0x1.62e42ep+6f;   /* the last f32 whose exponential is finite */
    const float least = -0x1.9fe368p+6f; /* and the one whose exponential rounds to 2^-149 */

    (void)state;
    same_exp(last);
    same_exp(least);
    assert_true(gqa__engine_exp(last) <= FLT_MAX);
    assert_true(gqa__engine_exp(nextafterf(last, 100.0f)) == INFINITY);
    assert_true(gqa__engine_exp(least) == 0x1p-149f);
    assert_true(gqa__engine_exp(nextafterf(least, -200.0f)) == 0.0f);
    for (float x = -87.0f; x > -104.0f; x -= 0.03125f) { /* subnormal results */
        same_exp(x);
    }
    assert_true(gqa__engine_exp(-FLT_MAX) == 0.0f && gqa__engine_exp(-INFINITY) == 0.0f);
    assert_true(gqa__engine_exp(FLT_MAX) == INFINITY && gqa__engine_exp(INFINITY) == INFINITY);
    assert_true(gqa__engine_exp(0.0f) == 1.0f && gqa__engine_exp(-0.0f) == 1.0f);
    assert_int_equal(gqa__f32_bits(gqa__engine_exp(gqa__f32_from_bits(0xffc12345u))),
                     GQA__NAN_BITS);
}

static void test_log(void **state)
{
    uint64_t random = 2;

    (void)state;
    for (int i = 0; i < 300; i++) {
        const float x = expf(40.0f * random_float(&random));
        assert_true(gqa__engine_log(x) == (float)gqa__log((double)x));
    }
    assert_true(gqa__engine_log(1.0f) == 0.0f && gqa__engine_log(0.0f) == -INFINITY);
    assert_true(gqa__engine_log(INFINITY) == INFINITY);
    assert_true(gqa__engine_log(0x1p-149f) == (float)(-149.0 * 0x1.62e42fefa39efp-1));
    assert_int_equal(gqa__f32_bits(gqa__engine_log(-1.0f)), GQA__NAN_BITS);
}

/* --- sums --------------------------------------------------------------------------------------
 */

static void test_sums(void **state)
{
    const float x[4] = {1.0f, 0x1p-24f, 0x1p-24f, 0x1p-25f};
    const float y[3] = {-3.0f, -1.0f, -2.0f};

    (void)state;
    /* 1 + 2^-23 + 2^-25 rounds to 1 + 2^-23; in f32 each addition rounds back to 1. */
    assert_true(gqa__engine_sum(GQA_NEURON_EXACT, x, 4) == 0x1.000002p0f);
    assert_true(gqa__engine_sum(GQA_NEURON_FLOAT32, x, 4) == 1.0f);
    assert_true(gqa__engine_sum(GQA_NEURON_EXACT, x, 0) == 0.0f);
    assert_true(gqa__engine_max(y, 3) == -1.0f);
}

/* Sizes beyond a bank, rows further apart than they are long; nothing else is written. */
static void check_group(gqa_neuron_accumulation accumulation, int32_t inner, int32_t columns)
{
    enum { ROWS = 3, GAP = 5 };
    const int64_t a_step = inner + 1, b_step = columns + 2, out_step = columns + GAP;
    float *const a = malloc((size_t)(ROWS * a_step) * sizeof *a);
    float *const b = malloc((size_t)(inner * b_step + 1) * sizeof *b);
    float *const out = malloc((size_t)(ROWS * out_step) * sizeof *out);
    const struct gqa__psum psum = {accumulation, a,        b,    out,   a_step,
                                   b_step,       out_step, ROWS, inner, columns};
    uint64_t random = (uint64_t)columns;

    assert_true(a != NULL && b != NULL && out != NULL);
    for (int64_t i = 0; i < ROWS * a_step; i++) {
        a[i] = random_float(&random);
    }
    for (int64_t i = 0; i < inner * b_step; i++) {
        b[i] = random_float(&random);
    }
    for (int64_t i = 0; i < ROWS * out_step; i++) {
        out[i] = 77.0f;
    }
    gqa__psum_group(&psum);
    for (int32_t r = 0; r < ROWS; r++) {
        for (int32_t c = 0; c < out_step; c++) {
            long double exact = 0.0L; /* products of 24-bit numbers: exact */
            float rising = 0.0f;
            for (int32_t i = 0; i < inner && c < columns; i++) {
                exact += (long double)a[r * a_step + i] * (long double)b[i * b_step + c];
                rising += a[r * a_step + i] * b[i * b_step + c];
            }
            assert_true(out[r * out_step + c] == (c >= columns                       ? 77.0f
                                                  : accumulation == GQA_NEURON_EXACT ? (float)exact
                                                                                     : rising));
        }
    }
    free(a);
    free(b);
    free(out);
}

static void test_groups(void **state)
{
    static const int32_t sizes[] = {1, 2, 127, 511, 512, 513, 1025};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check_group(GQA_NEURON_EXACT, 33, sizes[i]);
        check_group(GQA_NEURON_FLOAT32, 33, sizes[i]);
        check_group(GQA_NEURON_EXACT, sizes[i], 7);
        check_group(GQA_NEURON_FLOAT32, sizes[i], 7);
    }
    check_group(GQA_NEURON_EXACT, 0, 3);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),  cmocka_unit_test(test_exp_ends), cmocka_unit_test(test_log),
        cmocka_unit_test(test_sums), cmocka_unit_test(test_groups),
    };
    return RUN_TESTS(argc, argv, tests);
}
