/* SPDX-License-Identifier: Apache-2.0 */
/* test_mutants.c - the checks can fail: each wrong convention that the manifest names is applied to
 * each golden file that it names, through config, weights or inputs; gqa run's comparison must then
 * FAIL, by the file's tolerances, and by derived ones against f64.* and against ref.out alone, with
 * the error that the manifest says. It gives three digits, and this library's own error is at most
 * a tenth of a tolerance: 2 % covers both. */
#include "golden_mutants.h"
#include "support/forced_isa.h"
#include "support/program.h"

/* --- the pipeline out of its stages -------------------------------------------------------------
 */

/* Buffers of n tokens of one sequence, f32 packed. */
struct stages {
    gqa_tensor x, x_norm, q, k, v, cos, sin, cos_q, sin_q, attn, out;
    float *memory;
};

static gqa_tensor carve(float **at, int64_t a, int64_t b, int64_t c)
{
    gqa_tensor tensor =
        c > 0 ? gqa_tensor_3d(*at, GQA_F32, a, b, c) : gqa_tensor_2d(*at, GQA_F32, a, b);

    *at += a * b * (c > 0 ? c : 1);
    return tensor;
}

static void carve_stages(struct stages *s, const struct tool_case *c, int64_t n)
{
    int64_t width = 3L * c->hidden + 2L * c->hq * (c->dk + c->dv) + 2L * c->hkv * (c->dk + c->dv) +
                    4L * c->pairs;
    float *at = s->memory = calloc((size_t)(n * width), sizeof *at);

    assert_non_null(at);
    s->x = carve(&at, n, c->hidden, 0);
    s->x_norm = carve(&at, n, c->hidden, 0);
    s->out = carve(&at, n, c->hidden, 0);
    s->q = carve(&at, n, c->hq, c->dk);
    s->k = carve(&at, n, c->hkv, c->dk);
    s->v = carve(&at, n, c->hkv, c->dv);
    s->attn = carve(&at, n, c->hq, c->dv);
    s->cos = carve(&at, n, c->pairs, 0);
    s->sin = carve(&at, n, c->pairs, 0);
    s->cos_q = carve(&at, n, c->pairs, 0);
    s->sin_q = carve(&at, n, c->pairs, 0);
}

static void good(gqa_status status, const gqa_error *err)
{
    if (status != GQA_OK) {
        fail_msg("%s", err->message);
    }
}

/* Tokens [t, t + n) of sequence b of a packed [B, T, ...] input, as f32. */
static void copy_in(const struct tool_case *c, const gqa_tensor *from, int32_t b, int32_t t,
                    const gqa_tensor *to)
{
    size_t elem = elem_size(from);
    int64_t width = to->shape[1] * (to->rank == 3 ? to->shape[2] : 1);
    gqa_tensor part = *to;

    part.dtype = from->dtype;
    part.data = (unsigned char *)from->data + (size_t)(((int64_t)b * c->tokens + t) * width) * elem;
    assert_int_equal(gqa_convert(&part, to, NULL), GQA_OK);
}

static void before_attention(struct stages *s, const struct bent *bent, const gqa_layer *layer,
                             const int32_t *positions, int32_t n)
{
    int32_t shifted[256];
    gqa_error err;

    assert_true(n <= 256);
    for (int32_t t = 0; t < n; t++) {
        shifted[t] = positions[t] + bent->q_shift;
    }
    good(gqa_stage_clip(layer, &s->q, &s->k, &s->v, &err), &err);
    good(gqa_stage_qk_norm(layer, GQA_QK_NORM_PRE_ROPE, &s->q, &s->k, &err), &err);
    good(gqa_stage_rope_table(layer, positions, 1, 0, &s->cos, &s->sin, &err), &err);
    good(gqa_stage_rope_table(layer, shifted, 1, 0, &s->cos_q, &s->sin_q, &err), &err);
    good(gqa_stage_rope(layer, &s->cos_q, &s->sin_q, &s->q, &err), &err);
    good(gqa_stage_rope(layer, &s->cos, &s->sin, &s->k, &err), &err);
    good(gqa_stage_qk_norm(layer, GQA_QK_NORM_POST_ROPE, &s->q, &s->k, &err), &err);
    good(gqa_stage_query_temperature(layer, positions, &s->q, &err), &err);
}

/* Valid tokens [t, t + n) of sequence b through the stages; attn and out into values. */
static void compose(const struct bent *bent, const gqa_layer *layer, int32_t b, int32_t t,
                    int32_t n, struct tool_values *values)
{
    const struct tool_case *c = &bent->c;
    const int32_t *positions = c->q_pos + (int64_t)b * c->tokens + t;
    int64_t row = (int64_t)b * c->tokens + t, width = (int64_t)c->hq * c->dv;
    struct stages s;
    gqa_attend_inputs inputs;
    gqa_attend_output output;
    gqa_error err;

    carve_stages(&s, c, n);
    if (c->block) {
        copy_in(c, &c->x, b, t, &s.x);
        good(gqa_stage_input_norm(layer, &s.x, NULL, NULL, &s.x_norm, &err), &err);
        good(gqa_stage_qkv(layer, &s.x_norm, &s.q, &s.k, &s.v, NULL, &err), &err);
    } else {
        copy_in(c, &c->q_proj, b, t, &s.q);
        copy_in(c, &c->k_proj, b, t, &s.k);
        copy_in(c, &c->v_proj, b, t, &s.v);
    }
    before_attention(&s, bent, layer, positions, n);
    gqa_attend_inputs_init(&inputs);
    gqa_attend_output_init(&output);
    inputs.query = gqa_tensor_4d(s.q.data, GQA_F32, 1, n, c->hq, c->dk);
    inputs.key = gqa_tensor_4d(s.k.data, GQA_F32, 1, n, c->hkv, c->dk);
    inputs.value = gqa_tensor_4d(s.v.data, GQA_F32, 1, n, c->hkv, c->dv);
    inputs.position_ids = positions;
    inputs.key_position_ids = positions;
    output.output = gqa_tensor_4d(s.attn.data, GQA_F32, 1, n, c->hq, c->dv);
    good(gqa_attend(layer, NULL, &inputs, &output, NULL, 0, &err), &err);
    memcpy(values->value[TOOL_ATTN] + row * width, s.attn.data,
           (size_t)(n * width) * sizeof(float));
    if (c->block) {
        good(gqa_stage_output_projection(layer, &s.attn, &s.out, &err), &err);
        good(gqa_stage_output(layer, &s.out, c->config.add_residual ? &s.x : NULL, &s.out, &err),
             &err);
        memcpy(values->value[TOOL_OUT] + row * c->hidden, s.out.data,
               (size_t)n * (size_t)c->hidden * sizeof(float));
    }
    free(s.memory);
}

static void run_composed(struct tool_session *session, const struct bent *bent,
                         struct tool_values *values)
{
    assert_true(bent->c.past == 0 && bent->c.bias == NULL && bent->c.rope_pos3 == NULL);
    for (int32_t b = 0; b < bent->c.batch; b++) {
        int32_t begin = session->feed.begin[b];
        compose(bent, session->layer, b, begin, session->feed.end[b] - begin, values);
    }
}

/* --- one mutant ---------------------------------------------------------------------------------
 */

/* Bring the heads of attn back in their order. */
static void unmix(const struct tool_case *c, float *attn)
{
    size_t width = (size_t)c->hq * (size_t)c->dv;
    float *row = malloc(width * sizeof *row);

    assert_non_null(row);
    for (int64_t i = 0; i < (int64_t)c->batch * c->tokens; i++) {
        float *at = attn + (size_t)i * width;
        memcpy(row, at, width * sizeof *row);
        for (int32_t h = 0; h < c->hq; h++) {
            memcpy(at + (int64_t)h * c->dv, row + (int64_t)slot_of(c, h) * c->dv,
                   (size_t)c->dv * sizeof *row);
        }
    }
    free(row);
}

/* Reports where the file gives no tolerances. */
struct derived {
    struct tool_report oracle, reference;
};

/* The same values judged by derived tolerances: against f64.*, then against nothing but ref.out
 * (ref.attn where there is none). */
static void judge_derived(const struct tool_case *truth, const struct tool_run_options *options,
                          const struct tool_values *values, struct derived *derived)
{
    struct tool_case c = *truth;

    memset(&c.tolerance, 0xff, sizeof c.tolerance); /* NaN: not given */
    tool_compare(&c, options, values, &derived->oracle);
    memset(c.expected[TOOL_F64_ORACLE], 0, sizeof c.expected[TOOL_F64_ORACLE]);
    for (int v = 0; v < TOOL_VALUES; v++) {
        if (v != TOOL_OUT && (v != TOOL_ATTN || c.expected[TOOL_REF][TOOL_OUT] != NULL)) {
            c.expected[TOOL_REF][v] = NULL;
        }
    }
    c.inv_freq = NULL;
    tool_compare(&c, options, values, &derived->reference);
}

/* Run the bent case as one call and compare it with the true one. */
static void run_bent(struct bent *bent, const struct tool_case *truth,
                     const struct tool_run_options *options, struct tool_report *report,
                     struct derived *derived)
{
    struct tool_schedule schedule = {"one call", 8, 1, &bent->c.tokens};
    struct tool_session session;
    struct tool_values values;
    struct tool_fault fault = {.text = ""};

    skip_refused_numerics(options->numerics);
    if (!tool_session_open(&session, &bent->c, options, &fault) ||
        !tool_session_run(&session, &schedule, false, &values, &fault)) {
        fail_msg("%s", fault.text);
    }
    if (bent->q_shift >= 0) {
        run_composed(&session, bent, &values);
    }
    if (bent->mixed_heads) {
        unmix(truth, values.value[TOOL_ATTN]);
    }
    if (bent->c.pairs != truth->pairs) { /* judged by the result, not by the frequencies */
        values.inv_freq = realloc(values.inv_freq, (size_t)truth->pairs * sizeof(double) + 1);
        memcpy(values.inv_freq, truth->inv_freq, (size_t)truth->pairs * sizeof(double));
    }
    tool_compare(truth, options, &values, report);
    judge_derived(truth, options, &values, derived);
    tool_values_free(&values);
    tool_session_close(&session);
}

/* Error over tolerance of a value against the double oracle. */
static double ratio_of(const struct tool_report *report, enum tool_value value)
{
    for (int i = 0; i < report->n; i++) {
        const struct tool_check *check = &report->check[i];
        if (strcmp(check->name, tool_value_name(value)) == 0 &&
            strcmp(check->against, "f64") == 0) {
            assert_int_equal(check->wrong, 0);
            return check->max / check->tolerance;
        }
    }
    fail_msg("no check of %s", tool_value_name(value));
    return NAN;
}

struct setting {
    char name[160];
    char file[96];
    const struct mutant *mutant; /* NULL = none: must pass */
    int q_shift;                 /* without a mutant */
    double expected;             /* error over tolerance */
    gqa_backend backend;
};

static void test_mutant(void **argument)
{
    const struct setting *setting = *argument;
    struct tool_run_options options = {.backend = setting->backend};
    struct golden golden;
    struct bent bent;
    struct tool_report report;
    struct derived derived;
    double ratio;

    golden_load(&golden, setting->file);
    memset(&bent, 0, sizeof bent);
    bent.c = golden.c;
    bent.q_shift = setting->q_shift;
    if (setting->mutant != NULL) {
        setting->mutant->apply(&bent);
    }
    run_bent(&bent, &golden.c, &options, &report, &derived);
    ratio = ratio_of(&report, golden.c.block && !(setting->mutant && setting->mutant->by_attn)
                                  ? TOOL_OUT
                                  : TOOL_ATTN);
    if (setting->mutant == NULL) {
        assert_true(ratio <= 1);
    } else {
        assert_int_equal(report.verdict, TOOL_VERDICT_FAIL);
        assert_int_equal(derived.oracle.verdict, TOOL_VERDICT_FAIL);
        assert_int_equal(derived.reference.verdict, TOOL_VERDICT_FAIL);
        if (!(fabs(ratio - setting->expected) <= 0.02 * setting->expected)) {
            fail_msg("%s: the error is %g tolerances; the manifest says %g", setting->name, ratio,
                     setting->expected);
        }
    }
    for (int i = 0; i < bent.count; i++) {
        free(bent.buffers[i]);
    }
    golden_free(&golden);
}

/* --- the list -----------------------------------------------------------------------------------
 */

struct list {
    struct CMUnitTest tests[1200];
    struct setting settings[1200];
    int n;
};

static void add(struct list *list, const char *file, const char *name, struct setting setting)
{
    for (int b = 0; b < 2; b++) {
        struct setting *own_setting = &list->settings[list->n];

        *own_setting = setting;
        own_setting->backend = b == 0 ? GQA_BACKEND_CPU : GQA_BACKEND_REFERENCE;
        snprintf(own_setting->file, sizeof own_setting->file, "%s", file);
        snprintf(own_setting->name, sizeof own_setting->name, "%.*s, %s, %s",
                 (int)strcspn(file, "_"), file, name, b == 0 ? "cpu" : "reference");
        list->tests[list->n++] =
            (struct CMUnitTest){own_setting->name, test_mutant, NULL, NULL, own_setting};
    }
}

static const struct mutant *find(const char *name)
{
    for (size_t i = 0; i < MUTANTS; i++) {
        if (strcmp(mutants[i].name, name) == 0) {
            return &mutants[i];
        }
    }
    fprintf(stderr, "the manifest names a mutant that this test does not know: %s\n", name);
    exit(1);
}

int main(int argc, char **argv)
{
    static struct list list;
    json_t *manifest = golden_manifest();
    json_t *entry;
    size_t i;

    json_array_foreach(json_object_get(manifest, "cases"), i, entry)
    {
        const char *file = json_string_value(json_object_get(entry, "file"));
        json_t *config = json_object_get(entry, "config");
        bool rope = strcmp(json_string_value(json_object_get(config, "rope")), "none") != 0;
        const char *name;
        json_t *number;

        add(&list, file, "no mutant", (struct setting){.q_shift = -1});
        if (rope) {
            add(&list, file, "no mutant, by stages", (struct setting){.q_shift = 0});
        }
        json_object_foreach(json_object_get(entry, "mutant_error_over_tolerance"), name, number)
        {
            struct setting setting = {
                .mutant = find(name), .q_shift = -1, .expected = json_number_value(number)};
            add(&list, file, name, setting);
        }
    }
    json_decref(manifest);
    return run_test_program(argc, argv, list.tests, (size_t)list.n, NULL, NULL);
}
