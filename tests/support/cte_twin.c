/* SPDX-License-Identifier: Apache-2.0 */
/* cte_twin.c - see kernel_twin.h: a row of attention_cte. */
#include "support/kernel_twin.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "support/native_twin.h"

enum { SECTION_MOST = 10240 };

static float bf16(float x)
{
    return native_twin_round((double)x, true);
}

/* --- the axis of keys --------------------------------------------------------------------------
 */

/* Prior keys in whole tiles of 512, then the active ones that are loaded. */
struct axis {
    const struct kernel_twin *twin;
    int b, h, t;
    int64_t position;   /* of the row */
    int prior;          /* slots of prior keys */
    int offset;         /* the first active key that is loaded */
    int slots, section; /* all slots; those of a section */
};

/* With contiguous ranks and a window only the keys that the last row may see, in whole tiles. */
static int loaded_keys(const struct kernel_twin *twin)
{
    const int64_t reach = ((int64_t)twin->tokens + twin->window - 1 + 511) / 512 * 512;
    const bool cut = twin->window > 0 && twin->cp_degree > 0 && twin->cp_strided == 0;

    return cut && reach < twin->keys ? (int)reach : twin->keys;
}

static struct axis axis_of(const struct kernel_twin *twin, int b, int h, int t)
{
    const int loaded = loaded_keys(twin);
    const int late = twin->cp_offset - (loaded - twin->tokens);
    struct axis axis = {.twin = twin, .b = b, .h = h, .t = t};

    axis.position = (int64_t)twin->cp_offset +
                    (twin->cp_strided != 0 ? (int64_t)t * twin->cp_degree : (int64_t)t);
    axis.prior = (twin->prior + 511) / 512 * 512;
    axis.offset = loaded < twin->keys && late > 0 ? late : 0;
    axis.slots = axis.prior + loaded;
    axis.section = axis.slots > SECTION_MOST ? 8192 : axis.slots;
    return axis;
}

/* By the kernel: packed and causal, the key at bound_max itself is admitted, and a window ends
 * there. */
static bool sees_active(const struct axis *axis, int64_t j)
{
    const struct kernel_twin *const twin = axis->twin;
    int64_t last = twin->bidirectional != 0 ? INT32_MAX : axis->position;

    if (twin->bound_max != NULL) {
        const int64_t bound = twin->bound_max[axis->t] - (twin->bidirectional != 0);
        last = bound < last ? bound : last;
        if (j < twin->bound_min[axis->t]) {
            return false;
        }
    }
    return j <= last && (twin->window == 0 || j > last - twin->window);
}

struct slot {
    bool there, seen;
    const float *k, *v;
};

static struct slot slot_at(const struct axis *axis, int place)
{
    const struct kernel_twin *const twin = axis->twin;
    const int head = axis->h / (twin->hq / twin->hkv);
    const bool prior = place < axis->prior;
    const int j = prior ? place : place - axis->prior + axis->offset;
    const int at[5] = {axis->b, j, prior ? twin->prior : twin->keys, head, twin->hkv};
    struct slot slot = {.there = place < axis->slots && (!prior || place < twin->prior)};

    if (slot.there) {
        slot.k = kernel_vector(twin, prior ? twin->k_prior : twin->k, at);
        slot.v = kernel_vector(twin, prior ? twin->v_prior : twin->v, at);
        slot.seen = sees_active(axis, j);
        if (prior) {
            const int64_t distance = axis->position + twin->used - j;
            slot.seen = j < twin->used && (twin->window == 0 || distance < twin->window);
        }
    }
    return slot;
}

/* --- what is computed --------------------------------------------------------------------------
 */

/* A tile of `size` active slots is left out if it is hidden from the whole group of 128 queries,
 * whatever the rank; not where the kernel does not know which rows it has. */
static bool executed(const struct axis *axis, int place, int size)
{
    const struct kernel_twin *const twin = axis->twin;
    const int64_t degree = twin->cp_strided != 0 ? twin->cp_degree : 1;
    const int64_t row0 = axis->t / 128 * 128, first = place - axis->prior;
    const bool knows = twin->cp_degree == 0 || twin->cp_strided != 0;

    if (!knows || twin->bidirectional != 0 || place < axis->prior) {
        return true;
    }
    return first <= (row0 + 127) * degree + degree - 1 &&
           (twin->window == 0 || row0 * degree < first + size - 1 + twin->window);
}

/* A section that begins beyond the group's last query. */
static bool executes_section(const struct axis *axis, int s)
{
    return executed(axis, s * axis->section, INT32_MAX / 2);
}

/* Where masks are known when the kernel is compiled they are scaled with the scores. */
static float fill_of(const struct axis *axis, int place)
{
    const struct kernel_twin *const twin = axis->twin;
    const bool dynamic = twin->cp_degree > 0 || twin->bound_max != NULL || place < axis->prior ||
                         (twin->window > 0 && twin->window <= 128);

    return dynamic || twin->scale == 0.0f ? -FLT_MAX : -FLT_MAX * twin->scale;
}

static void score_section(const struct axis *axis, int begin, int end, const float *q, float *s)
{
    const float scale = axis->twin->scale == 0.0f ? 1.0f : axis->twin->scale;

    for (int place = begin; place < end; place++) {
        const struct slot slot = slot_at(axis, place);
        double sum = 0.0;
        if (!slot.there || !executed(axis, begin + (place - begin) / 512 * 512, 512)) {
            continue;
        }
        for (int d = 0; d < axis->twin->d; d++) {
            sum += (double)q[d] * (double)bf16(slot.k[d]);
        }
        s[place - begin] = slot.seen ? (float)sum * scale : fill_of(axis, place);
    }
}

/* Exponentials become P; the sum of the tiles' sums, each rounded, and of the sink's. */
static float sum_section(const struct axis *axis, int begin, int end, float m, float *s)
{
    const struct kernel_twin *const twin = axis->twin;
    double sums = 0.0;

    for (int tile = begin; tile < end; tile += 512) {
        double sum = 0.0;
        for (int place = tile; place < end && place < tile + 512; place++) {
            float *const p = &s[place - begin];
            if (executed(axis, tile, 512) && slot_at(axis, place).there) {
                *p = native_twin_exp(*p - m);
                sum += (double)*p;
                *p = bf16(*p);
            }
        }
        sums += (double)(float)sum;
    }
    if (begin == 0 && twin->sinks != NULL) {
        sums += (double)native_twin_exp(twin->sinks[axis->h] - m);
    }
    return (float)sums;
}

/* o += P v over the V tiles of 128 of each large tile of 2048. */
static void add_section(const struct axis *axis, int begin, int end, const float *p, float *o)
{
    for (int large = begin; large < end; large += 2048) {
        double sum[KERNEL_DIM] = {0.0};
        for (int place = large; place < end && place < large + 2048; place++) {
            const struct slot slot = slot_at(axis, place);
            if (!slot.there || !executed(axis, begin + (place - begin) / 128 * 128, 128)) {
                continue;
            }
            for (int d = 0; d < axis->twin->d; d++) {
                sum[d] += (double)p[place - begin] * (double)bf16(slot.v[d]);
            }
        }
        for (int d = 0; d < axis->twin->d; d++) {
            o[d] += (float)sum[d];
        }
    }
}

/* Section s: the state after it. */
static void run_section(const struct axis *axis, int s, const float *q, struct kernel_state *state)
{
    static float scores[SECTION_MOST];
    const struct kernel_twin *const twin = axis->twin;
    const int begin = s * axis->section;
    const int end = begin + axis->section < axis->slots ? begin + axis->section : axis->slots;
    float m = state->m, o[KERNEL_DIM] = {0.0f};

    score_section(axis, begin, end, q, scores);
    m = s == 0 && twin->sinks != NULL && twin->sinks[axis->h] > m ? twin->sinks[axis->h] : m;
    for (int place = begin; place < end; place++) {
        if (slot_at(axis, place).there &&
            executed(axis, begin + (place - begin) / 512 * 512, 512)) {
            m = scores[place - begin] > m ? scores[place - begin] : m;
        }
    }
    state->alpha = s == 0 ? 0.0f : native_twin_exp(state->m - m);
    state->m = m;
    state->row_sum = sum_section(axis, begin, end, m, scores);
    add_section(axis, begin, end, scores, o);
    state->l = state->l * state->alpha;
    state->l += state->row_sum;
    for (int d = 0; d < twin->d; d++) {
        const float scaled = state->o[d] * state->alpha;
        state->o[d] = s == 0 ? o[d] : scaled + o[d];
    }
}

void cte_twin_row(const struct kernel_twin *twin, int b, int h, int t, struct kernel_row *row)
{
    const struct axis axis = axis_of(twin, b, h, t);
    const int at[5] = {b, t, twin->tokens, h, twin->hq};
    const float *const given = kernel_vector(twin, twin->q, at);
    const float divisor = native_twin_sqrt(twin->d, !twin->f32 && !twin->divisor_f32);
    struct kernel_state state = {.m = -FLT_MAX, .l = 0.0f};
    float q[KERNEL_DIM];

    for (int d = 0; d < twin->d; d++) {
        const bool divided = twin->scale == 0.0f || twin->scale == 1.0f;
        row->q[d] =
            divided ? native_twin_round((double)(given[d] / divisor), !twin->f32) : given[d];
        q[d] = bf16(row->q[d]);
    }
    row->steps = 0;
    for (int s = 0; s * axis.section < axis.slots && executes_section(&axis, s); s++) {
        const bool last = (s + 1) * axis.section >= axis.slots || !executes_section(&axis, s + 1);
        run_section(&axis, s, q, &state);
        for (int d = 0; d < twin->d && !last; d++) {
            state.o[d] = native_twin_round((double)state.o[d], !twin->f32);
        }
        state.ran = true;
        row->step[row->steps++] = state;
    }
    for (int d = 0; d < twin->d; d++) {
        const float recip = 1.0f / state.l;
        row->out[d] = native_twin_round((double)(state.o[d] * recip), !twin->f32);
    }
}
