/* SPDX-License-Identifier: Apache-2.0 */
/* command_trace.c - gqa trace: a call of one of Neuron's profiles, or of backend cpu, tile by tile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/trace.h"
#include "tool/trace_call.h"
#include "tool/trace_cpu.h"

struct trace_state {
    struct tool_trace_options options;
    struct tool_run_options run; /* of backend cpu: numerics, isa */
    gqa_neuron_accumulation accumulation;
    int32_t batch, head, dump;
    bool lift_limits, isa_named;
    bool neuron, cpu;       /* whose tiles */
    const char *of_neuron;  /* an option of Neuron's alone that was given, or NULL */
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

static void parse_sides(const char *text, struct trace_state *state, struct tool_fault *fault)
{
    state->neuron = strcmp(text, "cpu") != 0;
    state->cpu = strcmp(text, "neuron") != 0;
    if (state->neuron && state->cpu && strcmp(text, "both") != 0) {
        tool_fault_set(fault, NULL, "--backend is %.40s; it must be neuron, cpu or both", text);
    }
}

/* The current word, if it is an option of Neuron's profiles alone. */
static bool read_profile_option(struct trace_state *state, struct tool_words *words,
                                struct tool_fault *fault)
{
    const char *const word = words->word[words->at];
    const char *value;

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
    } else if (tool_option(words, "--dump", &value, fault)) {
        (void)(value && tool_parse_count("--dump", value, 0, 1 << 30, &state->dump, fault));
    } else if (tool_flag(words, "--lift-limits")) {
        state->lift_limits = true;
    } else {
        return false;
    }
    state->of_neuron = word;
    return true;
}

/* The same of an option of whichever backend. */
static bool read_shared_option(struct trace_state *state, struct tool_words *words,
                               struct tool_fault *fault)
{
    const char *value;

    if (tool_option(words, "--backend", &value, fault)) {
        if (value != NULL) {
            parse_sides(value, state, fault);
        }
    } else if (tool_option(words, "--numerics", &value, fault)) {
        (void)(value && tool_parse_numerics(value, &state->run.numerics, fault));
    } else if (tool_option(words, "--isa", &value, fault)) {
        state->isa_named = true;
        (void)(value && tool_parse_isa("--isa", value, &state->run.isa, fault));
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
    } else if (tool_option(words, "--json", &value, fault)) {
        state->json = value;
    } else if (tool_option(words, "--svg", &value, fault)) {
        state->svg = value;
    } else {
        return false;
    }
    return true;
}

static bool read_trace_options(struct trace_state *state, struct tool_words *words,
                               struct tool_fault *fault)
{
    while (words->at < words->n && fault->text[0] == '\0') {
        if (read_profile_option(state, words, fault) || read_shared_option(state, words, fault)) {
            continue;
        }
        if (words->word[words->at][0] == '-' || state->path != NULL) {
            tool_fault_set(fault, NULL, "trace does not take %.40s", words->word[words->at]);
        } else {
            state->path = words->word[words->at++];
        }
    }
    if (fault->text[0] == '\0' && !state->neuron && state->of_neuron != NULL) {
        tool_fault_set(fault, NULL, "%.40s is of Neuron's profiles, not of backend cpu",
                       state->of_neuron);
    }
    state->options.heads = state->cpu ? 8 : 1;
    return fault->text[0] == '\0' &&
           (!state->cpu || state->isa_named || tool_environment_isa(&state->run.isa, fault));
}

/* --- results -----------------------------------------------------------------------------------
 */

static bool close_file(FILE *out, const char *path, struct tool_fault *fault)
{
    const bool failed = ferror(out) != 0;

    return (fclose(out) == 0 && !failed) ||
           tool_fault_set(fault, path, "cannot be written: %s", strerror(errno));
}

static FILE *open_file(const char *path, struct tool_fault *fault)
{
    FILE *const out = fopen(path, "w");

    if (out == NULL) {
        tool_fault_set(fault, path, "cannot be written: %s", strerror(errno));
    }
    return out;
}

/* Takes whole. */
static bool write_json(const char *path, json_t *whole, struct tool_fault *fault)
{
    FILE *out = NULL;

    if (whole == NULL) {
        tool_fault_set(fault, path, "no memory for the trace");
    } else if ((out = open_file(path, fault)) != NULL) {
        json_dumpf(whole, out, JSON_INDENT(1));
        fputc('\n', out);
    }
    json_decref(whole);
    return out != NULL && close_file(out, path, fault);
}

static bool write_svg(const char *path, const struct tool_trace_panel *panels, int count,
                      struct tool_fault *fault)
{
    FILE *const out = open_file(path, fault);

    if (out != NULL) {
        tool_trace_svg(out, panels, count);
    }
    return out != NULL && close_file(out, path, fault);
}

/* What was traced, of one backend or of both. */
struct traced {
    struct tool_trace neuron;
    struct tool_trace_cpu cpu;
    struct tool_trace_title title;
    struct tool_trace_panel panels[2]; /* [count], Neuron's first */
    int count;
};

static bool add_neuron(struct traced *traced, const struct trace_state *state,
                       gqa_neuron_call *call, struct tool_fault *fault)
{
    call->accumulation = state->accumulation;
    call->lift_limits = state->lift_limits;
    traced->title.call = call;
    return tool_trace_run(&traced->neuron, call, fault) &&
           (traced->neuron.count > 0 ||
            tool_fault_set(fault, NULL, "the call has no batch entry %d with a head %d",
                           state->batch, state->head)) &&
           tool_trace_panel(&traced->neuron, &traced->title, &traced->panels[traced->count++],
                            fault);
}

static bool add_cpu(struct traced *traced, struct tool_fault *fault)
{
    return tool_trace_cpu_panel(&traced->cpu, traced->title.name, &traced->panels[traced->count++],
                                fault);
}

static json_t *whole_json(const struct traced *traced, const struct trace_state *state)
{
    json_t *const neuron = state->neuron ? tool_trace_json(&traced->neuron, &traced->title) : NULL;
    json_t *const cpu = state->cpu ? tool_trace_cpu_json(&traced->cpu, traced->title.name) : NULL;

    if (!state->neuron || !state->cpu) {
        return state->cpu ? cpu : neuron;
    }
    return json_pack("{s:o, s:o}", "neuron", neuron, "cpu", cpu);
}

static bool show(const struct traced *traced, const struct trace_state *state,
                 struct tool_fault *fault)
{
    for (int i = 0; i < traced->count; i++) {
        tool_trace_print(stdout, &traced->panels[i]);
    }
    return (state->json == NULL || write_json(state->json, whole_json(traced, state), fault)) &&
           (state->svg == NULL || write_svg(state->svg, traced->panels, traced->count, fault));
}

static void traced_free(struct traced *traced)
{
    for (int i = 0; i < traced->count; i++) {
        tool_trace_panel_close(&traced->panels[i]);
    }
    tool_trace_free(&traced->neuron);
    tool_trace_cpu_free(&traced->cpu);
}

static struct traced traced_begin(const struct trace_state *state, const char *name)
{
    const struct traced traced = {
        .neuron = {.batch = state->batch, .head = state->head, .dump = state->dump},
        .cpu = {.batch = state->batch, .head = state->head},
        .title = {name, NULL}};

    return traced;
}

/* --- calls -------------------------------------------------------------------------------------
 */

static bool trace_call(const struct trace_state *state, struct tool_trace_call *made,
                       const char *name, struct tool_fault *fault)
{
    struct traced traced = traced_begin(state, name);
    bool good = !state->neuron || add_neuron(&traced, state, &made->call, fault);

    if (good && state->cpu) {
        good = (made->plain.q.data != NULL ||
                tool_fault_set(fault, state->path,
                               "has other keys than those of its queries; for backend cpu it must "
                               "not")) &&
               tool_trace_cpu_attend(&traced.cpu, &made->plain, &state->run, fault) &&
               add_cpu(&traced, fault);
    }
    good = good && show(&traced, state, fault);
    traced_free(&traced);
    return good;
}

static bool trace_layer(const struct trace_state *state, const struct tool_file *file,
                        struct tool_fault *fault)
{
    struct tool_case c;
    struct traced traced;
    bool good;

    if (!tool_case_load(&c, file, fault)) {
        return false;
    }
    traced = traced_begin(state, c.name);
    good = tool_trace_cpu_case(&traced.cpu, &c, &state->run, fault) && add_cpu(&traced, fault) &&
           show(&traced, state, fault);
    traced_free(&traced);
    tool_case_free(&c);
    return good;
}

static bool trace_neuron_case(const struct trace_state *state, const struct tool_file *file,
                              struct tool_fault *fault)
{
    struct tool_trace_call made = {.count = 0};
    struct tool_neuron_case c;
    const bool good =
        tool_neuron_load(&c, file, fault) &&
        (c.maps == TOOL_MAPS_NONE ||
         tool_fault_set(fault, state->path, "holds maps of integers, which have no tiles")) &&
        tool_trace_call_case(&made, &c, &state->options, fault) &&
        trace_call(state, &made, c.name, fault);

    tool_trace_call_free(&made);
    return good;
}

static bool trace_case(const struct trace_state *state, struct tool_fault *fault)
{
    struct tool_file file;
    bool good;

    if (!tool_file_open(&file, state->path, fault)) {
        return false;
    }
    if (tool_neuron_is_case(&file)) {
        good = trace_neuron_case(state, &file, fault);
    } else if (state->neuron) {
        good = tool_fault_set(fault, state->path,
                              "is no case of Neuron's profiles; --backend cpu traces a layer");
    } else {
        good = trace_layer(state, &file, fault);
    }
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
    struct trace_state state = {
        .options = {.tokens = 512, .window = 128}, .dump = -1, .neuron = true};
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
