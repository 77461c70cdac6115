/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - see trace.h. */
#include "tool/trace.h"

#include <stdlib.h>
#include <string.h>

/* Scores at or below this one are masked: Neuron's masks are -9984 and the lowest finite numbers.
 */
#define LOWEST_SCORE (-9984.0f)

/* By gqa_neuron_fate. */
static const struct tool_trace_fate fates[] = {{"whole", "seen", '#', true},
                                               {"masked", "done", '/', true},
                                               {"all masked", "none", 'x', true},
                                               {"filled", "filled", '-', false},
                                               {"skipped causal", "causal", '.', false},
                                               {"skipped window", "window", ',', false},
                                               {"skipped prior", "window", ':', false},
                                               {"skipped bounds", "window", ';', false}};

enum { FATES = sizeof fates / sizeof fates[0] };

static const char *event_name(gqa_neuron_event event)
{
    static const char *const names[] = {"mm1", "exp", "mm2", "large", "section", "rows"};

    return (unsigned)event < 6 ? names[event] : "unknown";
}

static const char *masking_name(gqa_neuron_masking masking)
{
    static const char *const names[] = {"none", "range select", "affine", "tensor"};

    return (unsigned)masking < 4 ? names[masking] : "unknown";
}

/* --- copies ------------------------------------------------------------------------------------
 */

static const float *copy(struct tool_trace *trace, const float *from, int64_t n)
{
    float *to;

    if (from == NULL) {
        return NULL;
    }
    to = malloc((size_t)n * sizeof *to);
    if (to == NULL) {
        trace->starved = true;
        return NULL;
    }
    return memcpy(to, from, (size_t)n * sizeof *to);
}

/* [rows][keys], without what lies between the rows. */
static const float *copy_scores(struct tool_trace *trace, const gqa_neuron_tile *tile,
                                const float *from)
{
    float *to;

    if (from == NULL) {
        return NULL;
    }
    to = malloc((size_t)tile->rows * (size_t)tile->keys * sizeof *to);
    trace->starved |= to == NULL;
    for (int32_t r = 0; to != NULL && r < tile->rows; r++) {
        memcpy(to + (int64_t)r * tile->keys, from + r * tile->score_step,
               (size_t)tile->keys * sizeof *to);
    }
    return to;
}

static void find_seen_keys(struct tool_trace *trace, struct tool_trace_event *event,
                           const gqa_neuron_tile *tile)
{
    const size_t rows = (size_t)tile->rows;

    event->begin = calloc(rows, sizeof *event->begin);
    event->end = calloc(rows, sizeof *event->end);
    if (event->begin == NULL || event->end == NULL) {
        trace->starved = true;
        return;
    }
    for (int32_t r = 0; r < tile->rows; r++) {
        const float *const s = tile->s + r * tile->score_step;
        int32_t begin = 0, end = tile->keys;
        while (begin < end && s[begin] <= LOWEST_SCORE) {
            begin++;
        }
        while (end > begin && s[end - 1] <= LOWEST_SCORE) {
            end--;
        }
        event->begin[r] = begin;
        event->end[r] = end;
    }
}

static void keep_event(struct tool_trace *trace, const gqa_neuron_tile *tile)
{
    struct tool_trace_event *const event = &trace->events[trace->count++];
    const bool dumped = tile->order == trace->dump;

    memset(event, 0, sizeof *event);
    event->tile = *tile;
    event->tile.m = copy(trace, tile->m, tile->rows);
    event->tile.l = copy(trace, tile->l, tile->rows);
    event->tile.alpha = copy(trace, tile->alpha, tile->rows);
    event->tile.row_sum = copy(trace, tile->row_sum, tile->rows);
    event->tile.tile_max = copy(trace, tile->tile_max, tile->rows);
    event->tile.s = dumped ? copy_scores(trace, tile, tile->s) : NULL;
    event->tile.p = dumped ? copy_scores(trace, tile, tile->p) : NULL;
    event->tile.score_step = tile->keys;
    event->tile.s_raw = NULL;
    event->tile.o = NULL;
    event->tile.blocks = NULL;
    if (tile->event == GQA_NEURON_MM1 && tile->s != NULL) {
        find_seen_keys(trace, event, tile);
    }
}

static void trace_event(void *user, const gqa_neuron_tile *tile)
{
    struct tool_trace *const trace = user;

    if (tile->batch != trace->batch || tile->head != trace->head) {
        return;
    }
    if (trace->count == trace->room) {
        const int64_t room = trace->room == 0 ? 256 : 2 * trace->room;
        struct tool_trace_event *const more = realloc(trace->events, (size_t)room * sizeof *more);
        if (more == NULL) {
            trace->starved = true;
            return;
        }
        trace->events = more;
        trace->room = room;
    }
    keep_event(trace, tile);
}

/* --- a run -------------------------------------------------------------------------------------
 */

bool tool_trace_run(struct tool_trace *trace, const gqa_neuron_call *call, struct tool_fault *fault)
{
    const gqa_tensor *const q = &call->q;
    gqa_neuron_call traced = *call;
    int64_t count = 1;
    gqa_error err;
    bool good;

    gqa_neuron_output_init(&trace->output);
    for (int32_t i = 0; i < q->rank && i < 4; i++) {
        count *= q->shape[i];
    }
    trace->output.out = *q;
    memset(trace->output.out.stride, 0, sizeof trace->output.out.stride);
    trace->output.out.data = calloc((size_t)count + 1, sizeof(float));
    trace->tokens = (int32_t)(q->rank >= 3 ? q->shape[q->rank - 3] : 0);
    if (call->profile == GQA_NEURON_FLASH_DECODING && call->ranks > 0) {
        const int64_t slots = call->k_prior.shape[call->k_prior.rank == 4];
        trace->hidden = (int32_t)(slots - slots / call->ranks);
    }
    traced.trace = trace_event;
    traced.trace_user = trace;
    if (trace->output.out.data == NULL) {
        return tool_fault_set(fault, NULL, "no memory for the result");
    }
    good = gqa_neuron_attention(&traced, &trace->output, NULL, NULL, 0, &err) == GQA_OK;
    free(trace->output.out.data);
    trace->output.out.data = NULL;
    if (!good) {
        return tool_fault_gqa(fault, NULL, "gqa_neuron_attention", &err);
    }
    return !trace->starved || tool_fault_set(fault, NULL, "no memory for the trace");
}

void tool_trace_free(struct tool_trace *trace)
{
    for (int64_t i = 0; i < trace->count; i++) {
        const gqa_neuron_tile *const tile = &trace->events[i].tile;
        const float *const copies[] = {tile->m,        tile->l, tile->alpha, tile->row_sum,
                                       tile->tile_max, tile->s, tile->p};
        for (size_t j = 0; j < sizeof copies / sizeof copies[0]; j++) {
            free((void *)(uintptr_t)copies[j]);
        }
        free(trace->events[i].begin);
        free(trace->events[i].end);
    }
    free(trace->events);
    trace->events = NULL;
    trace->count = trace->room = 0;
}

/* --- the panel ---------------------------------------------------------------------------------
 */

/* Where a tile is shown: the ranks of flash_decoding lie one below the other, each with its own
 * prior keys. */
static struct tool_trace_box box_of(const struct tool_trace *trace,
                                    const struct tool_trace_event *event)
{
    const gqa_neuron_tile *const tile = &event->tile;
    const struct tool_trace_box box = {
        .event = tile,
        .product = tile->event == GQA_NEURON_MM2,
        .fate = (int)tile->fate,
        .row = tile->query + tile->rank * trace->tokens,
        .rows = tile->rows,
        .key = tile->part == GQA_NEURON_ACTIVE ? tile->key - trace->hidden : tile->key,
        .keys = tile->keys,
        .lines = tile->rows,
        .step = 1,
        .begin = event->begin,
        .end = event->end,
        .without = tile->fate <= GQA_NEURON_FILLED ? tile->rows_without_keys : 0};

    return box;
}

bool tool_trace_panel(const struct tool_trace *trace, const struct tool_trace_title *title,
                      struct tool_trace_panel *panel, struct tool_fault *fault)
{
    const gqa_neuron_output *const output = &trace->output;

    if (!tool_trace_panel_open(panel, trace->count, fault)) {
        return false;
    }
    for (int64_t i = 0; i < trace->count; i++) {
        const gqa_neuron_tile *const tile = &trace->events[i].tile;
        if ((tile->event == GQA_NEURON_MM1 || tile->event == GQA_NEURON_MM2) &&
            (unsigned)tile->fate < FATES) {
            const struct tool_trace_box box = box_of(trace, &trace->events[i]);
            tool_trace_panel_add(panel, &box);
        }
    }
    snprintf(panel->title, sizeof panel->title, "%.100s: profile %s", title->name,
             gqa_neuron_profile_name(title->call->profile));
    snprintf(panel->where, sizeof panel->where, "batch entry %d, head %d", trace->batch,
             trace->head);
    snprintf(panel->totals, sizeof panel->totals,
             "all heads: %lld tiles computed, %lld not; %lld bytes loaded; %lld multiply-adds",
             (long long)output->tiles, (long long)output->tiles_skipped,
             (long long)output->hbm_bytes, (long long)output->madds);
    panel->axis = trace->hidden > 0 ? "ranks" : "rows";
    panel->fates = fates;
    panel->fate_count = FATES;
    panel->cell_rows = panel->cell_keys = 128;
    panel->warnings = output->warnings;
    panel->warning_count = output->warning_count;
    return true;
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static json_t *event_json(const struct tool_trace_event *event)
{
    const gqa_neuron_tile *const tile = &event->tile;
    const int64_t scores = (int64_t)tile->rows * tile->keys;
    json_t *object = json_pack(
        "{s:I, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I}",
        "order", (json_int_t)tile->order, "event", event_name(tile->event), "fate",
        (unsigned)tile->fate < FATES ? fates[tile->fate].name : "unknown", "masking",
        masking_name(tile->masking), "part", tile->part == GQA_NEURON_PRIOR ? "prior" : "active",
        "rank", (int)tile->rank, "schedule", (int)tile->schedule, "section", (int)tile->section,
        "large", (int)tile->large, "tile", (int)tile->tile, "query", (int)tile->query, "rows",
        (int)tile->rows, "key", (int)tile->key, "keys", (int)tile->keys, "rows_without_keys",
        (int)tile->rows_without_keys, "hbm_bytes", (json_int_t)tile->hbm_bytes, "multiply_adds",
        (json_int_t)tile->madds);

    if (object != NULL) {
        tool_trace_set_floats(object, "m", tile->m, tile->rows);
        tool_trace_set_floats(object, "l", tile->l, tile->rows);
        tool_trace_set_floats(object, "alpha", tile->alpha, tile->rows);
        tool_trace_set_floats(object, "row_sum", tile->row_sum, tile->rows);
        tool_trace_set_floats(object, "tile_max", tile->tile_max, tile->rows);
        tool_trace_set_floats(object, "s", tile->s, scores);
        tool_trace_set_floats(object, "p", tile->p, scores);
    }
    return object;
}

json_t *tool_trace_json(const struct tool_trace *trace, const struct tool_trace_title *title)
{
    const gqa_neuron_output *const output = &trace->output;
    json_t *events = json_array(), *warnings = json_array();

    for (int64_t i = 0; i < trace->count; i++) {
        json_array_append_new(events, event_json(&trace->events[i]));
    }
    for (int32_t i = 0; i < output->warning_count; i++) {
        json_array_append_new(warnings, json_pack("{s:s, s:s}", "field", output->warnings[i].field,
                                                  "text", output->warnings[i].text));
    }
    return json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:o, s:o}", "case", title->name,
                     "profile", gqa_neuron_profile_name(title->call->profile), "batch",
                     (int)trace->batch, "head", (int)trace->head, "tiles",
                     (json_int_t)output->tiles, "tiles_skipped", (json_int_t)output->tiles_skipped,
                     "hbm_bytes", (json_int_t)output->hbm_bytes, "multiply_adds",
                     (json_int_t)output->madds, "warnings", warnings, "events", events);
}
