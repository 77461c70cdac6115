/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - see run.h. */
#include "tool/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/run_cache.h"

/* One call: tokens first .. first + n - 1 of every sequence. */
struct call {
    struct tool_session *session;
    struct tool_values *values;
    int32_t first, n;
    int32_t *positions;   /* [B, n] */
    int32_t *rotary;      /* [3, B, n] or NULL */
    int32_t *first_valid; /* [B] */
    int32_t *lengths;     /* [B] */
};

static void log_line(void *user, gqa_log_level level, const char *line)
{
    (void)user;
    fprintf(stderr, "gqa: %s%s\n", level >= GQA_LOG_WARNING ? "warning: " : "", line);
}

bool tool_session_open(struct tool_session *session, const struct tool_case *c,
                       const struct tool_run_options *options, struct tool_fault *fault)
{
    gqa_config config = c->config;
    gqa_weights weights = c->weights;
    gqa_error err;

    weights.in_place = options->in_place && config.hidden_size > 0;
    memset(session, 0, sizeof *session);
    session->c = c;
    gqa_runtime_init(&session->runtime);
    session->runtime.log = log_line;
    tool_pool_lend(options->pool, &session->runtime);
    if (!tool_feed_make(&session->feed, c, fault)) {
        return false;
    }
    config.backend = options->backend;
    session->neuron = config.backend == GQA_BACKEND_NEURON;
    config.numerics = options->numerics;
    config.isa = options->isa;
    config.max_isa = options->max_isa;
    config.rope_float_angles = options->float_angles && config.rope != GQA_ROPE_NONE;
    if (config.backend == GQA_BACKEND_NEURON) {
        tool_neuron_apply(&options->neuron, &config);
        config.neuron_accumulation = options->accumulation;
    }
    if (session->feed.chunk_by_mask) {
        config.attention_chunk_size = 0;
    }
    if (gqa_create(&session->layer, &config, &weights, &session->runtime, &err) != GQA_OK) {
        tool_fault_gqa(fault, c->path, "gqa_create", &err);
        tool_session_close(session);
        return false;
    }
    return true;
}

void tool_session_close(struct tool_session *session)
{
    gqa_destroy(&session->layer);
    tool_feed_free(&session->feed);
}

/* --- what a run computes ------------------------------------------------------------------------
 */

static float *make_values(int64_t count)
{
    float *data = malloc((size_t)(count > 0 ? count : 1) * sizeof *data);

    for (int64_t i = 0; data != NULL && i < count; i++) {
        data[i] = NAN;
    }
    return data;
}

static bool take_values(struct tool_values *values, const struct tool_case *c, bool use_cache,
                        struct tool_fault *fault)
{
    bool good = true;

    for (int v = 0; v < TOOL_VALUES; v++) {
        values->value[v] = make_values(tool_value_count(c, (enum tool_value)v));
        good = good && values->value[v] != NULL;
    }
    if (use_cache) {
        int64_t past = (int64_t)c->batch * c->past * c->hkv;
        values->cache_k = make_values(tool_value_count(c, TOOL_K));
        values->cache_v = make_values(tool_value_count(c, TOOL_V));
        values->past_k = make_values(past * c->dk);
        values->past_v = make_values(past * c->dv);
        good = good && values->cache_k != NULL && values->cache_v != NULL &&
               values->past_k != NULL && values->past_v != NULL;
    }
    values->inv_freq = calloc((size_t)c->pairs + 1, sizeof(double));
    if (!good || values->inv_freq == NULL) {
        return tool_fault_set(fault, c->path, "no memory for the results");
    }
    return true;
}

void tool_values_free(struct tool_values *values)
{
    for (int v = 0; v < TOOL_VALUES; v++) {
        free(values->value[v]);
    }
    free(values->cache_k);
    free(values->cache_v);
    free(values->past_k);
    free(values->past_v);
    free(values->inv_freq);
    memset(values, 0, sizeof *values);
}

static void collect_stage(void *user, gqa_stage stage, int32_t b, int32_t first,
                          const gqa_tensor *tensor)
{
    const struct call *call = user;
    const struct tool_case *c = call->session->c;
    int value = -1;
    int64_t width = 1;

    switch (stage) {
    case GQA_STAGE_X_NORM:
        value = TOOL_X_NORM;
        break;
    case GQA_STAGE_Q_PROJ:
        value = TOOL_Q_PROJ;
        break;
    case GQA_STAGE_K_PROJ:
        value = TOOL_K_PROJ;
        break;
    case GQA_STAGE_V_PROJ:
        value = TOOL_V_PROJ;
        break;
    case GQA_STAGE_Q:
        value = TOOL_Q;
        break;
    case GQA_STAGE_K:
        value = TOOL_K;
        break;
    case GQA_STAGE_V:
        value = TOOL_V;
        break;
    case GQA_STAGE_O_PROJ:
        value = TOOL_O_PROJ;
        break;
    default:
        return;
    }
    for (int32_t i = 1; i < tensor->rank; i++) {
        width *= tensor->shape[i];
    }
    memcpy(call->values->value[value] + ((int64_t)b * c->tokens + call->first + first) * width,
           tensor->data, (size_t)(tensor->shape[0] * width) * sizeof(float));
}

/* Rows that are padding are not results. */
static void clear_padding_values(const struct tool_case *c, struct tool_values *values)
{
    for (int v = 0; v < TOOL_VALUES; v++) {
        int64_t width = tool_value_count(c, (enum tool_value)v) / ((int64_t)c->batch * c->tokens);
        for (int64_t row = 0; row < (int64_t)c->batch * c->tokens; row++) {
            if (c->row_valid[row] == 0 && width > 0) {
                memset(values->value[v] + row * width, 0, (size_t)width * sizeof(float));
            }
        }
    }
}

/* --- one call -----------------------------------------------------------------------------------
 */

/* Tokens first .. first + n - 1 of a packed [B, T, ...] tensor. */
static gqa_tensor slice(const struct tool_case *c, gqa_tensor tensor, int32_t first, int32_t n)
{
    size_t elem = tensor.dtype == GQA_BF16 ? 2 : 4;
    int64_t width = 1;

    for (int32_t i = tensor.rank - 1; i >= 2; i--) {
        tensor.stride[i] = width;
        width *= tensor.shape[i];
    }
    tensor.stride[1] = width;
    tensor.stride[0] = width * c->tokens;
    tensor.shape[1] = n;
    tensor.data = (unsigned char *)tensor.data + (size_t)(first * width) * elem;
    return tensor;
}

static gqa_tensor value_slice(const struct call *call, enum tool_value value)
{
    const struct tool_case *c = call->session->c;
    gqa_tensor tensor = {0};

    tensor.data = call->values->value[value];
    tensor.dtype = GQA_F32;
    tensor.rank = tool_value_shape(c, value, tensor.shape);
    return slice(c, tensor, call->first, call->n);
}

/* Rows first .. first + n - 1 of a [B, heads, T, columns] mask or bias. */
static gqa_tensor row_slice(const struct call *call, void *data, gqa_dtype dtype, int64_t heads)
{
    const struct tool_case *c = call->session->c;
    int64_t columns = call->session->feed.columns;
    size_t elem = dtype == GQA_U8 ? 1 : 4;
    gqa_tensor tensor = gqa_tensor_4d(data, dtype, c->batch, heads, c->tokens, columns);

    tensor.shape[2] = call->n;
    tensor.data = (unsigned char *)data + (size_t)(call->first * columns) * elem;
    return tensor;
}

static int32_t clamp(int32_t x, int32_t high)
{
    return x < 0 ? 0 : x > high ? high : x;
}

/* Positions and valid tokens of the call. */
static void fill_rows(struct call *call)
{
    const struct tool_case *c = call->session->c;
    const struct tool_feed *feed = &call->session->feed;
    size_t bytes = (size_t)call->n * sizeof(int32_t);

    for (int32_t b = 0; b < c->batch; b++) {
        int32_t begin = clamp(feed->begin[b] - call->first, call->n);
        int32_t end = clamp(feed->end[b] - call->first, call->n);

        memcpy(call->positions + (int64_t)b * call->n,
               c->q_pos + (int64_t)b * c->tokens + call->first, bytes);
        call->first_valid[b] = end > begin ? begin : 0;
        call->lengths[b] = end - begin;
    }
    for (int32_t i = 0; call->rotary != NULL && i < 3 * c->batch; i++) {
        memcpy(call->rotary + (int64_t)i * call->n,
               c->rope_pos3 + (int64_t)i * c->tokens + call->first, bytes);
    }
}

static bool run_call(struct call *call, gqa_cache *cache, struct tool_fault *fault)
{
    struct tool_session *session = call->session;
    const struct tool_case *c = session->c;
    gqa_inputs inputs;
    gqa_output output;
    gqa_neuron_report neuron;
    gqa_error err;

    gqa_inputs_init(&inputs);
    gqa_output_init(&output);
    fill_rows(call);
    if (c->block) {
        inputs.hidden_states = slice(c, c->x, call->first, call->n);
        output.hidden_states = value_slice(call, TOOL_OUT);
    } else {
        inputs.q_proj = slice(c, c->q_proj, call->first, call->n);
        inputs.k_proj = slice(c, c->k_proj, call->first, call->n);
        inputs.v_proj = slice(c, c->v_proj, call->first, call->n);
    }
    inputs.position_ids = call->positions;
    inputs.rotary_position_ids = call->rotary;
    inputs.first_valid = call->first_valid;
    inputs.lengths = call->lengths;
    if (session->feed.mask != NULL) {
        inputs.mask = row_slice(call, session->feed.mask, GQA_U8, 1);
    }
    if (session->feed.bias != NULL) {
        inputs.bias = row_slice(call, session->feed.bias, GQA_F32, c->bias_heads);
    }
    inputs.tap = collect_stage;
    inputs.tap_user = call;
    inputs.trace = session->trace;
    inputs.trace_user = session->trace_user;
    output.work = session->work;
    output.attn = value_slice(call, TOOL_ATTN);
    if (session->neuron) {
        gqa_neuron_report_init(&neuron);
        output.neuron = &neuron;
    } else {
        output.lse = value_slice(call, TOOL_LSE);
    }
    if (gqa_forward(session->layer, cache, &inputs, &output, NULL, 0, &err) != GQA_OK) {
        return tool_fault_gqa(fault, c->path, "gqa_forward", &err);
    }
    call->values->path = output.path;
    if (session->neuron) {
        tool_neuron_told_add(&call->values->neuron, &output.path, &neuron);
    }
    return true;
}

static bool run_calls(struct call *call, const struct tool_schedule *schedule, gqa_cache *cache,
                      struct tool_fault *fault)
{
    struct tool_session *session = call->session;

    for (int32_t i = 0; i < schedule->n; i++) {
        if (session->progress != NULL) {
            session->progress(session->progress_user, i, schedule->n);
        }
        call->n = schedule->sizes[i];
        if (!run_call(call, cache, fault)) {
            return false;
        }
        call->first += call->n;
    }
    return true;
}

bool tool_session_run(struct tool_session *session, const struct tool_schedule *schedule,
                      bool use_cache, struct tool_values *values, struct tool_fault *fault)
{
    const struct tool_case *c = session->c;
    size_t tokens = (size_t)c->batch * (size_t)c->tokens;
    struct call call = {.session = session, .values = values};
    gqa_cache *cache = NULL;
    gqa_error err;
    bool good = false;

    memset(values, 0, sizeof *values);
    call.positions = malloc(tokens * sizeof(int32_t));
    call.rotary = c->rope_pos3 != NULL ? malloc(3 * tokens * sizeof(int32_t)) : NULL;
    call.first_valid = malloc((size_t)c->batch * sizeof(int32_t));
    call.lengths = malloc((size_t)c->batch * sizeof(int32_t));
    if (call.positions == NULL || (c->rope_pos3 != NULL && call.rotary == NULL) ||
        call.first_valid == NULL || call.lengths == NULL) {
        tool_fault_set(fault, c->path, "no memory for the calls");
        goto done;
    }
    if (!take_values(values, c, use_cache, fault) ||
        (use_cache && !tool_cache_make(session, &cache, fault))) {
        goto done;
    }
    if (c->pairs > 0 && gqa_rope_frequencies(session->layer, 0, values->inv_freq,
                                             &values->rope_mscale, &err) != GQA_OK) {
        tool_fault_gqa(fault, c->path, "gqa_rope_frequencies", &err);
        goto done;
    }
    if (!run_calls(&call, schedule, cache, fault) ||
        (use_cache && !tool_cache_collect(session, cache, values, fault))) {
        goto done;
    }
    clear_padding_values(c, values);
    good = true;

done:
    gqa_cache_destroy(&cache);
    free(call.positions);
    free(call.rotary);
    free(call.first_valid);
    free(call.lengths);
    return good;
}
