/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_under_test.c - see kernels_under_test.h. */
#include "support/kernels_under_test.h"
#include "support/random.h"

#include <math.h>
#include <stdio.h>

#include "base/number.h"
#include "kernel/choice/cpu.h"
#include "kernel/choice/select.h"
#include "kernel/scalar/scalar.h"
#include "support/kernels8.h"

static int32_t add_kernels(struct kernels_under_test *sets, int32_t n,
                           const struct gqa__kernels *kernels, const char *name)
{
    if (kernels == NULL) {
        printf("skipped: kernel set %s is not built or this machine does not run it\n", name);
        return n;
    }
    sets[n] = (struct kernels_under_test){kernels, name};
    return n + 1;
}

static const struct gqa__kernels *scalar_fma(gqa_numerics numerics)
{
#if defined(__x86_64__)
    struct gqa__cpu cpu;
    gqa__cpu_detect(&cpu);
    return cpu.avx2_fma ? gqa__scalar_fma(numerics) : NULL;
#else
    (void)numerics;
    return NULL;
#endif
}

static const struct gqa__kernels *chosen(gqa_isa isa, gqa_numerics numerics)
{
    const struct gqa__kernels *kernels = NULL;
    return gqa__select(&kernels, isa, GQA_ISA_AUTO, numerics, NULL) == GQA_OK ? kernels : NULL;
}

int32_t list_kernels_under_test(struct kernels_under_test *sets)
{
    const gqa_numerics f32 = GQA_NUMERICS_F32, bf16 = GQA_NUMERICS_BF16;
    int32_t n = 0;

    n = add_kernels(sets, n, gqa__scalar_baseline(f32), "scalar/f32 (baseline)");
    n = add_kernels(sets, n, gqa__scalar_baseline(bf16), "scalar/bf16 (baseline)");
    n = add_kernels(sets, n, scalar_fma(f32), "scalar/f32 (fma)");
    n = add_kernels(sets, n, scalar_fma(bf16), "scalar/bf16 (fma)");
    n = add_kernels(sets, n, chosen(GQA_ISA_AVX2, f32), "avx2/f32");
    n = add_kernels(sets, n, chosen(GQA_ISA_AVX512, f32), "avx512/f32");
    n = add_kernels(sets, n, chosen(GQA_ISA_AVX512, bf16), "avx512/bf16");
    n = add_kernels(sets, n, chosen(GQA_ISA_AMX, bf16), "amx/bf16");
    n = add_kernels(sets, n, chosen(GQA_ISA_NEON, f32), "neon/f32");
    return n;
}

int32_t add_kernels8(struct kernels_under_test *sets, int32_t n)
{
    sets[n++] = (struct kernels_under_test){gqa_test_kernels8(GQA_NUMERICS_F32), "kernels8/f32"};
    sets[n++] = (struct kernels_under_test){gqa_test_kernels8(GQA_NUMERICS_BF16), "kernels8/bf16"};
    return n;
}

int run_kernel_tests(int argc, char **argv, const struct kernel_test *kinds, size_t count,
                     bool with_kernels8)
{
    enum { MOST = 256 };
    static struct kernels_under_test sets[MAX_KERNELS_UNDER_TEST];
    static char names[MOST][64];
    static struct CMUnitTest tests[MOST];
    int32_t set_count = list_kernels_under_test(sets);
    size_t n = 0;

    set_count = with_kernels8 ? add_kernels8(sets, set_count) : set_count;
    for (int32_t i = 0; i < set_count; i++) {
        for (size_t k = 0; k < count && n < MOST; k++, n++) {
            snprintf(names[n], sizeof names[n], "%s %s", sets[i].name, kinds[k].name);
            tests[n].name = names[n];
            tests[n].test_func = kinds[k].run;
            tests[n].initial_state = &sets[i];
        }
    }
    if (n != (size_t)set_count * count) {
        fprintf(stderr, "more than %d tests\n", MOST);
        return 2;
    }
    return run_test_program(argc, argv, tests, n, NULL, NULL);
}

const char *fill_name(enum fill fill)
{
    static const char *const names[FILL_COUNT] = {"random", "equal", "huge", "denormal", "wide"};
    return names[fill];
}

void fill_values(float *x, int64_t n, enum fill fill, uint64_t *state)
{
    for (int64_t i = 0; i < n; i++) {
        const float r = random_float(state);
        switch (fill) {
        case FILL_EQUAL:
            x[i] = 0.375f;
            break;
        case FILL_DENORMAL: /* around the smallest normal number, products far below it */
            x[i] = ldexpf(r, -124 + (int)(random_next(state) >> 61));
            break;
        case FILL_WIDE: /* products on both sides of 2^-126 */
            x[i] = ldexpf(r, -(int)(random_next(state) >> 58) - 30);
            break;
        default:
            x[i] = r;
        }
    }
    if (fill == FILL_HUGE && n > 0) {
        x[random_next(state) % (uint64_t)n] = 30000.0f;
    }
}

int same_floats(const char *what, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (gqa__f32_bits(a[i]) != gqa__f32_bits(b[i])) {
            fprintf(stderr, "%s[%lld]: %a, expected %a\n", what, (long long)i, (double)a[i],
                    (double)b[i]);
            return 0;
        }
    }
    return 1;
}
