/* SPDX-License-Identifier: Apache-2.0 */
/* kv_scores.c - see kv_scores.h. */
#include "tool/kv_scores.h"

#include <math.h>
#include <stdlib.h>

#include "tool/feed.h"
#include "tool/kv_types.h"

/* One row: a query head of a token, and the keys that it sees. */
struct score_row {
    const struct tool_case *c;
    const float *sinks; /* [Hq] -inf: none */
    int32_t b, t, h;
    const int32_t *seen; /* [count] keys */
    int32_t count;
};

/* Keys that token t of batch entry b sees by the case's rules. Returns how many. */
static int32_t keys_seen(const struct tool_case *c, int32_t b, int32_t t, int32_t *seen)
{
    int32_t n = 0;

    for (int32_t j = 0; j < c->keys; j++) {
        if (tool_case_sees(c, b, t, j)) {
            seen[n++] = j;
        }
    }
    return n;
}

static const float *key_row(const struct score_row *row, const struct tool_kv_keys *keys, int32_t j)
{
    const struct tool_case *const c = row->c;
    const int32_t kv = row->h / (c->hq / c->hkv);

    return j < c->past
               ? keys->past + (((int64_t)row->b * c->past + j) * c->hkv + kv) * c->dk
               : keys->fresh + (((int64_t)row->b * c->tokens + j - c->past) * c->hkv + kv) * c->dk;
}

static double score_bias(const struct score_row *row, int32_t j)
{
    const struct tool_case *const c = row->c;
    const int64_t b = c->bias_batch == 1 ? 0 : row->b, h = c->bias_heads == 1 ? 0 : row->h;

    return c->bias == NULL
               ? 0.0
               : (double)c->bias[((b * c->bias_heads + h) * c->tokens + row->t) * c->keys + j];
}

/* Scores of the seen keys into s [count], and the logarithm of the sum of their exponentials and
 * the sink's. */
static double weigh_keys(const struct score_row *row, const float *q,
                         const struct tool_kv_keys *keys, double *s)
{
    const struct tool_case *const c = row->c;
    const double softcap = (double)c->config.softcap;
    const double sink = (double)row->sinks[row->h];
    double most = sink, sum = 0;

    for (int32_t i = 0; i < row->count; i++) {
        const float *const k = key_row(row, keys, row->seen[i]);
        double dot = 0;

        for (int32_t d = 0; d < c->dk; d++) {
            dot += (double)q[d] * (double)k[d];
        }
        s[i] = dot * (double)c->config.score_scale;
        if (softcap > 0) {
            s[i] = softcap * tanh(s[i] / softcap);
        }
        s[i] += score_bias(row, row->seen[i]);
        most = s[i] > most || isnan(s[i]) ? s[i] : most;
    }
    if (isinf(most) || isnan(most)) {
        return most;
    }
    for (int32_t i = 0; i < row->count; i++) {
        sum += exp(s[i] - most);
    }
    return most + log(sum + exp(sink - most));
}

static double divergence(const double *exact, double exact_lse, const double *stored,
                         double stored_lse, int32_t count)
{
    double sum = stored_lse - exact_lse; /* of all outcomes, the sink's share included */

    for (int32_t i = 0; i < count; i++) {
        if (exact[i] > -INFINITY) {
            sum += exp(exact[i] - exact_lse) * (exact[i] - stored[i]);
        }
    }
    return sum < 0 ? 0 : sum; /* below 0 by rounding alone */
}

/* --- sums over the rows -------------------------------------------------------------------------
 */

/* The mean is a sum until the end. A NaN stays. */
static void take_divergence(struct tool_kv_divergence *sum, double kl, double most, int64_t rows)
{
    sum->mean += kl;
    sum->most = most > sum->most || isnan(most) ? most : sum->most;
    sum->rows += rows;
}

static void join_divergences(struct tool_kv_divergence *sum, const struct tool_kv_divergence *head,
                             int32_t heads)
{
    for (int32_t h = 0; h < heads; h++) {
        take_divergence(sum, head[h].mean, head[h].most, head[h].rows);
    }
}

static void divide(struct tool_kv_divergence *sum)
{
    sum->mean /= sum->rows > 0 ? (double)sum->rows : 1.0;
}

static void finish_scores(const struct tool_case *c, struct tool_kv_scores *scores)
{
    const int32_t group = c->hq / c->hkv;

    join_divergences(&scores->all, scores->head, c->hq);
    divide(&scores->all);
    for (int32_t kv = 0; kv < c->hkv; kv++) {
        join_divergences(&scores->kv_head[kv], scores->head + (int64_t)kv * group, group);
        divide(&scores->kv_head[kv]);
    }
    for (int32_t h = 0; h < c->hq; h++) {
        divide(&scores->head[h]);
        if (tool_worse(scores->head[h].mean, scores->head[scores->worst].mean)) {
            scores->worst = h;
        }
    }
}

/* What a call of tool_kv_scores works with. */
struct score_work {
    const struct tool_kv_keys *keys;
    struct tool_kv_scores *scores;
    int n;
    float *sinks;           /* [Hq] */
    int32_t *seen;          /* [K] */
    double *exact, *stored; /* [K] */
};

static bool take_score_work(struct score_work *work, const struct tool_case *c,
                            struct tool_fault *fault)
{
    const gqa_tensor *const given = &c->weights.sinks;
    gqa_error err;

    work->sinks = tool_alloc(c->path, c->hq, sizeof(float), fault);
    work->seen = tool_alloc(c->path, c->keys, sizeof(int32_t), fault);
    work->exact = tool_alloc(c->path, c->keys, sizeof(double), fault);
    work->stored = tool_alloc(c->path, c->keys, sizeof(double), fault);
    if (fault->text[0] != '\0') {
        return false;
    }
    for (int32_t h = 0; h < c->hq; h++) {
        work->sinks[h] = -INFINITY;
    }
    if (given->data != NULL) {
        const gqa_tensor sinks = gqa_tensor_1d(work->sinks, GQA_F32, c->hq);
        if (gqa_convert(given, &sinks, &err) != GQA_OK) {
            return tool_fault_gqa(fault, c->path, "gqa_convert", &err);
        }
    }
    return true;
}

/* By every set of keys; lse: what the layer gave. Returns by how much it differs from the sum here,
 * 0 for a row that sees nothing. */
static double measure_row(const struct score_work *work, const struct score_row *row,
                          const float *q, double lse)
{
    const double exact = weigh_keys(row, q, &work->keys[0], work->exact);

    if (exact == -INFINITY) {
        return 0;
    }
    for (int i = 0; i < work->n; i++) {
        const double stored = weigh_keys(row, q, &work->keys[i], work->stored);
        const double kl = divergence(work->exact, exact, work->stored, stored, row->count);
        take_divergence(&work->scores[i].head[row->h], kl, kl, 1);
    }
    return fabs(exact - lse);
}

bool tool_kv_scores(const struct tool_case *c, const float *q, const float *lse,
                    const struct tool_kv_keys *keys, int n, struct tool_kv_scores *scores,
                    double *gap, struct tool_fault *fault)
{
    struct score_work work = {.keys = keys, .scores = scores, .n = n};
    const bool good = take_score_work(&work, c, fault);

    *gap = 0;
    for (int64_t at = 0; good && at < (int64_t)c->batch * c->tokens; at++) {
        struct score_row row = {.c = c, .sinks = work.sinks, .seen = work.seen};

        if (c->row_valid[at] == 0) {
            continue;
        }
        row.b = (int32_t)(at / c->tokens);
        row.t = (int32_t)(at % c->tokens);
        row.count = keys_seen(c, row.b, row.t, work.seen);
        for (row.h = 0; row.h < c->hq; row.h++) {
            const int64_t r = at * c->hq + row.h;
            const double sums = measure_row(&work, &row, q + r * c->dk, (double)lse[r]);
            *gap = tool_worse(sums, *gap) ? sums : *gap;
        }
    }
    for (int i = 0; good && i < n; i++) {
        finish_scores(c, &scores[i]);
    }
    free(work.sinks);
    free(work.seen);
    free(work.exact);
    free(work.stored);
    return good;
}
