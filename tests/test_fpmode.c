/* SPDX-License-Identifier: Apache-2.0 */
/* A task computes in its own floating-point mode and leaves the host's as it was. */
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fpmode.h"
#include "support/program.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

/* Volatile on both sides, so that the compiler leaves the addition in its place. */
static volatile float left, right, total;

static float sum_of(float a, float b)
{
    left = a;
    right = b;
    total = left + right;
    return total;
}

static void rounding_is_nearest_inside(void **state)
{
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};

    (void)state;
    for (int i = 0; i < 4; i++) {
        gqa__fpmode saved;
        assert_int_equal(fesetround(modes[i]), 0);
        saved = gqa__fpmode_enter();
        assert_true(sum_of(1.0f, 0x1p-25f) == 1.0f);
        assert_true(sum_of(1.0f, 0x1.8p-24f) == 0x1.000002p+0f);
        assert_true(sum_of(-1.0f, -0x1p-25f) == -1.0f);
        gqa__fpmode_leave(saved);
        assert_int_equal(fegetround(), modes[i]);
        assert_int_equal(sum_of(1.0f, 0x1p-25f) > 1.0f, modes[i] == FE_UPWARD);
    }
    fesetround(FE_TONEAREST);
}

static void denormals_live_inside(void **state)
{
#if defined(__SSE2__)
    const unsigned plain = _mm_getcsr();
    const unsigned flushing = plain | 0x8040u; /* FTZ and DAZ */
    gqa__fpmode saved;

    (void)state;
    _mm_setcsr(flushing);
    assert_true(sum_of(0x1p-127f, 0x1p-127f) == 0.0f);
    saved = gqa__fpmode_enter();
    assert_true(sum_of(0x1p-149f, 0x1p-149f) > 0.0f);
    assert_true(sum_of(0x1.8p-126f, -0x1p-126f) > 0.0f);
    gqa__fpmode_leave(saved);
    assert_int_equal(_mm_getcsr() & ~0x3fu, flushing & ~0x3fu);
    assert_true(sum_of(0x1p-127f, 0x1p-127f) == 0.0f);
    _mm_setcsr(plain);
#else
    (void)state;
    print_message("skipped: this CPU has no MXCSR\n");
    skip();
#endif
}

/* A host that traps on invalid operations gets no trap from a NaN inside, and its traps back. */
static void traps_are_masked_inside(void **state)
{
#if defined(__SSE2__)
    const unsigned plain = _mm_getcsr();
    const unsigned trapping = plain & ~(0x80u | 0x3fu);
    gqa__fpmode saved;
    float nan;

    (void)state;
    _mm_setcsr(trapping);
    saved = gqa__fpmode_enter();
    nan = sum_of(__builtin_inff(), -__builtin_inff());
    gqa__fpmode_leave(saved);
    assert_int_equal(_mm_getcsr(), trapping);
    _mm_setcsr(plain);
    assert_true(nan != nan);
#else
    (void)state;
    print_message("skipped: this CPU has no MXCSR\n");
    skip();
#endif
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_is_nearest_inside),
        cmocka_unit_test(denormals_live_inside),
        cmocka_unit_test(traps_are_masked_inside),
    };

    return RUN_TESTS(argc, argv, tests);
}
