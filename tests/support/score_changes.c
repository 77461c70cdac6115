/* SPDX-License-Identifier: Apache-2.0 */
/* score_changes.c - see score_changes.h. */
#include "support/score_changes.h"

#include <string.h>

static void fill(struct score_changes *c, const struct changed_rows *rows, int32_t begin)
{
    const struct problem *p = rows->p;
    const bool ranged = (p->features & FEATURE_RANGE) != 0;
    const int32_t ld = rows->ld;

    for (int32_t r = 0; r < ld; r++) {
        const bool real = r < rows->count;
        const int32_t at = rows->base + (real ? r : 0);
        ((int32_t *)c->lo.data)[r] = real && ranged ? p->lo[at] - begin : 0;
        ((int32_t *)c->hi.data)[r] = real ? (ranged ? p->hi[at] : p->keys) - begin : 0;
        ((float *)c->slope.data)[r] = real ? p->slope[at] : 0.0f;
        ((int32_t *)c->q_pos.data)[r] = real ? p->q_pos[at] : 0;
        for (int32_t key = 0; key < c->rules.keys; key++) {
            const int32_t i = begin + key;
            const bool held = real && i < p->keys;
            ((float *)c->bias.data)[key * ld + r] = held ? p->bias[i * p->rows + at] : 0.0f;
            ((uint8_t *)c->visible.data)[key * ld + r] = held && p->visible[i * p->rows + at];
            ((int32_t *)c->k_pos.data)[key] = i < p->keys ? p->k_pos[i] : 0;
        }
    }
}

/* The biases by lane, from those by key. */
static void turn_biases(struct score_changes *c)
{
    const int32_t ld = c->rules.ld, keys = c->rules.keys;
    const float *const bias = c->bias.data; /* [keys][ld] */
    float *const line = c->line_bias.data;  /* [ld][keys] */

    for (int32_t r = 0; r < ld; r++) {
        for (int32_t key = 0; key < keys; key++) {
            line[(int64_t)r * keys + key] = bias[(int64_t)key * ld + r];
        }
        c->lane_bias[r] = line + (int64_t)r * keys;
        if (r > 0 && memcmp(c->lane_bias[r], c->lane_bias[r - 1], (size_t)keys * 4) == 0) {
            c->lane_bias[r] = c->lane_bias[r - 1];
        }
    }
}

void score_changes_open(struct score_changes *c, const struct changed_rows *rows, int32_t begin,
                        int32_t keys)
{
    const size_t lanes = (size_t)rows->ld * 4, block = (size_t)keys * (size_t)rows->ld;
    const int32_t features = rows->p->features;

    c->lo = guarded_new(lanes);
    c->hi = guarded_new(lanes);
    c->slope = guarded_new(lanes);
    c->q_pos = guarded_new(lanes);
    c->k_pos = guarded_new((size_t)keys * 4);
    c->bias = guarded_new(block * 4);
    c->line_bias = guarded_new(block * 4);
    c->visible = guarded_new(block);
    c->rules =
        (struct gqa__score_rules){.keys = keys,
                                  .ld = rows->ld,
                                  .softcap = features & FEATURE_SOFTCAP ? rows->p->softcap : 0.0f,
                                  .slope = features & FEATURE_SLOPE ? c->slope.data : NULL,
                                  .q_pos = c->q_pos.data,
                                  .k_pos = c->k_pos.data,
                                  .bias = features & FEATURE_BIAS ? c->bias.data : NULL,
                                  .lo = c->lo.data,
                                  .hi = c->hi.data,
                                  .visible = features & FEATURE_VISIBLE ? c->visible.data : NULL};
    fill(c, rows, begin);
    turn_biases(c);
}

void score_changes_by_lane(struct score_changes *c)
{
    c->rules.lane_bias = c->rules.bias != NULL ? c->lane_bias : NULL;
    c->rules.bias = NULL;
}

bool score_changes_close(struct score_changes *c)
{
    struct guarded_buffer *const all[] = {&c->lo,    &c->hi,   &c->slope,     &c->q_pos,
                                          &c->k_pos, &c->bias, &c->line_bias, &c->visible};
    bool whole = true;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        whole = guarded_free(all[i]) && whole;
    }
    return whole;
}
