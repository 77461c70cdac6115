/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - see report.h. */
#include "tool/report.h"

#include <math.h>
#include <string.h>

const char *tool_verdict_name(enum tool_verdict verdict)
{
    return verdict == TOOL_VERDICT_PASS   ? "PASS"
           : verdict == TOOL_VERDICT_FAIL ? "FAIL"
                                          : "NOT JUDGED";
}

const char *tool_backend_name(gqa_backend backend)
{
    return backend == GQA_BACKEND_REFERENCE ? "reference"
           : backend == GQA_BACKEND_NEURON  ? "neuron"
           : backend == GQA_BACKEND_CPU     ? "cpu"
                                            : "auto";
}

/* The schedule's text, shortened in its middle. */
static const char *feed_text(const struct tool_schedule *schedule, char text[48])
{
    if (schedule->length < 40) {
        snprintf(text, 48, "%.*s", schedule->length, schedule->text);
    } else {
        snprintf(text, 48, "%.20s...%.*s (%d calls)", schedule->text, 4,
                 schedule->text + schedule->length - 4, schedule->n);
    }
    return text;
}

static void print_check(FILE *out, const struct tool_check *check)
{
    fprintf(out, "  %-17s %-8s %11.3e %11.3e ", check->name, check->against, check->max,
            check->rms);
    if (isnan(check->tolerance)) {
        fprintf(out, "%11s  ", "-");
    } else {
        fprintf(out, "%11.3e  ", check->tolerance);
    }
    fprintf(out, "%s",
            check->verdict == TOOL_VERDICT_NONE ? "-" : tool_verdict_name(check->verdict));
    if (check->wrong > 0) {
        fprintf(out, "  %lld of %lld not finite where they must be, or the reverse",
                (long long)check->wrong, (long long)check->count);
    }
    if (check->verdict == TOOL_VERDICT_FAIL) {
        fprintf(out, "  at %s", check->where);
    }
    fputc('\n', out);
}

void tool_report_print(FILE *out, const struct tool_done *done, const struct tool_report *report)
{
    const struct tool_case *c = done->c;
    char feed[48];

    fprintf(out, "%s: %d x %d tokens, %d past, %d/%d heads of %d; %s %s%s; %s; feed %s%s\n",
            c->name, c->batch, c->tokens, c->past, c->hq, c->hkv, c->dk,
            tool_backend_name(done->path.backend), done->path.kernels,
            done->options->float_angles ? ", float32 angles" : "",
            c->block ? "block" : "attention only", feed_text(done->schedule, feed),
            done->cached ? "" : ", no cache");
    if (done->path.backend == GQA_BACKEND_NEURON) {
        tool_neuron_told_print(out, done->neuron);
    }
    if (c->assumed[0] != '\0') {
        fprintf(out, "  not in the file, so: %s\n", c->assumed);
    }
    fprintf(out, "  %-17s %-8s %11s %11s %11s\n", "tensor", "against", "max error", "rms error",
            "tolerance");
    for (int i = 0; i < report->n; i++) {
        print_check(out, &report->check[i]);
    }
    fprintf(out, "  %s\n", tool_verdict_name(report->verdict));
}

/* JSON has no infinities and no NaN: null. */
static json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *check_json(const struct tool_check *check)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:s, s:s}", "tensor", check->name,
                     "against", check->against, "max_error", json_number(check->max), "rms_error",
                     json_number(check->rms), "tolerance", json_number(check->tolerance),
                     "elements", (json_int_t)check->count, "wrongly_finite_or_not",
                     (json_int_t)check->wrong, "worst_at", check->where, "verdict",
                     tool_verdict_name(check->verdict));
}

json_t *tool_report_json(const struct tool_done *done, const struct tool_report *report)
{
    static const char *const kinds[] = {"standard", "sliding_window", "chunked"};
    json_t *checks = json_array();

    for (int i = 0; i < report->n; i++) {
        json_array_append_new(checks, check_json(&report->check[i]));
    }
    json_t *const object =
        json_pack("{s:s, s:s, s:s, s:s%, s:b, s:s, s:s, s:s, s:s, s:b, s:o, s:s}", "file",
                  done->c->path, "case", done->c->name, "defaults", done->c->assumed, "feed",
                  done->schedule->text, (size_t)done->schedule->length, "cache", done->cached,
                  "backend", tool_backend_name(done->path.backend), "isa",
                  gqa_isa_name(done->path.isa), "kernels", done->path.kernels, "path",
                  kinds[done->path.kind], "float_angles", done->options->float_angles, "checks",
                  checks, "verdict", tool_verdict_name(report->verdict));
    if (object != NULL && done->path.backend == GQA_BACKEND_NEURON) {
        json_object_set_new(object, "neuron", tool_neuron_told_json(done->neuron));
    }
    return object;
}
