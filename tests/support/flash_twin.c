/* SPDX-License-Identifier: Apache-2.0 */
/* flash_twin.c - see kernel_twin.h: a row of flash_fwd. */
#include "support/kernel_twin.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "support/native_twin.h"

enum { TILE_MOST = 2048 };

static float bf16(float x)
{
    return native_twin_round((double)x, true);
}

/* A query tile of 128 rows against a large tile of keys [first, first + tile). */
struct meeting {
    const struct kernel_twin *twin;
    int b, h, t;
    int row0;  /* first row of the query tile */
    int first; /* first key of the large tile, */
    int tile;  /* and its size, */
    int keys;  /* and how many there are */
};

/* How much later than the rows their keys may be. */
static int64_t shift(const struct kernel_twin *twin)
{
    return twin->wcte != 0 ? twin->window : 0;
}

static bool runs(const struct meeting *x)
{
    const int64_t reach = x->row0 + shift(x->twin);

    return reach >= x->first &&
           (x->twin->window == 0 || (int64_t)x->first + x->tile - 1 > reach - x->twin->window);
}

static float score(const struct meeting *x, const float *q, int c)
{
    const struct kernel_twin *const twin = x->twin;
    const int head = x->h / (twin->hq / twin->hkv);
    const int at[5] = {x->b, x->first + c, twin->keys, head, twin->hkv};
    const float *const k = kernel_vector(twin, twin->k, at);
    double sum = 0.0;

    if (!kernel_sees(twin, x->t, x->first + c)) {
        return -9984.0f;
    }
    if (x->row0 + shift(twin) < x->first + c / 512 * 512) {
        return 0.0f; /* the product of the sub-tile is left out */
    }
    for (int d = 0; d < twin->d; d++) {
        sum += (double)q[d] * (double)bf16(k[d]);
    }
    return (float)sum;
}

static void add_values(const struct meeting *x, const float *p, struct kernel_state *state)
{
    const struct kernel_twin *const twin = x->twin;
    const int head = x->h / (twin->hq / twin->hkv);
    double sum[KERNEL_DIM] = {0.0};

    for (int c = 0; c < x->keys; c++) {
        const int at[5] = {x->b, x->first + c, twin->keys, head, twin->hkv};
        const float *const v = kernel_vector(twin, twin->v, at);
        for (int d = 0; d < twin->d; d++) {
            sum[d] += (double)p[c] * (double)bf16(v[d]);
        }
    }
    for (int d = 0; d < twin->d; d++) {
        const float scaled = state->o[d] * state->alpha;
        state->o[d] = scaled + (float)sum[d];
    }
}

static void meet(const struct meeting *x, const float *q, struct kernel_state *state)
{
    float p[TILE_MOST], m = state->m;
    double sums = 0.0;

    for (int c = 0; c < x->keys; c++) {
        p[c] = score(x, q, c);
        m = p[c] > m ? p[c] : m;
    }
    for (int c0 = 0; c0 < x->keys; c0 += x->tile / 2) {
        double sum = 0.0;
        for (int c = c0; c < x->keys && c < c0 + x->tile / 2; c++) {
            p[c] = native_twin_exp(p[c] - m);
            sum += (double)p[c];
            p[c] = bf16(p[c]);
        }
        sums += (double)(float)sum;
    }
    state->alpha = native_twin_exp(state->m - m);
    state->row_sum = (float)sums;
    state->m = m;
    state->l = m + (float)log((double)(native_twin_exp(state->l - m) + state->row_sum));
    add_values(x, p, state);
}

void flash_twin_row(const struct kernel_twin *twin, int b, int h, int t, struct kernel_row *row)
{
    const int at[5] = {b, t, twin->tokens, h, twin->hq};
    const float *const q = kernel_vector(twin, twin->q, at);
    const float scale = twin->scale != 0.0f ? twin->scale : (float)(1.0 / sqrt((double)twin->d));
    const int tile = twin->seq_tile != 0 ? twin->seq_tile : twin->tokens >= 2048 ? 2048 : 512;
    struct kernel_state state = {.m = -9984.0f, .l = -9984.0f};

    for (int d = 0; d < twin->d; d++) {
        row->q[d] = bf16(bf16(q[d]) * scale);
    }
    row->steps = 0;
    for (int first = 0; first < twin->keys; first += tile) {
        const struct meeting x = {
            twin,          b,     h,    t,
            t / 128 * 128, first, tile, twin->keys - first < tile ? twin->keys - first : tile};
        state.alpha = 1.0f;
        state.row_sum = 0.0f;
        state.ran = runs(&x);
        if (state.ran) {
            meet(&x, row->q, &state);
        }
        row->step[row->steps++] = state;
    }
    for (int d = 0; d < twin->d; d++) {
        row->out[d] = bf16(state.o[d] * native_twin_exp(state.m - state.l));
    }
}
