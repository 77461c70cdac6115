/* SPDX-License-Identifier: Apache-2.0 */
/* test_kvmeter.c - what gqa kvmeter measures: divergences of the softmax against a row written out
 * in double over what a cache stores by docs/numerics.md, errors against calls of the library made
 * here, what is exact, and values that are no numbers. Needs GQA_TOOL_PATH. */
#include "golden_edit.h"
#include "support/cache_kinds.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/random.h"
#include "support/stored_row.h"
#include "tool/kv_meter.h"

enum { B = 2, P = 5, T = 7, K = P + T, HQ = 6, HKV = 2, DK = 24, DV = 40, HIDDEN = 20, PAD = 2 };

/* Two sequences, the second one padded on the left; window, softcap, sinks (head 1 has none) and a
 * bias for each head, by which token 4 of head 1 sees nothing. */
struct scene {
    struct tool_case c;
    float past_k[B][P][HKV][DK], past_v[B][P][HKV][DV];
    float q[B][T][HQ][DK], k[B][T][HKV][DK], v[B][T][HKV][DV];
    float bias[HQ][T][K], sinks[HQ];
    int32_t q_pos[B][T], k_pos[B][K];
    uint8_t key_valid[B][K], row_valid[B][T];
    int32_t sizes[2];
    struct tool_schedule schedule;
    float x[B][T][HIDDEN], wq[HQ * DK][HIDDEN], wk[HKV * DK][HIDDEN], wv[HKV * DV][HIDDEN];
    float wo[HIDDEN][HQ * DV]; /* of a block */
};

static void fill_scene(struct scene *s)
{
    uint64_t seed = 11;

    random_floats(&seed, &s->past_k[0][0][0][0], (int64_t)B * P * HKV * DK, 3);
    random_floats(&seed, &s->past_v[0][0][0][0], (int64_t)B * P * HKV * DV, 2);
    random_floats(&seed, &s->q[0][0][0][0], (int64_t)B * T * HQ * DK, 2);
    random_floats(&seed, &s->k[0][0][0][0], (int64_t)B * T * HKV * DK, 3);
    random_floats(&seed, &s->v[0][0][0][0], (int64_t)B * T * HKV * DV, 2);
    random_floats(&seed, &s->bias[0][0][0], (int64_t)HQ * T * K, 1);
    random_floats(&seed, s->sinks, HQ, 2);
    random_floats(&seed, &s->x[0][0][0], (int64_t)B * T * HIDDEN, 2);
    random_floats(&seed, &s->wq[0][0], (int64_t)HQ * DK * HIDDEN, 0.5F);
    random_floats(&seed, &s->wk[0][0], (int64_t)HKV * DK * HIDDEN, 0.5F);
    random_floats(&seed, &s->wv[0][0], (int64_t)HKV * DV * HIDDEN, 0.5F);
    random_floats(&seed, &s->wo[0][0], (int64_t)HIDDEN * HQ * DV, 0.5F);
    s->sinks[1] = -INFINITY;
    for (int j = 0; j < K; j++) {
        s->bias[1][4][j] = -INFINITY;
        s->bias[3][5][j] = j % 3 == 1 ? -INFINITY : s->bias[3][5][j];
    }
    for (int b = 0; b < B; b++) {
        for (int j = 0; j < K; j++) {
            s->k_pos[b][j] = j + 10 * b;
            s->key_valid[b][j] = !(b == 1 && j >= P && j < P + PAD);
        }
        for (int t = 0; t < T; t++) {
            s->q_pos[b][t] = s->k_pos[b][P + t];
            s->row_valid[b][t] = s->key_valid[b][P + t];
        }
    }
}

static struct scene *make_scene(bool block)
{
    struct scene *const s = calloc(1, sizeof *s);
    struct tool_case *const c = &s->c;

    assert_non_null(s);
    fill_scene(s);
    gqa_config_init(&c->config);
    c->config.num_attention_heads = HQ;
    c->config.num_key_value_heads = HKV;
    c->config.head_dim = DK;
    c->config.v_head_dim = DV;
    c->config.score_scale = 0.2F;
    c->config.softcap = 4;
    c->config.sliding_window = 6;
    c->config.learned_sinks_size = 1;
    gqa_weights_init(&c->weights);
    c->weights.sinks = gqa_tensor_1d(s->sinks, GQA_F32, HQ);
    c->path = c->name = "scene";
    c->batch = B, c->tokens = T, c->past = P, c->keys = K;
    c->hq = HQ, c->hkv = HKV, c->dk = DK, c->dv = DV;
    c->block = block;
    if (block) {
        c->hidden = c->config.hidden_size = HIDDEN;
        c->config.add_residual = 1; /* no part of what is measured */
        c->x = gqa_tensor_3d(s->x, GQA_F32, B, T, HIDDEN);
        c->weights.wq = gqa_tensor_2d(s->wq, GQA_F32, HQ * DK, HIDDEN);
        c->weights.wk = gqa_tensor_2d(s->wk, GQA_F32, HKV * DK, HIDDEN);
        c->weights.wv = gqa_tensor_2d(s->wv, GQA_F32, HKV * DV, HIDDEN);
        c->weights.wo = gqa_tensor_2d(s->wo, GQA_F32, HIDDEN, HQ * DV);
    } else {
        c->q_proj = gqa_tensor_4d(s->q, GQA_F32, B, T, HQ, DK);
        c->k_proj = gqa_tensor_4d(s->k, GQA_F32, B, T, HKV, DK);
        c->v_proj = gqa_tensor_4d(s->v, GQA_F32, B, T, HKV, DV);
    }
    c->bias = &s->bias[0][0][0];
    c->bias_batch = 1, c->bias_heads = HQ;
    c->past_k = &s->past_k[0][0][0][0];
    c->past_v = &s->past_v[0][0][0][0];
    c->q_pos = &s->q_pos[0][0], c->k_pos = &s->k_pos[0][0];
    c->key_valid = &s->key_valid[0][0], c->row_valid = &s->row_valid[0][0];
    s->sizes[0] = 4, s->sizes[1] = 3;
    s->schedule = (struct tool_schedule){"4,3", 3, 2, s->sizes};
    c->schedules = &s->schedule;
    c->schedule_count = 1;
    return s;
}

static void measure(struct tool_kv_meter *meter, const struct tool_case *c, gqa_numerics numerics)
{
    const struct tool_run_options options = {.backend = GQA_BACKEND_CPU, .numerics = numerics};
    struct tool_progress progress = {.on = false};
    struct tool_fault fault = {.text = ""};

    if (!tool_kv_measure(meter, c, &options, &progress, &fault)) {
        fail_msg("%s", fault.text);
    }
}

static bool is_number(double x)
{
    return isfinite(x);
}

static int index_of(const struct tool_kv_meter *meter, gqa_dtype dtype)
{
    for (int i = 0; i < meter->choice.n; i++) {
        if (meter->choice.type[i]->dtype == dtype && meter->choice.type[i]->rotated == 0) {
            return i;
        }
    }
    fail_msg("no type %d", dtype);
    return -1;
}

/* --- divergences, written out -------------------------------------------------------------------
 */

/* A row's probabilities: of the keys, 0 of those that are not seen, and last of the sink. False if
 * it sees nothing. */
static bool probabilities(const struct scene *s, int b, int t, int h,
                          const struct tool_kv_type *type, double *p)
{
    double sum = 0;

    for (int j = 0; j <= K; j++) {
        double score = (double)s->sinks[h];

        if (j < K) {
            const float *const k = j < P ? s->past_k[b][j][h / 3] : s->k[b][j - P][h / 3];
            const int ahead = s->k_pos[b][j] - s->q_pos[b][t];
            float read[DK];

            stored_read(read, k, DK, type->dtype, type->rotated != 0);
            score = 0;
            for (int d = 0; d < DK; d++) {
                score += (double)s->q[b][t][h][d] * (double)read[d];
            }
            score = 4 * tanh(score * (double)0.2F / 4) + (double)s->bias[h][t][j];
            if (!s->key_valid[b][j] || ahead > 0 || ahead <= -6) {
                score = -INFINITY;
            }
        }
        p[j] = exp(score); /* sizes are below 5, nothing overflows */
        sum += p[j];
    }
    for (int j = 0; j <= K && sum > 0; j++) {
        p[j] /= sum;
    }
    return sum > 0;
}

struct sums {
    double sum, most;
    int64_t rows;
};

static void add(struct sums *sums, double kl)
{
    sums->sum += kl;
    sums->most = fmax(sums->most, kl);
    sums->rows++;
}

/* Divergences here are sums of 13 terms below 1 of numbers with 2^-53, those of the tool
 * differences of sums of such: 1e-14 is a hundred of these roundings. */
static void same_divergence(const char *what, int at, const struct tool_kv_divergence *got,
                            const struct sums *want)
{
    const double mean = want->sum / (double)want->rows;

    if (got->rows != want->rows || !(fabs(got->mean - mean) <= 1e-14) ||
        !(fabs(got->most - want->most) <= 1e-14)) {
        fail_msg("%s %d: mean %.17g, most %.17g of %lld rows; expected %.17g, %.17g of %lld", what,
                 at, got->mean, got->most, (long long)got->rows, mean, want->most,
                 (long long)want->rows);
    }
}

static void check_divergences(const struct scene *s, const struct tool_kv_meter *meter, int type)
{
    const struct tool_kv_scores *const scores = &meter->scores[type];
    struct sums all = {0, 0, 0}, heads[HQ] = {{0, 0, 0}}, kv_heads[HKV] = {{0, 0, 0}};
    int worst = 0;

    for (int i = 0; i < B * T * HQ; i++) {
        const int b = i / HQ / T, t = i / HQ % T, h = i % HQ;
        double p[K + 1], stored[K + 1], kl = 0;

        if (!s->row_valid[b][t] || !probabilities(s, b, t, h, &tool_kv_types[0], p)) {
            continue;
        }
        assert_true(probabilities(s, b, t, h, meter->choice.type[type], stored));
        for (int j = 0; j <= K; j++) {
            kl += p[j] > 0 ? p[j] * log(p[j] / stored[j]) : 0;
        }
        add(&all, kl);
        add(&heads[h], kl);
        add(&kv_heads[h / 3], kl);
    }
    same_divergence(meter->choice.type[type]->name, -1, &scores->all, &all);
    for (int h = 0; h < HQ; h++) {
        same_divergence("head", h, &scores->head[h], &heads[h]);
        worst = scores->head[h].mean > scores->head[worst].mean ? h : worst;
    }
    for (int kv = 0; kv < HKV; kv++) {
        same_divergence("KV head", kv, &scores->kv_head[kv], &kv_heads[kv]);
    }
    assert_int_equal(scores->worst, worst);
    assert_int_equal(scores->head[1].rows,
                     scores->head[0].rows - 2); /* token 4 of both sees none */
}

static void test_divergences(void **state)
{
    struct scene *const s = make_scene(false);
    struct tool_kv_meter meter;

    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    measure(&meter, &s->c, GQA_NUMERICS_F32);
    assert_int_equal(meter.choice.n, TOOL_KV_TYPES);
    assert_int_equal(meter.choice.type[0]->dtype, GQA_F32);
    assert_int_equal(meter.rows, B * T - PAD);
    for (int type = 0; type < meter.choice.n; type++) {
        check_divergences(s, &meter, type);
    }
    assert_true(meter.scores[index_of(&meter, GQA_I4)].all.mean > 1e-3); /* there is something */
    /* The layer's sums are f32: of scores below 5 it errs by a few 2^-24 of that. */
    assert_true(meter.gap < 1e-5);
    tool_kv_free(&meter);
    free(s);
}

/* --- errors, from calls made here ---------------------------------------------------------------
 */

/* What one run gave. */
struct result {
    float attn[B][T][HQ][DV], out[B][T][HIDDEN];
};

static void keep_projected(void *user, gqa_stage stage, int32_t b, int32_t first,
                           const gqa_tensor *tensor)
{
    if (stage == GQA_STAGE_O_PROJ) {
        memcpy(((struct result *)user)->out[b][first], tensor->data,
               (size_t)(tensor->shape[0] * HIDDEN) * sizeof(float));
    }
}

/* All tokens in one call, after the past. */
static void run_layer(const struct scene *s, gqa_numerics numerics, const struct tool_kv_type *k,
                      const struct tool_kv_type *v, struct result *result)
{
    static const int32_t first_valid[B] = {0, PAD}, lengths[B] = {T, T - PAD};
    gqa_config config = s->c.config;
    gqa_layer *layer = NULL;
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_inputs in;
    gqa_output out;

    memset(result, 0, sizeof *result);
    config.numerics = numerics;
    assert_int_equal(gqa_create(&layer, &config, &s->c.weights, NULL, NULL), GQA_OK);
    gqa_cache_options_init(&options, layer);
    options.max_sequences = B, options.max_tokens = K;
    options.dtype_k = k->dtype, options.dtype_v = v->dtype;
    options.rotate_k = k->rotated, options.rotate_v = v->rotated;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    for (int b = 0; b < B; b++) {
        const gqa_tensor key = gqa_tensor_3d(s->past_k[b], GQA_F32, P, HKV, DK);
        const gqa_tensor value = gqa_tensor_3d(s->past_v[b], GQA_F32, P, HKV, DV);
        assert_int_equal(gqa_cache_append(cache, b, &key, &value, s->k_pos[b], NULL), GQA_OK);
    }
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = s->c.x;
    in.q_proj = s->c.q_proj, in.k_proj = s->c.k_proj, in.v_proj = s->c.v_proj;
    in.position_ids = &s->q_pos[0][0];
    in.first_valid = first_valid, in.lengths = lengths;
    in.bias = gqa_tensor_4d(s->bias, GQA_F32, 1, HQ, T, K);
    in.tap = keep_projected, in.tap_user = result;
    out.attn = gqa_tensor_4d(result->attn, GQA_F32, B, T, HQ, DV);
    float hidden[B][T][HIDDEN];
    if (s->c.block) {
        out.hidden_states = gqa_tensor_3d(hidden, GQA_F32, B, T, HIDDEN);
    }
    assert_int_equal(gqa_forward(layer, cache, &in, &out, NULL, 0, NULL), GQA_OK);
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    for (int t = 0; t < PAD; t++) { /* what a tap says of padding is no result */
        memset(result->out[1][t], 0, sizeof result->out[1][t]);
    }
}

/* Over tokens, elements first .. first + n - 1 of width. */
static void same_error(const char *what, const struct tool_kv_error *got, const float *exact,
                       const float *stored, const int part[3])
{
    double errors = 0, squares = 0, most = 0;

    for (int i = 0; i < B * T * part[0]; i++) {
        if (i % part[0] >= part[1] && i % part[0] < part[1] + part[2]) {
            const double error = (double)stored[i] - (double)exact[i];
            errors += error * error;
            squares += (double)exact[i] * (double)exact[i];
            most = fmax(most, fabs(error));
        }
    }
    const double size = sqrt(squares / ((B * T - PAD) * part[2]));
    const double rms = sqrt(errors / ((B * T - PAD) * part[2])) / size;
    /* Sums of the same terms in double, in another order at most. */
    if (!(fabs(got->rms - rms) <= 1e-12 * rms) ||
        !(fabs(got->most - most / size) <= 1e-12 * most / size)) {
        fail_msg("%s: rms %.17g, most %.17g; expected %.17g, %.17g", what, got->rms, got->most, rms,
                 most / size);
    }
}

static void check_errors(bool block, gqa_numerics numerics)
{
    struct scene *const s = make_scene(block);
    struct result *const runs = malloc(2 * sizeof *runs);
    struct tool_kv_meter meter;

    assert_non_null(runs);
    measure(&meter, &s->c, numerics);
    const gqa_dtype base = numerics == GQA_NUMERICS_BF16 ? GQA_BF16 : GQA_F32;
    assert_int_equal(meter.choice.type[0]->dtype, base);
    run_layer(s, numerics, meter.choice.type[0], meter.choice.type[0], &runs[0]);
    for (int i = 0; i < meter.choice.n * meter.choice.n; i++) {
        const struct tool_kv_pair *const pair = &meter.pairs[i];
        const int all[3] = {HQ * DV, 0, HQ * DV}, out[3] = {HIDDEN, 0, HIDDEN};
        int worst = 0;

        run_layer(s, numerics, meter.choice.type[pair->k], meter.choice.type[pair->v], &runs[1]);
        same_error("attn", &pair->attn, &runs[0].attn[0][0][0][0], &runs[1].attn[0][0][0][0], all);
        for (int h = 0; h < HQ; h++) {
            const int head[3] = {HQ * DV, h * DV, DV};
            same_error("head", &pair->head[h], &runs[0].attn[0][0][0][0], &runs[1].attn[0][0][0][0],
                       head);
            worst = pair->head[h].rms > pair->head[worst].rms ? h : worst;
        }
        assert_int_equal(pair->worst, worst);
        if (block) {
            same_error("out", &pair->out, &runs[0].out[0][0][0], &runs[1].out[0][0][0], out);
        } else {
            assert_true(isnan(pair->out.rms));
        }
        /* Nothing is lost by the first pair, and by no other one is nothing lost. */
        assert_true((pair->attn.rms == 0) == (i == 0) && (pair->attn.most == 0) == (i == 0));
    }
    tool_kv_free(&meter);
    free(runs);
    free(s);
}

static void test_errors(void **state)
{
    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    check_errors(false, GQA_NUMERICS_F32);
    check_errors(true, GQA_NUMERICS_F32);
}

static void test_errors_bf16(void **state)
{
    (void)state;
    skip_refused_numerics(GQA_NUMERICS_BF16);
    check_errors(true, GQA_NUMERICS_BF16);
}

/* --- the golden files ---------------------------------------------------------------------------
 */

/* Of every golden file: nothing is lost by f32, and the sums of exponentials formed here are those
 * of the layer, so that who sees whom, sinks, biases and softcap are its own. A row sees 64 keys at
 * most, so one of them missed moves some row's logarithm by 1/64 and more; f32 errs by 4e-6 of it
 * (docs/gqa-command.md, judging), and it is 100 at most (s14). */
static void test_golden_files(void **state)
{
    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    for (size_t i = 0; i < GOLDEN_FILES; i++) {
        struct golden golden;
        struct tool_kv_meter meter;

        golden_load(&golden, golden_files[i]);
        measure(&meter, &golden.c, GQA_NUMERICS_F32);
        if (!(meter.gap <= 4e-4)) {
            fail_msg("%s: the sums differ by %g", golden_files[i], meter.gap);
        }
        assert_true(meter.scores[0].all.mean == 0 && meter.scores[0].all.most == 0);
        assert_true(meter.pairs[0].attn.most == 0 &&
                    (golden.c.block ? meter.pairs[0].out.most == 0 : true));
        for (int type = 1; type < meter.choice.n; type++) {
            assert_true(meter.scores[type].all.mean > 0);
            assert_true(meter.scores[type].all.most >= meter.scores[type].all.mean);
        }
        tool_kv_free(&meter);
        golden_free(&golden);
    }
}

/* --- what is counted and refused ----------------------------------------------------------------
 */

/* Bytes of a row are those that a call counts. */
static void test_bytes(void **state)
{
    static const int32_t dims[] = {8, 17, 32, 33, 64, 100, 128};
    static float numbers[256];

    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    for (size_t i = 0; i < sizeof dims / sizeof dims[0] * TOOL_KV_TYPES; i++) {
        const struct tool_kv_type *const type = &tool_kv_types[i % TOOL_KV_TYPES];
        const int32_t dim = dims[i / TOOL_KV_TYPES];
        const gqa_tensor row = gqa_tensor_3d(numbers, GQA_F32, 1, 1, dim);
        const gqa_tensor query = gqa_tensor_4d(numbers, GQA_F32, 1, 1, 1, dim);
        gqa_config config;
        gqa_layer *layer = NULL;
        gqa_cache *cache = NULL;
        gqa_cache_options options;
        gqa_attend_inputs in;
        gqa_attend_output out;
        gqa_work work;

        gqa_config_init(&config);
        config.num_attention_heads = config.num_key_value_heads = 1;
        config.head_dim = dim;
        assert_int_equal(gqa_create(&layer, &config, NULL, NULL, NULL), GQA_OK);
        gqa_cache_options_init(&options, layer);
        options.max_tokens = 1;
        tool_kv_store(type, &tool_kv_types[0], &options);
        assert_int_equal(options.dtype_k, type->dtype);
        assert_int_equal(options.rotate_k, type->rotated);
        assert_true(options.dtype_v == GQA_F32 && options.rotate_v == 0);
        assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
        assert_int_equal(gqa_cache_append(cache, 0, &row, &row, NULL, NULL), GQA_OK);
        gqa_attend_inputs_init(&in);
        gqa_attend_output_init(&out);
        gqa_work_init(&work);
        in.query = query;
        out.output = gqa_tensor_4d(numbers + 128, GQA_F32, 1, 1, 1, dim);
        out.work = &work;
        assert_int_equal(gqa_attend(layer, cache, &in, &out, NULL, 0, NULL), GQA_OK);
        if (work.kv_bytes != tool_kv_row_bytes(type, dim) + 4 * dim) {
            fail_msg("%s, %d: %lld bytes, and the library counts %lld with %d of V", type->name,
                     dim, (long long)tool_kv_row_bytes(type, dim), (long long)work.kv_bytes,
                     4 * dim);
        }
        gqa_cache_destroy(&cache);
        gqa_destroy(&layer);
    }
}

/* A stored key of KV head kv that is infinite leaves its rows no softmax: no number, and no limit
 * is kept. The first head with such a row is the worst. */
static void overflow_of(int kv)
{
    struct scene *const s = make_scene(false);
    const struct tool_kv_pair *pair;
    struct tool_kv_meter meter;
    int first[2] = {0, 0};

    s->past_k[0][3][kv][5] = 1e5F; /* f16 ends at 65504 */
    s->c.config.softcap = 0;
    measure(&meter, &s->c, GQA_NUMERICS_F32);
    const int f16 = index_of(&meter, GQA_F16);
    assert_true(is_number(meter.scores[index_of(&meter, GQA_BF16)].all.mean));
    assert_false(is_number(meter.scores[f16].all.mean));
    assert_false(is_number(meter.scores[f16].kv_head[kv].most));
    assert_true(is_number(meter.scores[f16].kv_head[1 - kv].mean));
    pair = tool_kv_pair(&meter, f16, 0);
    while (is_number(meter.scores[f16].head[first[0]].mean)) {
        first[0]++;
    }
    while (is_number(pair->head[first[1]].rms)) {
        first[1]++;
    }
    assert_true(first[0] / (HQ / HKV) == kv && first[1] / (HQ / HKV) == kv);
    assert_int_equal(meter.scores[f16].worst, first[0]);
    assert_int_equal(pair->worst, first[1]);
    assert_false(is_number(pair->attn.rms));
    tool_kv_free(&meter);
    free(s);
}

static void test_overflow(void **state)
{
    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    overflow_of(0);
    overflow_of(1);
}

static void test_no_base(void **state)
{
    const struct tool_run_options options = {.backend = GQA_BACKEND_CPU};
    struct scene *const s = make_scene(false);
    struct tool_progress progress = {.on = false};
    struct tool_fault fault = {.text = ""};
    struct tool_kv_meter meter;

    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    s->v[0][2][0][1] = INFINITY;
    assert_false(tool_kv_measure(&meter, &s->c, &options, &progress, &fault));
    assert_non_null(strstr(fault.text, "of attn is inf on a cache that loses nothing"));
    tool_kv_free(&meter);
    tool_fault_clear(&fault);
    memset(s->row_valid, 0, sizeof s->row_valid);
    assert_false(tool_kv_measure(&meter, &s->c, &options, &progress, &fault));
    assert_non_null(strstr(fault.text, "none of its 14 tokens is valid"));
    tool_kv_free(&meter);
    free(s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divergences), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_errors_bf16), cmocka_unit_test(test_golden_files),
        cmocka_unit_test(test_bytes),       cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_no_base),
    };
    return RUN_TESTS(argc, argv, tests);
}
