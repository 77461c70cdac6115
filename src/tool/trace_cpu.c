/* SPDX-License-Identifier: Apache-2.0 */
/* trace_cpu.c - see trace_cpu.h. */
#include "tool/trace_cpu.h"

#include <stdlib.h>
#include <string.h>

/* By gqa_tile_fate. */
static const struct tool_trace_fate cpu_fates[] = {{"whole", "seen", '#', true},
                                                   {"masked", "done", '/', true},
                                                   {"skipped left", "window", ',', false},
                                                   {"skipped right", "causal", '.', false},
                                                   {"skipped hidden", "hidden", ';', false}};

enum { CPU_FATES = sizeof cpu_fates / sizeof cpu_fates[0] };

/* --- tiles -------------------------------------------------------------------------------------
 */

static void *copy_rows(struct tool_trace_cpu *trace, const void *from, const gqa_tile *tile)
{
    const size_t bytes = (size_t)tile->rows * sizeof(int32_t); /* and of a float */
    void *const to = from != NULL ? malloc(bytes) : NULL;

    trace->starved |= from != NULL && to == NULL;
    return to != NULL ? memcpy(to, from, bytes) : NULL;
}

static void trace_tile(void *user, const gqa_tile *tile)
{
    struct tool_trace_cpu *const trace = user;
    struct tool_trace_tile *kept;

    if (tile->batch != trace->batch || tile->head != trace->kv_head || trace->starved) {
        return;
    }
    if (trace->count == trace->room) {
        const int64_t room = trace->room == 0 ? 256 : 2 * trace->room;
        kept = realloc(trace->tiles, (size_t)room * sizeof *kept);
        if (kept == NULL) {
            trace->starved = true;
            return;
        }
        trace->tiles = kept;
        trace->room = room;
    }
    kept = &trace->tiles[trace->count++];
    kept->tile = *tile;
    kept->begin = copy_rows(trace, tile->seen_begin, tile);
    kept->end = copy_rows(trace, tile->seen_end, tile);
    kept->m = copy_rows(trace, tile->m, tile);
    kept->l = copy_rows(trace, tile->l, tile);
    kept->tile.seen_begin = kept->tile.seen_end = NULL;
    kept->tile.m = kept->tile.l = NULL;
}

void tool_trace_cpu_free(struct tool_trace_cpu *trace)
{
    for (int64_t i = 0; i < trace->count; i++) {
        free(trace->tiles[i].begin);
        free(trace->tiles[i].end);
        free(trace->tiles[i].m);
        free(trace->tiles[i].l);
    }
    free(trace->tiles);
    trace->tiles = NULL;
    trace->count = trace->room = 0;
}

/* --- runs --------------------------------------------------------------------------------------
 */

static void set_heads(struct tool_trace_cpu *trace, const gqa_config *config)
{
    trace->group = config->num_attention_heads / config->num_key_value_heads;
    trace->kv_head = trace->head / trace->group;
    gqa_work_init(&trace->work);
}

static bool finish_run(const struct tool_trace_cpu *trace, struct tool_fault *fault)
{
    if (trace->starved) {
        return tool_fault_set(fault, NULL, "no memory for the trace");
    }
    return trace->count > 0 ||
           tool_fault_set(fault, NULL, "the call has no batch entry %d with a head %d",
                          trace->batch, trace->head);
}

/* What multiplies scores, 0 = 1 / sqrt(D); the profiles say it in their own ways. */
static float score_scale_of(const gqa_neuron_call *call)
{
    const bool cte = call->profile == GQA_NEURON_CTE;

    if (call->softmax_scale != 0.0f) {
        return 1.0f / call->softmax_scale;
    }
    return cte && call->scale == 1.0f ? 0.0f : call->scale;
}

/* The layer that is attention alone. */
static gqa_config config_of(const gqa_neuron_call *call, const struct tool_run_options *options)
{
    gqa_config config;

    gqa_config_init(&config);
    config.numerics = options->numerics;
    config.isa = options->isa;
    config.num_attention_heads = (int32_t)call->q.shape[2];
    config.num_key_value_heads = (int32_t)call->k.shape[2];
    config.head_dim = (int32_t)call->q.shape[3];
    config.sliding_window = call->window;
    config.bidirectional = call->bidirectional != 0 || call->mask.data != NULL;
    config.learned_sinks_size = call->sinks.data != NULL;
    config.score_scale = score_scale_of(call);
    return config;
}

bool tool_trace_cpu_attend(struct tool_trace_cpu *trace, const gqa_neuron_call *call,
                           const struct tool_run_options *options, struct tool_fault *fault)
{
    const gqa_config config = config_of(call, options);
    const gqa_tensor *const q = &call->q;
    float *const result =
        calloc((size_t)(q->shape[0] * q->shape[1] * q->shape[2] * q->shape[3]) + 1, sizeof(float));
    gqa_weights weights;
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_layer *layer = NULL;
    gqa_error err;
    bool good;

    gqa_weights_init(&weights);
    weights.sinks = call->sinks;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = *q;
    in.key = call->k;
    in.value = call->v;
    in.mask = call->mask;
    if (q->shape[0] == 1) { /* packed sequences */
        in.key_begin = call->bound_min;
        in.key_end = call->bound_max;
    }
    in.trace = trace_tile;
    in.trace_user = trace;
    set_heads(trace, &config);
    out.output = gqa_tensor_4d(result, GQA_F32, q->shape[0], q->shape[1], q->shape[2], q->shape[3]);
    out.work = &trace->work;
    good = result != NULL || tool_fault_set(fault, NULL, "no memory for the result");
    if (good && gqa_create(&layer, &config, &weights, NULL, &err) != GQA_OK) {
        good = tool_fault_gqa(fault, NULL, "gqa_create", &err);
    }
    if (good && gqa_attend(layer, NULL, &in, &out, NULL, 0, &err) != GQA_OK) {
        good = tool_fault_gqa(fault, NULL, "gqa_attend", &err);
    }
    trace->path = out.path;
    gqa_destroy(&layer);
    free(result);
    return good && finish_run(trace, fault);
}

bool tool_trace_cpu_case(struct tool_trace_cpu *trace, const struct tool_case *c,
                         const struct tool_run_options *options, struct tool_fault *fault)
{
    int32_t tokens = c->tokens;
    const struct tool_schedule whole = {"whole", 5, 1, &tokens};
    struct tool_session session;
    struct tool_values values;
    bool good;

    set_heads(trace, &c->config);
    if (!tool_session_open(&session, c, options, fault)) {
        return false;
    }
    session.trace = trace_tile;
    session.trace_user = trace;
    session.work = &trace->work;
    good = tool_session_run(&session, &whole, c->past > 0, &values, fault);
    trace->path = values.path;
    tool_values_free(&values);
    tool_session_close(&session);
    return good && finish_run(trace, fault);
}

/* --- what is shown -----------------------------------------------------------------------------
 */

/* Rows that a line of the picture stands for: a token's where they begin and end with whole tokens
 * and all heads of one see the same. */
static int32_t rows_of_line(const struct tool_trace_cpu *trace, const struct tool_trace_tile *kept)
{
    const int32_t group = trace->group;

    if (kept->begin == NULL || kept->tile.row % group != 0 || kept->tile.rows % group != 0) {
        return 1;
    }
    for (int32_t r = 0; r < kept->tile.rows; r++) {
        if (kept->begin[r] != kept->begin[r - r % group] ||
            kept->end[r] != kept->end[r - r % group]) {
            return 1;
        }
    }
    return group;
}

bool tool_trace_cpu_panel(const struct tool_trace_cpu *trace, const char *name,
                          struct tool_trace_panel *panel, struct tool_fault *fault)
{
    const gqa_work *const work = &trace->work;

    if (!tool_trace_panel_open(panel, trace->count, fault)) {
        return false;
    }
    for (int64_t i = 0; i < trace->count; i++) {
        const struct tool_trace_tile *const kept = &trace->tiles[i];
        const int32_t step = rows_of_line(trace, kept);
        const struct tool_trace_box box = {
            .fate = (int)kept->tile.fate,
            .row = (double)kept->tile.row / trace->group,
            .rows = (double)kept->tile.rows / trace->group,
            .key = kept->tile.key,
            .keys = kept->tile.keys,
            .lines = kept->tile.rows / step,
            .step = step,
            .begin = kept->begin,
            .end = kept->end,
            .without = kept->begin != NULL ? kept->tile.rows_without_keys : 0};
        tool_trace_panel_add(panel, &box);
    }
    snprintf(panel->title, sizeof panel->title, "%.100s: backend cpu %s", name,
             trace->path.kernels);
    snprintf(panel->where, sizeof panel->where, "batch entry %d, KV head %d", trace->batch,
             trace->kv_head);
    snprintf(panel->totals, sizeof panel->totals,
             "all heads: %lld tiles computed, %lld not; %lld bytes loaded; %lld multiply-adds",
             (long long)work->tiles, (long long)work->tiles_skipped, (long long)work->kv_bytes,
             (long long)(work->score_madds + work->value_madds));
    panel->axis = "tokens";
    panel->fates = cpu_fates;
    panel->fate_count = CPU_FATES;
    panel->cell_rows = work->tile_rows > trace->group ? work->tile_rows / trace->group : 1;
    panel->cell_keys = 64;
    return true;
}

static void set_counts(json_t *object, const char *name, const int32_t *x, int32_t n)
{
    json_t *const array = x != NULL ? json_array() : NULL;

    for (int32_t i = 0; array != NULL && i < n; i++) {
        json_array_append_new(array, json_integer(x[i]));
    }
    if (array != NULL) {
        json_object_set_new(object, name, array);
    }
}

static json_t *tile_json(const struct tool_trace_tile *kept)
{
    const gqa_tile *const tile = &kept->tile;
    json_t *const object = json_pack(
        "{s:I, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I}", "order", (json_int_t)tile->order,
        "fate", cpu_fates[tile->fate].name, "row", (int)tile->row, "rows", (int)tile->rows, "block",
        (int)tile->block, "key", (int)tile->key, "keys", (int)tile->keys, "rows_without_keys",
        (int)tile->rows_without_keys, "kv_bytes", (json_int_t)tile->kv_bytes, "score_multiply_adds",
        (json_int_t)tile->score_madds, "value_multiply_adds", (json_int_t)tile->value_madds);

    if (object != NULL) {
        set_counts(object, "seen_begin", kept->begin, tile->rows);
        set_counts(object, "seen_end", kept->end, tile->rows);
        tool_trace_set_floats(object, "m", kept->m, tile->rows);
        tool_trace_set_floats(object, "l", kept->l, tile->rows);
    }
    return object;
}

json_t *tool_trace_cpu_json(const struct tool_trace_cpu *trace, const char *name)
{
    const gqa_work *const work = &trace->work;
    json_t *const events = json_array();

    for (int64_t i = 0; i < trace->count; i++) {
        json_array_append_new(events, tile_json(&trace->tiles[i]));
    }
    return json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "case", name,
        "backend", "cpu", "kernels", trace->path.kernels, "batch", (int)trace->batch, "kv_head",
        (int)trace->kv_head, "group", (int)trace->group, "tile_rows", (int)work->tile_rows, "tiles",
        (json_int_t)work->tiles, "tiles_masked", (json_int_t)work->tiles_masked, "tiles_skipped",
        (json_int_t)work->tiles_skipped, "keys_read", (json_int_t)work->keys_read, "kv_bytes",
        (json_int_t)work->kv_bytes, "score_multiply_adds", (json_int_t)work->score_madds,
        "value_multiply_adds", (json_int_t)work->value_madds, "events", events);
}
