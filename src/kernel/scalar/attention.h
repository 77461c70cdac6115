/* SPDX-License-Identifier: Apache-2.0 */
/* attention.h - the parts of attention that are the same for f32 and bf16 operands: the rules that
 * scores go through, the maximum, the merge of states, the end of a row.
 *
 * Inner loops run over lanes with nothing carried from one to the next, so the compiler turns them
 * into vector code; every sum's order is along keys or depth, and fixed.
 */
#ifndef GQA__KERNEL_SCALAR_ATTENTION_H
#define GQA__KERNEL_SCALAR_ATTENTION_H

#include <assert.h>
#include <math.h>

#include "base/fold.h"
#include "base/mathf.h"
#include "base/number.h"
#include "base/units.h"
#include "kernel/contract/kernel.h"
#include "kernel/scalar/convert.h"

enum {
    SCALAR_TILE_ROWS = 128, /* most lanes of a tile */
    SCALAR_LANES = 8,       /* ld is a multiple of this */
    SCALAR_OUT_STEP = 16    /* outputs of a projection packed side by side */
};

/* ALiBi distances |q - k| of one key; exact in uint32_t for any two positions. */
static inline float distance(int32_t q, int32_t k)
{
    const uint32_t up = (uint32_t)q - (uint32_t)k;
    return (float)(q > k ? up : 0u - up);
}

/* Does anything but hiding happen to scores? Not to be asked where denormals count as zero. */
static inline bool any_change(const struct gqa__score_rules *rules)
{
    return rules->softcap != 0.0f || rules->slope != NULL || rules->bias != NULL ||
           rules->lane_bias != NULL;
}

/* Adds biases [ld] in natural units to scores s [ld] in base-2 units. A score is a plain sum unless
 * it is bent (base/units.h); a key of which one is bent, or NaN, goes the long way with all. */
static inline void add_biases(float *restrict s, const float *restrict bias, int32_t ld)
{
    const float log2e = (float)GQA__LOG2E;
    int32_t plain = 0;

    for (int32_t j = 0; j < ld; j++) {
        plain += fabsf(fmaf(bias[j], log2e, s[j])) <= GQA__BEND;
    }
    if (plain == ld) {
        for (int32_t j = 0; j < ld; j++) {
            s[j] = fmaf(bias[j], log2e, s[j]);
        }
        return;
    }
    for (int32_t j = 0; j < ld; j++) {
        s[j] = gqa__canonical(gqa__add_bias(s[j], bias[j]));
    }
}

static inline void change_scores(float *restrict s, int32_t key,
                                 const struct gqa__score_rules *rules)
{
    const int32_t ld = rules->ld;

    if (rules->softcap != 0.0f) {
        const float cap = rules->softcap;
        for (int32_t j = 0; j < ld; j++) {
            s[j] = cap * gqa__tanhf(s[j] / cap);
        }
    }
    if (rules->slope != NULL) {
        const int32_t k_pos = rules->k_pos[key];
        for (int32_t j = 0; j < ld; j++) {
            s[j] = fmaf(-rules->slope[j], distance(rules->q_pos[j], k_pos), s[j]);
        }
    }
    if (rules->bias != NULL) {
        add_biases(s, rules->bias + (int64_t)key * ld, ld);
    }
}

static inline void hide_keys(float *restrict s, int32_t key, const struct gqa__score_rules *rules)
{
    const int32_t ld = rules->ld;

    if (rules->lo != NULL) {
        const int32_t *restrict lo = rules->lo; /* [ld] */
        const int32_t *restrict hi = rules->hi; /* [ld] */
        for (int32_t j = 0; j < ld; j++) {
            s[j] = ((lo[j] <= key) & (key < hi[j])) ? s[j] : -INFINITY;
        }
    }
    if (rules->visible != NULL) {
        const uint8_t *restrict visible = rules->visible + (int64_t)key * ld; /* [ld] */
        for (int32_t j = 0; j < ld; j++) {
            s[j] = visible[j] != 0 ? s[j] : -INFINITY;
        }
    }
}

/* s [keys][ld] */
static inline void apply_rules(float *s, const struct gqa__score_rules *rules)
{
    assert(rules->ld % SCALAR_LANES == 0 && rules->ld <= SCALAR_TILE_ROWS);
    for (int32_t key = 0; key < rules->keys; key++) {
        change_scores(s + (int64_t)key * rules->ld, key, rules);
        hide_keys(s + (int64_t)key * rules->ld, key, rules);
    }
}

/* m [ld] = the largest score of each lane, NaN left out; s [keys][ld]. */
static inline void max_scores(float *restrict m, const float *restrict s, int32_t keys, int32_t ld)
{
    for (int32_t j = 0; j < ld; j++) {
        m[j] = -INFINITY;
    }
    for (int32_t key = 0; key < keys; key++) {
        const float *restrict row = s + (int64_t)key * ld; /* [ld] */
        for (int32_t j = 0; j < ld; j++) {
            m[j] = row[j] > m[j] ? row[j] : m[j];
        }
    }
    for (int32_t j = 0; j < ld; j++) {
        m[j] += 0.0f; /* -0 becomes +0 */
    }
}

/* What is subtracted from the scores: m, but 0 for a lane that sees nothing, so that -inf - m is
 * -inf there too. */
static inline void safe_max(float *restrict safe, const float *restrict m, int32_t ld)
{
    for (int32_t j = 0; j < ld; j++) {
        safe[j] = m[j] == -INFINITY ? 0.0f : m[j];
    }
}

/* l [ld] from the four chains of sums [4][SCALAR_TILE_ROWS]. */
static inline void join_sums(float *restrict l, float (*restrict sums)[SCALAR_TILE_ROWS],
                             int32_t ld)
{
    for (int32_t j = 0; j < ld; j++) {
        l[j] = gqa__canonical((sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]));
    }
}

/* 2^(m - top), 1 also where both are infinite. */
static inline float merge_factor(float m, float top)
{
    return m == top ? 1.0f : gqa__exp2f(m - top);
}

/* One element of a merged state, of l or of o. */
static inline float merge_value(float left, float right, float a, float a2, float l, float l2)
{
    const float both = fmaf(right, a2, left * a);
    const float kept = l2 == 0.0f ? left : both;
    return l == 0.0f ? right : kept;
}

static inline void merge_states(const struct gqa__state *into, const struct gqa__state *from,
                                int32_t dv, int32_t ld)
{
    float *restrict m = into->m, *restrict l = into->l;         /* [ld] */
    const float *restrict m2 = from->m, *restrict l2 = from->l; /* [ld] */
    float a[SCALAR_TILE_ROWS], a2[SCALAR_TILE_ROWS];

    assert(ld % SCALAR_LANES == 0 && ld <= SCALAR_TILE_ROWS);
    for (int32_t j = 0; j < ld; j++) {
        const float top = m[j] > m2[j] ? m[j] : m2[j];
        a[j] = merge_factor(m[j], top);
        a2[j] = merge_factor(m2[j], top);
    }
    for (int32_t d = 0; d < dv; d++) {
        float *restrict left = into->o + (int64_t)d * ld;        /* [ld] */
        const float *restrict right = from->o + (int64_t)d * ld; /* [ld] */
        for (int32_t j = 0; j < ld; j++) {
            left[j] = merge_value(left[j], right[j], a[j], a2[j], l[j], l2[j]);
        }
    }
    for (int32_t j = 0; j < ld; j++) {
        const float top = m[j] > m2[j] ? m[j] : m2[j];
        const float kept = l2[j] == 0.0f ? m[j] : top;
        m[j] = l[j] == 0.0f ? m2[j] : kept;
        l[j] = gqa__canonical(merge_value(l[j], l2[j], a[j], a2[j], l[j], l2[j]));
    }
}

/* One row: the sink is the state (sink, 1, 0) on the right. */
static inline void finish_row(const struct gqa__finish *finish, int32_t r)
{
    const float sink = finish->sink != NULL ? finish->sink[r] : -INFINITY;
    const float l2 = sink == -INFINITY ? 0.0f : 1.0f;
    const float m_left = finish->m[r], l_left = finish->l[r];
    const float top = m_left > sink ? m_left : sink;
    const float a = merge_factor(m_left, top), a2 = merge_factor(sink, top);
    const float l = gqa__canonical(merge_value(l_left, l2, a, a2, l_left, l2));
    const float kept = l2 == 0.0f ? m_left : top;
    const float m = l_left == 0.0f ? sink : kept;
    const float scale = (l2 == 0.0f ? 1.0f : a) * (1.0f / l); /* l >= 1: some p is 1 */

    if (finish->out != NULL) {
        const int64_t out = gqa__row_offset(&finish->out_map, r); /* [dv] */
        const float *o = finish->o + r;                           /* [dv], ld apart */
        for (int32_t d = 0; d < finish->dv; d++) {
            const float value = fmaf(o[(int64_t)d * finish->ld], scale, 0.0f); /* no -0 */
            set_plain(finish->out, out + d, l_left == 0.0f ? 0.0f : value, finish->out_type);
        }
    }
    if (finish->lse != NULL) {
        float *lse = finish->lse + gqa__row_offset(&finish->lse_map, r);
        *lse = l == 0.0f ? -INFINITY : gqa__canonical(gqa__log_sum(m, l));
    }
}

static inline void finish_rows(const struct gqa__finish *finish)
{
    const int32_t rows = finish->out != NULL ? finish->out_map.count : finish->lse_map.count;

    assert(rows <= finish->ld);
    for (int32_t r = 0; r < rows; r++) {
        finish_row(finish, r);
    }
}

#endif
