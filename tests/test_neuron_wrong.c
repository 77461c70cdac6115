/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_wrong.c - the twins of Neuron's framework paths and of the paged kernel against the
 * golden files: right ones have their bits, and each usual mistake leaves the bounds of the files,
 * in as many elements as their manifest says. So the files see these mistakes, and the twins may
 * stand for Neuron where there is no file. It needs parts of the command (GQA_TOOL_PATH). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/native_twin.h"
#include "support/paged_twin.h"
#include "support/program.h"
#include "tool/meta.h"
#include "tool/neuron_judge.h"

/* A case, its inputs as floats, and a record that a twin fills. */
struct subject {
    struct tool_file file;
    struct tool_neuron_case c;
    struct tool_neuron_record record;
    float *floats[24];
    int count;
};

static void subject_open(struct subject *subject, const char *name)
{
    struct tool_fault fault = {.text = ""};
    char path[512];

    memset(subject, 0, sizeof *subject);
    snprintf(path, sizeof path, "%s/tests/golden_neuron/%s.safetensors", GQA_SOURCE_DIR, name);
    if (!tool_file_open(&subject->file, path, &fault) ||
        !tool_neuron_load(&subject->c, &subject->file, &fault) ||
        !tool_neuron_record_open(&subject->record, &subject->c, &fault)) {
        fail_msg("%s", fault.text);
    }
}

static void subject_close(struct subject *subject)
{
    for (int i = 0; i < subject->count; i++) {
        free(subject->floats[i]);
    }
    tool_neuron_record_close(&subject->record);
    tool_file_close(&subject->file);
}

static float *zeros(struct subject *subject, int64_t n)
{
    float *const values = calloc((size_t)n + 1, sizeof *values);

    assert_non_null(values);
    subject->floats[subject->count++] = values;
    return values;
}

/* NULL if the file has no such tensor. */
static float *floats(struct subject *subject, const char *name)
{
    const struct tool_tensor *const tensor = tool_file_find(&subject->file, name);
    float *values;

    if (tensor == NULL) {
        return NULL;
    }
    values = zeros(subject, tensor->count);
    for (int64_t i = 0; i < tensor->count; i++) {
        values[i] = (float)tool_tensor_value(tensor, i);
    }
    return values;
}

static const void *ints(struct subject *subject, const char *name)
{
    const struct tool_tensor *const tensor = tool_file_find(&subject->file, name);

    return tensor == NULL ? NULL : tensor->data;
}

static int number(const struct subject *subject, const char *key)
{
    struct tool_fault fault = {.text = ""};
    const int32_t value = tool_meta_int(&subject->file, key, INT32_MIN, INT32_MAX, &fault);

    assert_string_equal(fault.text, "");
    return (int)value;
}

/* What the judge says of a tensor that has been recorded. */
static struct tool_neuron_check check_of(const struct subject *subject, const char *name,
                                         gqa_neuron_accumulation accumulation)
{
    struct tool_neuron_report report;

    tool_neuron_judge(&subject->record, accumulation, &report);
    for (int i = 0; i < report.n; i++) {
        if (strcmp(report.check[i].name, name) == 0) {
            return report.check[i];
        }
    }
    fail_msg("%s is not expected", name);
    return report.check[0];
}

/* The share of the output that is outside its bound is the manifest's, but for a few elements
 * beside their bound: what is not rounded to bf16 has sums that depend on their order, in double
 * too. Or, with share below 0, at least that much. */
static void judge_out(const struct subject *subject, const char *wrong, double share)
{
    const struct tool_neuron_check check = check_of(subject, "exp.out", GQA_NEURON_FLOAT32);
    const double got = (double)check.outside / (double)check.count;

    if (share >= 0.0 ? fabs(got - share) > 1e-3 : got < -share) {
        fail_msg("%s, %s: %g of the output is outside, not %g", subject->c.name, wrong, got, share);
    }
}

/* --- the framework's paths ----------------------------------------------------------------------
 */

struct native_mistake {
    const char *name;
    enum native_wrong wrong;
    double share; /* below 0: not in the manifest, at least that much */
};

/* Where the file says 0 the mistake changes nothing: sqrt(64) is exact and so is the division by
 * it, and masked scores matter only to a row that sees nothing. */
static const struct native_mistake native_mistakes[] = {
    {"n14_native_window_sinks", NATIVE_MASK_INF, 0.0},
    {"n14_native_window_sinks", NATIVE_NORMALISE_LAST, 0.392285},
    {"n14_native_window_sinks", NATIVE_P_F32, 0.344385},
    {"n14_native_window_sinks", NATIVE_SCORES_F32, 0.333105},
    {"n14_native_window_sinks", NATIVE_SCORES_ONE_ROUNDING, 0.0},
    {"n14_native_window_sinks", NATIVE_SINK_DROPPED, -0.5},
    {"n15_native_masked_rows", NATIVE_NORMALISE_LAST, 0.389974},
    {"n15_native_masked_rows", NATIVE_P_F32, 0.361328},
    {"n15_native_masked_rows", NATIVE_SCORES_F32, 0.285156},
    {"n15_native_masked_rows", NATIVE_SCORES_ONE_ROUNDING, 0.0},
    {"n15_native_masked_rows", NATIVE_MASK_INF, -5.0 / 48.0}, /* 5 rows of 2 x 24 are NaN */
    {"n16_native_masked_rows_sinks", NATIVE_NORMALISE_LAST, 0.406901},
    {"n16_native_masked_rows_sinks", NATIVE_P_F32, 0.340495},
    {"n16_native_masked_rows_sinks", NATIVE_SCORES_F32, 0.348307},
    {"n16_native_masked_rows_sinks", NATIVE_SCORES_ONE_ROUNDING, 0.0},
    {"n16_native_masked_rows_sinks", NATIVE_SINK_DROPPED, -0.5},
    {"n17_native_d128", NATIVE_MASK_INF, 0.0},
    {"n17_native_d128", NATIVE_NORMALISE_LAST, 0.275798},
    {"n17_native_d128", NATIVE_P_F32, 0.227214},
    {"n17_native_d128", NATIVE_SCORES_F32, 0.387451},
    {"n17_native_d128", NATIVE_SCORES_ONE_ROUNDING, 0.324382},
    {"n17_native_d128", NATIVE_SQRT_D_F32, 0.0528158},
    {"n17_native_d128", NATIVE_SINK_DROPPED, -0.5},
    {"n18_tkg_ragged_sinks", NATIVE_P_F32, 0.309896},
    {"n18_tkg_ragged_sinks", NATIVE_SCORES_F32, 0.383464},
    {"n18_tkg_ragged_sinks", NATIVE_SCORES_ONE_ROUNDING, 0.0},
    {"n18_tkg_ragged_sinks", NATIVE_SINGLE_PV, 0.24349},
    {"n18_tkg_ragged_sinks", NATIVE_SINK_DROPPED, -0.5},
    {"n19_tkg_spec_tree", NATIVE_P_F32, 0.34375},
    {"n19_tkg_spec_tree", NATIVE_SCORES_F32, 0.520508},
    {"n19_tkg_spec_tree", NATIVE_SCORES_ONE_ROUNDING, 0.459961},
    {"n19_tkg_spec_tree", NATIVE_SINGLE_PV, 0.264648},
    {"n19_tkg_spec_tree", NATIVE_SQRT_D_F32, 0.104492},
};

/* The inputs of a native case. */
struct native_inputs {
    int tokens, keys, prior, hq, hkv, d;
    float *q, *k, *v, *k_prior, *v_prior, *sinks;
    const uint8_t *mask, *prior_mask, *active_mask;
};

static void read_native(struct subject *subject, struct native_inputs *in)
{
    const bool parts = tool_file_find(&subject->file, "k_new") != NULL;

    in->tokens = number(subject, "T");
    in->keys = parts ? in->tokens : number(subject, "K");
    in->prior = parts ? number(subject, "S_prior") : 0;
    in->hq = number(subject, "Hq");
    in->hkv = number(subject, "Hkv");
    in->d = number(subject, "D");
    in->q = floats(subject, "q");
    in->k = floats(subject, parts ? "k_new" : "k");
    in->v = floats(subject, parts ? "v_new" : "v");
    in->k_prior = floats(subject, "k_prior");
    in->v_prior = floats(subject, "v_prior");
    in->sinks = floats(subject, "sinks");
    in->mask = ints(subject, parts ? "active_mask" : "mask");
    in->prior_mask = ints(subject, "prior_mask");
}

static struct native_keys keys_of(struct subject *subject, const struct native_inputs *in, int n)
{
    struct native_keys keys;

    memset(&keys, 0, sizeof keys);
    keys.stride = (int64_t)in->hkv * in->d;
    keys.n = n;
    keys.fill = -0x1.fep127f; /* the smallest finite bf16 */
    keys.raw = zeros(subject, n);
    keys.s = zeros(subject, n);
    keys.p = zeros(subject, n);
    keys.o = zeros(subject, in->d);
    return keys;
}

static void run_native(struct subject *subject, const struct native_inputs *in,
                       enum native_wrong wrong)
{
    struct native_row row;
    memset(&row, 0, sizeof row);
    row.d = in->d;
    row.bf16 = true;
    row.parts = in->k_prior != NULL;
    row.prior = keys_of(subject, in, in->prior);
    row.active = keys_of(subject, in, in->keys);
    row.out = zeros(subject, in->d);
    for (int i = 0; i < number(subject, "B") * in->tokens * in->hq; i++) {
        const int token = i / in->hq; /* of all entries */
        const int batch = token / in->tokens;
        const int head = i % in->hq;
        const int group = head / (in->hq / in->hkv);
        const int64_t entry = batch * row.active.stride;
        const int64_t at = (batch * in->hq + head) * in->tokens + token % in->tokens;
        row.q = in->q + i * in->d;
        row.sink = in->sinks == NULL ? NULL : in->sinks + head;
        row.active.k = in->k + entry * in->keys + group * in->d;
        row.active.v = in->v + entry * in->keys + group * in->d;
        row.active.mask = in->mask == NULL ? NULL : in->mask + token * in->keys;
        if (row.parts) {
            row.prior.k = in->k_prior + entry * in->prior + group * in->d;
            row.prior.v = in->v_prior + entry * in->prior + group * in->d;
            row.prior.mask = in->prior_mask + token * in->prior;
        }
        native_twin_row(&row, wrong);
        tool_neuron_put(&subject->record, "exp.out", i * in->d, row.out, in->d);
        tool_neuron_put(&subject->record, "trace.m", at, &row.m, 1);
        tool_neuron_put(&subject->record, "trace.l", at, &row.l, 1);
    }
}

static void native_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof native_mistakes / sizeof native_mistakes[0]; i++) {
        struct subject subject;
        struct native_inputs in;
        subject_open(&subject, native_mistakes[i].name);
        read_native(&subject, &in);
        run_native(&subject, &in, NATIVE_RIGHT);
        assert_int_equal(check_of(&subject, "exp.out", GQA_NEURON_EXACT).differing, 0);
        assert_int_equal(check_of(&subject, "trace.m", GQA_NEURON_EXACT).differing, 0);
        assert_int_equal(check_of(&subject, "trace.l", GQA_NEURON_EXACT).differing, 0);
        subject_close(&subject);
    }
}

static void native_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof native_mistakes / sizeof native_mistakes[0]; i++) {
        const struct native_mistake *const mistake = &native_mistakes[i];
        struct subject subject;
        struct native_inputs in;
        subject_open(&subject, mistake->name);
        read_native(&subject, &in);
        run_native(&subject, &in, mistake->wrong);
        judge_out(&subject, native_wrong_names[mistake->wrong], mistake->share);
        subject_close(&subject);
    }
}

/* --- the paged kernel ---------------------------------------------------------------------------
 */

static const struct {
    enum paged_wrong wrong;
    double share;
} paged_mistakes[] = {
    {PAGED_L_FROM_BF16_P, 0.000976562},
    {PAGED_P_F32, 0.167969},
    {PAGED_Q_SCALE_F32, 0.0}, /* 1 / sqrt(16) is exact */
    {PAGED_COLUMNS_NOT_PERMUTED, 0.626709},
    {PAGED_SKIP_IGNORED, -0.01},
};

static void run_paged(struct subject *subject, enum paged_wrong wrong)
{
    const int64_t values = subject->c.call.q.shape[0] * subject->c.call.q.shape[1];
    struct paged_twin twin;

    memset(&twin, 0, sizeof twin);
    twin.hq = number(subject, "Hq");
    twin.hkv = number(subject, "Hkv");
    twin.d = number(subject, "D");
    twin.tokens = number(subject, "T");
    twin.requests = number(subject, "requests");
    twin.width = (int)subject->c.call.block_table_width;
    twin.blocks = number(subject, "blocks");
    twin.block_size = number(subject, "block_size");
    twin.query_lens = ints(subject, "query_lens");
    twin.context_lens = ints(subject, "context_lens");
    twin.block_table = ints(subject, "block_table");
    twin.q_tile = number(subject, "q_tile");
    twin.kv_tile = number(subject, "kv_tile");
    twin.padded = number(subject, "tiles_padded");
    twin.row_order = number(subject, "column_order") == 0;
    twin.scale = subject->c.call.scale;
    twin.q = floats(subject, "q");
    twin.k = floats(subject, "k");
    twin.v = floats(subject, "v");
    twin.k_cache = floats(subject, "k_cache");
    twin.v_cache = floats(subject, "v_cache");
    twin.m = zeros(subject, values);
    twin.l = zeros(subject, values);
    twin.o = zeros(subject, values * twin.d);
    twin.out = zeros(subject, values * twin.d);
    paged_twin_run(&twin, wrong);
    tool_neuron_put(&subject->record, "exp.out", 0, twin.out, values * twin.d);
}

static void paged_right(void **state)
{
    struct subject subject;

    (void)state;
    subject_open(&subject, "n21_paged_mixed");
    run_paged(&subject, PAGED_RIGHT);
    assert_int_equal(check_of(&subject, "exp.out", GQA_NEURON_EXACT).differing, 0);
    subject_close(&subject);
}

static void paged_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof paged_mistakes / sizeof paged_mistakes[0]; i++) {
        struct subject subject;
        subject_open(&subject, "n21_paged_mixed");
        run_paged(&subject, paged_mistakes[i].wrong);
        judge_out(&subject, paged_wrong_names[paged_mistakes[i].wrong], paged_mistakes[i].share);
        subject_close(&subject);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_right),
        cmocka_unit_test(native_wrong),
        cmocka_unit_test(paged_right),
        cmocka_unit_test(paged_wrong),
    };
    return RUN_TESTS(argc, argv, tests);
}
