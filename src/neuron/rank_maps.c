/* SPDX-License-Identifier: Apache-2.0 */
/* rank_maps.c - the mesh of ranks (attention_process_groups.py), and how the ranks of context
 * encoding become those of token generation (attention/utils.py). */
#include "neuron/head_maps.h"

#include "base/memory.h"

#define SIDE 8 /* of the mesh whose rows are not contiguous */

/* Of each two rows of that mesh the first has ranks 0..3 and 12..15, the second 4..11. */
static int32_t folded_rank(int32_t place)
{
    const int32_t i = place % (2 * SIDE);
    const int32_t rank = i < 4 ? i : i < SIDE ? i + SIDE : i - 4;

    return place - i + rank;
}

static bool is_folded(int32_t world, int32_t groups)
{
    return groups == SIDE && world == SIDE * SIDE;
}

int32_t gqa__neuron_mesh_rank(int32_t world, int32_t groups, int32_t place)
{
    return is_folded(world, groups) ? folded_rank(place) : place;
}

int32_t gqa__neuron_mesh_place(int32_t world, int32_t groups, int32_t rank)
{
    const int32_t i = rank % (2 * SIDE);

    if (!is_folded(world, groups)) {
        return rank;
    }
    return rank - i + (i < 4 ? i : i < 4 + SIDE ? i + 4 : i - SIDE);
}

/* The first KV head that a shard of `shards` holds: of a share of the heads, or of one head that is
 * repeated. */
static int32_t first_head(int32_t kv_heads, int32_t shards, int32_t shard)
{
    const int32_t copies = (int32_t)gqa__max(shards / kv_heads, 1);
    const int32_t each = (int32_t)gqa__max(kv_heads / shards, 1);

    return shard / copies * each;
}

/* The first head that rank r wrote in context encoding. */
static int32_t first_written(const gqa_neuron_ranks *ranks, int32_t r)
{
    const int32_t shards = ranks->world / ranks->cp_degree;
    const int32_t place = ranks->order_8x8 != 0 ? gqa__neuron_mesh_place(SIDE * SIDE, SIDE, r) : r;

    return first_head(ranks->kv_heads, shards, place % shards);
}

int32_t gqa__neuron_dp_degree(const gqa_neuron_ranks *ranks)
{
    return ranks->dp_degree == 0 ? 1 : ranks->dp_degree;
}

/* In a group of token generation each rank has one head, in rising order, each equally often. The
 * released code gives rank r the first one that is left and of which r wrote the head: those are
 * side by side, and as many are gone as earlier ranks wrote the same heads. */
static int32_t order_in_group(const gqa_neuron_ranks *ranks, int32_t r)
{
    const int32_t copies = ranks->world / gqa__neuron_dp_degree(ranks) / ranks->kv_heads;
    const int32_t own = first_written(ranks, r);
    int32_t gone = 0;

    for (int32_t other = 0; other < r; other++) {
        gone += first_written(ranks, other) == own;
    }
    return own * copies + gone;
}

void gqa__neuron_rank_order(const gqa_neuron_ranks *ranks, int32_t *order)
{
    const int32_t dp = gqa__neuron_dp_degree(ranks);
    const int32_t group = ranks->world / dp;

    for (int32_t r = 0; r < ranks->world; r++) {
        const int32_t place = gqa__neuron_mesh_place(ranks->world, dp, r);
        order[r] = order_in_group(ranks, place % group) + place / group * group;
    }
}

void gqa__neuron_rank_heads(const gqa_neuron_ranks *ranks, int32_t *index)
{
    const int32_t group = ranks->world / gqa__neuron_dp_degree(ranks);

    gqa__neuron_rank_order(ranks, index);
    for (int32_t r = 0; r < ranks->world; r++) {
        const int32_t head = first_head(ranks->kv_heads, group, index[r] % group);
        index[r] = head - first_written(ranks, r);
    }
}
