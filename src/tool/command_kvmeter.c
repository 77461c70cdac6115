/* SPDX-License-Identifier: Apache-2.0 */
/* command_kvmeter.c - gqa kvmeter: what each way to store K and V costs a case in accuracy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/kv_data.h"
#include "tool/kv_report.h"
#include "tool/meta.h"
#include "tool/neuron_case.h"

enum { KVMETER_TOKENS_MAX = 8192 };

struct kvmeter_state {
    struct tool_run_options options;
    struct tool_kv_limits limits;
    struct tool_kv_shown shown;
    struct tool_kv_recipe recipe;
    bool random;         /* the recipe's data instead of files */
    const char *of_data; /* an option that only such data have, if one was given */
    bool isa_named;
    bool table;
    int32_t threads;
    json_t *reports; /* array, or NULL for text */
    struct tool_progress progress;
    int cases, bad;
};

/* --- cases --------------------------------------------------------------------------------------
 */

static void report_meter(struct kvmeter_state *state, const struct tool_kv_meter *meter)
{
    tool_progress_clear(&state->progress);
    if (state->reports != NULL) {
        json_array_append_new(state->reports, tool_kv_json(meter, &state->limits));
    } else if (state->table) {
        tool_kv_table_line(stdout, meter, &state->limits);
        fflush(stdout);
    } else {
        fputs(state->cases > 0 ? "\n" : "", stdout);
        tool_kv_print(stdout, meter, &state->limits, &state->shown);
        fflush(stdout);
    }
    state->cases++;
}

static bool meter_case(struct kvmeter_state *state, const struct tool_case *c,
                       struct tool_fault *fault)
{
    struct tool_kv_meter meter;
    const bool good = tool_kv_measure(&meter, c, &state->options, &state->progress, fault);

    if (good) {
        report_meter(state, &meter);
    }
    tool_kv_free(&meter);
    return good;
}

static bool meter_data(struct kvmeter_state *state, struct tool_fault *fault)
{
    struct tool_kv_data data;
    const bool good =
        tool_kv_data_make(&data, &state->recipe, fault) && meter_case(state, &data.c, fault);

    tool_kv_data_free(&data);
    return good;
}

static bool meter_file(struct kvmeter_state *state, const char *path, struct tool_fault *fault)
{
    struct tool_file file;
    struct tool_case c;
    bool good = false;

    if (!tool_file_open(&file, path, fault)) {
        return false;
    }
    if (tool_neuron_is_case(&file)) {
        tool_fault_set(fault, path,
                       "is a case of Neuron's profiles; kvmeter takes layers and attention alone");
    } else if (tool_case_load(&c, &file, fault)) {
        good = meter_case(state, &c, fault);
        tool_case_free(&c);
    }
    tool_file_close(&file);
    return good;
}

/* path NULL: the random data. */
static void meter_one(struct kvmeter_state *state, const char *path)
{
    struct tool_fault fault = {.text = ""};

    if (path != NULL ? meter_file(state, path, &fault) : meter_data(state, &fault)) {
        return;
    }
    state->bad++;
    tool_progress_clear(&state->progress);
    fprintf(stderr, "gqa: %s\n", fault.text);
    if (state->reports != NULL) {
        json_array_append_new(
            state->reports,
            json_pack("{s:s, s:s}", "file",
                      path != NULL ? path : tool_kv_shape_names[state->recipe.shape], "error",
                      fault.text));
    }
}

/* --- the command --------------------------------------------------------------------------------
 */

static void parse_shape(const char *text, enum tool_kv_shape *out, struct tool_fault *fault)
{
    for (int i = 0; i < TOOL_KV_SHAPES; i++) {
        if (strcmp(text, tool_kv_shape_names[i]) == 0) {
            *out = (enum tool_kv_shape)i;
            return;
        }
    }
    tool_fault_set(fault, NULL, "--data is %.40s; it must be gpt-oss or llama", text);
}

static void parse_limit(const char *name, const char *text, double *out, struct tool_fault *fault)
{
    if (!tool_parse_number(text, out) || *out < 0) {
        tool_fault_set(fault, NULL, "%s is %.40s; it must be a number from 0 on", name, text);
    }
}

static bool read_limit(struct kvmeter_state *state, struct tool_words *words,
                       struct tool_fault *fault)
{
    static const char *const names[] = {"--max-kl", "--max-head-kl", "--max-error"};
    double *const limits[] = {&state->limits.kl, &state->limits.kl_head, &state->limits.error};
    const char *value;

    for (int i = 0; i < 3; i++) {
        if (tool_option(words, names[i], &value, fault)) {
            if (value != NULL) {
                parse_limit(names[i], value, limits[i], fault);
            }
            return true;
        }
    }
    return false;
}

static bool read_data_option(struct kvmeter_state *state, struct tool_words *words,
                             struct tool_fault *fault)
{
    const char *const word = words->word[words->at];
    struct tool_kv_recipe *const recipe = &state->recipe;
    const char *value;

    if (tool_option(words, "--tokens", &value, fault)) {
        (void)(value &&
               tool_parse_count("--tokens", value, 1, KVMETER_TOKENS_MAX, &recipe->tokens, fault));
    } else if (tool_option(words, "--outliers", &value, fault)) {
        (void)(value && tool_parse_count("--outliers", value, 0, 64, &recipe->outliers, fault));
    } else if (tool_option(words, "--seed", &value, fault)) {
        (void)(value && tool_parse_count("--seed", value, 0, INT32_MAX, &recipe->seed, fault));
    } else {
        return false;
    }
    state->of_data = word;
    return true;
}

static bool read_run_option(struct kvmeter_state *state, struct tool_words *words,
                            struct tool_fault *fault)
{
    struct tool_run_options *const options = &state->options;
    const char *value;

    if (tool_option(words, "--backend", &value, fault)) {
        (void)(value && tool_parse_backend(value, &options->backend, fault));
    } else if (tool_option(words, "--numerics", &value, fault)) {
        (void)(value && tool_parse_numerics(value, &options->numerics, fault));
    } else if (tool_option(words, "--isa", &value, fault)) {
        state->isa_named = true;
        (void)(value && tool_parse_isa("--isa", value, &options->isa, fault));
    } else if (tool_option(words, "--threads", &value, fault)) {
        (void)(value && tool_parse_count("--threads", value, 1, 1024, &state->threads, fault));
    } else {
        return false;
    }
    return true;
}

static bool read_shown_option(struct kvmeter_state *state, struct tool_words *words,
                              struct tool_fault *fault)
{
    const char *value;

    if (tool_option(words, "--data", &value, fault)) {
        state->random = true;
        if (value != NULL) {
            parse_shape(value, &state->recipe.shape, fault);
        }
    } else if (tool_flag(words, "--heads")) {
        state->shown.heads = true;
    } else if (tool_flag(words, "--pairs")) {
        state->shown.pairs = true;
    } else if (tool_flag(words, "--table")) {
        state->table = true;
    } else if (tool_flag(words, "--json")) {
        state->reports = state->reports != NULL ? state->reports : json_array();
    } else {
        return false;
    }
    return true;
}

static void check_kvmeter_options(const struct kvmeter_state *state, int paths,
                                  struct tool_fault *fault)
{
    if (!state->random && paths == 0) {
        tool_fault_set(fault, NULL, "kvmeter needs a file, or --data");
    } else if (state->random && paths > 0) {
        tool_fault_set(fault, NULL, "kvmeter takes files or --data, not both");
    } else if (!state->random && state->of_data != NULL) {
        tool_fault_set(fault, NULL, "%.40s is of --data", state->of_data);
    } else if (state->options.backend == GQA_BACKEND_NEURON) {
        tool_fault_set(fault, NULL,
                       "--backend is neuron, which has one type of cache; kvmeter takes cpu or "
                       "reference");
    } else if ((state->table || state->reports != NULL) &&
               (state->shown.heads || state->shown.pairs)) {
        tool_fault_set(fault, NULL,
                       "--heads and --pairs are of the text; --json has all, --table has none");
    } else if (state->table && state->reports != NULL) {
        tool_fault_set(fault, NULL, "--table and --json are two forms; one is printed");
    }
}

/* Options into state; the paths stay, moved to the front of words. */
static bool read_kvmeter_options(struct kvmeter_state *state, struct tool_words *words, int *paths,
                                 struct tool_fault *fault)
{
    const int first = words->at;

    *paths = 0;
    while (words->at < words->n && fault->text[0] == '\0') {
        if (read_limit(state, words, fault) || read_data_option(state, words, fault) ||
            read_run_option(state, words, fault) || read_shown_option(state, words, fault)) {
            continue;
        }
        if (words->word[words->at][0] == '-') {
            tool_fault_set(fault, NULL, "kvmeter does not take %.40s", words->word[words->at]);
        } else {
            words->word[first + (*paths)++] = words->word[words->at++];
        }
    }
    words->at = first;
    check_kvmeter_options(state, *paths, fault);
    return fault->text[0] == '\0' &&
           (state->isa_named || tool_environment_isa(&state->options.isa, fault));
}

static int finish_kvmeter(const struct kvmeter_state *state)
{
    const int status = state->bad > 0 ? TOOL_BAD : TOOL_PASS;
    json_t *whole;
    char *text;

    if (state->reports == NULL) {
        return status;
    }
    whole = json_pack("{s:s, s:{s:f, s:f, s:f}, s:O, s:i, s:i}", "schema", "gqa-kvmeter/1",
                      "limits", "kl", state->limits.kl, "kl_head", state->limits.kl_head, "error",
                      state->limits.error, "cases", state->reports, "not_run", state->bad,
                      "exit_status", status);
    text = json_dumps(whole, JSON_INDENT(1));
    json_decref(whole);
    if (text == NULL) {
        fprintf(stderr, "gqa: no memory for the report\n");
        return TOOL_BAD;
    }
    puts(text);
    free(text);
    return status;
}

int tool_command_kvmeter(struct tool_words *words)
{
    struct kvmeter_state state = {
        .options = {.backend = GQA_BACKEND_CPU},
        .limits = {TOOL_KV_LIMIT_KL, TOOL_KV_LIMIT_KL_HEAD, TOOL_KV_LIMIT_ERROR},
        .recipe = {.tokens = 512, .outliers = 4, .seed = 1},
        .threads = 1};
    struct tool_fault fault = {.text = ""};
    int paths = 0, status = TOOL_BAD;

    if (!read_kvmeter_options(&state, words, &paths, &fault)) {
        tool_bad_usage(&fault, "kvmeter");
        goto done;
    }
    if (state.threads > 1) {
        state.options.pool = tool_pool_create(state.threads, &fault);
        if (state.options.pool == NULL) {
            tool_bad_usage(&fault, "kvmeter");
            goto done;
        }
    }
    tool_progress_start(&state.progress);
    if (state.table) {
        tool_kv_table_head(stdout);
    }
    for (int i = 0; i < (state.random ? 1 : paths); i++) {
        meter_one(&state, state.random ? NULL : words->word[words->at + i]);
    }
    tool_progress_clear(&state.progress);
    status = finish_kvmeter(&state);

done:
    tool_pool_destroy(state.options.pool);
    json_decref(state.reports);
    return status;
}
