/* SPDX-License-Identifier: Apache-2.0 */
/* kv_meter.c - see kv_meter.h. */
#include "tool/kv_meter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- errors -------------------------------------------------------------------------------------
 */

/* Elements first .. first + n - 1 of every token of a tensor [B, T, width], of both runs. */
struct kv_part {
    const float *exact, *stored;
    int64_t tokens; /* B * T */
    int64_t valid;  /* of them; the others are zero in both */
    int64_t width, first, n;
};

static double relative_error(double error, double size)
{
    return error == 0 ? 0 : error / size; /* infinite where there is nothing to compare with */
}

static struct tool_kv_error part_error(const struct kv_part *part)
{
    double errors = 0, squares = 0, most = 0;

    for (int64_t t = 0; t < part->tokens; t++) {
        const float *const exact = part->exact + t * part->width + part->first;
        const float *const stored = part->stored + t * part->width + part->first;

        for (int64_t i = 0; i < part->n; i++) {
            const double error = fabs((double)stored[i] - (double)exact[i]);
            errors += error * error;
            squares += (double)exact[i] * (double)exact[i];
            most = error > most || isnan(error) ? error : most;
        }
    }
    const double count = (double)(part->valid * part->n), rms = sqrt(squares / count);
    return (struct tool_kv_error){relative_error(sqrt(errors / count), rms),
                                  relative_error(most, rms)};
}

static void compare_pair(const struct tool_kv_meter *meter, const struct tool_values *exact,
                         const struct tool_values *stored, struct tool_kv_pair *pair)
{
    const struct tool_case *const c = meter->c;
    const int64_t width = (int64_t)c->hq * c->dv;
    struct kv_part part = {exact->value[TOOL_ATTN],
                           stored->value[TOOL_ATTN],
                           (int64_t)c->batch * c->tokens,
                           meter->rows,
                           width,
                           0,
                           width};

    pair->attn = part_error(&part);
    part.n = c->dv;
    for (int32_t h = 0; h < c->hq; h++) {
        part.first = (int64_t)h * c->dv;
        pair->head[h] = part_error(&part);
        if (tool_worse(pair->head[h].rms, pair->head[pair->worst].rms)) {
            pair->worst = h;
        }
    }
    pair->out = (struct tool_kv_error){NAN, NAN};
    if (c->block) {
        part.exact = exact->value[TOOL_O_PROJ];
        part.stored = stored->value[TOOL_O_PROJ];
        part.width = part.n = c->hidden;
        part.first = 0;
        pair->out = part_error(&part);
    }
}

/* --- runs ---------------------------------------------------------------------------------------
 */

static bool take_results(struct tool_kv_meter *meter, struct tool_fault *fault)
{
    const struct tool_case *const c = meter->c;
    const int n = meter->choice.n;

    meter->pairs = tool_alloc(c->path, (int64_t)n * n, sizeof *meter->pairs, fault);
    for (int i = 0; i < n; i++) {
        meter->scores[i].head = tool_alloc(c->path, c->hq, sizeof *meter->scores[i].head, fault);
        meter->scores[i].kv_head =
            tool_alloc(c->path, c->hkv, sizeof *meter->scores[i].kv_head, fault);
    }
    for (int i = 0; meter->pairs != NULL && i < n * n; i++) {
        struct tool_kv_pair *const pair = &meter->pairs[i];

        pair->k = i / n;
        pair->v = i % n;
        pair->bytes = c->hkv * (tool_kv_row_bytes(meter->choice.type[pair->k], c->dk) +
                                tool_kv_row_bytes(meter->choice.type[pair->v], c->dv));
        pair->head = tool_alloc(c->path, c->hq, sizeof *pair->head, fault);
    }
    return fault->text[0] == '\0';
}

void tool_kv_free(struct tool_kv_meter *meter)
{
    const int n = meter->choice.n;

    for (int i = 0; i < n; i++) {
        free(meter->scores[i].head);
        free(meter->scores[i].kv_head);
        free(meter->keys[i].past);
        free(meter->keys[i].fresh);
    }
    for (int i = 0; meter->pairs != NULL && i < n * n; i++) {
        free(meter->pairs[i].head);
    }
    free(meter->pairs);
    memset(meter, 0, sizeof *meter);
}

/* The case on a cache of these types. values must be freed, also on failure. */
static bool run_pair(struct tool_session *session, const struct tool_kv_choice *choice,
                     const struct tool_kv_pair *pair, struct tool_values *values,
                     struct tool_fault *fault)
{
    session->store_k = choice->type[pair->k];
    session->store_v = choice->type[pair->v];
    return tool_session_run(session, &session->c->schedules[0], true, values, fault);
}

/* Without a number in the exact run there is nothing to compare with. */
static bool check_exact(const struct tool_case *c, const struct tool_values *exact,
                        struct tool_fault *fault)
{
    static const enum tool_value checked[] = {TOOL_ATTN, TOOL_O_PROJ};

    for (int v = 0; v < (c->block ? 2 : 1); v++) {
        for (int64_t i = 0; i < tool_value_count(c, checked[v]); i++) {
            if (!isfinite(exact->value[checked[v]][i])) {
                return tool_fault_set(fault, c->path,
                                      "element %lld of %s is %g on a cache that loses nothing; it "
                                      "must be finite, for errors are measured against it",
                                      (long long)i, tool_value_name(checked[v]),
                                      (double)exact->value[checked[v]][i]);
            }
        }
    }
    return true;
}

static void keep_keys(struct tool_kv_keys *keys, struct tool_values *values)
{
    keys->past = values->past_k;
    keys->fresh = values->cache_k;
    values->past_k = NULL;
    values->cache_k = NULL;
}

static bool measure_pairs(struct tool_kv_meter *meter, struct tool_session *session,
                          struct tool_progress *progress, struct tool_fault *fault)
{
    const int count = meter->choice.n * meter->choice.n;
    struct tool_values exact, stored;
    bool good = run_pair(session, &meter->choice, &meter->pairs[0], &exact, fault) &&
                check_exact(meter->c, &exact, fault);

    meter->path = exact.path;
    for (int i = 0; good && i < count; i++) {
        struct tool_kv_pair *const pair = &meter->pairs[i];

        tool_progress_step(progress, meter->c->name, i + 1, count);
        good = run_pair(session, &meter->choice, pair, &stored, fault);
        if (good) {
            compare_pair(meter, &exact, &stored, pair);
            if (pair->v == 0) {
                keep_keys(&meter->keys[pair->k], &stored);
            }
        }
        tool_values_free(&stored);
    }
    good = good && tool_kv_scores(meter->c, exact.value[TOOL_Q], exact.value[TOOL_LSE], meter->keys,
                                  meter->choice.n, meter->scores, &meter->gap, fault);
    tool_values_free(&exact);
    return good;
}

bool tool_kv_measure(struct tool_kv_meter *meter, const struct tool_case *c,
                     const struct tool_run_options *options, struct tool_progress *progress,
                     struct tool_fault *fault)
{
    struct tool_session session;
    bool good;

    memset(meter, 0, sizeof *meter);
    meter->c = c;
    for (int64_t i = 0; i < (int64_t)c->batch * c->tokens; i++) {
        meter->rows += c->row_valid[i] != 0;
    }
    if (meter->rows == 0) {
        return tool_fault_set(fault, c->path, "none of its %lld tokens is valid",
                              (long long)c->batch * c->tokens);
    }
    if (!tool_session_open(&session, c, options, fault)) {
        return false;
    }
    tool_kv_choose(session.layer, &meter->choice);
    good = take_results(meter, fault) && measure_pairs(meter, &session, progress, fault);
    tool_session_close(&session);
    return good;
}
