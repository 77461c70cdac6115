/* SPDX-License-Identifier: Apache-2.0 */
/* command_trace.c - gqa trace: a call of one of Neuron's profiles, tile by tile. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/trace.h"
#include "tool/trace_call.h"

struct trace_state {
    struct tool_trace_options options;
    gqa_neuron_accumulation accumulation;
    int32_t batch, head, dump;
    bool lift_limits;
    const char *path;       /* the case, or NULL */
    const char *json, *svg; /* files, or NULL */
};

static void parse_accumulation(const char *text, gqa_neuron_accumulation *out,
                               struct tool_fault *fault)
{
    if (strcmp(text, "exact") != 0 && strcmp(text, "float32") != 0) {
        tool_fault_set(fault, NULL, "--accumulation is %.40s; it must be exact or float32", text);
    }
    *out = strcmp(text, "float32") == 0 ? GQA_NEURON_FLOAT32 : GQA_NEURON_EXACT;
}

static bool read_trace_options(struct trace_state *state, struct tool_words *words,
                               struct tool_fault *fault)
{
    const char *value;

    while (words->at < words->n && fault->text[0] == '\0') {
        if (tool_option(words, "--profile", &value, fault)) {
            if (value != NULL) {
                tool_parse_profile(value, &state->options.profile, fault);
            }
        } else if (tool_option(words, "--release", &value, fault)) {
            if (value != NULL) {
                tool_parse_release(value, &state->options.release, fault);
            }
        } else if (tool_option(words, "--accumulation", &value, fault)) {
            if (value != NULL) {
                parse_accumulation(value, &state->accumulation, fault);
            }
        } else if (tool_option(words, "--tokens", &value, fault)) {
            (void)(value &&
                   tool_parse_count("--tokens", value, 1, 1 << 17, &state->options.tokens, fault));
        } else if (tool_option(words, "--window", &value, fault)) {
            (void)(value &&
                   tool_parse_count("--window", value, 0, 1 << 30, &state->options.window, fault));
        } else if (tool_option(words, "--batch", &value, fault)) {
            (void)(value && tool_parse_count("--batch", value, 0, 1 << 30, &state->batch, fault));
        } else if (tool_option(words, "--head", &value, fault)) {
            (void)(value && tool_parse_count("--head", value, 0, 1 << 30, &state->head, fault));
        } else if (tool_option(words, "--dump", &value, fault)) {
            (void)(value && tool_parse_count("--dump", value, 0, 1 << 30, &state->dump, fault));
        } else if (tool_option(words, "--json", &value, fault)) {
            state->json = value;
        } else if (tool_option(words, "--svg", &value, fault)) {
            state->svg = value;
        } else if (tool_flag(words, "--lift-limits")) {
            state->lift_limits = true;
        } else if (words->word[words->at][0] == '-' || state->path != NULL) {
            tool_fault_set(fault, NULL, "trace does not take %.40s", words->word[words->at]);
        } else {
            state->path = words->word[words->at++];
        }
    }
    return fault->text[0] == '\0';
}

/* --- results -----------------------------------------------------------------------------------
 */

static bool close_file(FILE *out, const char *path, struct tool_fault *fault)
{
    const bool failed = ferror(out) != 0;

    return (fclose(out) == 0 && !failed) ||
           tool_fault_set(fault, path, "cannot be written: %s", strerror(errno));
}

static bool write_json(const char *path, const struct tool_trace *trace,
                       const struct tool_trace_title *title, struct tool_fault *fault)
{
    json_t *const whole = tool_trace_json(trace, title);
    FILE *out;

    if (whole == NULL) {
        return tool_fault_set(fault, path, "no memory for the trace");
    }
    out = fopen(path, "w");
    if (out == NULL) {
        json_decref(whole);
        return tool_fault_set(fault, path, "cannot be written: %s", strerror(errno));
    }
    json_dumpf(whole, out, JSON_INDENT(1));
    fputc('\n', out);
    json_decref(whole);
    return close_file(out, path, fault);
}

static bool write_svg(const char *path, const struct tool_trace *trace,
                      const struct tool_trace_title *title, struct tool_fault *fault)
{
    FILE *const out = fopen(path, "w");

    if (out == NULL) {
        return tool_fault_set(fault, path, "cannot be written: %s", strerror(errno));
    }
    tool_trace_svg(out, trace, title);
    return close_file(out, path, fault);
}

static bool trace_call(const struct trace_state *state, struct tool_trace_call *made,
                       const char *name, struct tool_fault *fault)
{
    struct tool_trace trace = {.batch = state->batch, .head = state->head, .dump = state->dump};
    const struct tool_trace_title title = {name, &made->call};
    bool good;

    made->call.accumulation = state->accumulation;
    made->call.lift_limits = state->lift_limits;
    good = tool_trace_run(&trace, &made->call, fault);
    if (good && trace.count == 0) {
        good = tool_fault_set(fault, NULL, "the call has no batch entry %d with a head %d",
                              state->batch, state->head);
    }
    if (good) {
        tool_trace_print(stdout, &trace, &title);
        good = state->json == NULL || write_json(state->json, &trace, &title, fault);
        good = good && (state->svg == NULL || write_svg(state->svg, &trace, &title, fault));
    }
    tool_trace_free(&trace);
    return good;
}

static bool trace_case(const struct trace_state *state, struct tool_fault *fault)
{
    struct tool_trace_call made = {.count = 0};
    struct tool_neuron_case c;
    struct tool_file file;
    bool good;

    if (!tool_file_open(&file, state->path, fault)) {
        return false;
    }
    good = tool_neuron_load(&c, &file, fault) &&
           (c.maps == TOOL_MAPS_NONE ||
            tool_fault_set(fault, state->path, "holds maps of integers, which have no tiles")) &&
           tool_trace_call_case(&made, &c, &state->options, fault) &&
           trace_call(state, &made, c.name, fault);
    tool_trace_call_free(&made);
    tool_file_close(&file);
    return good;
}

static bool trace_random(const struct trace_state *state, struct tool_fault *fault)
{
    struct tool_trace_call made = {.count = 0};
    char name[64];
    bool good;

    snprintf(name, sizeof name, "gpt-oss, %d tokens, window %d", state->options.tokens,
             state->options.window);
    good = tool_trace_call_random(&made, &state->options, fault) &&
           trace_call(state, &made, name, fault);
    tool_trace_call_free(&made);
    return good;
}

int tool_command_trace(struct tool_words *words)
{
    struct trace_state state = {.options = {.tokens = 512, .window = 128}, .dump = -1};
    struct tool_fault fault = {.text = ""};

    if (!read_trace_options(&state, words, &fault)) {
        return tool_bad_usage(&fault, "trace");
    }
    if (state.path == NULL ? trace_random(&state, &fault) : trace_case(&state, &fault)) {
        return TOOL_PASS;
    }
    fprintf(stderr, "gqa: %s\n", fault.text);
    return TOOL_BAD;
}
