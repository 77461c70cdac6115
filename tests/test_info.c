/* test_info.c - build information, isa names, and structs of other sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gqa/gqa.h"
#include "kernel/cpu.h"

static void version_is_the_headers(void **state)
{
    (void)state;
    assert_int_equal(gqa_version(), GQA_VERSION);
    assert_int_equal(GQA_VERSION >> 16, GQA_VERSION_MAJOR);
}

static void build_info_is_filled(void **state)
{
    gqa_build_info info;
    (void)state;
    gqa_build_info_get(&info);
    assert_int_equal(info.struct_size, sizeof info);
    assert_int_equal(info.version, GQA_VERSION);
    assert_int_equal(info.fold_block, gqa_fold_block());
    assert_true((info.rows_built & 1u << GQA_ISA_SCALAR) != 0);
    assert_true((info.rows_available & 1u << GQA_ISA_SCALAR) != 0);
    assert_int_equal(info.rows_available & ~info.rows_built, 0);
    assert_non_null(info.compiler);
    assert_non_null(info.blas);
    assert_non_null(info.blas_core);
    print_message("compiled by %s; blas %s, core '%s', poor %d\n", info.compiler, info.blas,
                  info.blas_core, info.blas_poor);
#ifdef GQA_WITH_OPENBLAS
    assert_non_null(strstr(info.blas, "OpenBLAS"));
    assert_true(info.blas_core[0] != '\0');
#else
    assert_string_equal(info.blas, "none");
    assert_string_equal(info.blas_core, "");
    assert_int_equal(info.blas_poor, 0);
#endif
}

/* Debian 12's OpenBLAS takes Xeons that it does not know for a Prescott. */
static void poor_core_is_reported(void **state)
{
    struct gqa__cpu cpu;
    gqa_build_info info;
    (void)state;
    gqa__cpu_detect(&cpu);
    gqa_build_info_get(&info);
    if (strcmp(info.blas_core, "Prescott") == 0 || strcmp(info.blas_core, "Nehalem") == 0 ||
        strcmp(info.blas_core, "Core2") == 0) {
        assert_int_equal(info.blas_poor, cpu.avx2_fma ? 1 : 0);
    }
    if (strcmp(info.blas_core, "Haswell") == 0 || strcmp(info.blas_core, "SkylakeX") == 0 ||
        strcmp(info.blas_core, "Zen") == 0) {
        assert_int_equal(info.blas_poor, 0);
    }
}

/* Callers of every size: nothing is written beyond it, everything before it as in the full one. */
static void any_struct_size(void **state)
{
    gqa_build_info full;
    (void)state;
    gqa_build_info_get(&full);
    for (size_t size = sizeof(uint32_t); size <= sizeof full + 24; size += 4) {
        union {
            gqa_build_info info;
            unsigned char bytes[sizeof(gqa_build_info) + 32];
        } own;
        size_t known = size < sizeof full ? size : sizeof full;
        memset(&own, 0xa5, sizeof own);
        gqa_build_info_sized(&own.info, size);
        assert_int_equal(own.info.struct_size, size);
        assert_memory_equal(own.bytes + 4, (const unsigned char *)&full + 4, known - 4);
        for (size_t i = known; i < size; i++) {
            assert_int_equal(own.bytes[i], 0);
        }
        for (size_t i = size; i < sizeof own; i++) {
            assert_int_equal(own.bytes[i], 0xa5);
        }
    }
}

static void isa_names(void **state)
{
    (void)state;
    assert_string_equal(gqa_isa_name(GQA_ISA_AUTO), "auto");
    assert_string_equal(gqa_isa_name(GQA_ISA_SCALAR), "scalar");
    assert_string_equal(gqa_isa_name(GQA_ISA_AVX2), "avx2");
    assert_string_equal(gqa_isa_name(GQA_ISA_AVX512), "avx512");
    assert_string_equal(gqa_isa_name(GQA_ISA_AMX), "amx");
    assert_string_equal(gqa_isa_name((gqa_isa)(GQA_ISA_AMX + 1)), "unknown");
    assert_string_equal(gqa_isa_name((gqa_isa)-1), "unknown");
}

static void isa_available(void **state)
{
    gqa_build_info info;
    (void)state;
    gqa_build_info_get(&info);
    assert_int_equal(gqa_isa_available(GQA_ISA_AUTO), 1);
    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_AMX; isa++) {
        int bit = (info.rows_available >> isa & 1u) != 0;
        assert_int_equal(gqa_isa_available((gqa_isa)isa), bit);
    }
    assert_int_equal(gqa_isa_available((gqa_isa)(GQA_ISA_AMX + 1)), 0);
    assert_int_equal(gqa_isa_available((gqa_isa)-1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_the_headers),
        cmocka_unit_test(build_info_is_filled),
        cmocka_unit_test(poor_core_is_reported),
        cmocka_unit_test(any_struct_size),
        cmocka_unit_test(isa_names),
        cmocka_unit_test(isa_available),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
