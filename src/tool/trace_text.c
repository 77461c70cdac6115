/* SPDX-License-Identifier: Apache-2.0 */
/* trace_text.c - a trace's tiles as characters; see trace_panel.h. */
#include "tool/trace_panel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 120 };

bool tool_trace_panel_open(struct tool_trace_panel *panel, int64_t boxes, struct tool_fault *fault)
{
    memset(panel, 0, sizeof *panel);
    panel->rows = panel->keys = 1;
    panel->boxes = calloc((size_t)boxes + 1, sizeof *panel->boxes);
    return panel->boxes != NULL || tool_fault_set(fault, NULL, "no memory for the picture");
}

void tool_trace_panel_add(struct tool_trace_panel *panel, const struct tool_trace_box *box)
{
    const int32_t rows = (int32_t)ceil(box->row + box->rows), keys = box->key + box->keys;

    panel->boxes[panel->count++] = *box;
    if (!box->product) {
        panel->rows = rows > panel->rows ? rows : panel->rows;
        panel->keys = keys > panel->keys ? keys : panel->keys;
    }
}

void tool_trace_panel_close(struct tool_trace_panel *panel)
{
    free(panel->boxes);
    panel->boxes = NULL;
}

/* The characters that a box covers. */
static void mark(char *grid, int32_t columns, const struct tool_trace_panel *panel,
                 const struct tool_trace_box *box)
{
    const int32_t first_row = (int32_t)(box->row / panel->cell_rows);
    const int32_t last_row = (int32_t)(ceil((box->row + box->rows) / panel->cell_rows)) - 1;
    const int32_t last_column = (box->key + box->keys - 1) / panel->cell_keys;

    for (int32_t r = first_row; r <= last_row; r++) {
        for (int32_t c = box->key / panel->cell_keys; c <= last_column; c++) {
            grid[(int64_t)r * columns + c] = panel->fates[box->fate].mark;
        }
    }
}

static void print_grid(FILE *out, const struct tool_trace_panel *panel)
{
    const int32_t rows = (panel->rows + panel->cell_rows - 1) / panel->cell_rows;
    const int32_t columns = (panel->keys + panel->cell_keys - 1) / panel->cell_keys;
    char *const grid = malloc((size_t)rows * (size_t)columns);

    if (grid == NULL || columns > MOST_COLUMNS) {
        fprintf(out, "  (%d keys are too many for a grid of characters)\n", panel->keys);
        free(grid);
        return;
    }
    memset(grid, ' ', (size_t)rows * (size_t)columns);
    for (int64_t i = 0; i < panel->count; i++) {
        if (!panel->boxes[i].product && panel->boxes[i].keys > 0) {
            mark(grid, columns, panel, &panel->boxes[i]);
        }
    }
    for (int32_t r = 0; r < rows; r++) {
        fprintf(out, "  rows %6d  |%.*s|\n", r * panel->cell_rows, (int)columns,
                grid + (int64_t)r * columns);
    }
    free(grid);
}

void tool_trace_print(FILE *out, const struct tool_trace_panel *panel)
{
    int64_t counts[8] = {0}, without = 0;

    for (int64_t i = 0; i < panel->count; i++) {
        const struct tool_trace_box *const box = &panel->boxes[i];
        if (!box->product) {
            counts[box->fate]++;
            without += box->without;
        }
    }
    fprintf(out, "%s; %s; a character is %d rows x %d keys\n", panel->title, panel->where,
            panel->cell_rows, panel->cell_keys);
    print_grid(out, panel);
    for (int f = 0; f < panel->fate_count; f++) {
        if (counts[f] > 0) {
            fprintf(out, "  %c %-15s %6lld tiles\n", panel->fates[f].mark, panel->fates[f].name,
                    (long long)counts[f]);
        }
    }
    fprintf(out, "  %lld rows of computed tiles see no key there\n", (long long)without);
    fprintf(out, "  %s\n", panel->totals);
    for (int32_t i = 0; i < panel->warning_count; i++) {
        fprintf(out, "  warning: %s: %s\n", panel->warnings[i].field, panel->warnings[i].text);
    }
}

void tool_trace_set_floats(json_t *object, const char *name, const float *x, int64_t n)
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
