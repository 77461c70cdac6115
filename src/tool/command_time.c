/* SPDX-License-Identifier: Apache-2.0 */
/* command_time.c - gqa time: a gpt-oss layer fed in three ways, timed and compared. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/meta.h"
#include "tool/pool.h"
#include "tool/progress.h"
#include "tool/report.h"
#include "tool/time_layer.h"

enum { FEEDS = 3, TOKENS_MAX = 1 << 20 };

struct time_state {
    int32_t tokens, threads;
    const char *feed; /* of the second schedule, or NULL */
    gqa_config choice;
    gqa_layer *layer;
    int32_t *sizes[FEEDS]; /* calls of each schedule */
    int32_t calls[FEEDS];
    float *x;                     /* [tokens, hidden] */
    float *out[FEEDS];            /* [tokens, hidden] */
    gqa_work work;                /* of all calls of the feed that ran last */
    struct tool_neuron_told told; /* of the same feed, on backend neuron */
    struct tool_progress progress;
};

/* All at once; pieces (given, or about 2/5, one token, the rest); one by one. */
static bool make_feeds(struct time_state *state, struct tool_fault *fault)
{
    int64_t sum = 0;

    for (int i = 0; i < FEEDS; i++) {
        state->sizes[i] = tool_alloc("time", state->tokens + 3, sizeof(int32_t), fault);
        if (state->sizes[i] == NULL) {
            return false;
        }
    }
    state->sizes[0][0] = state->tokens;
    state->calls[0] = 1;
    if (state->feed != NULL) {
        state->calls[1] = tool_parse_ints(state->feed, state->sizes[1], state->tokens);
    } else {
        int32_t first = state->tokens * 2 / 5;
        int32_t pieces[3] = {first, 1, state->tokens - first - 1};
        for (int i = 0; i < 3; i++) {
            if (pieces[i] > 0) {
                state->sizes[1][state->calls[1]++] = pieces[i];
            }
        }
    }
    for (int32_t i = 0; i < state->calls[1]; i++) {
        sum += state->sizes[1][i] > 0 ? state->sizes[1][i] : INT32_MAX;
    }
    if (sum != state->tokens) {
        return tool_fault_set(fault, NULL,
                              "--feed is %.60s; it must be call sizes that add up to %d",
                              state->feed, state->tokens);
    }
    for (int32_t i = 0; i < state->tokens; i++) {
        state->sizes[2][i] = 1;
    }
    state->calls[2] = state->tokens;
    return true;
}

static void add_work(gqa_work *sum, const gqa_work *call)
{
    sum->tile_rows = call->tile_rows;
    sum->tiles += call->tiles;
    sum->tiles_masked += call->tiles_masked;
    sum->tiles_skipped += call->tiles_skipped;
    sum->keys_read += call->keys_read;
    sum->kv_bytes += call->kv_bytes;
    sum->score_madds += call->score_madds;
    sum->value_madds += call->value_madds;
    sum->projection_madds += call->projection_madds;
}

static bool run_feed(struct time_state *state, int feed, struct tool_fault *fault)
{
    int64_t width = TOOL_GPTOSS_HIDDEN, at = 0;
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    gqa_error err;
    bool good;

    gqa_cache_options_init(&options, state->layer);
    options.max_tokens = state->tokens;
    good = gqa_cache_create(&cache, state->layer, &options, &err) == GQA_OK ||
           tool_fault_gqa(fault, "time", "gqa_cache_create", &err);
    gqa_work_init(&state->work);
    state->told = (struct tool_neuron_told){0};
    for (int32_t i = 0; good && i < state->calls[feed]; i++) {
        int32_t n = state->sizes[feed][i];
        gqa_inputs inputs;
        gqa_output output;
        gqa_neuron_report report;
        gqa_work work;

        tool_progress_step(&state->progress, "call", i + 1, state->calls[feed]);
        gqa_inputs_init(&inputs);
        gqa_output_init(&output);
        gqa_work_init(&work);
        output.work = &work;
        gqa_neuron_report_init(&report);
        if (state->choice.backend == GQA_BACKEND_NEURON) {
            output.neuron = &report;
        }
        inputs.hidden_states = gqa_tensor_2d(state->x + at * width, GQA_F32, n, width);
        output.hidden_states = gqa_tensor_2d(state->out[feed] + at * width, GQA_F32, n, width);
        good = gqa_forward(state->layer, cache, &inputs, &output, NULL, 0, &err) == GQA_OK ||
               tool_fault_gqa(fault, "time", "gqa_forward", &err);
        add_work(&state->work, &work);
        if (good && output.neuron != NULL) {
            tool_neuron_told_add(&state->told, &output.path, &report);
        }
        at += n;
    }
    gqa_cache_destroy(&cache);
    return good;
}

/* What the feed did. Attention: the products of scores and values. */
static void print_work(const gqa_work *work)
{
    const double attention = (double)(work->score_madds + work->value_madds);

    if (work->tile_rows > 0) {
        printf("             tiles of %d rows: %lld computed, %lld of them masked, %lld skipped\n",
               work->tile_rows, (long long)work->tiles, (long long)work->tiles_masked,
               (long long)work->tiles_skipped);
    }
    printf("             K and V read: %.3f MB; multiply-adds: %.3f G projections, "
           "%.3f G attention\n",
           (double)work->kv_bytes * 1e-6, (double)work->projection_madds * 1e-9, attention * 1e-9);
}

/* Backend cpu promises equal bits; the reference's differences are only told. */
static bool print_feed(const struct time_state *state, int feed, double seconds)
{
    size_t count = (size_t)state->tokens * TOOL_GPTOSS_HIDDEN;
    bool same = memcmp(state->out[0], state->out[feed], count * sizeof(float)) == 0;
    double worst = 0;

    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)state->out[0][i] - (double)state->out[feed][i]);
        if (!(error <= worst)) {
            worst = error;
        }
    }
    printf("%6d calls %8.3f s  %9.1f tokens/s", state->calls[feed], seconds,
           (double)state->tokens / seconds);
    if (feed > 0) {
        printf(same ? "  same bits as in one call" : "  largest difference %.3e", worst);
    }
    putchar('\n');
    if (state->choice.backend == GQA_BACKEND_NEURON) {
        tool_neuron_told_print(stdout, &state->told);
    } else {
        print_work(&state->work);
    }
    fflush(stdout);
    return same || state->choice.backend != GQA_BACKEND_CPU;
}

/* Returns an exit status. */
static int run_all(struct time_state *state, struct tool_fault *fault)
{
    uint64_t seed = 7;
    int64_t count = (int64_t)state->tokens * TOOL_GPTOSS_HIDDEN;
    double total = 0;
    int status = TOOL_PASS;

    state->x = tool_random(&seed, count, 1.7F);
    for (int i = 0; i < FEEDS; i++) {
        state->out[i] = tool_alloc("time", count, sizeof(float), fault);
    }
    if (state->x == NULL) {
        tool_fault_set(fault, "time", "no memory for %lld elements", (long long)count);
    }
    if (fault->text[0] != '\0' || !make_feeds(state, fault)) {
        return TOOL_BAD;
    }
    printf(
        "gpt-oss layer, hidden %d, 64/8 heads of 64, window 128, %d tokens, %s %s, %d thread%s%s\n",
        TOOL_GPTOSS_HIDDEN, state->tokens, tool_backend_name(state->choice.backend),
        gqa_isa_name(gqa_layer_isa(state->layer)), state->threads, state->threads == 1 ? "" : "s",
        state->choice.weight_storage == GQA_WEIGHT_STORAGE_INT8 ? ", int8 weights" : "");
    for (int i = 0; i < FEEDS; i++) {
        double start = tool_seconds(), seconds;

        tool_progress_start(&state->progress);
        if (!run_feed(state, i, fault)) {
            return TOOL_BAD;
        }
        seconds = tool_seconds() - start;
        total += seconds;
        tool_progress_clear(&state->progress);
        if (!print_feed(state, i, seconds)) {
            status = TOOL_FAIL;
        }
    }
    printf("%5d feeds %9.3f s  %s\n", FEEDS, total,
           status == TOOL_FAIL                              ? "FAIL: the bits differ"
           : state->choice.backend == GQA_BACKEND_REFERENCE ? "(reference: bits may differ)"
           : state->choice.backend == GQA_BACKEND_NEURON
               ? "(neuron: each call takes its own path, bits differ)"
               : "PASS");
    return status;
}

static bool read_time_options(struct time_state *state, struct tool_words *words,
                              struct tool_fault *fault)
{
    const char *value;
    bool isa_named = false;
    struct tool_neuron_options neuron = {0};

    while (words->at < words->n && fault->text[0] == '\0') {
        if (tool_option(words, "--tokens", &value, fault)) {
            (void)(value &&
                   tool_parse_count("--tokens", value, 1, TOKENS_MAX, &state->tokens, fault));
        } else if (tool_option(words, "--feed", &value, fault)) {
            state->feed = value;
        } else if (tool_option(words, "--backend", &value, fault)) {
            (void)(value && tool_parse_backend(value, &state->choice.backend, fault));
        } else if (tool_option(words, "--numerics", &value, fault)) {
            (void)(value && tool_parse_numerics(value, &state->choice.numerics, fault));
        } else if (tool_option(words, "--isa", &value, fault)) {
            isa_named = true;
            (void)(value && tool_parse_isa("--isa", value, &state->choice.isa, fault));
        } else if (tool_option(words, "--max-isa", &value, fault)) {
            (void)(value && tool_parse_isa("--max-isa", value, &state->choice.max_isa, fault));
        } else if (tool_option(words, "--threads", &value, fault)) {
            (void)(value && tool_parse_count("--threads", value, 1, 1024, &state->threads, fault));
        } else if (tool_neuron_option(words, &neuron, fault)) {
            continue;
        } else if (tool_option(words, "--weights", &value, fault)) {
            (void)(value && tool_parse_weights(value, &state->choice.weight_storage, fault));
        } else {
            tool_fault_set(fault, NULL, "time does not take %.40s", words->word[words->at]);
        }
    }
    if (neuron.given && state->choice.backend != GQA_BACKEND_NEURON) {
        tool_fault_set(fault, NULL,
                       "--profile, --release, --cp-degree, --cp-strided, --kv-ranks and "
                       "--lift-limits are of --backend neuron");
    }
    tool_neuron_apply(&neuron, &state->choice);
    return fault->text[0] == '\0' && (isa_named || tool_environment_isa(&state->choice.isa, fault));
}

int tool_command_time(struct tool_words *words)
{
    struct time_state state = {.tokens = 300, .threads = 1};
    struct tool_fault fault = {.text = ""};
    struct tool_pool *pool = NULL;
    gqa_runtime runtime;
    int status = TOOL_BAD;

    gqa_config_init(&state.choice);
    state.choice.backend = GQA_BACKEND_CPU;
    gqa_runtime_init(&runtime);
    if (!read_time_options(&state, words, &fault)) {
        return tool_bad_usage(&fault, "time");
    }
    if (state.threads > 1) {
        pool = tool_pool_create(state.threads, &fault);
        tool_pool_lend(pool, &runtime);
    }
    if (fault.text[0] == '\0' &&
        tool_gptoss_create(&state.layer, &state.choice, &runtime, &fault)) {
        status = run_all(&state, &fault);
    }
    tool_progress_clear(&state.progress);
    if (fault.text[0] != '\0') {
        status = tool_bad_usage(&fault, "time");
    }
    gqa_destroy(&state.layer);
    tool_pool_destroy(pool);
    free(state.x);
    for (int i = 0; i < FEEDS; i++) {
        free(state.sizes[i]);
        free(state.out[i]);
    }
    return status;
}
