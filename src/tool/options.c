/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h. */
#include "tool/options.h"

#include <string.h>

#include "tool/meta.h"

bool tool_flag(struct tool_words *words, const char *name)
{
    if (strcmp(words->word[words->at], name) != 0) {
        return false;
    }
    words->at++;
    return true;
}

bool tool_option(struct tool_words *words, const char *name, const char **value,
                 struct tool_fault *fault)
{
    const char *word = words->word[words->at];
    size_t length = strlen(name);

    *value = NULL;
    if (strncmp(word, name, length) != 0 || (word[length] != '\0' && word[length] != '=')) {
        return false;
    }
    words->at++;
    if (word[length] == '=') {
        *value = word + length + 1;
    } else if (words->at < words->n) {
        *value = words->word[words->at++];
    } else {
        tool_fault_set(fault, NULL, "%s needs a value", name);
    }
    return true;
}

bool tool_parse_backend(const char *text, gqa_backend *out, struct tool_fault *fault)
{
    if (strcmp(text, "cpu") == 0) {
        *out = GQA_BACKEND_CPU;
    } else if (strcmp(text, "reference") == 0) {
        *out = GQA_BACKEND_REFERENCE;
    } else if (strcmp(text, "neuron") == 0) {
        *out = GQA_BACKEND_NEURON;
    } else {
        return tool_fault_set(fault, NULL,
                              "--backend is %.40s; it must be cpu, reference or neuron", text);
    }
    return true;
}

void tool_parse_profile(const char *text, gqa_neuron_profile *out, struct tool_fault *fault)
{
    for (int i = GQA_NEURON_FLASH_FWD; i <= GQA_NEURON_PAGED_SCHEDULE; i++) {
        if (strcmp(text, gqa_neuron_profile_name((gqa_neuron_profile)i)) == 0) {
            *out = (gqa_neuron_profile)i;
            return;
        }
    }
    tool_fault_set(fault, NULL,
                   "--profile is %.40s; it must be flash_fwd, cte, native_prefill, native_prefix, "
                   "native_tkg, flash_decoding or paged_schedule",
                   text);
}

void tool_parse_release(const char *text, gqa_neuron_release *out, struct tool_fault *fault)
{
    if (strcmp(text, "2.26") == 0) {
        *out = GQA_NEURON_2_26;
    } else if (strcmp(text, "2.27") == 0) {
        *out = GQA_NEURON_2_27;
    } else if (strcmp(text, "2.29") == 0) {
        *out = GQA_NEURON_2_29;
    } else {
        tool_fault_set(fault, NULL, "--release is %.40s; it must be 2.26, 2.27 or 2.29", text);
    }
}

static void parse_ranks(const char *name, const char *text, int32_t *out, struct tool_fault *fault)
{
    if (text != NULL) {
        (void)tool_parse_count(name, text, 1, GQA_NEURON_RANKS_MAX, out, fault);
    }
}

bool tool_neuron_option(struct tool_words *words, struct tool_neuron_options *options,
                        struct tool_fault *fault)
{
    const char *value;

    if (tool_option(words, "--profile", &value, fault)) {
        if (value != NULL) {
            tool_parse_profile(value, &options->profile, fault);
        }
    } else if (tool_option(words, "--release", &value, fault)) {
        if (value != NULL) {
            tool_parse_release(value, &options->release, fault);
        }
    } else if (tool_option(words, "--cp-degree", &value, fault)) {
        parse_ranks("--cp-degree", value, &options->cp_degree, fault);
    } else if (tool_option(words, "--kv-ranks", &value, fault)) {
        parse_ranks("--kv-ranks", value, &options->kv_ranks, fault);
    } else if (tool_flag(words, "--cp-strided")) {
        options->cp_strided = true;
    } else if (tool_flag(words, "--lift-limits")) {
        options->lift_limits = true;
    } else {
        return false;
    }
    options->given = true;
    return true;
}

void tool_neuron_apply(const struct tool_neuron_options *options, gqa_config *config)
{
    config->neuron_profile = options->profile;
    config->neuron_release = options->release;
    config->neuron_lift_limits = options->lift_limits;
    config->neuron_cp_degree = options->cp_degree;
    config->neuron_cp_strided = options->cp_strided;
    config->neuron_kv_ranks = options->kv_ranks;
}

bool tool_parse_numerics(const char *text, gqa_numerics *out, struct tool_fault *fault)
{
    if (strcmp(text, "f32") == 0) {
        *out = GQA_NUMERICS_F32;
    } else if (strcmp(text, "bf16") == 0) {
        *out = GQA_NUMERICS_BF16;
    } else {
        return tool_fault_set(fault, NULL, "--numerics is %.40s; it must be f32 or bf16", text);
    }
    return true;
}

bool tool_parse_weights(const char *text, gqa_weight_storage *out, struct tool_fault *fault)
{
    if (strcmp(text, "native") == 0) {
        *out = GQA_WEIGHT_STORAGE_NATIVE;
    } else if (strcmp(text, "int8") == 0) {
        *out = GQA_WEIGHT_STORAGE_INT8;
    } else {
        return tool_fault_set(fault, NULL, "--weights is %.40s; it must be native or int8", text);
    }
    return true;
}

bool tool_parse_isa(const char *name, const char *text, gqa_isa *out, struct tool_fault *fault)
{
    for (int i = GQA_ISA_AUTO; i <= GQA_ISA_NEON; i++) {
        if (strcmp(text, gqa_isa_name((gqa_isa)i)) == 0) {
            *out = (gqa_isa)i;
            return true;
        }
    }
    return tool_fault_set(
        fault, NULL, "%s is %.40s; it must be auto, scalar, avx2, avx512, amx or neon", name, text);
}

bool tool_environment_isa(gqa_isa *out, struct tool_fault *fault)
{
    gqa_error err;

    return gqa_isa_from_environment(out, &err) == GQA_OK ||
           tool_fault_set(fault, NULL, "%s", err.message);
}

bool tool_parse_count(const char *name, const char *text, int32_t low, int32_t high, int32_t *out,
                      struct tool_fault *fault)
{
    if (!tool_parse_int(text, out) || *out < low || *out > high) {
        return tool_fault_set(fault, NULL, "%s is %.40s; it must be %d to %d", name, text, low,
                              high);
    }
    return true;
}
