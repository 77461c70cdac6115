/* test_mutants.c - the checks can fail: each wrong convention that the manifest names is applied to
 * each golden file that it names, through config, weights or inputs; gqa run's comparison must then
 * FAIL, with the error that the manifest says. It gives three digits, and this library's own error
 * is at most a tenth of a tolerance: 2 % covers both. */
#ifndef GQA_TOOL_PATH
#include <stdio.h>

int main(void)
{
    puts("skipped: the command gqa is not built");
    return 0;
}
#else
#include "golden_run.h"

/* A case that may be bent. Its config, weights and inputs are its own copy; buffers hold changed
 * tensors. */
struct bent {
    struct tool_case c;
    void *buffers[16];
    int count;
    int q_shift;      /* rotate q by positions this much later; -1 = go by gqa_forward */
    bool mixed_heads; /* heads are stored so that head h reads KV head h % Hkv */
};

static void *own(struct bent *bent, size_t bytes)
{
    void *memory = calloc(1, bytes);

    assert_non_null(memory);
    assert_true(bent->count < 16);
    return bent->buffers[bent->count++] = memory;
}

static size_t elem_size(const gqa_tensor *tensor)
{
    return tensor->dtype == GQA_BF16 ? 2 : 4;
}

/* --- mutants ------------------------------------------------------------------------------------
 */

static void no_causal_mask(struct bent *bent)
{
    bent->c.config.bidirectional = 1;
}

static void window_more(struct bent *bent)
{
    bent->c.config.sliding_window++;
}

static void window_less(struct bent *bent)
{
    bent->c.config.sliding_window--;
}

static void window_ignored(struct bent *bent)
{
    bent->c.config.sliding_window = 0;
}

static void sinks_ignored(struct bent *bent)
{
    bent->c.config.learned_sinks_size = 0;
    bent->c.weights.sinks.data = NULL;
}

/* The sinks as f32 of our own. */
static float *own_sinks(struct bent *bent)
{
    float *sinks = own(bent, (size_t)bent->c.hq * sizeof *sinks);
    gqa_tensor to = gqa_tensor_1d(sinks, GQA_F32, bent->c.hq);

    assert_int_equal(gqa_convert(&bent->c.weights.sinks, &to, NULL), GQA_OK);
    bent->c.weights.sinks = to;
    return sinks;
}

static void sinks_scaled(struct bent *bent)
{
    float *sinks = own_sinks(bent);

    for (int32_t h = 0; h < bent->c.hq; h++) {
        sinks[h] /= sqrtf((float)bent->c.dk);
    }
}

/* Read as [q_per_kv, kv]: head kv * G + g takes entry g * Hkv + kv. */
static void sinks_order(struct bent *bent)
{
    float *sinks = own_sinks(bent);
    int32_t group = bent->c.hq / bent->c.hkv;
    float from[64];

    assert_true(bent->c.hq <= 64);
    memcpy(from, sinks, (size_t)bent->c.hq * sizeof *from);
    for (int32_t h = 0; h < bent->c.hq; h++) {
        sinks[h] = from[h % group * bent->c.hkv + h / group];
    }
}

static void rope_ignored(struct bent *bent)
{
    gqa_config clean;

    gqa_config_init(&clean);
    bent->c.config.rope = GQA_ROPE_NONE;
    bent->c.config.rope_scaling = GQA_ROPE_SCALING_NONE;
    bent->c.config.rotary_dim = 0;
    bent->c.config.rope_theta = clean.rope_theta;
    bent->c.config.rope_low_freq_factor = clean.rope_low_freq_factor;
    bent->c.config.rope_high_freq_factor = clean.rope_high_freq_factor;
    bent->c.config.rope_factor = clean.rope_factor;
    bent->c.config.rope_original_context = clean.rope_original_context;
    bent->c.pairs = 0;
}

static void rope_layout_swapped(struct bent *bent)
{
    bent->c.config.rope =
        bent->c.config.rope == GQA_ROPE_HALF ? GQA_ROPE_INTERLEAVED : GQA_ROPE_HALF;
}

static void rope_shifted(struct bent *bent)
{
    bent->q_shift = 1;
}

static void rope_scaling_ignored(struct bent *bent)
{
    gqa_config clean;

    gqa_config_init(&clean);
    bent->c.config.rope_scaling = GQA_ROPE_SCALING_NONE;
    bent->c.config.rope_factor = clean.rope_factor;
    bent->c.config.rope_original_context = clean.rope_original_context;
    bent->c.config.rope_low_freq_factor = clean.rope_low_freq_factor;
    bent->c.config.rope_high_freq_factor = clean.rope_high_freq_factor;
}

static void yarn_truncated(struct bent *bent)
{
    bent->c.config.rope_truncate = 1;
}

static void pre_norm_ignored(struct bent *bent)
{
    gqa_config clean;

    gqa_config_init(&clean);
    bent->c.config.input_norm = GQA_NORM_NONE;
    bent->c.config.input_norm_eps = clean.input_norm_eps;
    bent->c.weights.input_norm.data = NULL;
}

static void pre_norm_eps(struct bent *bent)
{
    bent->c.config.input_norm_eps *= 10;
}

static void residual_missing(struct bent *bent)
{
    bent->c.config.add_residual = 0;
}

static void qkv_bias_missing(struct bent *bent)
{
    bent->c.config.qkv_bias = 0;
    bent->c.weights.bq.data = bent->c.weights.bk.data = bent->c.weights.bv.data = NULL;
}

static void out_bias_missing(struct bent *bent)
{
    bent->c.config.o_bias = 0;
    bent->c.weights.bo.data = NULL;
}

static void scale_off(struct bent *bent)
{
    bent->c.config.score_scale *= 1.02F;
}

/* Where head h lies, if slots p read KV head p / G and head h is to read KV head h % Hkv. */
static int32_t slot_of(const struct tool_case *c, int32_t h)
{
    return h % c->hkv * (c->hq / c->hkv) + h / c->hkv;
}

/* Head blocks of `block` bytes, `rows` times Hq of them, moved from h to slot_of(h). */
static void mix(struct bent *bent, gqa_tensor *tensor, int64_t rows, size_t block)
{
    const struct tool_case *c = &bent->c;
    unsigned char *to = own(bent, (size_t)(rows * c->hq) * block);
    const unsigned char *from = tensor->data;

    for (int64_t row = 0; row < rows; row++) {
        for (int32_t h = 0; h < c->hq; h++) {
            memcpy(to + (size_t)(row * c->hq + slot_of(c, h)) * block,
                   from + (size_t)(row * c->hq + h) * block, block);
        }
    }
    tensor->data = to;
}

static void kv_head_modulo(struct bent *bent)
{
    struct tool_case *c = &bent->c;
    gqa_weights *w = &c->weights;

    bent->mixed_heads = true;
    assert_true(c->bias == NULL || c->bias_heads == 1);
    if (w->sinks.data != NULL) {
        mix(bent, &w->sinks, 1, elem_size(&w->sinks));
    }
    if (w->q_norm.data != NULL && w->q_norm.shape[0] != c->dk) {
        mix(bent, &w->q_norm, 1, (size_t)c->dk * elem_size(&w->q_norm));
    }
    if (c->block) {
        mix(bent, &w->wq, 1, (size_t)c->dk * (size_t)c->hidden * elem_size(&w->wq));
        mix(bent, &w->wo, c->hidden, (size_t)c->dv * elem_size(&w->wo));
        if (w->bq.data != NULL) {
            mix(bent, &w->bq, 1, (size_t)c->dk * elem_size(&w->bq));
        }
    } else {
        mix(bent, &c->q_proj, (int64_t)c->batch * c->tokens, (size_t)c->dk * elem_size(&c->q_proj));
    }
}

static void qk_norm_ignored(struct bent *bent)
{
    gqa_config clean;

    gqa_config_init(&clean);
    bent->c.config.qk_norm_scope = GQA_QK_NORM_OFF;
    bent->c.config.qk_norm = GQA_NORM_NONE;
    bent->c.config.qk_norm_placement = clean.qk_norm_placement;
    bent->c.config.qk_norm_eps = clean.qk_norm_eps;
    bent->c.weights.q_norm.data = bent->c.weights.k_norm.data = NULL;
}

static void qk_norm_offset(struct bent *bent)
{
    bent->c.config.qk_norm_offset = !bent->c.config.qk_norm_offset;
}

static void softcap_ignored(struct bent *bent)
{
    bent->c.config.softcap = 0;
}

static void chunk_more(struct bent *bent)
{
    bent->c.config.attention_chunk_size++;
}

static void chunk_as_window(struct bent *bent)
{
    bent->c.config.sliding_window = bent->c.config.attention_chunk_size;
    bent->c.config.attention_chunk_size = 0;
}

static void chunk_ignored(struct bent *bent)
{
    bent->c.config.attention_chunk_size = 0;
}

static void temperature_ignored(struct bent *bent)
{
    bent->c.config.query_temperature = GQA_QUERY_TEMPERATURE_NONE;
    bent->c.config.query_temperature_scale = 0;
    bent->c.config.query_temperature_floor = 0;
}

static void temperature_floor(struct bent *bent)
{
    bent->c.config.query_temperature_floor *= 1.13F;
}

static void clip_ignored(struct bent *bent)
{
    bent->c.config.clip_qkv = 0;
}

static void full_rotary(struct bent *bent)
{
    bent->c.config.rotary_dim = bent->c.dk;
    bent->c.pairs = bent->c.dk / 2;
}

static void key_valid_ignored(struct bent *bent)
{
    size_t n = (size_t)bent->c.batch * (size_t)bent->c.keys;
    uint8_t *all = own(bent, n);

    memset(all, 1, n);
    bent->c.key_valid = all;
}

static void bias_ignored(struct bent *bent)
{
    bent->c.bias = NULL;
}

static const struct mutant {
    const char *name;
    void (*apply)(struct bent *bent);
    bool by_attn; /* the manifest's number is that of attn, not of the main result */
} mutants[] = {
    {"no causal mask", no_causal_mask, false},
    {"window+1", window_more, false},
    {"window-1", window_less, false},
    {"window ignored", window_ignored, false},
    {"sinks ignored", sinks_ignored, false},
    {"sinks scaled by 1/sqrt(D)", sinks_scaled, false},
    {"sinks in (q_per_kv, kv) order", sinks_order, false},
    {"rope ignored", rope_ignored, false},
    {"rope layout swapped", rope_layout_swapped, false},
    {"rope positions off by one on q only", rope_shifted, true},
    {"rope scaling ignored", rope_scaling_ignored, false},
    {"yarn truncated correction range", yarn_truncated, false},
    {"pre norm ignored", pre_norm_ignored, false},
    {"pre norm eps x10", pre_norm_eps, false},
    {"residual missing", residual_missing, false},
    {"qkv bias missing", qkv_bias_missing, false},
    {"out bias missing", out_bias_missing, false},
    {"scale x1.02", scale_off, false},
    {"kv head = h % n_kv", kv_head_modulo, true},
    {"qk norm ignored", qk_norm_ignored, false},
    {"qk norm offset flipped", qk_norm_offset, false},
    {"softcap ignored", softcap_ignored, false},
    {"chunk+1", chunk_more, false},
    {"chunk as window", chunk_as_window, false},
    {"chunk ignored", chunk_ignored, false},
    {"temperature ignored", temperature_ignored, false},
    {"temperature floor_scale x1.13", temperature_floor, false},
    {"clip ignored", clip_ignored, false},
    {"full rotary", full_rotary, false},
    {"key_valid ignored", key_valid_ignored, false},
    {"bias ignored", bias_ignored, false},
};

#define MUTANTS (sizeof mutants / sizeof mutants[0])

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

/* Run the bent case as one call and compare it with the true one. */
static void run_bent(struct bent *bent, const struct tool_case *truth,
                     const struct tool_run_options *options, struct tool_report *report)
{
    struct tool_schedule schedule = {"one call", 8, 1, &bent->c.tokens};
    struct tool_session session;
    struct tool_values values;
    struct tool_fault fault = {""};

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
    double ratio;

    golden_load(&golden, setting->file);
    memset(&bent, 0, sizeof bent);
    bent.c = golden.c;
    bent.q_shift = setting->q_shift;
    if (setting->mutant != NULL) {
        setting->mutant->apply(&bent);
    }
    run_bent(&bent, &golden.c, &options, &report);
    ratio = ratio_of(&report, golden.c.block && !(setting->mutant && setting->mutant->by_attn)
                                  ? TOOL_OUT
                                  : TOOL_ATTN);
    if (setting->mutant == NULL) {
        assert_true(ratio <= 1);
    } else {
        assert_int_equal(report.verdict, TOOL_VERDICT_FAIL);
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

int main(void)
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
    return _cmocka_run_group_tests("mutants", list.tests, (size_t)list.n, NULL, NULL);
}
#endif
