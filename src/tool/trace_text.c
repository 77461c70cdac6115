/* SPDX-License-Identifier: Apache-2.0 */
/* trace_text.c - a trace as characters and as JSON. */
#include "tool/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- text --------------------------------------------------------------------------------------
 */

/* One character for each 128 rows and 128 keys. */
enum { CELL = 128, MOST_COLUMNS = 120 };

static char fate_mark(gqa_neuron_fate fate)
{
    static const char marks[] = "#/x-.,:;";

    return (unsigned)fate < 8 ? marks[fate] : '?';
}

static void mark(char *grid, const struct tool_trace_extent *cells, const struct tool_trace *trace,
                 const gqa_neuron_tile *tile)
{
    const int32_t row = tool_trace_row(trace, tile), key = tool_trace_key(trace, tile);
    const int32_t last_row = (row + tile->rows - 1) / CELL;
    const int32_t last_column = (key + tile->keys - 1) / CELL;

    for (int32_t r = row / CELL; r <= last_row; r++) {
        for (int32_t c = key / CELL; c <= last_column; c++) {
            grid[(int64_t)r * cells->keys + c] = fate_mark(tile->fate);
        }
    }
}

static void print_grid(FILE *out, const struct tool_trace *trace)
{
    const struct tool_trace_extent extent = tool_trace_extent(trace);
    const struct tool_trace_extent cells = {(extent.rows + CELL - 1) / CELL,
                                            (extent.keys + CELL - 1) / CELL};
    char *const grid = malloc((size_t)cells.rows * (size_t)cells.keys);

    if (grid == NULL || cells.keys > MOST_COLUMNS) {
        fprintf(out, "  (%d keys are too many for a grid of characters)\n", extent.keys);
        free(grid);
        return;
    }
    memset(grid, ' ', (size_t)cells.rows * (size_t)cells.keys);
    for (int64_t i = 0; i < trace->count; i++) {
        const gqa_neuron_tile *const tile = &trace->events[i].tile;
        if (tile->event == GQA_NEURON_MM1 && tile->keys > 0) {
            mark(grid, &cells, trace, tile);
        }
    }
    for (int32_t r = 0; r < cells.rows; r++) {
        fprintf(out, "  rows %6d  |%.*s|\n", r * CELL, (int)cells.keys,
                grid + (int64_t)r * cells.keys);
    }
    free(grid);
}

void tool_trace_print(FILE *out, const struct tool_trace *trace,
                      const struct tool_trace_title *title)
{
    const gqa_neuron_output *const output = &trace->output;
    int64_t counts[8] = {0}, without = 0;

    for (int64_t i = 0; i < trace->count; i++) {
        const gqa_neuron_tile *const tile = &trace->events[i].tile;
        if (tile->event == GQA_NEURON_MM1 && (unsigned)tile->fate < 8) {
            counts[tile->fate]++;
            without += tile->fate <= GQA_NEURON_FILLED ? tile->rows_without_keys : 0;
        }
    }
    fprintf(out, "%s: profile %s; batch entry %d, head %d; a character is %d rows x %d keys\n",
            title->name, gqa_neuron_profile_name(title->call->profile), trace->batch, trace->head,
            CELL, CELL);
    print_grid(out, trace);
    for (int f = 0; f < 8; f++) {
        if (counts[f] > 0) {
            fprintf(out, "  %c %-15s %6lld tiles\n", fate_mark((gqa_neuron_fate)f),
                    tool_trace_fate_name((gqa_neuron_fate)f), (long long)counts[f]);
        }
    }
    fprintf(out, "  %lld rows of computed tiles see no key there\n", (long long)without);
    fprintf(out,
            "  all heads: %lld tiles computed, %lld not; %lld bytes loaded; %lld "
            "multiply-adds\n",
            (long long)output->tiles, (long long)output->tiles_skipped,
            (long long)output->hbm_bytes, (long long)output->madds);
    for (int32_t i = 0; i < output->warning_count; i++) {
        fprintf(out, "  warning: %s: %s\n", output->warnings[i].field, output->warnings[i].text);
    }
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static void set_floats(json_t *object, const char *name, const float *x, int64_t n)
{
    json_t *array;

    if (x == NULL) {
        return;
    }
    array = json_array();
    for (int64_t i = 0; i < n; i++) {
        json_array_append_new(array, isfinite(x[i]) ? json_real((double)x[i]) : json_null());
    }
    json_object_set_new(object, name, array);
}

static json_t *event_json(const struct tool_trace_event *event)
{
    const gqa_neuron_tile *const tile = &event->tile;
    const int64_t scores = (int64_t)tile->rows * tile->keys;
    json_t *object = json_pack(
        "{s:I, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I}",
        "order", (json_int_t)tile->order, "event", tool_trace_event_name(tile->event), "fate",
        tool_trace_fate_name(tile->fate), "masking", tool_trace_masking_name(tile->masking), "part",
        tile->part == GQA_NEURON_PRIOR ? "prior" : "active", "rank", (int)tile->rank, "schedule",
        (int)tile->schedule, "section", (int)tile->section, "large", (int)tile->large, "tile",
        (int)tile->tile, "query", (int)tile->query, "rows", (int)tile->rows, "key", (int)tile->key,
        "keys", (int)tile->keys, "rows_without_keys", (int)tile->rows_without_keys, "hbm_bytes",
        (json_int_t)tile->hbm_bytes, "multiply_adds", (json_int_t)tile->madds);

    if (object != NULL) {
        set_floats(object, "m", tile->m, tile->rows);
        set_floats(object, "l", tile->l, tile->rows);
        set_floats(object, "alpha", tile->alpha, tile->rows);
        set_floats(object, "row_sum", tile->row_sum, tile->rows);
        set_floats(object, "tile_max", tile->tile_max, tile->rows);
        set_floats(object, "s", tile->s, scores);
        set_floats(object, "p", tile->p, scores);
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
