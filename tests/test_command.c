/* SPDX-License-Identifier: Apache-2.0 */
/* test_command.c - the command gqa: wrong usage, GQA_ISA, and what gqa time prints. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/command.h"
#include "support/forced_isa.h"
#include "support/program.h"

#define ATTN "s17_fully_masked_rows_sinks.safetensors"

/* Wrong usage is exit status 2 and a message on stderr. */
static void test_usage(void **argument)
{
    static const struct {
        const char *words, *message;
    } usages[] = {
        {"", "usage:"},
        {"walk", "unknown command walk"},
        {"run", "run needs a file"},
        {"run missing.safetensors", "No such file"},
        {"run .", "not a regular file"},
        {"run x --backend gpu", "--backend is gpu"},
        {"run x --numerics f16", "--numerics is f16"},
        {"run x --isa sse", "--isa is sse"},
        {"run x --threads 0", "--threads is 0"},
        {"run x --threads=1025", "--threads is 1025"},
        {"run x --feed some", "--feed is some"},
        {"run x --feed", "--feed needs a value"},
        {"run x y --out z", "--out takes the values of one file, not of 2"},
        {"run x --fast", "run does not take --fast"},
        {"run x --isa=", "--isa is ;"},
        {"run x --max-isa sse", "--max-isa is sse"},
        {"time --max-isa", "--max-isa needs a value"},
        {"time --isa avx2 --max-isa scalar", "config.isa is 2, a kernel set above it"},
        {"info --fast", "info does not take --fast"},
        {"run x --backend neuron --cp-degree 0", "--cp-degree is 0; it must be 1 to 4096"},
        {"run x --backend neuron --kv-ranks", "--kv-ranks needs a value"},
        {"run x --cp-strided", "are of --backend neuron"},
        {"run x --table", "are of --backend neuron"},
        {"time --backend neuron --profile fast", "--profile is fast"},
        {"time --kv-ranks 2", "are of --backend neuron"},
        {"time --tokens 0", "--tokens is 0"},
        {"time --tokens 10 --feed 4,5", "call sizes that add up to 10"},
    };

    (void)argument;
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++) {
        char text[1024];
        int status;

        if (strncmp(usages[i].words, "time", 4) == 0 && forced_isa_refuses(GQA_NUMERICS_F32)) {
            continue; /* the layer is refused first */
        }
        status = run_command(GQA_TOOL_PATH, usages[i].words, "2>&1 >/dev/null", text, sizeof text);

        if (status != 2 || strstr(text, usages[i].message) == NULL) {
            fail_msg("gqa %s: exit status %d, \"%s\"; expected 2, \"%s\"", usages[i].words, status,
                     text, usages[i].message);
        }
    }
}

/* gqa time prints what the library counted: 3 tokens of 8 heads are one tile per KV head, and each
 * of the 8 reads 3 keys of 64 + 64 f32. */
static void test_time_prints_work(void **argument)
{
    char text[2048];

    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_F32);
    assert_int_equal(run_command(GQA_TOOL_PATH, "time --tokens 3", "2>&1", text, sizeof text), 0);
    if (strstr(text, "tiles of 128 rows: 8 computed, 8 of them masked, 0 skipped") == NULL ||
        strstr(text, "K and V read: 0.012 MB; multiply-adds: 0.080 G projections, "
                     "0.000 G attention") == NULL) {
        fail_msg("%s", text);
    }
}

/* GQA_ISA chooses the kernel set of run and time, unless --isa does; a name that is none is said.
 */
static void test_environment(void **argument)
{
    static const struct {
        const char *isa, *words;
        int status;
        const char *says;
    } cases[] = {{"sse9", "time --tokens 3", 2, "GQA_ISA: \"sse9\" is no kernel set"},
                 {"sse9", "run '" GQA_GOLDEN_DIR "/" ATTN "'", 2, "GQA_ISA: \"sse9\" is no kernel"},
                 {"scalar", "time --tokens 3", 0, "cpu scalar, 1 thread"},
                 {"scalar", "run --json '" GQA_GOLDEN_DIR "/" ATTN "'", 0, "\"isa\": \"scalar\""},
                 {"sse9", "time --tokens 3 --isa scalar", 0, "cpu scalar, 1 thread"},
                 {"sse9", "run --isa scalar '" GQA_GOLDEN_DIR "/" ATTN "'", 0, "cpu scalar/f32"},
                 {"sse9", "time --tokens 3 --isa auto", 0, "3 tokens"},
                 {"sse9", "info", 0, "kernel sets  scalar"}};
    const char *const before = getenv("GQA_ISA");
    char kept[64];

    (void)argument;
    snprintf(kept, sizeof kept, "%s", before != NULL ? before : "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static char text[32768];
        int status;

        assert_int_equal(setenv("GQA_ISA", cases[i].isa, 1), 0);
        status = run_command(GQA_TOOL_PATH, cases[i].words, "2>&1", text, sizeof text);
        if (status != cases[i].status || strstr(text, cases[i].says) == NULL) {
            fail_msg("GQA_ISA=%s gqa %s: exit status %d, \"%s\"; expected %d, \"%s\"", cases[i].isa,
                     cases[i].words, status, text, cases[i].status, cases[i].says);
        }
    }
    assert_int_equal(setenv("GQA_ISA", kept, 1), 0);
}

/* Options of backend neuron reach the layer: each is seen in what a case says. */
static void test_neuron_options(void **argument)
{
    static const struct {
        const char *options, *says;
        int status; /* 2: the config contradicts itself */
    } cases[] = {
        {"", "| s12_mqa_rope | 1 | native_prefill | NONE |", 0},
        {"--profile cte --cp-degree 3", "| s12_mqa_rope | 1 | cte | NONE |", 0},
        {"--profile cte --cp-degree 4", "config.neuron_cp_degree: is 4; it must divide the 21", 0},
        {"--cp-degree 3 --cp-strided", "config.neuron_cp_strided: is 1; the strided kernel", 0},
        {"--profile flash_decoding --kv-ranks 3", "| s12_mqa_rope | 1 | flash_decoding | NONE |",
         0},
        {"--profile cte --kv-ranks 3", "config.neuron_kv_ranks: is 3", 2},
        {"--profile paged_schedule", "| s12_mqa_rope | 1 | paged_schedule | NONE |", 0},
        {"--profile paged_schedule --release 2.29", "call.release: is 2.29", 0},
        {"--profile paged_schedule --lift-limits", "| s12_mqa_rope | 1 | paged_schedule | NONE |",
         0},
    };

    (void)argument;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static char text[8192];
        char words[512];
        int status;

        snprintf(words, sizeof words,
                 "run '%s/s12_mqa_rope.safetensors' --backend neuron %s --table", GQA_GOLDEN_DIR,
                 cases[i].options);
        status = run_command(GQA_TOOL_PATH, words, "2>&1", text, sizeof text);
        if (status != cases[i].status || strstr(text, cases[i].says) == NULL) {
            fail_msg("%s: \"%s\"; expected \"%s\"", cases[i].options, text, cases[i].says);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_time_prints_work),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_neuron_options),
    };
    return RUN_TESTS(argc, argv, tests);
}
