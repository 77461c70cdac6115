/* SPDX-License-Identifier: Apache-2.0 */
/* test_info.c - build information, isa names, and structs of other sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gqa/gqa.h"
#include "kernel/choice/cpu.h"
#include "linear/linear.h"
#include "support/forced_isa.h"
#include "support/program.h"

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
    assert_true((info.kernels_built & 1u << GQA_ISA_SCALAR) != 0);
    assert_true((info.kernels_available & 1u << GQA_ISA_SCALAR) != 0);
    assert_int_equal(info.kernels_available & ~info.kernels_built, 0);
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

/* What a host's log received. */
struct heard {
    int lines;
    gqa_log_level level; /* of the last one */
    char last[200];
};

static void hear(void *user, gqa_log_level level, const char *line)
{
    struct heard *heard = user;
    heard->lines++;
    heard->level = level;
    strncpy(heard->last, line, sizeof heard->last - 1);
}

/* Debian 12's OpenBLAS takes Xeons that it does not know for a Prescott. */
static void poor_core_is_reported(void **state)
{
    struct gqa__cpu cpu;
    gqa_build_info info;
    struct heard heard = {0, GQA_LOG_DEBUG, ""};
    gqa_runtime runtime;
    (void)state;
    gqa__cpu_detect(&cpu);
    gqa_build_info_get(&info);
    assert_int_equal(gqa__blas_poor("Prescott"), cpu.avx2_fma);
    assert_int_equal(gqa__blas_poor("nehalem"), cpu.avx2_fma);
    assert_false(gqa__blas_poor("Haswell"));
    assert_false(gqa__blas_poor("SkylakeX"));
    assert_false(gqa__blas_poor("Zen"));
    assert_false(gqa__blas_poor(""));
    assert_int_equal(info.blas_poor, gqa__blas_poor(info.blas_core));

    gqa_runtime_init(&runtime);
    gqa__blas_warn(&runtime, "Prescott"); /* no log: silent */
    runtime.user = &heard;
    runtime.log = hear;
    gqa__blas_warn(&runtime, "Haswell");
    assert_int_equal(heard.lines, 0);
    gqa__blas_warn(&runtime, "Prescott");
    assert_int_equal(heard.lines, cpu.avx2_fma);
    assert_int_equal(heard.level, cpu.avx2_fma ? GQA_LOG_WARNING : GQA_LOG_DEBUG);
    assert_true(!cpu.avx2_fma || strstr(heard.last, "\"Prescott\"") != NULL);
}

/* gqa_create says so once, and only where the core matters. */
static void create_logs_a_poor_core(void **state)
{
    static const float w[8 * 8 * 4];
    const gqa_backend backends[] = {GQA_BACKEND_CPU, GQA_BACKEND_REFERENCE};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct heard heard = {0, GQA_LOG_DEBUG, ""};
        gqa_runtime runtime;
        gqa_config config;
        gqa_weights weights;
        gqa_layer *layer;
        gqa_runtime_init(&runtime);
        runtime.user = &heard;
        runtime.log = hear;
        gqa_config_init(&config);
        config.backend = backends[i];
        config.hidden_size = 8;
        config.num_attention_heads = 1;
        config.num_key_value_heads = 1;
        config.qkv_layout = GQA_QKV_FUSED;
        gqa_weights_init(&weights);
        weights.wqkv = gqa_tensor_2d(w, GQA_F32, 24, 8);
        weights.wo = gqa_tensor_2d(w, GQA_F32, 8, 8);
        skip_refused(&config);
        assert_int_equal(gqa_create(&layer, &config, &weights, &runtime, NULL), GQA_OK);
        assert_int_equal(heard.lines, i == 1 && gqa__blas_poor(gqa__blas_core()));
        gqa_destroy(&layer);
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
    assert_string_equal(gqa_isa_name(GQA_ISA_NEON), "neon");
    assert_string_equal(gqa_isa_name((gqa_isa)(GQA_ISA_NEON + 1)), "unknown");
    assert_string_equal(gqa_isa_name((gqa_isa)-1), "unknown");
}

static void isa_available(void **state)
{
    gqa_build_info info;
    (void)state;
    gqa_build_info_get(&info);
    assert_int_equal(gqa_isa_available(GQA_ISA_AUTO), 1);
    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        int bit = (info.kernels_available >> isa & 1u) != 0;
        assert_int_equal(gqa_isa_available((gqa_isa)isa), bit);
    }
    assert_int_equal(gqa_isa_available((gqa_isa)(GQA_ISA_NEON + 1)), 0);
    assert_int_equal(gqa_isa_available((gqa_isa)-1), 0);
}

/* Is the word one of the flags that Linux lists? True where there is no such list. */
static bool linux_lists(const char *flag)
{
    static char line[16384];
    char word[32];
    bool listed = true;
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(word, sizeof word, " %s ", flag);
    while (file != NULL && fgets(line, sizeof line - 1, file) != NULL) {
        if (strncmp(line, "flags", 5) == 0) {
            strcpy(line + strcspn(line, "\n"), " ");
            listed = strstr(line, word) != NULL;
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return listed;
}

/* Every bit means what the compiler's own detection and Linux say. (A tool that runs the program
 * may hide instructions that Linux lists, so that Linux is asked in one direction only.) */
static void cpu_features(void **state)
{
    static const struct {
        gqa_cpu_feature bit;
        const char *flag[4];
    } lists[] = {{GQA_CPU_AVX2, {"avx2", "fma", "f16c", "avx2"}},
                 {GQA_CPU_AVX512, {"avx512f", "avx512bw", "avx512dq", "avx512vl"}},
                 {GQA_CPU_AVX512_BF16, {"avx512_bf16", "avx512f", "avx512f", "avx512f"}},
#ifndef GQA_EMULATE_AMX
                 {GQA_CPU_AMX_BF16, {"amx_tile", "amx_bf16", "amx_tile", "amx_bf16"}}
#endif
    };
    const uint32_t has = gqa_cpu_features();
    (void)state;
    assert_int_equal(has, gqa_cpu_features());
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (int f = 0; f < 4 && (has & (uint32_t)lists[i].bit) != 0; f++) {
            assert_true(linux_lists(lists[i].flag[f]));
        }
    }
#if defined(__x86_64__)
    assert_int_equal((has & GQA_CPU_AVX2) != 0,
                     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    assert_int_equal((has & GQA_CPU_AVX512) != 0,
                     __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
    assert_int_equal((has & GQA_CPU_AVX512_BF16) != 0,
                     (has & GQA_CPU_AVX512) != 0 && __builtin_cpu_supports("avx512bf16"));
    assert_int_equal(has & GQA_CPU_NEON, 0);
#elif defined(__aarch64__)
    assert_int_equal(has, GQA_CPU_NEON);
#else
    assert_int_equal(has, 0);
#endif
}

/* A kernel set is available where it is built and the CPU has what it is written for. AMX may be
 * refused by the operating system on top. */
static void cpu_features_admit_kernel_sets(void **state)
{
    static const struct {
        gqa_isa isa;
        uint32_t needs;
    } sets[] = {{GQA_ISA_SCALAR, 0},
                {GQA_ISA_AVX2, GQA_CPU_AVX2},
                {GQA_ISA_AVX512, GQA_CPU_AVX512},
                {GQA_ISA_AMX, GQA_CPU_AMX_BF16 | GQA_CPU_AVX512_BF16},
                {GQA_ISA_NEON, GQA_CPU_NEON}};
    const uint32_t has = gqa_cpu_features();
    gqa_build_info info;
    (void)state;
    gqa_build_info_get(&info);
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        const bool built = (info.kernels_built >> sets[i].isa & 1u) != 0;
        const bool runs = built && (has & sets[i].needs) == sets[i].needs;
        const bool available = (info.kernels_available >> sets[i].isa & 1u) != 0;
        assert_true(available == runs || (sets[i].isa == GQA_ISA_AMX && !available));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_the_headers),
        cmocka_unit_test(build_info_is_filled),
        cmocka_unit_test(poor_core_is_reported),
        cmocka_unit_test(create_logs_a_poor_core),
        cmocka_unit_test(any_struct_size),
        cmocka_unit_test(isa_names),
        cmocka_unit_test(isa_available),
        cmocka_unit_test(cpu_features),
        cmocka_unit_test(cpu_features_admit_kernel_sets),
    };
    return RUN_TESTS(argc, argv, tests);
}
