/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - events kept; see trace.h. */
#include "tool/trace.h"

#include <stdlib.h>
#include <string.h>

/* Scores at or below this one are masked: Neuron's masks are -9984 and the lowest finite numbers.
 */
#define LOWEST_SCORE (-9984.0f)

const char *tool_trace_event_name(gqa_neuron_event event)
{
    static const char *const names[] = {"mm1", "exp", "mm2", "large", "section", "rows"};

    return (unsigned)event < 6 ? names[event] : "unknown";
}

const char *tool_trace_fate_name(gqa_neuron_fate fate)
{
    static const char *const names[] = {"whole",         "masked",         "all masked",
                                        "filled",        "skipped causal", "skipped window",
                                        "skipped prior", "skipped bounds"};

    return (unsigned)fate < 8 ? names[fate] : "unknown";
}

const char *tool_trace_masking_name(gqa_neuron_masking masking)
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

int32_t tool_trace_row(const struct tool_trace *trace, const gqa_neuron_tile *tile)
{
    return tile->query + tile->rank * trace->tokens;
}

int32_t tool_trace_key(const struct tool_trace *trace, const gqa_neuron_tile *tile)
{
    return tile->part == GQA_NEURON_ACTIVE ? tile->key - trace->hidden : tile->key;
}

struct tool_trace_extent tool_trace_extent(const struct tool_trace *trace)
{
    struct tool_trace_extent extent = {1, 1};

    for (int64_t i = 0; i < trace->count; i++) {
        const gqa_neuron_tile *const tile = &trace->events[i].tile;
        if (tile->event == GQA_NEURON_MM1) {
            const int32_t rows = tool_trace_row(trace, tile) + tile->rows,
                          keys = tool_trace_key(trace, tile) + tile->keys;
            extent.rows = rows > extent.rows ? rows : extent.rows;
            extent.keys = keys > extent.keys ? keys : extent.keys;
        }
    }
    return extent;
}
