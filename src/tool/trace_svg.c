/* SPDX-License-Identifier: Apache-2.0 */
/* trace_svg.c - a trace as a picture: the matrix of scores, rows downwards and keys to the right,
 * with every tile and what became of it. Readable in black and white; a few kilobytes of SVG. */
#include "tool/trace_panel.h"

#include <string.h>

/* Where a matrix lies, in pixels. */
struct frame {
    double left, top, width, height;
    double per_key, per_row;
};

enum { WIDTH = 640, HEIGHT = 800, BESIDE = 90 }; /* of the largest matrix; between two of them */

/* Rows and keys of the largest panel give the scale. */
static struct frame frame_of(const struct tool_trace_panel *panels, int count, int which)
{
    struct frame frame = {.left = 70.0, .top = 64.0};
    int32_t rows = 1, keys = 1;

    for (int i = 0; i < count; i++) {
        rows = panels[i].rows > rows ? panels[i].rows : rows;
        keys = panels[i].keys > keys ? panels[i].keys : keys;
    }
    frame.per_key = (double)WIDTH / keys;
    frame.per_row = frame.per_key;
    if (rows < 16) { /* few rows: bands one can see */
        frame.per_row = 16.0;
    } else if (frame.per_row * rows > HEIGHT) {
        frame.per_row = (double)HEIGHT / rows;
    }
    frame.left += which * (WIDTH + BESIDE);
    frame.width = frame.per_key * panels[which].keys;
    frame.height = frame.per_row * panels[which].rows;
    return frame;
}

static double x_of(const struct frame *frame, int64_t key)
{
    return frame->left + frame->per_key * (double)key;
}

static double y_of(const struct frame *frame, double row)
{
    return frame->top + frame->per_row * row;
}

/* Text of a file, with what XML reserves written out. */
static void put_xml(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '&' || *text == '<' || *text == '>') {
            fprintf(out, "&#%d;", *text);
        } else {
            fputc((unsigned char)*text < 32 ? ' ' : *text, out);
        }
    }
}

/* --- tiles -------------------------------------------------------------------------------------
 */

/* First key that line r sees, and one past the last. */
static int32_t begin_of(const struct tool_trace_box *box, int32_t r)
{
    return box->begin[(int64_t)r * box->step];
}

static int32_t end_of(const struct tool_trace_box *box, int32_t r)
{
    return box->end[(int64_t)r * box->step];
}

/* The lines of a tile from r on whose visible keys go on in one straight line on both sides. */
static int32_t straight(const struct tool_trace_box *box, int32_t r)
{
    int32_t end = r + 1;
    int32_t left, right;

    if (end >= box->lines || end_of(box, end) == begin_of(box, end)) {
        return end;
    }
    left = begin_of(box, end) - begin_of(box, r);
    right = end_of(box, end) - end_of(box, r);
    while (end < box->lines && begin_of(box, end) < end_of(box, end) &&
           begin_of(box, end) - begin_of(box, end - 1) == left &&
           end_of(box, end) - end_of(box, end - 1) == right) {
        end++;
    }
    return end;
}

/* The keys that lines of a masked tile see, as stripes with straight sides. */
static void draw_seen(FILE *out, const struct frame *frame, const struct tool_trace_box *box)
{
    const double line = box->rows / box->lines; /* in rows of the matrix */

    for (int32_t r = 0, end; box->begin != NULL && r < box->lines; r = end) {
        end = r + 1;
        if (begin_of(box, r) == end_of(box, r)) {
            continue;
        }
        end = straight(box, r);
        fprintf(out, "<path class=\"seen\" d=\"M%.1f %.1fH%.1fL%.1f %.1fV%.1fH%.1fV%.1fz\"/>\n",
                x_of(frame, box->key + begin_of(box, r)), y_of(frame, box->row + r * line),
                x_of(frame, box->key + end_of(box, r)),
                x_of(frame, box->key + end_of(box, end - 1)),
                y_of(frame, box->row + (end - 1) * line), y_of(frame, box->row + end * line),
                x_of(frame, box->key + begin_of(box, end - 1)),
                y_of(frame, box->row + (end - 1) * line));
    }
}

static void draw_tile(FILE *out, const struct frame *frame, const struct tool_trace_box *box,
                      const struct tool_trace_fate *fate, int64_t number)
{
    const double x = x_of(frame, box->key), y = y_of(frame, box->row);
    const double width = frame->per_key * box->keys, height = frame->per_row * box->rows;

    fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
            fate->style, x, y, width, height);
    if (strcmp(fate->name, "masked") == 0) {
        draw_seen(out, frame, box);
    }
    fprintf(out, "<rect class=\"edge\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", x,
            y, width, height);
    if (fate->computed && width > 18.0 && height > 14.0) {
        fprintf(out, "<text class=\"order\" x=\"%.1f\" y=\"%.1f\">%lld</text>\n", x + 3.0, y + 11.0,
                (long long)number);
    }
}

static void draw_tiles(FILE *out, const struct frame *frame, const struct tool_trace_panel *panel)
{
    int64_t number = 0;

    for (int64_t i = 0; i < panel->count; i++) {
        const struct tool_trace_box *const box = &panel->boxes[i];
        const struct tool_trace_fate *const fate = &panel->fates[box->fate];
        if (!box->product && box->keys > 0) {
            number += fate->computed;
            draw_tile(out, frame, box, fate, number);
        }
    }
    for (int64_t i = 0; i < panel->count; i++) {
        const struct tool_trace_box *const box = &panel->boxes[i];
        if (box->product && panel->fates[box->fate].computed) {
            fprintf(out, "<circle class=\"mm2\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n",
                    x_of(frame, box->key) + frame->per_key * box->keys / 2.0,
                    y_of(frame, box->row) + frame->per_row * box->rows / 2.0);
        }
    }
}

/* --- lines -------------------------------------------------------------------------------------
 */

static void draw_line(FILE *out, const struct frame *frame, int32_t key, const char *style,
                      const char *text)
{
    const double x = x_of(frame, key);

    fprintf(out, "<path class=\"%s\" d=\"M%.1f %.1fV%.1f\"/>\n", style, x, frame->top - 8.0,
            frame->top + frame->height + 8.0);
    fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 2.0,
            frame->top - 10.0, text);
}

/* A line where a section, a large tile or the active part begins, told by the first tile there. */
static void draw_lines(FILE *out, const struct frame *frame, const struct tool_trace_panel *panel)
{
    int32_t section = -1, large = -1, query = -1, key;
    bool prior = false;
    char text[64];

    for (int64_t i = 0; i < panel->count; i++) {
        const gqa_neuron_tile *const tile = panel->boxes[i].event;
        if (tile == NULL || panel->boxes[i].product || tile->rank > 0 ||
            (query >= 0 && tile->query != query)) {
            continue;
        }
        key = panel->boxes[i].key;
        if (prior && tile->part == GQA_NEURON_ACTIVE) {
            draw_line(out, frame, key, "section", "active");
        } else if (tile->section != section && tile->section > 0) {
            snprintf(text, sizeof text, "section %d", tile->section);
            draw_line(out, frame, key, "section", text);
        } else if (tile->large != large && tile->large > 0) {
            snprintf(text, sizeof text, "large tile %d", tile->large);
            draw_line(out, frame, key, "large", text);
        } else if (query < 0 && tile->part == GQA_NEURON_PRIOR) {
            draw_line(out, frame, key, "section", "prior");
        }
        query = tile->query;
        section = tile->section;
        large = tile->large;
        prior = tile->part == GQA_NEURON_PRIOR;
    }
}

static void draw_axes(FILE *out, const struct frame *frame, const struct tool_trace_panel *panel)
{
    const double bottom = frame->top + frame->height, left = frame->left - 44.0;
    int32_t step = 128;

    while (step * 8 < panel->keys) {
        step *= 2;
    }
    for (int32_t key = 0; key <= panel->keys; key += step) {
        fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", x_of(frame, key),
                bottom + 18.0, key);
    }
    fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">keys</text>\n",
            frame->left + frame->width - 28.0, bottom + 32.0);
    for (int32_t row = 0; row < panel->rows; row += step) {
        fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", left,
                y_of(frame, row) + 10.0, row);
    }
    fprintf(out, "<text class=\"axis\" x=\"%.0f\" y=\"%.1f\">%s</text>\n", left, frame->top - 10.0,
            panel->axis);
}

/* --- legend ------------------------------------------------------------------------------------
 */

enum { OF_NEURON = 1, OF_CPU = 2 };

static int kind_of(const struct tool_trace_panel *panel)
{
    return panel->boxes[0].event != NULL ? OF_NEURON : OF_CPU;
}

static void draw_legend(FILE *out, double left, double top, int kinds)
{
    static const struct {
        int kinds;
        const char *style, *text;
    } entries[] = {
        {OF_NEURON | OF_CPU, "seen", "computed, and seen by the row"},
        {OF_NEURON | OF_CPU, "done", "computed, but masked"},
        {OF_NEURON, "none", "computed, although no row sees a key"},
        {OF_NEURON, "filled", "not computed, but counted as masked scores"},
        {OF_NEURON | OF_CPU, "causal", "skipped: right of the diagonal"},
        {OF_NEURON | OF_CPU, "window", "skipped: left of the window, or not in use"},
        {OF_CPU, "hidden", "skipped: hidden by a mask"},
    };
    int n = 0;

    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        const int line = n / 2, column = n % 2;
        const double y = top + 20.0 * line, x = left + 330.0 * column;
        if ((entries[i].kinds & kinds) == 0) {
            continue;
        }
        fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"24\" height=\"14\"/>\n",
                entries[i].style, x, y);
        fprintf(out, "<rect class=\"edge\" x=\"%.1f\" y=\"%.1f\" width=\"24\" height=\"14\"/>\n", x,
                y);
        fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 32.0, y + 11.0,
                entries[i].text);
        n++;
    }
}

/* How to read what is in the tiles. */
static void draw_signs(FILE *out, double left, double top, int kinds)
{
    if ((kinds & OF_NEURON) != 0) {
        fprintf(out, "<circle class=\"mm2\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", left + 12.0, top);
    }
    fprintf(out,
            "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%snumbers: the order of the products "
            "with K</text>\n",
            left + 32.0, top + 4.0, (kinds & OF_NEURON) != 0 ? "product with V; " : "");
}

static const char *const style_sheet =
    "<style>text{font-family:sans-serif;fill:#000}.title{font-size:15px}.axis{font-size:11px}"
    ".order{font-size:10px}.seen{fill:#888}.done{fill:#ddd}.none{fill:url(#cross)}"
    ".filled{fill:url(#bars)}.causal{fill:#fff}.window{fill:url(#dots)}"
    ".edge{fill:none;stroke:#000;stroke-width:0.6}.mm2{fill:#fff;stroke:#000}"
    ".section{stroke:#000;stroke-width:2.5}.large{stroke:#000;stroke-width:1.2;"
    "stroke-dasharray:6 3}</style>\n"
    "<defs><pattern id=\"cross\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">"
    "<rect width=\"8\" height=\"8\" fill=\"#ddd\"/><path d=\"M0 0L8 8M8 0L0 8\" "
    "stroke=\"#000\" stroke-width=\"0.6\"/></pattern>"
    "<pattern id=\"bars\" width=\"8\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
    "<path d=\"M0 3H8\" stroke=\"#000\" stroke-width=\"0.8\"/></pattern>"
    "<pattern id=\"dots\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">"
    "<circle cx=\"4\" cy=\"4\" r=\"0.9\"/></pattern></defs>\n";

/* What pictures of backend cpu have beside it. */
static const char *const style_sheet_cpu =
    "<style>.hidden{fill:url(#slopes)}</style>\n"
    "<defs><pattern id=\"slopes\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">"
    "<path d=\"M0 8L8 0\" stroke=\"#000\" stroke-width=\"0.8\"/></pattern></defs>\n";

static void draw_panel(FILE *out, const struct frame *frame, const struct tool_trace_panel *panel)
{
    fprintf(out, "<text class=\"title\" x=\"%.0f\" y=\"24\">", frame->left);
    put_xml(out, panel->title);
    fprintf(out, ", %s</text>\n", panel->where);
    draw_tiles(out, frame, panel);
    draw_lines(out, frame, panel);
    draw_axes(out, frame, panel);
}

void tool_trace_svg(FILE *out, const struct tool_trace_panel *panels, int count)
{
    const struct frame first = frame_of(panels, count, 0);
    const struct frame last = frame_of(panels, count, count - 1);
    const double matrix = first.height > last.height ? first.height : last.height;
    const double width = last.left + WIDTH + 40.0;
    const double legend = first.top + matrix + 48.0;
    double signs = legend + 67.0;
    int kinds = 0;

    for (int i = 0; i < count; i++) {
        kinds |= kind_of(&panels[i]);
    }
    signs += kinds == (OF_NEURON | OF_CPU) ? 20.0 : 0.0; /* a line more */
    const double height = signs + 45.0;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\">\n",
            width, height, width, height);
    fputs(style_sheet, out);
    fputs((kinds & OF_CPU) != 0 ? style_sheet_cpu : "", out);
    fprintf(out, "<rect width=\"%.0f\" height=\"%.0f\" fill=\"#fff\"/>\n", width, height);
    for (int i = 0; i < count; i++) {
        const struct frame frame = frame_of(panels, count, i);
        draw_panel(out, &frame, &panels[i]);
    }
    draw_legend(out, first.left, legend, kinds);
    draw_signs(out, first.left, signs, kinds);
    for (int i = 0; i < count; i++) {
        fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
                frame_of(panels, count, i).left, signs + 24.0, panels[i].totals);
    }
    fputs("</svg>\n", out);
}
