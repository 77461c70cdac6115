/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_record_native.c - the tensors that files of the framework's paths and of flash decoding
 * expect. */
#include "tool/neuron_record.h"

#include <stdio.h>

/* Where a row lies: [ranks, B, Hq, T] and [ranks, B, T, Hq]; without ranks it is rank 0. */
static int64_t by_head(const struct tool_neuron_record *record, const gqa_neuron_tile *tile,
                       int32_t r)
{
    const int64_t *const q = record->c->call.q.shape; /* [B, T, Hq, D] */

    return ((tile->rank * q[0] + tile->batch) * q[2] + tile->head) * q[1] + tile->query + r;
}

static int64_t by_token(const struct tool_neuron_record *record, const gqa_neuron_tile *tile,
                        int32_t r)
{
    const int64_t *const q = record->c->call.q.shape;

    return ((tile->rank * q[0] + tile->batch) * q[1] + tile->query + r) * q[2] + tile->head;
}

/* Scores or weights, one row after the other: trace.NAME, or trace.NAME_prior and _active. */
static void put_keys(struct tool_neuron_record *record, const gqa_neuron_tile *tile,
                     const char *name, const float *from)
{
    const char *const part = tile->part == GQA_NEURON_PRIOR ? "prior" : "active";
    char of_part[32], whole[32];

    snprintf(of_part, sizeof of_part, "trace.%s_%s", name, part);
    snprintf(whole, sizeof whole, "trace.%s", name);
    for (int32_t r = 0; r < tile->rows; r++) {
        const int64_t at = by_head(record, tile, r) * tile->keys;
        const float *const row = from + r * tile->score_step;
        tool_neuron_put(record, of_part, at, row, tile->keys);
        tool_neuron_put(record, whole, at, row, tile->keys);
    }
}

/* One value, or a vector, for each row. */
static void put_rows(struct tool_neuron_record *record, const gqa_neuron_tile *tile,
                     const char *name, const float *from)
{
    for (int32_t r = 0; r < tile->rows && from != NULL; r++) {
        tool_neuron_put(record, name, by_head(record, tile, r), from + r, 1);
    }
}

static void put_vectors(struct tool_neuron_record *record, const gqa_neuron_tile *tile,
                        const char *name)
{
    for (int32_t r = 0; r < tile->rows && tile->o != NULL; r++) {
        tool_neuron_put(record, name, by_token(record, tile, r) * tile->dim,
                        tile->o + (int64_t)r * tile->dim, tile->dim);
    }
}

void tool_neuron_record_native(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    switch (tile->event) {
    case GQA_NEURON_MM1:
        put_keys(record, tile, "s", tile->s);
        put_keys(record, tile, "s_raw", tile->s_raw);
        break;
    case GQA_NEURON_EXP:
        put_keys(record, tile, "p", tile->p);
        break;
    case GQA_NEURON_SECTION:
        put_vectors(record, tile,
                    tile->part == GQA_NEURON_PRIOR ? "trace.o_prior" : "trace.o_active");
        break;
    case GQA_NEURON_ROWS:
        put_rows(record, tile, "trace.m", tile->m);
        put_rows(record, tile, "trace.l", tile->l);
        break;
    default:
        break;
    }
}

/* --- flash decoding ----------------------------------------------------------------------------
 */

/* Who sees whom, as the scores tell it: exp.prior_mask [ranks, B, slots], the same for all rows,
 * and exp.active_mask [ranks, B, T, T]. */
static void put_masks(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t *const q = record->c->call.q.shape;
    const bool prior = tile->part == GQA_NEURON_PRIOR;
    const char *const name = prior ? "exp.prior_mask" : "exp.active_mask";
    const int64_t entry = tile->rank * q[0] + tile->batch;
    const float lowest = -3e38f; /* masked scores are below, others far above */

    for (int32_t r = 0; r < (prior ? 1 : tile->rows) && tile->head == 0; r++) {
        const int64_t row = prior ? entry : entry * q[1] + tile->query + r;
        for (int32_t c = 0; c < tile->keys; c++) {
            tool_neuron_put_int(record, name, row * tile->keys + c,
                                tile->s[r * tile->score_step + c] > lowest);
        }
    }
}

void tool_neuron_record_decoding(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    switch (tile->event) {
    case GQA_NEURON_MM1:
        put_masks(record, tile);
        break;
    case GQA_NEURON_SECTION:
        put_rows(record, tile, "trace.m_rank", tile->m);
        put_rows(record, tile, "trace.l_rank", tile->l);
        put_vectors(record, tile, "trace.o_rank");
        break;
    default:
        tool_neuron_record_native(record, tile);
        break;
    }
}
