/* SPDX-License-Identifier: Apache-2.0 */
/* compare.c - see compare.h. */
#include "tool/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tool/errors.h"
#include "tool/tolerance.h"

static const char *const source_names[TOOL_SOURCES] = {"f64", "ref", "bf16ref"};

/* --- one tensor ---------------------------------------------------------------------------------
 */

static struct tool_check *new_check(struct tool_report *report, const char *name,
                                    const char *against, double tolerance)
{
    struct tool_check *check = &report->check[report->n++];

    memset(check, 0, sizeof *check);
    check->name = name;
    check->against = against;
    check->tolerance = tolerance;
    return check;
}

/* Take one pair into the check; returns whether it is the worst so far. */
static bool count_pair(struct tool_check *check, double got, double expected, double *sum)
{
    double error = fabs(got - expected);
    bool worst;

    check->count++;
    if (!isfinite(expected) || !isfinite(got)) {
        if (got == expected || (isnan(got) && isnan(expected))) {
            return false;
        }
        worst = check->wrong++ == 0;
        return worst;
    }
    *sum += error * error;
    worst = error > check->max;
    if (worst) {
        check->max = error;
    }
    return worst && check->wrong == 0;
}

static void locate(struct tool_check *check, const int64_t *shape, int32_t rank, int64_t i)
{
    int64_t index[4] = {0};
    char text[96];

    for (int32_t d = rank - 1; d >= 0; d--) {
        index[d] = i % shape[d];
        i /= shape[d];
    }
    snprintf(check->where, sizeof check->where, "%.63s", tool_shape_text(index, rank, text));
}

static void judge(struct tool_check *check, double sum)
{
    int64_t finite = check->count - check->wrong;

    check->rms = finite > 0 ? sqrt(sum / (double)finite) : 0;
    if (check->wrong > 0 || check->max > check->tolerance) {
        check->verdict = TOOL_VERDICT_FAIL;
    } else {
        check->verdict = isnan(check->tolerance) ? TOOL_VERDICT_NONE : TOOL_VERDICT_PASS;
    }
}

/* got [B, T, ...] against a tensor of the same shape, over the rows that are valid. */
static void compare_rows(const struct tool_case *c, const struct tool_tensor *expected,
                         const float *got, struct tool_check *check)
{
    int64_t rows = (int64_t)c->batch * c->tokens;
    int64_t width = expected->count / rows;
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < expected->count; i++) {
        const double want = tool_tensor_value(expected, i);
        if (c->row_valid[i / width] == 0) {
            continue;
        }
        squares += isfinite(want) ? want * want : 0.0;
        if (count_pair(check, (double)got[i], want, &sum)) {
            locate(check, expected->shape, expected->rank, i);
        }
    }
    judge(check, sum);
    check->size = check->count > 0 ? sqrt(squares / (double)check->count) : 0.0;
}

static void compare_values(const struct tool_judge *judge, const struct tool_values *values,
                           struct tool_report *report)
{
    const struct tool_case *c = judge->c;
    const bool neuron = judge->options->backend == GQA_BACKEND_NEURON;
    bool bf16 = judge->options->numerics == GQA_NUMERICS_BF16;

    for (int v = 0; v < TOOL_VALUES; v++) {
        enum tool_value value = (enum tool_value)v;
        for (int s = 0; s < TOOL_SOURCES; s++) {
            enum tool_source source = (enum tool_source)s;
            if (c->expected[s][v] == NULL || (neuron && value == TOOL_LSE) ||
                (source == TOOL_BF16_REF && !bf16)) {
                continue;
            }
            compare_rows(c, c->expected[s][v], values->value[v],
                         new_check(report, tool_value_name(value), source_names[s],
                                   tool_tolerance(judge, source, value)));
        }
    }
}

/* --- the cache, the rows that see nothing, the frequencies --------------------------------------
 */

/* The past must come back as it was given: bit for bit in f32, rounded once in bf16. */
static void compare_past(const struct tool_case *c, const float *given, const float *got,
                         int64_t width, struct tool_check *check)
{
    double sum = 0;

    for (int64_t i = 0; i < (int64_t)c->batch * c->past * width; i++) {
        int64_t token = i / width;
        int64_t key = token / c->past * c->keys + token % c->past;
        int64_t shape[3] = {c->batch, c->past, width};

        if (c->key_valid[key] != 0 && count_pair(check, (double)got[i], (double)given[i], &sum)) {
            locate(check, shape, 3, i);
        }
    }
    judge(check, sum);
}

static double past_tolerance(const struct tool_judge *judge, const float *past, int64_t width)
{
    double most = 0;

    for (int64_t i = 0; i < (int64_t)judge->c->batch * judge->c->past * width; i++) {
        most = isfinite(past[i]) ? fmax(most, fabs((double)past[i])) : most;
    }
    return judge->options->numerics == GQA_NUMERICS_BF16 ? most * TOOL_UNIT_BF16 : 0.0;
}

/* The new tokens as the cache gives them back, against f64.*, else against ref.*. */
static void compare_cached(const struct tool_judge *judge, enum tool_value value, const float *got,
                           const char *name, struct tool_report *report)
{
    const struct tool_case *c = judge->c;
    const enum tool_source source =
        c->expected[TOOL_F64_ORACLE][value] != NULL ? TOOL_F64_ORACLE : TOOL_REF;

    if (c->expected[source][value] != NULL) {
        compare_rows(
            c, c->expected[source][value], got,
            new_check(report, name, source_names[source], tool_tolerance(judge, source, value)));
    }
}

static void compare_cache(const struct tool_judge *judge, const struct tool_values *values,
                          struct tool_report *report)
{
    const struct tool_case *c = judge->c;
    const int64_t k = (int64_t)c->hkv * c->dk, v = (int64_t)c->hkv * c->dv;

    if (values->cache_k == NULL) {
        return;
    }
    compare_cached(judge, TOOL_K, values->cache_k, "k in cache", report);
    compare_cached(judge, TOOL_V, values->cache_v, "v in cache", report);
    if (c->past > 0) {
        compare_past(
            c, c->past_k, values->past_k, k,
            new_check(report, "past_k in cache", "file", past_tolerance(judge, c->past_k, k)));
        compare_past(
            c, c->past_v, values->past_v, v,
            new_check(report, "past_v in cache", "file", past_tolerance(judge, c->past_v, v)));
    }
}

static bool sees_nothing(const struct tool_case *c, int32_t b, int32_t t, int32_t h)
{
    int64_t plane =
        (c->bias_batch == 1 ? 0 : (int64_t)b * c->bias_heads) + (c->bias_heads == 1 ? 0 : h);
    const float *bias =
        c->bias == NULL ? NULL : c->bias + (plane * c->tokens + t) * (int64_t)c->keys;

    for (int32_t j = 0; j < c->keys; j++) {
        if (tool_case_sees(c, b, t, j) && (bias == NULL || bias[j] != -INFINITY)) {
            return false;
        }
    }
    return true;
}

/* One row of attn must be zeros. */
static void compare_zeros(const struct tool_case *c, const float *attn, int64_t row,
                          struct tool_check *check, double *sum)
{
    const int64_t shape[4] = {c->batch, c->tokens, c->hq, c->dv};

    for (int64_t i = row * c->dv; i < (row + 1) * c->dv; i++) {
        if (count_pair(check, (double)attn[i], 0.0, sum)) {
            locate(check, shape, 4, i);
        }
    }
}

/* A query that sees no key has an attention row of exact zeros. Heads differ only by their bias. */
static void compare_empty(const struct tool_case *c, const struct tool_values *values,
                          struct tool_report *report)
{
    struct tool_check *check = new_check(report, "attn, empty rows", "rule", 0.0);
    bool heads_differ = c->bias != NULL && c->bias_heads > 1;
    double sum = 0;

    for (int64_t token = 0; token < (int64_t)c->batch * c->tokens; token++) {
        int32_t b = (int32_t)(token / c->tokens), t = (int32_t)(token % c->tokens);
        bool nothing = false;

        for (int32_t h = 0; c->row_valid[token] != 0 && h < c->hq; h++) {
            if (h == 0 || heads_differ) {
                nothing = sees_nothing(c, b, t, h);
            }
            if (nothing) {
                compare_zeros(c, values->value[TOOL_ATTN], token * c->hq + h, check, &sum);
            }
        }
    }
    judge(check, sum);
    report->n -= check->count == 0;
}

static double relative(double got, double expected)
{
    return expected == 0 ? got : (got - expected) / expected;
}

static void compare_rope(const struct tool_case *c, const struct tool_values *values,
                         struct tool_report *report)
{
    struct tool_check *check;
    double sum = 0;

    if (c->inv_freq == NULL) {
        return;
    }
    check = new_check(report, "inv_freq", "file", TOOL_INV_FREQ_TOLERANCE);
    for (int32_t j = 0; j < c->pairs; j++) {
        int64_t shape[1] = {c->pairs};
        if (count_pair(check, relative(values->inv_freq[j], c->inv_freq[j]), 0.0, &sum)) {
            locate(check, shape, 1, j);
        }
    }
    judge(check, sum);
    check = new_check(report, "rope_mscale", "file", TOOL_INV_FREQ_TOLERANCE);
    sum = 0;
    count_pair(check, relative(values->rope_mscale, c->rope_mscale), 0.0, &sum);
    judge(check, sum);
}

/* FAIL if a check fails; PASS if the main result was judged against f64.*, else against ref.*. */
static enum tool_verdict whole(const struct tool_case *c, const struct tool_report *report)
{
    const enum tool_value final = c->block ? TOOL_OUT : TOOL_ATTN;
    const bool oracle = c->expected[TOOL_F64_ORACLE][final] != NULL;
    const char *against = source_names[oracle ? TOOL_F64_ORACLE : TOOL_REF];
    enum tool_verdict verdict = TOOL_VERDICT_NONE;

    for (int i = 0; i < report->n; i++) {
        const struct tool_check *check = &report->check[i];
        if (check->verdict == TOOL_VERDICT_FAIL) {
            return TOOL_VERDICT_FAIL;
        }
        if (strcmp(check->name, tool_value_name(final)) == 0 &&
            strcmp(check->against, against) == 0) {
            verdict = check->verdict;
        }
    }
    return verdict;
}

/* How far Neuron is from exact is told, not judged. */
static void judge_nothing(struct tool_report *report)
{
    for (int i = 0; i < report->n; i++) {
        report->check[i].tolerance = NAN;
        report->check[i].verdict = TOOL_VERDICT_NONE;
    }
    report->verdict = TOOL_VERDICT_NONE;
}

void tool_compare(const struct tool_case *c, const struct tool_run_options *options,
                  const struct tool_values *values, struct tool_report *report)
{
    struct tool_judge judge;

    tool_judge_prepare(&judge, c, options, values);
    report->n = 0;
    compare_rope(c, values, report);
    compare_values(&judge, values, report);
    compare_cache(&judge, values, report);
    compare_empty(c, values, report);
    if (options->backend == GQA_BACKEND_NEURON) {
        judge_nothing(report);
    } else {
        report->verdict = whole(c, report);
    }
}
