/* SPDX-License-Identifier: Apache-2.0 */
/* errors.c - see errors.h: sizes measured, then one standard error carried from stage to stage. */
#include "tool/errors.h"

#include <math.h>
#include <string.h>

static double square(double x)
{
    return x * x;
}

/* --- sizes --------------------------------------------------------------------------------------
 */

/* Rows of width numbers; flag i / group of valid says whether row i counts (NULL: all do). */
struct rows {
    gqa_tensor view;
    int64_t first, n, width;
    const uint8_t *valid;
    int64_t group;
};

static double element_of(const gqa_tensor *view, int64_t i)
{
    if (view->dtype == GQA_BF16) {
        const uint32_t bits = (uint32_t)((const uint16_t *)view->data)[i] << 16;
        float value;

        memcpy(&value, &bits, sizeof value);
        return value;
    }
    return ((const float *)view->data)[i];
}

/* Norm of one row; *largest is raised to its largest element. What is not finite is left out. */
static double row_norm(const struct rows *rows, int64_t row, double *largest)
{
    double sum = 0;

    for (int64_t i = 0; i < rows->width; i++) {
        const double size = fabs(element_of(&rows->view, (rows->first + row) * rows->width + i));
        if (isfinite(size)) {
            *largest = fmax(*largest, size);
            sum += size * size;
        }
    }
    return sqrt(sum);
}

/* Raise *largest and *norm to the largest element and the largest norm of these rows. */
static void measure(const struct rows *rows, double *largest, double *norm)
{
    for (int64_t row = 0; row < rows->n; row++) {
        if (rows->valid == NULL || rows->valid[row / rows->group] != 0) {
            *norm = fmax(*norm, row_norm(rows, row, largest));
        }
    }
}

/* heads rows of every token of the run's value */
static struct rows rows_of(const struct tool_case *c, const float *data, int64_t heads,
                           int64_t width)
{
    const struct rows rows = {.view = gqa_tensor_1d((void *)(uintptr_t)data, GQA_F32, 0),
                              .n = (int64_t)c->batch * c->tokens * heads,
                              .width = width,
                              .valid = c->row_valid,
                              .group = heads};

    return rows;
}

static double matrix_norm(const gqa_tensor *weight)
{
    const struct rows rows = {.view = *weight, .n = weight->shape[0], .width = weight->shape[1]};
    double largest = 0, norm = 0;

    measure(&rows, &largest, &norm);
    return norm;
}

static void measure_past(const struct tool_case *c, const float *data, int64_t width,
                         double *largest, double *norm)
{
    for (int32_t b = 0; b < c->batch; b++) {
        const struct rows rows = {.view = gqa_tensor_1d((void *)(uintptr_t)data, GQA_F32, 0),
                                  .first = (int64_t)b * c->past * c->hkv,
                                  .n = (int64_t)c->past * c->hkv,
                                  .width = width,
                                  .valid = c->key_valid + (int64_t)b * c->keys,
                                  .group = c->hkv};
        measure(&rows, largest, norm);
    }
}

/* Mean square, or variance, of n projected and clipped values; what qk_norm divides by. */
static double mean_square(const struct tool_case *c, const float *y, int64_t n)
{
    const double clip = c->config.clip_qkv > 0 ? (double)c->config.clip_qkv : INFINITY;
    double mean = 0, sum = 0;

    for (int64_t i = 0; i < n; i++) {
        const double value = fmin(clip, fmax(-clip, (double)y[i]));
        mean += c->config.qk_norm == GQA_NORM_LAYER ? value / (double)n : 0;
    }
    for (int64_t i = 0; i < n; i++) {
        const double value = fmin(clip, fmax(-clip, (double)y[i])) - mean;
        sum += value * value / (double)n;
    }
    return sum + (double)c->config.qk_norm_eps;
}

/* qk_norm divides a head by its rms. Its error goes with the norm of the token x that it came from:
 * where a head is small for its x, as after cancellation, the error grows by this. */
static double spread_of(const struct tool_case *c, const struct rows *x, const float *y,
                        int64_t heads)
{
    const bool whole = c->config.qk_norm_scope == GQA_QK_NORM_WHOLE;
    const int64_t vectors = whole ? 1 : heads, width = whole ? heads * c->dk : c->dk;
    double spread = 1, unused = 0;

    for (int64_t i = 0; i < vectors; i++) {
        double low = INFINITY, high = 0;
        for (int64_t token = 0; token < x->n; token++) {
            const double from = row_norm(x, token, &unused);
            if (c->row_valid[token] != 0 && from > 0) {
                const double share =
                    sqrt(mean_square(c, y + (token * vectors + i) * width, width)) / from;
                low = fmin(low, share);
                high = fmax(high, share);
            }
        }
        if (low > 0 && low < INFINITY) {
            spread = fmax(spread, high / low);
        }
    }
    return spread;
}

static void measure_positions(struct tool_sizes *sizes, const struct tool_case *c,
                              const struct tool_values *values)
{
    const gqa_config *config = &c->config;
    const int64_t tokens = (int64_t)c->batch * c->tokens;
    double fastest = 0, squares = 0, far = 0, last = 0;

    for (int32_t j = 0; j < c->pairs; j++) {
        fastest = fmax(fastest, fabs(values->inv_freq[j]));
        squares += 2 * square(values->inv_freq[j]);
    }
    for (int64_t i = 0; i < tokens * (c->rope_pos3 != NULL ? 3 : 1); i++) {
        far = fmax(far, fabs((double)(c->rope_pos3 != NULL ? c->rope_pos3 : c->q_pos)[i]));
    }
    for (int64_t i = 0; i < tokens; i++) {
        last = fmax(last, (double)c->q_pos[i]);
    }
    sizes->angle = fastest * far;
    sizes->turn = sqrt(squares / c->dk) * far;
    sizes->heat = 1;
    if (config->query_temperature != GQA_QUERY_TEMPERATURE_NONE) {
        sizes->heat += fabs((double)config->query_temperature_scale) *
                       log1p(floor((last + 1) / (double)config->query_temperature_floor));
    }
}

/* Norms of the weights and of what they are multiplied with. */
static void measure_block(struct tool_sizes *sizes, const struct tool_case *c,
                          const struct tool_values *values)
{
    struct rows x = rows_of(c, values->value[TOOL_X_NORM], 1, c->hidden);

    if (c->config.input_norm == GQA_NORM_NONE) {
        x.view = c->x;
    }
    measure(&x, &sizes->value[TOOL_X_NORM], &sizes->x_norm);
    if (c->config.qk_norm_scope != GQA_QK_NORM_OFF) {
        sizes->q_spread = spread_of(c, &x, values->value[TOOL_Q_PROJ], c->hq);
        sizes->k_spread = spread_of(c, &x, values->value[TOOL_K_PROJ], c->hkv);
    }
    sizes->wq = matrix_norm(&c->weights.wq);
    sizes->wk = matrix_norm(&c->weights.wk);
    sizes->wv = matrix_norm(&c->weights.wv);
    sizes->wo = matrix_norm(&c->weights.wo);
}

void tool_sizes_measure(struct tool_sizes *sizes, const struct tool_case *c,
                        const struct tool_values *values)
{
    const struct rows heads_q = rows_of(c, values->value[TOOL_Q], c->hq, c->dk);
    const struct rows heads_k = rows_of(c, values->value[TOOL_K], c->hkv, c->dk);
    double unused = 0;

    memset(sizes, 0, sizeof *sizes);
    sizes->q_spread = sizes->k_spread = 1;
    for (int v = 0; v < TOOL_VALUES; v++) {
        const int64_t width = tool_value_count(c, (enum tool_value)v) / c->batch / c->tokens;
        const struct rows rows = rows_of(c, values->value[v], 1, width);
        measure(&rows, &sizes->value[v], v == TOOL_ATTN ? &sizes->attn : &unused);
    }
    if (c->block) {
        measure_block(sizes, c, values);
    }
    measure(&heads_q, &unused, &sizes->q);
    measure(&heads_k, &unused, &sizes->k);
    sizes->v = sizes->value[TOOL_V];
    if (c->past > 0) {
        measure_past(c, c->past_k, c->dk, &unused, &sizes->k);
        measure_past(c, c->past_v, c->dv, &sizes->v, &unused);
    }
    measure_positions(sizes, c, values);
}

/* --- errors -------------------------------------------------------------------------------------
 */

/* Relative standard errors, squared. */
struct machine {
    double operand; /* an operand of a product rounded */
    double store;   /* a value stored */
    double angle;   /* a rope angle */
};

/* A sum of n products in f32, one after the other. */
static double error_of_sum(double n)
{
    return square(TOOL_UNIT_F32) * n / 4;
}

/* A norm over n values, then the product with its weight. */
static double norm_of(const struct machine *m, double n)
{
    return error_of_sum(n) / 4 + 4 * square(TOOL_UNIT_F32) + 2 * m->store;
}

/* A product with rows of n weights; input: of what comes in. */
static double error_of_product(const struct machine *m, double n, double input)
{
    return input + 2 * m->operand + error_of_sum(n) + m->store;
}

/* From projected to what attention multiplies: *relative (squared) and *size change with it. */
static void turn(const struct machine *m, const struct tool_case *c, double spread, double final,
                 double *relative, double *size)
{
    const gqa_config *config = &c->config;

    if (config->qk_norm_scope != GQA_QK_NORM_OFF) {
        const bool whole = config->qk_norm_scope == GQA_QK_NORM_WHOLE;
        *relative = *relative * square(spread) + norm_of(m, whole ? c->hq * c->dk : c->dk);
        *size = final;
    } else if (c->pairs > 0) {
        *size *= fabs(c->rope_mscale);
    }
    if (c->pairs > 0) {
        *relative += 4 * m->store + m->angle;
    }
    *size = fmax(*size, final);
}

static void errors_of_block(const struct machine *m, const struct tool_sizes *s,
                            const struct tool_case *c, double relative[TOOL_VALUES],
                            double size[TOOL_VALUES])
{
    static const enum tool_value values[3] = {TOOL_Q_PROJ, TOOL_K_PROJ, TOOL_V_PROJ};
    const double norms[3] = {s->wq, s->wk, s->wv};
    const bool norm = c->config.input_norm != GQA_NORM_NONE;

    relative[TOOL_X_NORM] = norm ? norm_of(m, c->hidden) : m->store;
    for (int i = 0; i < 3; i++) {
        relative[values[i]] = error_of_product(m, c->hidden, norm ? relative[TOOL_X_NORM] : 0);
        size[values[i]] = fmax(s->value[values[i]], norms[i] * s->x_norm / sqrt(c->hidden));
    }
}

/* Largest size of a bias that can matter: what is far below is a mask. */
static double bias_size(const struct tool_case *c)
{
    const int64_t n =
        c->bias == NULL ? 0 : (int64_t)c->bias_batch * c->bias_heads * c->tokens * c->keys;
    double most = 0;

    for (int64_t i = 0; i < n; i++) {
        if (isfinite(c->bias[i]) && c->bias[i] > -1e4F) {
            most = fmax(most, fabs((double)c->bias[i]));
        }
    }
    return most;
}

/* Standard error of a score that counts. */
static double score_error(const struct machine *m, const struct tool_sizes *s,
                          const struct tool_case *c, double q, double k)
{
    const double given = fabs((double)c->config.score_scale);
    const double scale = given > 0 ? given : 1 / sqrt(c->dk);
    const double all = scale * s->q * s->k;
    const double cap = c->config.softcap > 0 ? (double)c->config.softcap : 0;
    /* A row's scores, each times its probability, add up to its LSE less an entropy of at most log
     * keys. */
    const double heavy = fmin(all, s->value[TOOL_LSE] + log(c->keys));

    return sqrt(square(all) * (q + k) / c->dk +
                square(heavy) * (error_of_sum(c->dk) + error_of_sum(c->hidden) + 2 * m->store) +
                square(cap) * 4 * m->store + square(bias_size(c)) * m->store);
}

void tool_errors(const struct tool_sizes *sizes, const struct tool_case *c,
                 const struct tool_program *program, double error[TOOL_VALUES])
{
    const struct machine m = {square(program->operand) / 3, square(program->stored) / 3,
                              program->float_angles ? square(TOOL_UNIT_F32 * sizes->turn) : 0};
    const double angle = program->float_angles ? TOOL_UNIT_F32 * sizes->angle : 0;
    const double *most = sizes->value;
    double relative[TOOL_VALUES] = {0}, size[TOOL_VALUES], score, softmax, *e = error;

    memcpy(size, sizes->value, sizeof size);
    if (c->block) {
        errors_of_block(&m, sizes, c, relative, size);
    }
    relative[TOOL_Q] = relative[TOOL_Q_PROJ] + m.operand;
    relative[TOOL_K] = relative[TOOL_K_PROJ] + m.operand;
    relative[TOOL_V] = relative[TOOL_V_PROJ] + m.operand;
    size[TOOL_Q] = size[TOOL_Q_PROJ] * sizes->heat;
    size[TOOL_K] = size[TOOL_K_PROJ];
    size[TOOL_V] = fmax(most[TOOL_V], size[TOOL_V_PROJ]);
    turn(&m, c, sizes->q_spread, most[TOOL_Q], &relative[TOOL_Q], &size[TOOL_Q]);
    turn(&m, c, sizes->k_spread, most[TOOL_K], &relative[TOOL_K], &size[TOOL_K]);
    for (int v = 0; v <= TOOL_V; v++) {
        e[v] = sqrt(relative[v]) * size[v];
    }
    e[TOOL_Q] = hypot(e[TOOL_Q], angle * size[TOOL_Q]);
    e[TOOL_K] = hypot(e[TOOL_K], angle * size[TOOL_K]);
    score = score_error(&m, sizes, c, relative[TOOL_Q], relative[TOOL_K]);
    softmax = error_of_sum(c->keys) + m.operand + 2 * m.store;
    e[TOOL_LSE] = sqrt(square(score) + softmax + 3 * m.store * square(most[TOOL_LSE]));
    e[TOOL_ATTN] = sqrt(square(e[TOOL_V]) + square(sizes->v) * (square(score) + softmax) +
                        m.store * square(most[TOOL_ATTN]));
    if (c->block) {
        const double n = (double)c->hq * c->dv;
        const double typical = fmax(most[TOOL_O_PROJ], sizes->wo * sizes->attn / sqrt(n));
        e[TOOL_O_PROJ] =
            sqrt(error_of_product(&m, n, 0) * square(typical) + square(sizes->wo * e[TOOL_ATTN]));
        e[TOOL_OUT] = sqrt(square(e[TOOL_O_PROJ]) + 2 * m.store * square(most[TOOL_OUT]));
    }
}
