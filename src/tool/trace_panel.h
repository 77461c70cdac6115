/* SPDX-License-Identifier: Apache-2.0 */
/* trace_panel.h - the matrix of scores with its tiles, of whichever backend: what is drawn. */
#ifndef GQA__TOOL_TRACE_PANEL_H
#define GQA__TOOL_TRACE_PANEL_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "gqa/gqa.h"
#include "tool/fault.h"

/* What may become of a tile. */
struct tool_trace_fate {
    const char *name;  /* in text and JSON */
    const char *style; /* class of the picture, which the style sheet dresses */
    char mark;         /* in the grid of characters */
    bool computed;
};

/* A tile. Rows of the matrix are tokens; a tile may begin between two of them. */
struct tool_trace_box {
    const gqa_neuron_tile *event; /* of Neuron's profiles, else NULL */
    bool product;                 /* its product with V, not that with K */
    int fate;                     /* of the panel's fates */
    double row, rows;
    int32_t key, keys;
    int32_t lines;              /* of the tile; line i sees keys in [begin[i * step], */
    int32_t step;               /* end[i * step]), counted from the first one; begin NULL = not */
    const int32_t *begin, *end; /* known */
    int32_t without;            /* lines that see no key */
};

struct tool_trace_panel {
    char title[160];                     /* of the case, and who computes it */
    char where[64];                      /* whose tiles */
    char totals[160];                    /* of all heads */
    const char *axis;                    /* what rows are */
    const struct tool_trace_fate *fates; /* [fate_count] */
    int fate_count;
    int32_t rows, keys;           /* that the boxes span, at least 1 */
    int32_t cell_rows, cell_keys; /* of a character */
    struct tool_trace_box *boxes; /* [count] */
    int64_t count;
    const gqa_neuron_warning *warnings; /* [warning_count] */
    int32_t warning_count;
};

/* Room for this many boxes, count 0. */
bool tool_trace_panel_open(struct tool_trace_panel *panel, int64_t boxes, struct tool_fault *fault);
void tool_trace_panel_add(struct tool_trace_panel *panel, const struct tool_trace_box *box);
void tool_trace_panel_close(struct tool_trace_panel *panel);

/* The grid of tiles in characters, and the counts. */
void tool_trace_print(FILE *out, const struct tool_trace_panel *panel);

/* The picture: panels side by side, all in the scale of the largest. */
void tool_trace_svg(FILE *out, const struct tool_trace_panel *panels, int count);

/* object[name] = x [n], null where it is not finite; nothing without x. */
void tool_trace_set_floats(json_t *object, const char *name, const float *x, int64_t n);

#endif
