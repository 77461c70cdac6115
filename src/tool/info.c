/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - gqa info: version, CPU, kernel sets, BLAS. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/cpu.h"

static const char poor_blas[] =
    "OpenBLAS runs kernels that do not use this CPU's vector units: backend reference will be "
    "slow. "
    "The environment variable OPENBLAS_CORETYPE (for example SkylakeX or Haswell), set before the "
    "program starts, chooses others.";

static void print_text(const gqa_build_info *info, const struct tool_cpu *cpu)
{
    printf("libgqa       %u.%u.%u, API %u, %s\n", info->version >> 16 & 255,
           info->version >> 8 & 255, info->version & 255, gqa_api_version(), info->compiler);
    printf("cpu          %s\n", cpu->name);
    printf("features    ");
    for (int i = 0; i < cpu->features; i++) {
        printf(" %s", cpu->feature[i]);
    }
    printf("%s\n", cpu->features == 0 ? " none that matter here" : "");
    printf("kernel sets ");
    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        if (info->kernels_built >> isa & 1) {
            printf(" %s%s", gqa_isa_name((gqa_isa)isa),
                   info->kernels_available >> isa & 1 ? "" : " (built, but not for this machine)");
        }
    }
    printf("\nneuron      ");
    for (int i = GQA_NEURON_FLASH_FWD; i <= GQA_NEURON_PAGED_SCHEDULE; i++) {
        printf(" %s", gqa_neuron_profile_name((gqa_neuron_profile)i));
    }
    printf("\nfold block   %d keys\n", info->fold_block);
    printf("blas         %s\n", info->blas);
    if (info->blas_core[0] != '\0') {
        printf("blas core    %s\n", info->blas_core);
    }
    if (info->blas_poor) {
        printf("warning: %s\n", poor_blas);
    }
}

static json_t *isa_names(uint32_t isas)
{
    json_t *names = json_array();

    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        if (isas >> isa & 1) {
            json_array_append_new(names, json_string(gqa_isa_name((gqa_isa)isa)));
        }
    }
    return names;
}

static int print_json(const gqa_build_info *info, const struct tool_cpu *cpu)
{
    json_t *features = json_array();
    json_t *object;
    char version[16], *text;

    for (int i = 0; i < cpu->features; i++) {
        json_array_append_new(features, json_string(cpu->feature[i]));
    }
    snprintf(version, sizeof version, "%u.%u.%u", info->version >> 16 & 255,
             info->version >> 8 & 255, info->version & 255);
    object =
        json_pack("{s:s, s:i, s:s, s:s, s:o, s:o, s:o, s:i, s:s, s:s, s:b, s:s}", "version",
                  version, "api_version", (int)gqa_api_version(), "compiler", info->compiler, "cpu",
                  cpu->name, "features", features, "kernels_built", isa_names(info->kernels_built),
                  "kernels_available", isa_names(info->kernels_available), "fold_block",
                  info->fold_block, "blas", info->blas, "blas_core", info->blas_core, "blas_poor",
                  info->blas_poor, "warning", info->blas_poor ? poor_blas : "");
    text = json_dumps(object, JSON_INDENT(2));
    json_decref(object);
    if (text == NULL) {
        fprintf(stderr, "gqa: no memory for the report\n");
        return TOOL_BAD;
    }
    puts(text);
    free(text);
    return TOOL_PASS;
}

int tool_command_info(struct tool_words *words)
{
    struct tool_fault fault = {.text = ""};
    struct tool_cpu cpu;
    gqa_build_info info;
    bool json = false;

    while (words->at < words->n) {
        if (tool_flag(words, "--json")) {
            json = true;
        } else {
            tool_fault_set(&fault, NULL, "info does not take %.40s", words->word[words->at]);
            return tool_bad_usage(&fault, "info");
        }
    }
    tool_cpu_read(&cpu);
    gqa_build_info_get(&info);
    if (json) {
        return print_json(&info, &cpu);
    }
    print_text(&info, &cpu);
    return TOOL_PASS;
}
