/* SPDX-License-Identifier: Apache-2.0 */
/* trace_svg.c - a trace as a picture: the matrix of scores, rows downwards and keys to the right,
 * with every tile and what became of it. Readable in black and white; a few kilobytes of SVG. */
#include "tool/trace.h"

/* Where the matrix lies, in pixels. */
struct frame {
    double left, top, width, height;
    double per_key, per_row;
    const struct tool_trace *trace;
};

static struct frame frame_of(const struct tool_trace *trace)
{
    const struct tool_trace_extent extent = tool_trace_extent(trace);
    struct frame frame = {70.0, 64.0, 640.0, 0.0, 0.0, 0.0, trace};

    frame.per_key = frame.width / extent.keys;
    frame.per_row = frame.per_key;
    if (extent.rows < 16) { /* few rows: bands one can see */
        frame.per_row = 16.0;
    } else if (frame.per_row * extent.rows > 800.0) {
        frame.per_row = 800.0 / extent.rows;
    }
    frame.height = frame.per_row * extent.rows;
    return frame;
}

static double x_of(const struct frame *frame, int64_t key)
{
    return frame->left + frame->per_key * (double)key;
}

static double y_of(const struct frame *frame, int64_t row)
{
    return frame->top + frame->per_row * (double)row;
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

/* The class of a tile, which the style sheet dresses. */
static const char *style_of(gqa_neuron_fate fate)
{
    static const char *const styles[] = {"seen",   "done",   "none",   "filled",
                                         "causal", "window", "window", "window"};

    return (unsigned)fate < 8 ? styles[fate] : "done";
}

/* The rows of a tile from r on whose visible keys go on in one straight line on both sides. */
static int32_t straight(const struct tool_trace_event *event, int32_t r)
{
    const int32_t rows = event->tile.rows;
    int32_t end = r + 1;
    int32_t left, right;

    if (end >= rows || event->end[end] == event->begin[end]) {
        return end;
    }
    left = event->begin[end] - event->begin[r];
    right = event->end[end] - event->end[r];
    while (end < rows && event->begin[end] < event->end[end] &&
           event->begin[end] - event->begin[end - 1] == left &&
           event->end[end] - event->end[end - 1] == right) {
        end++;
    }
    return end;
}

/* The keys that rows of a masked tile see, as stripes with straight sides. */
static void draw_seen(FILE *out, const struct frame *frame, const struct tool_trace_event *event)
{
    const gqa_neuron_tile *const tile = &event->tile;
    const int32_t row = tool_trace_row(frame->trace, tile);
    const int32_t key = tool_trace_key(frame->trace, tile);

    for (int32_t r = 0, end; event->begin != NULL && r < tile->rows; r = end) {
        end = r + 1;
        if (event->begin[r] == event->end[r]) {
            continue;
        }
        end = straight(event, r);
        fprintf(out, "<path class=\"seen\" d=\"M%.1f %.1fH%.1fL%.1f %.1fV%.1fH%.1fV%.1fz\"/>\n",
                x_of(frame, key + event->begin[r]), y_of(frame, row + r),
                x_of(frame, key + event->end[r]), x_of(frame, key + event->end[end - 1]),
                y_of(frame, row + end - 1), y_of(frame, row + end),
                x_of(frame, key + event->begin[end - 1]), y_of(frame, row + end - 1));
    }
}

static void draw_tile(FILE *out, const struct frame *frame, const struct tool_trace_event *event,
                      int64_t number)
{
    const gqa_neuron_tile *const tile = &event->tile;
    const double x = x_of(frame, tool_trace_key(frame->trace, tile)),
                 y = y_of(frame, tool_trace_row(frame->trace, tile));
    const double width = frame->per_key * tile->keys, height = frame->per_row * tile->rows;

    fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
            style_of(tile->fate), x, y, width, height);
    if (tile->fate == GQA_NEURON_MASKED) {
        draw_seen(out, frame, event);
    }
    fprintf(out, "<rect class=\"edge\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", x,
            y, width, height);
    if (tile->fate <= GQA_NEURON_ALL_MASKED && width > 18.0 && height > 14.0) {
        fprintf(out, "<text class=\"order\" x=\"%.1f\" y=\"%.1f\">%lld</text>\n", x + 3.0, y + 11.0,
                (long long)number);
    }
}

static void draw_tiles(FILE *out, const struct frame *frame, const struct tool_trace *trace)
{
    int64_t number = 0;

    for (int64_t i = 0; i < trace->count; i++) {
        const gqa_neuron_tile *const tile = &trace->events[i].tile;
        if (tile->event == GQA_NEURON_MM1 && tile->keys > 0) {
            number += tile->fate <= GQA_NEURON_ALL_MASKED;
            draw_tile(out, frame, &trace->events[i], number);
        }
    }
    for (int64_t i = 0; i < trace->count; i++) {
        const gqa_neuron_tile *const tile = &trace->events[i].tile;
        if (tile->event == GQA_NEURON_MM2 && tile->fate <= GQA_NEURON_ALL_MASKED) {
            fprintf(out, "<circle class=\"mm2\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n",
                    x_of(frame, tool_trace_key(frame->trace, tile)) +
                        frame->per_key * tile->keys / 2.0,
                    y_of(frame, tool_trace_row(frame->trace, tile)) +
                        frame->per_row * tile->rows / 2.0);
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
static void draw_lines(FILE *out, const struct frame *frame, const struct tool_trace *trace)
{
    int32_t section = -1, large = -1, query = -1, key;
    bool prior = false;
    char text[64];

    for (int64_t i = 0; i < trace->count; i++) {
        const gqa_neuron_tile *const tile = &trace->events[i].tile;
        if (tile->event != GQA_NEURON_MM1 || tile->rank > 0 ||
            (query >= 0 && tile->query != query)) {
            continue;
        }
        key = tool_trace_key(trace, tile);
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

static void draw_axes(FILE *out, const struct frame *frame, const struct tool_trace *trace)
{
    const struct tool_trace_extent extent = tool_trace_extent(trace);
    const double bottom = frame->top + frame->height;
    int32_t step = 128;

    while (step * 8 < extent.keys) {
        step *= 2;
    }
    for (int32_t key = 0; key <= extent.keys; key += step) {
        fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", x_of(frame, key),
                bottom + 18.0, key);
    }
    fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">keys</text>\n",
            frame->left + frame->width - 28.0, bottom + 32.0);
    for (int32_t row = 0; row < extent.rows; row += step) {
        fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", 26.0,
                y_of(frame, row) + 10.0, row);
    }
    fprintf(out, "<text class=\"axis\" x=\"26\" y=\"%.1f\">%s</text>\n", frame->top - 10.0,
            trace->hidden > 0 ? "ranks" : "rows");
}

/* --- legend ------------------------------------------------------------------------------------
 */

static void draw_legend(FILE *out, const struct frame *frame, const struct tool_trace *trace)
{
    static const struct {
        const char *style, *text;
    } entries[] = {
        {"seen", "computed, and seen by the row"},
        {"done", "computed, but masked"},
        {"none", "computed, although no row sees a key"},
        {"filled", "not computed, but counted as masked scores"},
        {"causal", "skipped: right of the diagonal"},
        {"window", "skipped: left of the window, or not in use"},
    };
    const double top = frame->top + frame->height + 48.0;

    for (int i = 0; i < 6; i++) {
        const int line = i / 2;
        const double y = top + 20.0 * line, x = frame->left + 330.0 * (i % 2);
        fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"24\" height=\"14\"/>\n",
                entries[i].style, x, y);
        fprintf(out, "<rect class=\"edge\" x=\"%.1f\" y=\"%.1f\" width=\"24\" height=\"14\"/>\n", x,
                y);
        fprintf(out, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 32.0, y + 11.0,
                entries[i].text);
    }
    fprintf(out,
            "<circle class=\"mm2\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n"
            "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">product with V; numbers: the order of the "
            "products with K</text>\n",
            frame->left + 12.0, top + 67.0, frame->left + 32.0, top + 71.0);
    fprintf(out,
            "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">all heads: %lld tiles computed, %lld not; "
            "%lld bytes loaded; %lld multiply-adds</text>\n",
            frame->left, top + 91.0, (long long)trace->output.tiles,
            (long long)trace->output.tiles_skipped, (long long)trace->output.hbm_bytes,
            (long long)trace->output.madds);
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

void tool_trace_svg(FILE *out, const struct tool_trace *trace, const struct tool_trace_title *title)
{
    const struct frame frame = frame_of(trace);
    const double width = frame.left + frame.width + 40.0;
    const double height = frame.top + frame.height + 160.0;

    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\">\n",
            width, height, width, height);
    fputs(style_sheet, out);
    fprintf(out, "<rect width=\"%.0f\" height=\"%.0f\" fill=\"#fff\"/>\n", width, height);
    fprintf(out, "<text class=\"title\" x=\"%.0f\" y=\"24\">", frame.left);
    put_xml(out, title->name);
    fprintf(out, ": profile %s, batch entry %d, head %d</text>\n",
            gqa_neuron_profile_name(title->call->profile), trace->batch, trace->head);
    draw_tiles(out, &frame, trace);
    draw_lines(out, &frame, trace);
    draw_axes(out, &frame, trace);
    draw_legend(out, &frame, trace);
    fputs("</svg>\n", out);
}
