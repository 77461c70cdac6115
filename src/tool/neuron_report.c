/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_report.c - see neuron_report.h. */
#include "tool/neuron_report.h"

#include <math.h>

/* The result against exact arithmetic, which the file tells for information, without rows whose
 * exact result is 0: those see no key, or are padding. */
struct from_exact {
    double max, rms, relative; /* relative: rms by the rms of the exact result */
    bool known;
};

const char *tool_neuron_accumulation_name(gqa_neuron_accumulation accumulation)
{
    return accumulation == GQA_NEURON_EXACT ? "exact" : "float32";
}

static bool is_zero(const struct tool_tensor *exact, int64_t row, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (tool_tensor_value(exact, row * n + i) != 0.0) {
            return false;
        }
    }
    return true;
}

static struct from_exact distance_of(const struct tool_neuron_record *record)
{
    const struct tool_neuron_value *const value = tool_neuron_value_of(record, "exp.out");
    const struct tool_tensor *const exact = tool_file_find(record->c->file, "f64.out");
    struct from_exact distance = {0.0, 0.0, 0.0, false};
    struct tool_tensor got;
    double sum = 0.0, size = 0.0;
    int64_t n, compared = 0;

    if (value == NULL || exact == NULL || exact->count != value->expected->count ||
        exact->count == 0) {
        return distance;
    }
    got = *value->expected;
    got.data = value->data;
    n = exact->shape[exact->rank - 1];
    for (int64_t i = 0; i < exact->count; i++) {
        if (is_zero(exact, i / n, n)) {
            continue;
        }
        const double want = tool_tensor_value(exact, i);
        const double error = fabs(tool_tensor_value(&got, i) - want);
        distance.max = error > distance.max ? error : distance.max;
        sum += error * error;
        size += want * want;
        compared++;
    }
    distance.rms = compared > 0 ? sqrt(sum / (double)compared) : 0.0;
    distance.relative = size > 0.0 ? sqrt(sum / size) : 0.0;
    distance.known = compared > 0;
    return distance;
}

/* --- text --------------------------------------------------------------------------------------
 */

static void print_neuron_check(FILE *out, const struct tool_neuron_check *check)
{
    fprintf(out, "  %-28s %9lld %9lld %11.3e %9.3f  %s%s\n", check->name, (long long)check->count,
            (long long)check->differing, check->error, check->share, check->pass ? "PASS" : "FAIL",
            check->told ? "" : ": not what the run tells");
}

void tool_neuron_print(FILE *out, const struct tool_neuron_done *done,
                       const struct tool_neuron_report *report)
{
    const struct tool_neuron_case *const c = done->record->c;
    const gqa_neuron_output *const output = done->output;
    const gqa_tensor *const q = &c->call.q;
    const struct from_exact distance = distance_of(done->record);

    fprintf(out, "%s: profile %s", c->name, c->profile);
    if (c->maps == TOOL_MAPS_NONE) {
        fprintf(out, ", %lld query heads of %lld, %s", (long long)q->shape[q->rank - 2],
                (long long)q->shape[q->rank - 1], q->dtype == GQA_BF16 ? "bf16" : "f32");
    }
    fprintf(out, "; accumulation %s\n", tool_neuron_accumulation_name(done->accumulation));
    for (int32_t i = 0; i < output->warning_count; i++) {
        fprintf(out, "  warning: %s: %s\n", output->warnings[i].field, output->warnings[i].text);
    }
    fprintf(out, "  %-28s %9s %9s %11s %9s\n", "tensor", "elements", "differ", "max error",
            "of bound");
    for (int i = 0; i < report->n; i++) {
        print_neuron_check(out, &report->check[i]);
    }
    if (c->maps == TOOL_MAPS_NONE) {
        fprintf(out, "  %lld tiles computed, %lld skipped; %lld bytes loaded; %lld multiply-adds\n",
                (long long)output->tiles, (long long)output->tiles_skipped,
                (long long)output->hbm_bytes, (long long)output->madds);
    }
    if (distance.known) {
        fprintf(out, "  from exact arithmetic: max %.1e, rms %.1e, %.1e of the result's\n",
                distance.max, distance.rms, distance.relative);
    }
    fprintf(out, "  %s\n", report->pass ? "PASS" : "FAIL");
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static json_t *neuron_check_json(const struct tool_neuron_check *check)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:o, s:f, s:b, s:s}", "tensor", check->name, "elements",
                     (json_int_t)check->count, "differing", (json_int_t)check->differing, "outside",
                     (json_int_t)check->outside, "max_error",
                     isfinite(check->error) ? json_real(check->error) : json_null(), "of_bound",
                     check->share, "told", check->told, "verdict", check->pass ? "PASS" : "FAIL");
}

json_t *tool_neuron_json(const struct tool_neuron_done *done,
                         const struct tool_neuron_report *report)
{
    const struct tool_neuron_case *const c = done->record->c;
    const gqa_neuron_output *const output = done->output;
    const struct from_exact distance = distance_of(done->record);
    json_t *checks = json_array(), *warnings = json_array(), *object;

    for (int i = 0; i < report->n; i++) {
        json_array_append_new(checks, neuron_check_json(&report->check[i]));
    }
    for (int32_t i = 0; i < output->warning_count; i++) {
        json_array_append_new(
            warnings, json_pack("{s:i, s:s, s:s}", "code", (int)output->warnings[i].code, "field",
                                output->warnings[i].field, "text", output->warnings[i].text));
    }
    object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:s}", "file", c->path, "case",
        c->name, "backend", "neuron", "profile", c->profile, "accumulation",
        tool_neuron_accumulation_name(done->accumulation), "tiles", (json_int_t)output->tiles,
        "tiles_skipped", (json_int_t)output->tiles_skipped, "hbm_bytes",
        (json_int_t)output->hbm_bytes, "multiply_adds", (json_int_t)output->madds, "warnings",
        warnings, "checks", checks, "verdict", report->pass ? "PASS" : "FAIL");
    if (distance.known) {
        json_object_set_new(object, "from_exact",
                            json_pack("{s:f, s:f, s:f}", "max", distance.max, "rms", distance.rms,
                                      "rms_relative", distance.relative));
    }
    return object;
}
