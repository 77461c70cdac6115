/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - command line words. */
#ifndef GQA__TOOL_OPTIONS_H
#define GQA__TOOL_OPTIONS_H

#include "gqa/gqa.h"
#include "tool/fault.h"

/* The words after the command's name, taken one by one. */
struct tool_words {
    int n;
    char **word;
    int at; /* the next one */
};

/* The value of option name: the rest of "--name=value", or the next word. NULL and a fault if
 * there is none. Returns whether the current word is this option; takes what it used. */
bool tool_option(struct tool_words *words, const char *name, const char **value,
                 struct tool_fault *fault);
/* Is the current word this option without value? Takes it. */
bool tool_flag(struct tool_words *words, const char *name);

bool tool_parse_backend(const char *text, gqa_backend *out, struct tool_fault *fault);
/* By a fault: whether it is one is in it. */
void tool_parse_profile(const char *text, gqa_neuron_profile *out, struct tool_fault *fault);
void tool_parse_release(const char *text, gqa_neuron_release *out, struct tool_fault *fault);

/* What backend neuron is told; zeros: as Neuron chooses. */
struct tool_neuron_options {
    bool given; /* one of them was */
    gqa_neuron_profile profile;
    gqa_neuron_release release;
    bool lift_limits;
    int32_t cp_degree, kv_ranks; /* ranks of context parallelism; those that share a KV head */
    bool cp_strided;
};
/* Is the current word one of these options? Takes it. */
bool tool_neuron_option(struct tool_words *words, struct tool_neuron_options *options,
                        struct tool_fault *fault);
/* Into a config of backend neuron. */
void tool_neuron_apply(const struct tool_neuron_options *options, gqa_config *config);
bool tool_parse_numerics(const char *text, gqa_numerics *out, struct tool_fault *fault);
bool tool_parse_weights(const char *text, gqa_weight_storage *out, struct tool_fault *fault);
/* name: of the option, "--isa" or "--max-isa". */
bool tool_parse_isa(const char *name, const char *text, gqa_isa *out, struct tool_fault *fault);
/* What the environment variable GQA_ISA names. */
bool tool_environment_isa(gqa_isa *out, struct tool_fault *fault);
/* low .. high */
bool tool_parse_count(const char *name, const char *text, int32_t low, int32_t high, int32_t *out,
                      struct tool_fault *fault);

#endif
