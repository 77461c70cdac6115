/* SPDX-License-Identifier: Apache-2.0 */
/* The f32 functions against MPFR: dense and random arguments, the bounds of base/mathf.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <mpfr.h>

#include "base/mathf.h"
#include "support/program.h"
#include "support/random.h"

enum { BITS = 96, POINTS = 60000, LOOP = 4099 };

/* exact is set to the function of x, correctly rounded to BITS bits. */
typedef void (*exact_function)(mpfr_t exact, const mpfr_t x);

static void exact_exp2(mpfr_t y, const mpfr_t x)
{
    mpfr_exp2(y, x, MPFR_RNDN);
}

static void exact_log(mpfr_t y, const mpfr_t x)
{
    mpfr_log(y, x, MPFR_RNDN);
}

static void exact_exp_neg(mpfr_t y, const mpfr_t x)
{
    mpfr_neg(y, x, MPFR_RNDN);
    mpfr_exp(y, y, MPFR_RNDN);
}

static void exact_tanh(mpfr_t y, const mpfr_t x)
{
    mpfr_tanh(y, x, MPFR_RNDN);
}

static void exact_sigmoid(mpfr_t y, const mpfr_t x)
{
    exact_exp_neg(y, x);
    mpfr_add_ui(y, y, 1, MPFR_RNDN);
    mpfr_ui_div(y, 1, y, MPFR_RNDN);
}

static void exact_softplus(mpfr_t y, const mpfr_t x)
{
    mpfr_exp(y, x, MPFR_RNDN);
    mpfr_log1p(y, y, MPFR_RNDN);
}

static float exp2_form(float x)
{
    return gqa__exp2f(x);
}

static float exp2_fast_form(float x)
{
    return gqa__exp2f_fast(x);
}

static float log_form(float x)
{
    return gqa__logf(x);
}

static float exp_neg_form(float x)
{
    return gqa__exp_negf(x);
}

static float tanh_form(float x)
{
    return gqa__tanhf(x);
}

static float sigmoid_form(float x)
{
    return gqa__sigmoidf(x);
}

static float softplus_form(float x)
{
    return gqa__softplusf(x);
}

/* bound in ulps of the exact result. The bounds are those of mathf.h; where one is not a small
 * integer it is that of a full sweep over every f32 of the range, rounded up. exp2_fast: 8.6e-5
 * relative is at most 8.6e-5 * 2^24 = 1443 ulp. */
struct range {
    const char *name;
    float (*function)(float x);
    exact_function exact;
    float low, high;
    double bound;
};

static const struct range ranges[] = {
    {"exp2f", exp2_form, exact_exp2, -126.0f, 0.0f, 1.0},
    {"exp2f", exp2_form, exact_exp2, -1.0f, 1.0f, 1.0},
    {"exp2f", exp2_form, exact_exp2, 0.0f, 127.0f, 1.0},
    {"exp2f_fast", exp2_fast_form, exact_exp2, -126.0f, 0.0f, 1443.0},
    {"exp2f_fast", exp2_fast_form, exact_exp2, -1.0f, 0.0f, 1443.0},
    {"exp2f_fast", exp2_fast_form, exact_exp2, 0.0f, 8.0f, 1443.0},
    {"exp2f_fast", exp2_fast_form, exact_exp2, 8.0f, 126.999f, 1443.0},
    {"logf", log_form, exact_log, 0x1p-149f, 0x1p-126f, 1.0},
    {"logf", log_form, exact_log, 0.5f, 2.0f, 1.0},
    {"logf", log_form, exact_log, 0x1p-126f, 0x1.fffffep127f, 1.0},
    {"exp_negf", exp_neg_form, exact_exp_neg, 0.0f, 87.33f, 2.0},
    {"exp_negf", exp_neg_form, exact_exp_neg, 0.0f, 1.0f, 2.0},
    {"tanhf", tanh_form, exact_tanh, -1.0f, 1.0f, 2.0},
    {"tanhf", tanh_form, exact_tanh, -20.0f, 20.0f, 2.0},
    {"sigmoidf", sigmoid_form, exact_sigmoid, -4.0f, 4.0f, 4.0},
    {"sigmoidf", sigmoid_form, exact_sigmoid, -87.33f, 100.0f, 4.0},
    {"softplusf", softplus_form, exact_softplus, -4.0f, 4.0f, 3.0},
    {"softplusf", softplus_form, exact_softplus, -87.33f, 100.0f, 3.0},
};

/* |got - exact| in units of the last place of the exact result. */
static double error_ulps(float got, const mpfr_t exact)
{
    mpfr_t difference;
    mpfr_exp_t e = mpfr_zero_p(exact) ? -148 : mpfr_get_exp(exact); /* 1/2 <= |m| < 1 */
    double ulps;

    mpfr_init2(difference, BITS);
    mpfr_set_flt(difference, got, MPFR_RNDN);
    mpfr_sub(difference, difference, exact, MPFR_RNDN);
    mpfr_mul_2si(difference, difference, 24 - (long)(e < -125 ? -125 : e), MPFR_RNDN);
    ulps = fabs(mpfr_get_d(difference, MPFR_RNDN));
    mpfr_clear(difference);
    return ulps;
}

/* Points spread evenly over the values, then random bit patterns (evenly over the exponents). */
static float pick_point(const struct range *range, int i, uint64_t *state)
{
    const double share = (double)i / (POINTS / 2 - 1);
    float x;

    if (i < POINTS / 2) {
        return (float)((double)range->low + share * ((double)range->high - (double)range->low));
    }
    do {
        x = gqa__f32_from_bits(random_u32(state));
    } while (!(x >= range->low && x <= range->high));
    return x;
}

static void check_range(const struct range *range)
{
    uint64_t state = 777;
    double worst = 0.0;
    mpfr_t x;
    mpfr_t exact;

    mpfr_init2(x, BITS);
    mpfr_init2(exact, BITS);
    for (int i = 0; i < POINTS; i++) {
        const float point = pick_point(range, i, &state);
        const float got = range->function(point);
        double ulps;
        mpfr_set_flt(x, point, MPFR_RNDN);
        range->exact(exact, x);
        ulps = error_ulps(got, exact);
        if (!(ulps <= range->bound)) {
            fail_msg("%s(%a) = %a, off by %.3f ulp, bound %.3f", range->name, (double)point,
                     (double)got, ulps, range->bound);
        }
        worst = ulps > worst ? ulps : worst;
    }
    mpfr_clear(x);
    mpfr_clear(exact);
    print_message("%-10s [%g, %g]: worst %.3f ulp, bound %g\n", range->name, (double)range->low,
                  (double)range->high, worst, range->bound);
}

static void bounds_against_mpfr(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        check_range(&ranges[i]);
    }
    mpfr_free_cache();
}

static void special_exp2(void **state)
{
    float (*const forms[])(float) = {exp2_form, exp2_fast_form};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_true(forms[i](0.0f) == 1.0f);
        assert_true(forms[i](-0.0f) == 1.0f);
        for (int n = -126; n <= 8; n++) {
            assert_true((double)forms[i]((float)n) == ldexp(1.0, n));
        }
        assert_int_equal(gqa__f32_bits(forms[i](nextafterf(-126.0f, -127.0f))), 0);
        assert_int_equal(gqa__f32_bits(forms[i](-1e30f)), 0);
        assert_int_equal(gqa__f32_bits(forms[i](-INFINITY)), 0);
        assert_true(isnan(forms[i](NAN)));
    }
}

static void special_log(void **state)
{
    (void)state;
    assert_int_equal(gqa__f32_bits(gqa__logf(1.0f)), 0);
    assert_true(gqa__logf(0.0f) == -INFINITY);
    assert_true(gqa__logf(-0.0f) == -INFINITY);
    assert_true(gqa__logf(INFINITY) == INFINITY);
    assert_true(isnan(gqa__logf(-1.0f)));
    assert_true(isnan(gqa__logf(-0x1p-149f)));
    assert_true(isnan(gqa__logf(-INFINITY)));
    assert_true(isnan(gqa__logf(NAN)));
}

static void special_activations(void **state)
{
    (void)state;
    assert_int_equal(gqa__f32_bits(gqa__tanhf(0.0f)), 0);
    assert_int_equal(gqa__f32_bits(gqa__tanhf(-0.0f)), 0x80000000u);
    assert_true(gqa__tanhf(9.02f) == 1.0f);
    assert_true(gqa__tanhf(INFINITY) == 1.0f);
    assert_true(gqa__tanhf(-INFINITY) == -1.0f);
    assert_true(gqa__tanhf(0x1p-149f) == 0x1p-149f);
    assert_true(isnan(gqa__tanhf(NAN)));
    assert_true(gqa__sigmoidf(0.0f) == 0.5f);
    assert_true(gqa__sigmoidf(INFINITY) == 1.0f);
    assert_int_equal(gqa__f32_bits(gqa__sigmoidf(-INFINITY)), 0);
    assert_int_equal(gqa__f32_bits(gqa__sigmoidf(-1000.0f)), 0);
    assert_true(isnan(gqa__sigmoidf(NAN)));
    assert_true(gqa__softplusf(INFINITY) == INFINITY);
    assert_int_equal(gqa__f32_bits(gqa__softplusf(-INFINITY)), 0);
    assert_true(gqa__softplusf(1e30f) == 1e30f);
    assert_true(isnan(gqa__softplusf(NAN)));
    assert_true(gqa__exp_negf(0.0f) == 1.0f);
    assert_int_equal(gqa__f32_bits(gqa__exp_negf(INFINITY)), 0);
}

#if defined(__x86_64__) && defined(__GNUC__)

/* The same bodies in a loop for AVX2 give the same bits as one call in the baseline. */
__attribute__((target("avx2,fma"), noinline)) static void loop_avx2(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i++) {
        y[6 * i] = gqa__exp2f(-fabsf(x[i]));
        y[6 * i + 1] = gqa__exp2f_fast(8.0f - fabsf(x[i]));
        y[6 * i + 2] = gqa__logf(x[i]);
        y[6 * i + 3] = gqa__tanhf(x[i]);
        y[6 * i + 4] = gqa__sigmoidf(x[i]);
        y[6 * i + 5] = gqa__softplusf(x[i]);
    }
}

static void avx2_loop_bits(void **state)
{
    static float x[LOOP];
    static float y[6 * LOOP];
    uint64_t seed = 99;

    (void)state;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        print_message("skipped: this CPU has no AVX2 with FMA\n");
        skip();
    }
    for (int i = 0; i < LOOP; i++) {
        const float u = gqa__f32_from_bits(random_u32(&seed));
        x[i] = isnan(u) ? 0.25f : i % 2 ? u : (float)(i - LOOP / 2) / 64.0f;
    }
    loop_avx2(y, x, LOOP);
    for (int i = 0; i < LOOP; i++) {
        const float want[6] = {exp2_form(-fabsf(x[i])), exp2_fast_form(8.0f - fabsf(x[i])),
                               log_form(x[i]),          tanh_form(x[i]),
                               sigmoid_form(x[i]),      softplus_form(x[i])};
        for (int k = 0; k < 6; k++) {
            if (gqa__f32_bits(want[k]) != gqa__f32_bits(y[6 * i + k])) {
                fail_msg("function %d of %a: %a in the loop, %a alone", k, (double)x[i],
                         (double)y[6 * i + k], (double)want[k]);
            }
        }
    }
}

#else

static void avx2_loop_bits(void **state)
{
    (void)state;
    print_message("skipped: this is no x86-64\n");
    skip();
}

#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_against_mpfr), cmocka_unit_test(special_exp2),
        cmocka_unit_test(special_log),         cmocka_unit_test(special_activations),
        cmocka_unit_test(avx2_loop_bits),
    };

    return RUN_TESTS(argc, argv, tests);
}
