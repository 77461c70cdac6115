/* SPDX-License-Identifier: Apache-2.0 */
/* head_maps.c - determine_sharding_strategy, get_shardable_head_counts and the weight maps of
 * gqa.py.
 */
#include "neuron/head_maps.h"

#include "base/memory.h"

/* KV heads are repeated to one for each rank (REPLICATE_TO_TP_DEGREE), or made as many as the query
 * heads (CONVERT_TO_MHA, or the model has as many); else they stay as they are. */
static bool stays(int32_t query_heads, int32_t kv_heads, int32_t tp_degree)
{
    return query_heads != kv_heads && kv_heads % tp_degree == 0;
}

gqa_neuron_heads gqa__neuron_count_heads(int32_t query_heads, int32_t kv_heads, int32_t tp_degree)
{
    gqa_neuron_heads heads;

    heads.sharding =
        tp_degree % kv_heads == 0 ? GQA_NEURON_REPLICATE_TO_TP_DEGREE : GQA_NEURON_CONVERT_TO_MHA;
    heads.query_heads = (int32_t)gqa__round_up(query_heads, tp_degree);
    if (stays(query_heads, kv_heads, tp_degree)) {
        heads.kv_heads = kv_heads;
    } else if (query_heads == kv_heads || heads.sharding == GQA_NEURON_CONVERT_TO_MHA) {
        heads.kv_heads = heads.query_heads;
    } else {
        heads.kv_heads = tp_degree;
    }
    heads.kv_heads_loaded = heads.kv_heads;
    if (heads.sharding == GQA_NEURON_CONVERT_TO_MHA && !stays(query_heads, kv_heads, tp_degree)) {
        heads.kv_heads_loaded *= query_heads / kv_heads; /* the released defect */
    }
    return heads;
}

/* REPLICATE_TO_TP_DEGREE spreads the zeros: some after the query heads of each KV head. */
int32_t gqa__neuron_query_source(int32_t query_heads, int32_t kv_heads,
                                 const gqa_neuron_heads *heads, int32_t i)
{
    const int32_t group = query_heads / kv_heads;
    const int32_t padded = heads->query_heads / kv_heads;

    if (heads->sharding == GQA_NEURON_CONVERT_TO_MHA) {
        return i < query_heads ? i : -1;
    }
    return i % padded < group ? i / padded * group + i % padded : -1;
}

int32_t gqa__neuron_kv_source(int32_t query_heads, int32_t kv_heads, const gqa_neuron_heads *heads,
                              int32_t i)
{
    int32_t copies = 1;

    if (heads->sharding == GQA_NEURON_REPLICATE_TO_TP_DEGREE) {
        copies = heads->kv_heads / kv_heads;
    } else if (heads->kv_heads != kv_heads) {
        copies = query_heads / kv_heads;
    }
    return i / copies < kv_heads ? i / copies : -1;
}
