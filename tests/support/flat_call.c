/* SPDX-License-Identifier: Apache-2.0 */
/* flat_call.c - see flat_call.h. */
#include "support/flat_call.h"

#include <string.h>

#include "support/oracle.h"

/* The tokens of the call in the making, one after the other. */
struct join {
    random_case *c;
    const struct flat_entry *entries;
    int count;
    int tokens, longest;
};

int flat_entries(const random_case *c, const random_call *call, struct flat_entry *entries)
{
    const gqa_inputs *in = &call->inputs;
    for (int b = 0; b < c->batch; b++) {
        struct flat_entry *e = &entries[b];
        *e = (struct flat_entry){.b = b, .n = call->tokens, .sequence = b};
        if (in->sequences != NULL) {
            e->sequence = in->sequences[b];
        }
        if (e->sequence >= 0) {
            e->first = in->first_valid != NULL ? in->first_valid[b] : 0;
            e->n = in->lengths != NULL ? in->lengths[b] : call->tokens - e->first;
        }
    }
    return c->batch;
}

static gqa_tensor empty_tensor(const struct join *join, const gqa_tensor *like, int rank,
                               const int64_t *shape)
{
    random_fill fill = {.dtype = like->dtype, .gaps = join->c->choice[OPT_STRIDES] == 1};
    return random_tensor(join->c, rank, shape, fill);
}

/* [B, T, ...] or [T, ...] of full rank 3 or 4: the entries' tokens as [1, N, ...]. */
static void join_tokens(const struct join *join, gqa_tensor *t, int rank)
{
    if (t->data == NULL) {
        return;
    }
    const gqa_tensor from = *t;
    const bool ranked = rank == 4;
    const int64_t dim = from.shape[from.rank - 1];
    const int64_t heads = ranked ? from.shape[from.rank - 2] : 1;
    const int64_t shape[4] = {1, join->tokens, ranked ? heads : dim, dim};
    int64_t row = 0;
    *t = empty_tensor(join, &from, rank, shape);
    for (int i = 0; i < join->count; i++) {
        const struct flat_entry *e = &join->entries[i];
        for (int k = 0; k < e->n; k++, row++) {
            for (int64_t j = 0; j < heads * dim; j++) {
                const int64_t at[4] = {0, row, ranked ? j / dim : j, j % dim};
                const double x = ranked ? oracle_at(&from, e->b, e->first + k, at[2], at[3])
                                        : oracle_at(&from, 0, e->b, e->first + k, j);
                random_set(t, at, x);
            }
        }
    }
}

/* [1|B, 1|Hq, T, K] as [1, 1|Hq, N, K]. */
static void join_pairs(const struct join *join, gqa_tensor *t)
{
    if (t->data == NULL) {
        return;
    }
    const gqa_tensor from = *t;
    const int64_t shape[4] = {1, from.shape[1], join->tokens, from.shape[3]};
    int64_t at[4] = {0};
    *t = empty_tensor(join, &from, 4, shape);
    for (int i = 0; i < join->count; i++) {
        const struct flat_entry *e = &join->entries[i];
        for (int k = 0; k < e->n; k++, at[2]++) {
            for (at[1] = 0; at[1] < shape[1]; at[1]++) {
                for (at[3] = 0; at[3] < shape[3]; at[3]++) {
                    random_set(t, at,
                               oracle_at(&from, from.shape[0] == 1 ? 0 : e->b, at[1], e->first + k,
                                         at[3]));
                }
            }
        }
    }
}

/* [1|B, T, T] as [1, N, longest]: columns count the entry's tokens. */
static void join_active(const struct join *join, gqa_tensor *t)
{
    if (t->data == NULL) {
        return;
    }
    const gqa_tensor from = *t;
    const int64_t shape[3] = {1, join->tokens, join->longest};
    int64_t at[3] = {0};
    *t = empty_tensor(join, &from, 3, shape);
    for (int i = 0; i < join->count; i++) {
        const struct flat_entry *e = &join->entries[i];
        for (int k = 0; k < e->n; k++, at[1]++) {
            for (at[2] = 0; at[2] < e->n; at[2]++) {
                random_set(t, at,
                           oracle_at(&from, 0, from.shape[0] == 1 ? 0 : e->b, e->first + k,
                                     e->first + at[2]));
            }
        }
    }
}

/* [planes][B][T] as [planes][N]. */
static void join_ints(const struct join *join, const int32_t **ints, int planes, int tokens)
{
    const int32_t *from = *ints;
    if (from == NULL) {
        return;
    }
    int32_t *to = random_memory(join->c, (size_t)(planes * join->tokens + 1), sizeof *to);
    *ints = to;
    for (int p = 0; p < planes; p++) {
        for (int i = 0; i < join->count; i++) {
            const struct flat_entry *e = &join->entries[i];
            for (int k = 0; k < e->n; k++) {
                *to++ = from[(p * join->c->batch + e->b) * tokens + e->first + k];
            }
        }
    }
}

/* Sequences, and where the entries begin. */
static void join_entries(const struct join *join, gqa_inputs *in, bool flat)
{
    int32_t *ids = random_memory(join->c, (size_t)join->count, sizeof *ids);
    int32_t *begin = random_memory(join->c, (size_t)join->count + 1, sizeof *begin);
    for (int i = 0; i < join->count; i++) {
        ids[i] = join->entries[i].sequence;
        begin[i + 1] = begin[i] + join->entries[i].n;
    }
    in->sequences = ids;
    in->first_valid = in->lengths = NULL;
    in->row_begin = flat ? begin : NULL;
    in->batch = flat ? join->count : 0;
}

gqa_inputs flat_inputs(random_case *c, const random_call *call, const struct flat_entry *entries,
                       int count, bool flat)
{
    gqa_inputs in = call->inputs;
    struct join join = {.c = c, .entries = entries, .count = count};
    const gqa_config *g = &c->config;
    const int axes = g->mrope == GQA_MROPE_NONE ? 1 : g->mrope_sections[3] > 0 ? 4 : 3;
    for (int i = 0; i < count; i++) {
        join.tokens += entries[i].n;
        join.longest = entries[i].n > join.longest ? entries[i].n : join.longest;
    }
    join_entries(&join, &in, flat);
    join_tokens(&join, &in.hidden_states, 3);
    join_tokens(&join, &in.residual, 3);
    join_tokens(&join, &in.q_proj, 4);
    join_tokens(&join, &in.k_proj, 4);
    join_tokens(&join, &in.v_proj, 4);
    join_tokens(&join, &in.gate_proj, 4);
    join_tokens(&join, &in.cos_cache, 3);
    join_tokens(&join, &in.sin_cache, 3);
    join_ints(&join, &in.position_ids, 1, call->tokens);
    join_ints(&join, &in.rotary_position_ids, axes, call->tokens);
    join_ints(&join, &in.key_begin, 1, call->tokens);
    join_ints(&join, &in.key_end, 1, call->tokens);
    join_pairs(&join, &in.mask);
    join_pairs(&join, &in.bias);
    join_active(&join, &in.active_mask);
    return in;
}
