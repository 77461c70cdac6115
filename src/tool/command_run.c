/* SPDX-License-Identifier: Apache-2.0 */
/* command_run.c - gqa run: golden files, their schedules, a report, an exit status. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/neuron_maps.h"
#include "tool/neuron_report.h"
#include "tool/progress.h"
#include "tool/report.h"

struct run_state {
    struct tool_run_options options;
    int32_t threads;
    bool all;        /* every feed schedule */
    const char *out; /* file for the values of the first run, or NULL */
    json_t *reports; /* array, or NULL for text */
    struct tool_progress progress;
    const char *running; /* case name, for the progress line */
    int accumulations;   /* of Neuron cases: bit GQA_NEURON_EXACT, bit GQA_NEURON_FLOAT32 */
    bool table;          /* of backend neuron: a line for each run instead of a report */
    int runs, passed, failed, unjudged, refused, bad;
};

int tool_bad_usage(const struct tool_fault *fault, const char *command)
{
    fprintf(stderr, "gqa: %s\ngqa: see gqa %s%s--help\n", fault->text, command,
            *command != '\0' ? " " : "");
    return TOOL_BAD;
}

static void show_progress(void *user, int32_t call, int32_t calls)
{
    struct run_state *state = user;

    tool_progress_step(&state->progress, state->running, call + 1, calls);
}

/* --- the values as a file -----------------------------------------------------------------------
 */

static bool write_values(const struct run_state *state, const struct tool_done *done,
                         const struct tool_values *values, struct tool_fault *fault)
{
    struct tool_tensor tensors[TOOL_VALUES];
    json_t *metadata =
        json_pack("{s:s, s:s, s:s, s:s, s:s%}", "schema", "gqa-values/1", "case", done->c->name,
                  "backend", tool_backend_name(done->path.backend), "kernels", done->path.kernels,
                  "feed", done->schedule->text, (size_t)done->schedule->length);
    size_t n = 0;
    bool good;

    memset(tensors, 0, sizeof tensors);
    for (int v = 0; v < TOOL_VALUES; v++) {
        struct tool_tensor *tensor = &tensors[n];

        tensor->count = tool_value_count(done->c, (enum tool_value)v);
        if (tensor->count == 0 || (!done->c->block && v <= TOOL_V_PROJ) ||
            (v == TOOL_X_NORM && done->c->config.input_norm == GQA_NORM_NONE)) {
            continue;
        }
        tensor->name = tool_value_name((enum tool_value)v);
        tensor->dtype = TOOL_F32;
        tensor->rank = tool_value_shape(done->c, (enum tool_value)v, tensor->shape);
        tensor->data = values->value[v];
        n++;
    }
    good = tool_file_write(state->out, tensors, n, metadata, fault);
    json_decref(metadata);
    return good;
}

/* --- cases --------------------------------------------------------------------------------------
 */

static void report_case(struct run_state *state, const struct tool_done *done,
                        const struct tool_report *result)
{
    state->runs++;
    state->passed += result->verdict == TOOL_VERDICT_PASS;
    state->failed += result->verdict == TOOL_VERDICT_FAIL;
    state->unjudged += result->verdict == TOOL_VERDICT_NONE;
    tool_progress_clear(&state->progress);
    if (state->reports != NULL) {
        json_array_append_new(state->reports, tool_report_json(done, result));
    } else if (state->table) {
        tool_neuron_table_line(stdout, done, result);
        fflush(stdout);
    } else {
        tool_report_print(stdout, done, result);
        fflush(stdout);
    }
}

/* One schedule with or without a cache. */
static bool run_schedule(struct run_state *state, struct tool_session *session,
                         const struct tool_schedule *schedule, bool cached,
                         struct tool_fault *fault)
{
    struct tool_done done = {session->c, &state->options, schedule, cached, {0}, NULL};
    struct tool_values values;
    struct tool_report result;
    bool good = tool_session_run(session, schedule, cached, &values, fault);

    if (good) {
        done.path = values.path;
        done.neuron = &values.neuron;
        tool_compare(session->c, &state->options, &values, &result);
        if (state->out != NULL && state->runs == 0) {
            good = write_values(state, &done, &values, fault);
        }
        report_case(state, &done, &result);
    }
    tool_values_free(&values);
    return good;
}

static bool run_case(struct run_state *state, const struct tool_case *c, struct tool_fault *fault)
{
    struct tool_session session;
    bool good = true;

    if (!tool_session_open(&session, c, &state->options, fault)) {
        return false;
    }
    session.progress = show_progress;
    session.progress_user = state;
    state->running = c->name;
    for (int32_t i = 0; good && i < (state->all ? c->schedule_count : 1); i++) {
        const struct tool_schedule *schedule = &c->schedules[i];

        good = run_schedule(state, &session, schedule, true, fault);
        if (good && state->all && schedule->n == 1 && c->past == 0 && !state->table) {
            good = run_schedule(state, &session, schedule, false, fault);
        }
    }
    tool_session_close(&session);
    return good;
}

/* A Neuron case with one accumulation. */
static bool run_neuron_once(struct run_state *state, const struct tool_neuron_case *c,
                            gqa_neuron_accumulation accumulation, struct tool_fault *fault)
{
    struct tool_neuron_record record;
    struct tool_neuron_report result;
    gqa_neuron_output output;
    const struct tool_neuron_done done = {&record, accumulation, &output};

    if (!tool_neuron_record_open(&record, c, fault)) {
        return false;
    }
    gqa_neuron_output_init(&output);
    if (c->maps != TOOL_MAPS_NONE
            ? !tool_neuron_maps_run(&record, fault)
            : !tool_neuron_record_run(&record, accumulation, &output, fault)) {
        tool_neuron_record_close(&record);
        return false;
    }
    tool_neuron_judge(&record, accumulation, &result);
    state->runs++;
    state->passed += result.pass;
    state->failed += !result.pass;
    tool_progress_clear(&state->progress);
    if (state->reports != NULL) {
        json_array_append_new(state->reports, tool_neuron_json(&done, &result));
    } else {
        tool_neuron_print(stdout, &done, &result);
        fflush(stdout);
    }
    tool_neuron_record_close(&record);
    return true;
}

static bool run_neuron_case(struct run_state *state, const struct tool_file *file,
                            struct tool_fault *fault)
{
    struct tool_neuron_case c;
    bool good = tool_neuron_load(&c, file, fault);

    if (good && (state->options.backend == GQA_BACKEND_REFERENCE ||
                 state->options.numerics != GQA_NUMERICS_F32 || state->out != NULL)) {
        good = tool_fault_set(fault, file->path,
                              "is a case of Neuron's profiles, which take neither --backend "
                              "reference, --numerics nor --out");
    }
    for (int a = GQA_NEURON_EXACT; good && a <= GQA_NEURON_FLOAT32; a++) {
        const bool once = a == GQA_NEURON_FLOAT32 && c.maps != TOOL_MAPS_NONE; /* integers */
        if ((state->accumulations >> a & 1) != 0 && !(once && state->accumulations != 2)) {
            good = run_neuron_once(state, &c, (gqa_neuron_accumulation)a, fault);
        }
    }
    return good;
}

static bool run_layer_case(struct run_state *state, const struct tool_file *file,
                           struct tool_fault *fault)
{
    struct tool_case c;
    bool good;

    if (!tool_case_load(&c, file, fault)) {
        return false;
    }
    good = run_case(state, &c, fault);
    tool_case_free(&c);
    return good;
}

/* What backend neuron refuses of a case is told, and is no failure. */
static bool tell_refusal(struct run_state *state, const struct tool_fault *fault)
{
    if (state->options.backend != GQA_BACKEND_NEURON || fault->status != GQA_ERR_UNSUPPORTED) {
        return false;
    }
    state->refused++;
    tool_progress_clear(&state->progress);
    if (state->reports != NULL) {
        json_array_append_new(state->reports,
                              json_pack("{s:s, s:s}", "refused", fault->text, "verdict", "NONE"));
    } else if (state->table) {
        tool_neuron_table_refused(stdout, fault->text);
    } else {
        printf("refused: %s\n", fault->text);
    }
    return true;
}

static void run_file(struct run_state *state, const char *path)
{
    struct tool_fault fault = {.text = ""};
    struct tool_file file;
    bool good = false;

    if (tool_file_open(&file, path, &fault)) {
        good = tool_neuron_is_case(&file) ? run_neuron_case(state, &file, &fault)
                                          : run_layer_case(state, &file, &fault);
        tool_file_close(&file);
    }
    if (!good && !tell_refusal(state, &fault)) {
        state->bad++;
        tool_progress_clear(&state->progress);
        fprintf(stderr, "gqa: %s\n", fault.text);
        if (state->reports != NULL) {
            json_array_append_new(state->reports, json_pack("{s:s, s:s, s:s}", "file", path,
                                                            "error", fault.text, "verdict", "BAD"));
        }
    }
}

/* --- the command --------------------------------------------------------------------------------
 */

/* Bits of gqa_neuron_accumulation. value NULL: there is a fault already. */
static int read_accumulations(const char *value, struct tool_fault *fault)
{
    static const char *const names[] = {"exact", "float32", "both"};

    for (int i = 0; value != NULL && i < 3; i++) {
        if (strcmp(value, names[i]) == 0) {
            return i + 1;
        }
    }
    if (value != NULL) {
        tool_fault_set(fault, NULL, "--accumulation is %.40s; it must be exact, float32 or both",
                       value);
    }
    return 0;
}

/* Options into state; the paths stay, moved to the front of words. */
static bool read_run_options(struct run_state *state, struct tool_words *words, int *paths,
                             struct tool_fault *fault)
{
    int first = words->at;
    const char *value;
    bool isa_named = false;

    *paths = 0;
    while (words->at < words->n && fault->text[0] == '\0') {
        if (tool_option(words, "--backend", &value, fault)) {
            (void)(value && tool_parse_backend(value, &state->options.backend, fault));
        } else if (tool_option(words, "--numerics", &value, fault)) {
            (void)(value && tool_parse_numerics(value, &state->options.numerics, fault));
        } else if (tool_option(words, "--isa", &value, fault)) {
            isa_named = true;
            (void)(value && tool_parse_isa("--isa", value, &state->options.isa, fault));
        } else if (tool_option(words, "--max-isa", &value, fault)) {
            (void)(value && tool_parse_isa("--max-isa", value, &state->options.max_isa, fault));
        } else if (tool_option(words, "--threads", &value, fault)) {
            (void)(value && tool_parse_count("--threads", value, 1, 1024, &state->threads, fault));
        } else if (tool_option(words, "--feed", &value, fault)) {
            state->all = value != NULL && strcmp(value, "all") == 0;
            if (value != NULL && !state->all && strcmp(value, "first") != 0) {
                tool_fault_set(fault, NULL, "--feed is %.40s; it must be first or all", value);
            }
        } else if (tool_option(words, "--accumulation", &value, fault)) {
            state->accumulations = read_accumulations(value, fault);
        } else if (tool_option(words, "--out", &value, fault)) {
            state->out = value;
        } else if (tool_flag(words, "--float-angles")) {
            state->options.float_angles = true;
        } else if (tool_flag(words, "--in-place")) {
            state->options.in_place = true;
        } else if (tool_neuron_option(words, &state->options.neuron, fault)) {
            continue;
        } else if (tool_flag(words, "--table")) {
            state->table = true;
        } else if (tool_flag(words, "--json")) {
            state->reports = state->reports != NULL ? state->reports : json_array();
        } else if (words->word[words->at][0] == '-') {
            tool_fault_set(fault, NULL, "run does not take %.40s", words->word[words->at]);
        } else {
            words->word[first + (*paths)++] = words->word[words->at++];
        }
    }
    if (*paths == 0) {
        tool_fault_set(fault, NULL, "run needs a file");
    }
    if (state->out != NULL && *paths > 1) {
        tool_fault_set(fault, NULL, "--out takes the values of one file, not of %d", *paths);
    }
    if (state->out != NULL && *paths == 1 && tool_file_same(state->out, words->word[first])) {
        tool_fault_set(fault, NULL, "--out %.200s would overwrite the case", state->out);
    }
    if ((state->options.neuron.given || state->table) &&
        state->options.backend != GQA_BACKEND_NEURON) {
        tool_fault_set(fault, NULL,
                       "--profile, --release, --cp-degree, --cp-strided, --kv-ranks, --lift-limits "
                       "and --table are of --backend neuron");
    }
    if (state->accumulations == 1 << GQA_NEURON_FLOAT32) {
        state->options.accumulation = GQA_NEURON_FLOAT32;
    }
    words->at = first;
    return fault->text[0] == '\0' &&
           (isa_named || tool_environment_isa(&state->options.isa, fault));
}

static int finish(const struct run_state *state)
{
    const bool told = state->options.backend == GQA_BACKEND_NEURON; /* layers are not judged */
    int status = state->bad > 0                                        ? TOOL_BAD
                 : state->failed > 0 || (state->unjudged > 0 && !told) ? TOOL_FAIL
                                                                       : TOOL_PASS;

    if (state->reports != NULL) {
        json_t *whole =
            json_pack("{s:O, s:i, s:i, s:i, s:i, s:i, s:i}", "runs", state->reports, "count",
                      state->runs, "passed", state->passed, "failed", state->failed, "not_judged",
                      state->unjudged, "not_run", state->bad, "exit_status", status);
        char *text = json_dumps(whole, JSON_INDENT(2));
        json_decref(whole);
        if (text == NULL) {
            fprintf(stderr, "gqa: no memory for the report\n");
            return TOOL_BAD;
        }
        puts(text);
        free(text);
    } else if (!state->table) {
        printf("%d runs: %d pass, %d fail, %d not judged; %d not run", state->runs, state->passed,
               state->failed, state->unjudged, state->bad);
        printf(told ? ", %d refused\n" : "\n", state->refused);
    }
    return status;
}

int tool_command_run(struct tool_words *words)
{
    struct run_state state = {
        .options = {.backend = GQA_BACKEND_CPU}, .threads = 1, .all = true, .accumulations = 3};
    struct tool_fault fault = {.text = ""};
    int paths = 0, status;

    if (!read_run_options(&state, words, &paths, &fault)) {
        status = tool_bad_usage(&fault, "run");
        goto done;
    }
    if (state.threads > 1) {
        state.options.pool = tool_pool_create(state.threads, &fault);
        if (state.options.pool == NULL) {
            status = tool_bad_usage(&fault, "run");
            goto done;
        }
    }
    tool_progress_start(&state.progress);
    if (state.table) {
        tool_neuron_table_head(stdout);
    }
    for (int i = 0; i < paths; i++) {
        run_file(&state, words->word[words->at + i]);
    }
    tool_progress_clear(&state.progress);
    status = finish(&state);

done:
    tool_pool_destroy(state.options.pool);
    json_decref(state.reports);
    return status;
}
