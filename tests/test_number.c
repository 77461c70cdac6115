/* SPDX-License-Identifier: Apache-2.0 */
/* Number formats: all 65536 bf16 and f16 values, and rounding against a computation in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/number.h"
#include "support/program.h"
#include "support/random.h"

/* Sign, exponent and mantissa sizes of a 16-bit format. */
struct format {
    const char *name;
    int exponent_bits, mantissa_bits;
    uint16_t quiet_nan;
    float (*widen)(uint16_t h);
    uint16_t (*narrow)(float x);
};

static float widen_bf16(uint16_t h)
{
    return gqa__bf16_to_f32(h);
}

static uint16_t narrow_bf16(float x)
{
    return gqa__f32_to_bf16(x);
}

static const struct format bf16 = {"bf16", 8, 7, 0x7fc0u, widen_bf16, narrow_bf16};
static const struct format f16 = {"f16", 5, 10, 0x7e00u, gqa__f16_to_f32, gqa__f32_to_f16};

/* What the bits say, by ldexp in double. */
static double decode(const struct format *f, uint16_t h)
{
    const int bias = (1 << (f->exponent_bits - 1)) - 1;
    const int exponent = (h >> f->mantissa_bits) & ((1 << f->exponent_bits) - 1);
    const int mantissa = h & ((1 << f->mantissa_bits) - 1);
    const double sign = (h & 0x8000u) ? -1.0 : 1.0;

    if (exponent == (1 << f->exponent_bits) - 1) {
        return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
    }
    if (exponent == 0) {
        return sign * ldexp(mantissa, 1 - bias - f->mantissa_bits);
    }
    return sign * ldexp((1 << f->mantissa_bits) + mantissa, exponent - bias - f->mantissa_bits);
}

/* The bits nearest to x, ties to even, by rint in double. */
static uint16_t encode(const struct format *f, float x)
{
    const int bias = (1 << (f->exponent_bits - 1)) - 1;
    const uint16_t sign = signbit(x) ? 0x8000u : 0;
    const double a = fabs((double)x);
    const double limit = ldexp(1.0, bias + 1);
    int e;
    double units;

    if (isnan(x)) {
        return f->quiet_nan;
    }
    if (a >= limit) {
        return (uint16_t)(sign | (((1 << f->exponent_bits) - 1) << f->mantissa_bits));
    }
    (void)frexp(a, &e); /* a = m 2^e, 1/2 <= m < 1 */
    e = a == 0.0 || e - 1 < 1 - bias ? 1 - bias : e - 1;
    units = rint(ldexp(a, f->mantissa_bits - e)); /* of 2^(e - mantissa_bits) */
    /* A carry into the next binade, or to infinity, is right in the bits as well. */
    if (units < (double)(1 << f->mantissa_bits)) {
        return (uint16_t)(sign | (uint16_t)units);
    }
    return (uint16_t)(sign | (uint16_t)((uint32_t)((e + bias) << f->mantissa_bits) +
                                        ((uint32_t)units - (1u << f->mantissa_bits))));
}

static void expect_narrow(const struct format *f, float x)
{
    const uint16_t got = f->narrow(x);
    const uint16_t want = encode(f, x);

    if (got != want) {
        fail_msg("%s of %a (bits %08x): %04x, not %04x", f->name, (double)x,
                 (unsigned)gqa__f32_bits(x), got, want);
    }
}

static void check_all_values(const struct format *f)
{
    for (uint32_t i = 0; i <= 0xffffu; i++) {
        const uint16_t h = (uint16_t)i;
        const double want = decode(f, h);
        const float got = f->widen(h);
        if (isnan(want)) {
            assert_true(isnan(got));
            assert_int_equal(f->narrow(got), f->quiet_nan);
            continue;
        }
        if ((double)got != want || !signbit(got) != !signbit(want)) {
            fail_msg("%s %04x is %a, not %a", f->name, h, (double)got, want);
        }
        assert_int_equal(f->narrow(got), h);
    }
}

/* Every finite value, the middle to the next one, and one f32 to each side of both. */
static void check_boundaries(const struct format *f)
{
    for (uint32_t i = 0; i < 0x7fffu; i++) {
        const double low = decode(f, (uint16_t)i);
        const double high = decode(f, (uint16_t)(i + 1));
        const double next = isinf(high) ? 2.0 * low - decode(f, (uint16_t)(i - 1)) : high;
        const float middle = (float)(low + (next - low) / 2);
        if (isnan(low) || isinf(low)) {
            continue;
        }
        for (int side = -1; side <= 1; side++) {
            const float towards = side < 0 ? -INFINITY : INFINITY;
            const float a = side == 0 ? middle : nextafterf(middle, towards);
            const float b = side == 0 ? (float)low : nextafterf((float)low, towards);
            expect_narrow(f, a);
            expect_narrow(f, -a);
            expect_narrow(f, b);
            expect_narrow(f, -b);
        }
    }
}

static void check_random_bits(const struct format *f)
{
    uint64_t state = 12345;

    for (int i = 0; i < 2000000; i++) {
        expect_narrow(f, gqa__f32_from_bits(random_u32(&state)));
    }
}

static void all_values_bf16(void **state)
{
    (void)state;
    check_all_values(&bf16);
}

static void all_values_f16(void **state)
{
    (void)state;
    check_all_values(&f16);
}

static void boundaries_bf16(void **state)
{
    (void)state;
    check_boundaries(&bf16);
}

static void boundaries_f16(void **state)
{
    (void)state;
    check_boundaries(&f16);
}

static void random_bits_bf16(void **state)
{
    (void)state;
    check_random_bits(&bf16);
}

static void random_bits_f16(void **state)
{
    (void)state;
    check_random_bits(&f16);
}

static void canonical_nan(void **state)
{
    (void)state;
    assert_int_equal(gqa__f32_bits(gqa__canonical(gqa__f32_from_bits(0xffc12345u))), 0x7fc00000u);
    assert_int_equal(gqa__f32_bits(gqa__canonical(-0.0f)), 0x80000000u);
    assert_int_equal(gqa__f32_to_bf16(gqa__f32_from_bits(0xff800001u)), 0x7fc0u);
    assert_int_equal(gqa__f32_to_f16(gqa__f32_from_bits(0xff800001u)), 0x7e00u);
    assert_true(gqa__round_bf16(1.00390625f) == 1.0f);      /* a tie goes to the even side */
    assert_true(gqa__round_bf16(1.01171875f) == 1.015625f); /* and here up */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_values_bf16),  cmocka_unit_test(all_values_f16),
        cmocka_unit_test(boundaries_bf16),  cmocka_unit_test(boundaries_f16),
        cmocka_unit_test(random_bits_bf16), cmocka_unit_test(random_bits_f16),
        cmocka_unit_test(canonical_nan),
    };

    return RUN_TESTS(argc, argv, tests);
}
