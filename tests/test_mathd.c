/* SPDX-License-Identifier: Apache-2.0 */
/* The double routines against MPFR: the bounds of base/mathd.h, and what they do at the edges. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <mpfr.h>

#include "base/mathd.h"
#include "support/program.h"
#include "support/random.h"

enum { BITS = 240, POINTS = 20000 };

#define RELATIVE 1.2e-16 /* a correctly rounded result is within 2^-53 = 1.11e-16 */
#define ABSOLUTE 1e-16   /* half a unit of the result (5.6e-17) and the roundings of its parts */

/* MPFR temporaries of one check. */
struct scratch {
    mpfr_t x, y, exact;
};

static void scratch_open(struct scratch *s)
{
    mpfr_init2(s->x, BITS);
    mpfr_init2(s->y, BITS);
    mpfr_init2(s->exact, BITS);
}

static void scratch_close(struct scratch *s)
{
    mpfr_clear(s->x);
    mpfr_clear(s->y);
    mpfr_clear(s->exact);
    mpfr_free_cache();
}

/* Error of got against s->exact, in s->y; relative if asked for. */
static double error_of(struct scratch *s, double got, int relative)
{
    mpfr_set_d(s->y, got, MPFR_RNDN);
    mpfr_sub(s->y, s->y, s->exact, MPFR_RNDN);
    if (relative && !mpfr_zero_p(s->exact)) {
        mpfr_div(s->y, s->y, s->exact, MPFR_RNDN);
    }
    return fabs(mpfr_get_d(s->y, MPFR_RNDN));
}

static void expect_log(struct scratch *s, double x)
{
    const double got = gqa__log(x);
    double e;

    mpfr_set_d(s->x, x, MPFR_RNDN);
    mpfr_log(s->exact, s->x, MPFR_RNDN);
    e = error_of(s, got, 1);
    if (!(e <= RELATIVE)) {
        fail_msg("log(%a) = %a, relative error %g", x, got, e);
    }
}

static void log_against_mpfr(void **state)
{
    uint64_t seed = 1;
    struct scratch s;

    (void)state;
    scratch_open(&s);
    for (int i = 0; i < POINTS; i++) {
        expect_log(&s, ldexp(1.0 + random_unit(&seed), (int)(random_next(&seed) % 2040) - 1020));
        expect_log(&s, 0.5 + 1.5 * random_unit(&seed));
        expect_log(&s, 1.0 + ldexp(random_unit(&seed) - 0.5, -(int)(random_next(&seed) % 50)));
        expect_log(&s, (double)(1 + i));
    }
    expect_log(&s, 0x1p-1074);
    expect_log(&s, 0x1.8p-1060);
    expect_log(&s, 0x1.fffffffffffffp1023);
    scratch_close(&s);
}

static void expect_exp(struct scratch *s, double x)
{
    const double got = gqa__exp(x);
    double e;

    mpfr_set_d(s->x, x, MPFR_RNDN);
    mpfr_exp(s->exact, s->x, MPFR_RNDN);
    e = error_of(s, got, 1);
    if (!(e <= RELATIVE)) {
        fail_msg("exp(%a) = %a, relative error %g", x, got, e);
    }
}

static void exp_against_mpfr(void **state)
{
    uint64_t seed = 2;
    struct scratch s;

    (void)state;
    scratch_open(&s);
    for (int i = 0; i < POINTS; i++) {
        expect_exp(&s, 1400.0 * (random_unit(&seed) - 0.5));
        expect_exp(&s, 2.0 * (random_unit(&seed) - 0.5));
    }
    expect_exp(&s, 700.0);
    expect_exp(&s, -700.0);
    scratch_close(&s);
}

static void expect_pow(struct scratch *s, double x, double y)
{
    const double got = gqa__pow(x, y);
    double e;

    mpfr_set_d(s->x, x, MPFR_RNDN);
    mpfr_set_d(s->y, y, MPFR_RNDN);
    mpfr_pow(s->exact, s->x, s->y, MPFR_RNDN);
    e = error_of(s, got, 1);
    if (!(e <= RELATIVE)) {
        fail_msg("pow(%a, %a) = %a, relative error %g", x, y, got, e);
    }
}

/* theta^(-2j/d) of the models' thetas and every even rotary dim from 8 to 512. */
static void pow_of_rope_frequencies(void **state)
{
    const double thetas[] = {2.0, 1e4,   150000.0, 5e5,  1e6,  1000042.0,
                             5e6, 1.2e7, 7.5e7,    1e11, 1e30, 256000.5};
    struct scratch s;

    (void)state;
    scratch_open(&s);
    for (size_t t = 0; t < sizeof thetas / sizeof thetas[0]; t++) {
        for (int d = 8; d <= 512; d += 14) {
            for (int j = 0; j < d / 2; j++) {
                expect_pow(&s, thetas[t], -2.0 * j / d);
            }
        }
    }
    scratch_close(&s);
}

static void pow_against_mpfr(void **state)
{
    uint64_t seed = 3;
    struct scratch s;

    (void)state;
    scratch_open(&s);
    for (int i = 0; i < POINTS; i++) {
        const double x = ldexp(1.0 + random_unit(&seed), (int)(random_next(&seed) % 100) - 50);
        expect_pow(&s, x, 20.0 * (random_unit(&seed) - 0.5));
    }
    scratch_close(&s);
}

static void expect_sincos(struct scratch *s, double x)
{
    double got[2];

    gqa__sincos(x, &got[0], &got[1]);
    mpfr_set_d(s->x, x, MPFR_RNDN);
    for (int i = 0; i < 2; i++) {
        double e;
        (i == 0 ? mpfr_sin : mpfr_cos)(s->exact, s->x, MPFR_RNDN);
        e = error_of(s, got[i], 0);
        if (!(e <= ABSOLUTE)) {
            fail_msg("%s(%a) = %a, absolute error %g", i == 0 ? "sin" : "cos", x, got[i], e);
        }
    }
}

static void sincos_against_mpfr(void **state)
{
    uint64_t seed = 4;
    struct scratch s;

    (void)state;
    scratch_open(&s);
    for (int i = 0; i < POINTS; i++) {
        const double sign = random_next(&seed) & 1 ? -1.0 : 1.0;
        expect_sincos(&s, sign * random_unit(&seed) * 0x1p31 * 1e3);
        expect_sincos(&s, sign * ldexp(random_unit(&seed), (int)(random_next(&seed) % 72) - 30));
        expect_sincos(&s, sign * 7.0 * random_unit(&seed));
        expect_sincos(&s, (double)(131071 - i) * 0.8376776);
    }
    scratch_close(&s);
}

/* Doubles next to multiples of pi/4, where a weak reduction shows. */
static void sincos_near_multiples(void **state)
{
    uint64_t seed = 5;
    struct scratch s;

    (void)state;
    scratch_open(&s);
    for (int i = 0; i < POINTS; i++) {
        const double n = i < 2000 ? i : floor(random_unit(&seed) * 0x1p41);
        const double x = n * 0.78539816339744830962;
        if (x <= 0x1p42) {
            expect_sincos(&s, x);
            expect_sincos(&s, nextafter(x, INFINITY));
            expect_sincos(&s, -nextafter(x, -INFINITY));
        }
    }
    expect_sincos(&s, 2147483647.0);
    expect_sincos(&s, 0x1p42);
    scratch_close(&s);
}

static void edges(void **state)
{
    double sin_x;
    double cos_x;

    (void)state;
    assert_true(gqa__log(1.0) == 0.0);
    assert_true(gqa__log(0.0) == -INFINITY);
    assert_true(gqa__log(INFINITY) == INFINITY);
    assert_true(isnan(gqa__log(-1.0)));
    assert_true(isnan(gqa__log(NAN)));
    assert_true(gqa__exp(0.0) == 1.0);
    assert_true(isnan(gqa__exp(700.1)));
    assert_true(isnan(gqa__exp(NAN)));
    assert_true(gqa__pow(10000.0, 0.0) == 1.0);
    assert_true(gqa__pow(10000.0, 1.0) == 10000.0);
    assert_true(gqa__pow(4.0, 0.5) == 2.0);
    assert_true(isnan(gqa__pow(-1.0, 2.0)));
    assert_true(isnan(gqa__pow(1e30, 1e30)));
    assert_true(gqa__log1p_int(0.0) == 0.0);
    assert_true(fabs(gqa__log1p_int(1.0) - 0.693147180559945309) < 1e-16);
    gqa__sincos(0.0, &sin_x, &cos_x);
    assert_true(sin_x == 0.0 && cos_x == 1.0);
    gqa__sincos(0x1.1p42, &sin_x, &cos_x);
    assert_true(isnan(sin_x) && isnan(cos_x));
    gqa__sincos(INFINITY, &sin_x, &cos_x);
    assert_true(isnan(sin_x) && isnan(cos_x));
    gqa__sincos(NAN, &sin_x, &cos_x);
    assert_true(isnan(sin_x) && isnan(cos_x));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_against_mpfr),
        cmocka_unit_test(exp_against_mpfr),
        cmocka_unit_test(pow_of_rope_frequencies),
        cmocka_unit_test(pow_against_mpfr),
        cmocka_unit_test(sincos_against_mpfr),
        cmocka_unit_test(sincos_near_multiples),
        cmocka_unit_test(edges),
    };

    return RUN_TESTS(argc, argv, tests);
}
