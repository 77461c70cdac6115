/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron.c - every profile of Neuron against vectors of an independent emulation
 * (tests/golden_neuron): accumulation exact bit by bit, every stored tile state included, and
 * float32 within the bounds that the files prove; and maps of integers. */
#ifndef GQA_TOOL_PATH
#include <stdio.h>

int main(void)
{
    puts("skipped: the command gqa is not built");
    return 0;
}
#else
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"
#include "tool/neuron_judge.h"
#include "tool/neuron_maps.h"

struct setting {
    const char *name;
    gqa_neuron_accumulation accumulation;
    char title[96];
};

static void print_check(const struct tool_neuron_check *check)
{
    printf("  %-14s %8lld elements, %lld differ, %lld outside, error %g, %g of the bound%s\n",
           check->name, (long long)check->count, (long long)check->differing,
           (long long)check->outside, check->error, check->share,
           check->told ? "" : ", not told as the file has it");
}

static void test_case(void **argument)
{
    const struct setting *const setting = *argument;
    struct tool_fault fault = {.text = ""};
    struct tool_neuron_case c;
    struct tool_neuron_record record;
    struct tool_neuron_report report;
    struct tool_file file;
    gqa_neuron_output output;
    char path[512];

    snprintf(path, sizeof path, "%s/tests/golden_neuron/%s.safetensors", GQA_SOURCE_DIR,
             setting->name);
    if (!tool_file_open(&file, path, &fault) || !tool_neuron_load(&c, &file, &fault) ||
        !tool_neuron_record_open(&record, &c, &fault) ||
        (c.maps != TOOL_MAPS_NONE
             ? !tool_neuron_maps_run(&record, &fault)
             : !tool_neuron_record_run(&record, setting->accumulation, &output, &fault))) {
        fail_msg("%s", fault.text);
    }
    tool_neuron_judge(&record, setting->accumulation, &report);
    for (int i = 0; i < report.n; i++) {
        if (!report.check[i].pass) {
            print_check(&report.check[i]);
        }
    }
    assert_true(report.pass);
    tool_neuron_record_close(&record);
    tool_file_close(&file);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {
        "n01_flash_causal_512",
        "n02_flash_window128_512",
        "n03_flash_window200_2048",
        "n04_flash_wcte_512",
        "n05_flash_window1_f32_gqa",
        "n06_cte_causal_sinks_tail",
        "n07_cte_window100_sinks",
        "n08_cte_window200",
        "n09_cte_prefix",
        "n10_cte_cp_window_sinks",
        "n11_cte_cp_strided_sinks",
        "n12_cte_sections_sinks",
        "n13_cte_packed",
        "n14_native_window_sinks",
        "n15_native_masked_rows",
        "n16_native_masked_rows_sinks",
        "n17_native_d128",
        "n18_tkg_ragged_sinks",
        "n19_tkg_spec_tree",
        "n20_flash_decoding_4",
        "n21_paged_mixed",
        "n22_maps_strategy",
        "n23_maps_heads",
        "n24_maps_caches",
        "n25_maps_schedule",
    };
    static struct setting settings[100];
    static struct CMUnitTest tests[100];
    size_t n = 0;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (int f32 = 0; f32 < (strstr(names[i], "maps") == NULL ? 2 : 1); f32++) {
            struct setting *const setting = &settings[n];
            setting->name = names[i];
            setting->accumulation = (gqa_neuron_accumulation)f32;
            snprintf(setting->title, sizeof setting->title, "%s, %s", names[i],
                     f32 ? "float32" : "exact");
            tests[n++] = (struct CMUnitTest){setting->title, test_case, NULL, NULL, setting};
        }
    }
    return run_test_program(argc, argv, tests, n, NULL, NULL);
}
#endif
