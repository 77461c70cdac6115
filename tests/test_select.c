/* SPDX-License-Identifier: Apache-2.0 */
/* test_select.c - which kernel set a config gets and what GQA_ISA names, and how a missing one is
 * refused. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gqa/gqa.h"
#include "kernel/amx/amx.h"
#include "kernel/choice/cpu.h"
#include "kernel/choice/select.h"
#include "kernel/scalar/scalar.h"
#include "kernel/vnni/vnni.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/small_layer.h"

static bool available(gqa_isa isa)
{
    return (gqa__kernels_available() >> (uint32_t)isa & 1u) != 0;
}

/* A kernels serves these numerics if a forced choice gets it. */
static const struct gqa__kernels *forced(gqa_isa isa, gqa_numerics numerics)
{
    const struct gqa__kernels *kernels = NULL;
    return gqa__select(&kernels, isa, GQA_ISA_AUTO, numerics, NULL) == GQA_OK ? kernels : NULL;
}

static void test_scalar_is_everywhere(void **state)
{
    (void)state;
    assert_true(gqa__kernels_built() & 1u << GQA_ISA_SCALAR);
    assert_true(available(GQA_ISA_SCALAR));
    assert_int_equal(gqa__kernels_available() & ~gqa__kernels_built(), 0);
    for (int n = GQA_NUMERICS_F32; n <= GQA_NUMERICS_BF16; n++) {
        const struct gqa__kernels *kernels = forced(GQA_ISA_SCALAR, (gqa_numerics)n);
        assert_non_null(kernels);
        assert_int_equal(kernels->isa, GQA_ISA_SCALAR);
        assert_int_equal((int)kernels->numerics, n);
        assert_string_equal(kernels->name, n == GQA_NUMERICS_F32 ? "scalar/f32" : "scalar/bf16");
    }
}

/* What is said to be built is what the compiler can build: it was asked without our sources
 * (tests/compiler_kernels.cmake), so a guard that is silently false is found here. */
static void test_built_is_what_the_compiler_can(void **state)
{
    static const char built_names[] = " " GQA_COMPILER_KERNELS " ";
    char word[40];

    (void)state;
    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        const bool built = (gqa__kernels_built() >> isa & 1u) != 0;
        snprintf(word, sizeof word, " %s ", gqa__isa_name((gqa_isa)isa));
        printf("%s: %s\n", gqa__isa_name((gqa_isa)isa), built ? "built" : "not built");
        assert_int_equal(built, strstr(built_names, word) != NULL);
    }
}

/* A kernel set has a table for some numerics, or is not built and is refused for that reason, never
 * for what the CPU lacks. */
static void test_not_built_is_said(void **state)
{
    (void)state;
    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        const struct gqa__kernels *kernels = NULL;
        const bool built = (gqa__kernels_built() >> isa & 1u) != 0;
        gqa_error err = {GQA_OK, NULL, ""};
        (void)gqa__select(&kernels, (gqa_isa)isa, GQA_ISA_AUTO, GQA_NUMERICS_BF16, &err);
        assert_int_equal(strstr(err.message, "this library is built without it") != NULL, !built);
    }
}

/* The compilation with fma wherever the CPU runs it. */
static void test_scalar_by_cpu(void **state)
{
    struct gqa__cpu cpu;
    const struct gqa__kernels *want = gqa__scalar_baseline(GQA_NUMERICS_F32);

    (void)state;
    gqa__cpu_detect(&cpu);
#if defined(__x86_64__)
    if (cpu.avx2_fma && gqa__scalar_fma(GQA_NUMERICS_F32) != NULL) {
        want = gqa__scalar_fma(GQA_NUMERICS_F32);
    }
#endif
    assert_ptr_equal(forced(GQA_ISA_SCALAR, GQA_NUMERICS_F32), want);
}

/* AUTO: the highest kernels that serves the numerics. */
static void test_auto_is_the_best(void **state)
{
    (void)state;
    for (int n = GQA_NUMERICS_F32; n <= GQA_NUMERICS_BF16; n++) {
        const struct gqa__kernels *best = NULL, *kernels = NULL;
        for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
            const struct gqa__kernels *one = forced((gqa_isa)isa, (gqa_numerics)n);
            best = one != NULL ? one : best;
        }
        assert_int_equal(gqa__select(&kernels, GQA_ISA_AUTO, GQA_ISA_AUTO, (gqa_numerics)n, NULL),
                         GQA_OK);
        assert_ptr_equal(kernels, best);
    }
}

/* Is isa within the limit? As a table, row by row of isa: limit auto, scalar, avx2, avx512, amx,
 * neon. */
static const bool within[6][6] = {[GQA_ISA_SCALAR] = {true, true, true, true, true, true},
                                  [GQA_ISA_AVX2] = {true, false, true, true, true, true},
                                  [GQA_ISA_AVX512] = {true, false, false, true, true, true},
                                  [GQA_ISA_AMX] = {true, false, false, false, true, true},
                                  [GQA_ISA_NEON] = {true, false, true, true, true, true}};

/* AUTO with a limit: the highest kernel set within it; what a config may force is within it too. */
static void test_limit(void **state)
{
    (void)state;
    for (int limit = GQA_ISA_AUTO; limit <= GQA_ISA_NEON; limit++) {
        for (int n = GQA_NUMERICS_F32; n <= GQA_NUMERICS_BF16; n++) {
            const struct gqa__kernels *best = NULL, *kernels = NULL;
            for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
                const struct gqa__kernels *one = forced((gqa_isa)isa, (gqa_numerics)n);
                best = one != NULL && within[isa][limit] ? one : best;
            }
            assert_int_equal(
                gqa__select(&kernels, GQA_ISA_AUTO, (gqa_isa)limit, (gqa_numerics)n, NULL), GQA_OK);
            assert_ptr_equal(kernels, best);
        }
        for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
            gqa_config config;
            gqa_error err = {GQA_OK, NULL, ""};
            config = attention_config(1, 1, 8, 0);
            config.isa = (gqa_isa)isa;
            config.max_isa = (gqa_isa)limit;
            assert_int_equal(gqa_config_check(&config, &err) == GQA_OK, within[isa][limit]);
            assert_true(within[isa][limit] || strcmp(err.field, "config.max_isa") == 0);
        }
    }
}

/* gqa_create keeps the limit, for both numerics. */
static void test_create_within_limit(void **state)
{
    (void)state;
    for (int limit = GQA_ISA_AUTO; limit <= GQA_ISA_NEON; limit++) {
        for (int n = GQA_NUMERICS_F32; n <= GQA_NUMERICS_BF16; n++) {
            gqa_config config;
            gqa_layer *layer = NULL;
            const struct gqa__kernels *kernels = NULL;
            config = attention_config(1, 1, 8, 0);
            config.numerics = (gqa_numerics)n;
            config.max_isa = (gqa_isa)limit;
            assert_int_equal(create_unforced(&layer, &config, NULL, NULL, NULL), GQA_OK);
            assert_int_equal(
                gqa__select(&kernels, GQA_ISA_AUTO, (gqa_isa)limit, (gqa_numerics)n, NULL), GQA_OK);
            assert_int_equal(gqa_layer_isa(layer), kernels->isa);
            assert_true(within[gqa_layer_isa(layer)][limit]);
            gqa_destroy(&layer);
        }
    }
}

/* gqa_isa_from_environment with GQA_ISA set to text (NULL: not set); GQA_ISA is put back. */
static gqa_status from_environment(const char *text, gqa_isa *isa, gqa_error *err)
{
    const char *const before = getenv("GQA_ISA");
    char kept[64];
    gqa_status status;

    snprintf(kept, sizeof kept, "%s", before != NULL ? before : "");
    assert_int_equal(text != NULL ? setenv("GQA_ISA", text, 1) : unsetenv("GQA_ISA"), 0);
    status = gqa_isa_from_environment(isa, err);
    assert_int_equal(setenv("GQA_ISA", kept, 1), 0);
    return status;
}

/* Every name in GQA_ISA means the kernel set of that name, be it available or not. */
static void test_environment(void **state)
{
    static const char *const automatic[] = {NULL, "", "auto"};
    gqa_isa isa;

    (void)state;
    for (int i = GQA_ISA_SCALAR; i <= GQA_ISA_NEON; i++) {
        isa = GQA_ISA_AUTO;
        assert_int_equal(from_environment(gqa__isa_name((gqa_isa)i), &isa, NULL), GQA_OK);
        assert_int_equal(isa, i);
    }
    for (int i = 0; i < 3; i++) {
        isa = GQA_ISA_AVX2;
        assert_int_equal(from_environment(automatic[i], &isa, NULL), GQA_OK);
        assert_int_equal(isa, GQA_ISA_AUTO);
    }
}

/* Tests skip what a forced kernel set does not serve, so that this list is what they skip. */
static void test_what_kernel_sets_serve(void **state)
{
    static const struct {
        gqa_isa isa;
        bool f32, bf16;
    } sets[] = {{GQA_ISA_SCALAR, true, true},
                {GQA_ISA_AVX2, true, false},
                {GQA_ISA_AVX512, true, true},
                {GQA_ISA_AMX, false, true},
                {GQA_ISA_NEON, true, false}};

    (void)state;
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (!available(sets[i].isa)) {
            printf("skipped: %s\n", gqa__isa_name(sets[i].isa));
            continue;
        }
        assert_int_equal(forced(sets[i].isa, GQA_NUMERICS_F32) != NULL, sets[i].f32);
        assert_int_equal(forced(sets[i].isa, GQA_NUMERICS_BF16) != NULL, sets[i].bf16);
    }
}

static void test_unavailable_is_refused(void **state)
{
    (void)state;
    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        for (int n = GQA_NUMERICS_F32; n <= GQA_NUMERICS_BF16; n++) {
            const struct gqa__kernels *kernels = gqa__scalar_baseline(GQA_NUMERICS_F32);
            gqa_error err = {GQA_OK, NULL, ""};
            const gqa_status status =
                gqa__select(&kernels, (gqa_isa)isa, GQA_ISA_AUTO, (gqa_numerics)n, &err);
            if (status == GQA_OK) {
                assert_true(available((gqa_isa)isa));
                continue;
            }
            assert_int_equal(status, GQA_ERR_UNSUPPORTED);
            assert_null(kernels);
            assert_int_equal(err.status, GQA_ERR_UNSUPPORTED);
            assert_string_equal(err.field, "config.isa");
            assert_non_null(strstr(err.message, gqa__isa_name((gqa_isa)isa)));
            assert_non_null(strstr(err.message, ": ")); /* and why */
            printf("refused: %s\n", err.message);
        }
    }
}

static void test_bad_environment(void **state)
{
    static const char *const bad[] = {
        "sve",         "AVX2",    "scalar ", "0",
        "auto,scalar", "unknown", "avx51",   "a name longer than the forty letters shown"};
    gqa_error err = {GQA_OK, NULL, ""};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gqa_isa isa = GQA_ISA_AVX2;
        err.field = NULL;
        assert_int_equal(from_environment(bad[i], &isa, &err), GQA_ERR_ARG);
        assert_int_equal(isa, GQA_ISA_AVX2);
        assert_string_equal(err.field, "GQA_ISA");
        assert_non_null(strstr(err.message, "is no kernel set"));
        assert_non_null(strstr(err.message, "or neon"));
    }
    assert_int_equal(from_environment("scalar", NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "isa");
}

static void test_bad_isa(void **state)
{
    (void)state;
    for (int isa = -2; isa < 100; isa += 7) {
        const struct gqa__kernels *kernels = NULL;
        gqa_error err = {GQA_OK, NULL, ""};
        if (isa >= GQA_ISA_AUTO && isa <= GQA_ISA_NEON) {
            continue;
        }
        assert_int_equal(gqa__select(&kernels, (gqa_isa)isa, GQA_ISA_AUTO, GQA_NUMERICS_F32, &err),
                         GQA_ERR_ARG);
        assert_string_equal(err.field, "config.isa");
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(gqa__isa_name(GQA_ISA_AUTO), "auto");
    assert_string_equal(gqa__isa_name(GQA_ISA_SCALAR), "scalar");
    assert_string_equal(gqa__isa_name(GQA_ISA_AVX2), "avx2");
    assert_string_equal(gqa__isa_name(GQA_ISA_AVX512), "avx512");
    assert_string_equal(gqa__isa_name(GQA_ISA_AMX), "amx");
    assert_string_equal(gqa__isa_name(GQA_ISA_NEON), "neon");
    assert_string_equal(gqa__isa_name((gqa_isa)77), "unknown");
}

/* What is detected follows from what it needs. */
static void test_cpu(void **state)
{
    struct gqa__cpu cpu;

    (void)state;
    gqa__cpu_detect(&cpu);
    printf("avx2_fma %d avx512 %d avx512_bf16 %d amx_bf16 %d\n", cpu.avx2_fma, cpu.avx512,
           cpu.avx512_bf16, cpu.amx_bf16);
    assert_true(!cpu.avx512 || cpu.avx2_fma);
    assert_true(!cpu.avx512_bf16 || cpu.avx512);
#if defined(__GNUC__) && defined(__x86_64__)
    assert_int_equal(cpu.avx2_fma, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    assert_int_equal(cpu.avx512,
                     __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
#endif
}

/* Every kernel set gets kernels for integers, whose lanes divide its own; amx the tiles. */
static void integer_kernels_for_each_set(void **state)
{
    (void)state;
    for (int isa = GQA_ISA_SCALAR; isa <= (int)GQA_ISA_NEON; isa++) {
        for (int numerics = 0; numerics < 2; numerics++) {
            const struct gqa__kernels *kernels = NULL;
            if (gqa__select(&kernels, (gqa_isa)isa, GQA_ISA_AUTO,
                            numerics == 0 ? GQA_NUMERICS_F32 : GQA_NUMERICS_BF16, NULL) != GQA_OK) {
                continue;
            }
            const struct gqa__integer_kernels *integer = gqa__select_integer(kernels);
            assert_non_null(integer);
            assert_int_equal(kernels->lanes % integer->lanes, 0);
            assert_int_equal(integer == gqa__amx_integer(), isa == (int)GQA_ISA_AMX);
        }
    }
}

/* Kernels for integers by VNNI are there where the compiler can build them. */
static void vnni_is_what_the_compiler_can(void **state)
{
    (void)state;
    assert_int_equal(gqa__vnni_integer() != NULL, GQA_COMPILER_VNNI);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar_is_everywhere),
        cmocka_unit_test(test_built_is_what_the_compiler_can),
        cmocka_unit_test(test_not_built_is_said),
        cmocka_unit_test(test_scalar_by_cpu),
        cmocka_unit_test(test_auto_is_the_best),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_create_within_limit),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_what_kernel_sets_serve),
        cmocka_unit_test(test_unavailable_is_refused),
        cmocka_unit_test(test_bad_environment),
        cmocka_unit_test(test_bad_isa),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(integer_kernels_for_each_set),
        cmocka_unit_test(vnni_is_what_the_compiler_can),
    };
    return RUN_TESTS(argc, argv, tests);
}
