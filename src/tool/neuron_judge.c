/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_judge.c - see neuron_judge.h. */
#include "tool/neuron_judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tool/meta.h"

/* How far a value may be from the expected one. */
struct value_bounds {
    bool exact; /* not at all */
    double absolute, relative;
    const struct tool_tensor *units; /* ulps.out, or NULL */
    const struct tool_tensor *rows;  /* bound.out, or NULL: of the element's row */
    int64_t row;                     /* elements of a row */
};

static bool is_float(const struct tool_tensor *tensor)
{
    return tensor->dtype == TOOL_F32 || tensor->dtype == TOOL_BF16;
}

static struct value_bounds bounds_of(const struct tool_file *file, const struct tool_tensor *tensor,
                                     gqa_neuron_accumulation accumulation)
{
    struct tool_fault fault = {.text = ""};
    struct value_bounds bounds = {true, 0.0, 0.0, NULL, NULL, 1};
    char key[128];

    snprintf(key, sizeof key, "tol_abs:%s", tensor->name);
    if (accumulation == GQA_NEURON_EXACT || tool_file_text(file, key) == NULL) {
        return bounds;
    }
    bounds.exact = false;
    bounds.absolute = tool_meta_number(file, key, &fault);
    snprintf(key, sizeof key, "tol_rel:%s", tensor->name);
    bounds.relative = tool_meta_number(file, key, &fault);
    if (strcmp(tensor->name, "exp.out") == 0) {
        bounds.units = tensor->dtype == TOOL_BF16 ? tool_file_find(file, "ulps.out") : NULL;
        bounds.rows = tool_file_find(file, "bound.out");
        bounds.row = tensor->shape[tensor->rank - 1];
    }
    return bounds;
}

/* 2^(floor(log2 |x|) - 7): the last place of a bf16 number. */
static double bf16_unit(double x)
{
    int exponent = 0;

    frexp(fabs(x), &exponent);
    return ldexp(1.0, exponent - 8);
}

static double bound_at(const struct value_bounds *bounds, double expected, int64_t i)
{
    const int units = bounds->units == NULL ? 255 : ((const uint8_t *)bounds->units->data)[i];

    if (units < 255) {
        return units * bf16_unit(expected);
    }
    return bounds->rows != NULL ? tool_tensor_value(bounds->rows, i / bounds->row)
                                : bounds->absolute + bounds->relative * fabs(expected);
}

static void judge_element(const struct value_bounds *bounds, const struct tool_tensor *expected,
                          const struct tool_tensor *got, int64_t i, struct tool_neuron_check *check)
{
    const size_t size = tool_dtype_size(expected->dtype);
    const size_t at = (size_t)i * size;
    double want, is, error, bound;

    if (memcmp((const char *)expected->data + at, (const char *)got->data + at, size) == 0) {
        return;
    }
    check->differing++;
    if (!is_float(expected)) {
        check->outside++;
        return;
    }
    want = tool_tensor_value(expected, i);
    is = tool_tensor_value(got, i);
    error = fabs(is - want);
    bound = bounds->exact ? 0.0 : bound_at(bounds, want, i);
    check->outside += !(error <= bound) || bounds->exact;
    check->error = error > check->error || error != error ? error : check->error;
    if (error > 0.0 && bound > 0.0 && error / bound > check->share) {
        check->share = error / bound;
    }
}

static struct tool_neuron_check judge_value(const struct tool_neuron_record *record,
                                            const struct tool_neuron_value *value,
                                            gqa_neuron_accumulation accumulation)
{
    const struct tool_tensor *const expected = value->expected;
    const struct value_bounds bounds = bounds_of(record->c->file, expected, accumulation);
    struct tool_neuron_check check = {expected->name, expected->count, 0, 0, 0.0, 0.0, false,
                                      false};
    struct tool_tensor got = *expected;

    got.data = value->data;
    for (int64_t i = 0; i < expected->count; i++) {
        judge_element(&bounds, expected, &got, i, &check);
    }
    check.told = !value->lossy && (value->filled > 0 || expected->count == 0);
    check.pass = check.told && check.outside == 0;
    return check;
}

void tool_neuron_judge(const struct tool_neuron_record *record,
                       gqa_neuron_accumulation accumulation, struct tool_neuron_report *report)
{
    memset(report, 0, sizeof *report);
    report->pass = record->count > 0 && record->count <= TOOL_NEURON_CHECKS_MAX;
    for (size_t i = 0; i < record->count && i < TOOL_NEURON_CHECKS_MAX; i++) {
        report->check[report->n] = judge_value(record, &record->values[i], accumulation);
        report->pass &= report->check[report->n].pass;
        report->n++;
    }
}
