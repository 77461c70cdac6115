/* SPDX-License-Identifier: Apache-2.0 */
/* health.c - see health.h. */
#include "stage/health.h"

#include <assert.h>
#include <float.h>
#include <math.h>

#include "base/number.h"

void gqa__health_clear(struct gqa__health *health)
{
    *health = (struct gqa__health){.seen = {.struct_size = sizeof health->seen,
                                            .largest_entry = -1,
                                            .largest_token = -1,
                                            .largest_head = -1,
                                            .largest_key = -1}};
}

void gqa__health_values(gqa_health_values *count, const float *x, int64_t n)
{
    count->values += n;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t size = gqa__f32_bits(x[i]) & 0x7fffffffu;
        count->nan += size > 0x7f800000u;
        count->inf += size == 0x7f800000u;
        count->denormal += size > 0 && size < 0x00800000u;
    }
}

/* Does the score at `a` come before the one at `b`? */
static bool comes_before(const struct gqa__health_place *a, const struct gqa__health_place *b)
{
    if (a->entry != b->entry) {
        return a->entry < b->entry;
    }
    if (a->token != b->token) {
        return a->token < b->token;
    }
    return a->head != b->head ? a->head < b->head : a->key < b->key;
}

void gqa__health_score(struct gqa__health *health, double size,
                       const struct gqa__health_place *place)
{
    gqa_health *const seen = &health->seen;
    const struct gqa__health_place held = {seen->largest_entry, seen->largest_token,
                                           seen->largest_head, seen->largest_key};

    if (held.entry < 0 || size > seen->largest_score ||
        (size == seen->largest_score && comes_before(place, &held))) {
        seen->largest_score = size;
        seen->largest_entry = place->entry;
        seen->largest_token = place->token;
        seen->largest_head = place->head;
        seen->largest_key = place->key;
    }
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

bool gqa__health_has_share(double m, double l)
{
    return l == 0.0 || (l > 0.0 && l <= DBL_MAX && m < INFINITY);
}

void gqa__health_sink(struct gqa__health *health, double share)
{
    assert(share >= 0.0 && share <= 1.0);
    health->seen.sink_rows++;
    health->seen.sink_largest = larger(health->seen.sink_largest, share);
    health->sink_units += (int64_t)(share * 0x1p32 + 0.5);
}

static void add_values(gqa_health_values *to, const gqa_health_values *from)
{
    to->values += from->values;
    to->nan += from->nan;
    to->inf += from->inf;
    to->denormal += from->denormal;
}

static void add_stored(gqa_health_stored *to, const gqa_health_stored *from)
{
    to->values += from->values;
    to->lost += from->lost;
    to->vanished += from->vanished;
    to->saturated += from->saturated;
}

void gqa__health_add(struct gqa__health *to, const struct gqa__health *from)
{
    gqa_health *const sum = &to->seen;
    const gqa_health *const part = &from->seen;
    const struct gqa__health_place place = {part->largest_entry, part->largest_token,
                                            part->largest_head, part->largest_key};

    add_values(&sum->hidden_states, &part->hidden_states);
    add_values(&sum->residual, &part->residual);
    add_values(&sum->q_proj, &part->q_proj);
    add_values(&sum->k_proj, &part->k_proj);
    add_values(&sum->v_proj, &part->v_proj);
    add_values(&sum->gate_proj, &part->gate_proj);
    add_values(&sum->q, &part->q);
    add_values(&sum->k, &part->k);
    add_values(&sum->v, &part->v);
    add_values(&sum->output, &part->output);
    add_values(&sum->attn, &part->attn);
    add_stored(&sum->stored_k, &part->stored_k);
    add_stored(&sum->stored_v, &part->stored_v);
    sum->large_v += part->large_v;
    sum->nan_scores += part->nan_scores;
    sum->rows += part->rows;
    sum->empty_rows += part->empty_rows;
    sum->nan_rows += part->nan_rows;
    sum->sink_rows += part->sink_rows;
    sum->sink_largest = larger(sum->sink_largest, part->sink_largest);
    to->sink_units += from->sink_units;
    if (place.entry >= 0) {
        gqa__health_score(to, part->largest_score, &place);
    }
}

gqa_health gqa__health_report(const struct gqa__health *health)
{
    gqa_health report = health->seen;

    if (report.sink_rows > 0) {
        report.sink_mean = (double)health->sink_units * 0x1p-32 / (double)report.sink_rows;
    }
    return report;
}
