/* SPDX-License-Identifier: Apache-2.0 */
/* entry_parts.c - an entry that ranks share: what each rank, or each group of them, is given. They
 * are computed one after the other, each by a call on its slice of the entry's tensors.
 *
 *   cte             rank r of context parallelism has its share of the queries and all keys:
 *                   a piece, or, strided, each degree-th row from r on
 *   flash_decoding  the ranks that share KV head g have the query heads that read it */
#include "neuron/entry_rules.h"

#include "base/memory.h"
#include "base/tensor.h"
#include "neuron/stages.h"
#include "parallel/tasks.h"

int32_t gqa__neuron_degree(const struct gqa__neuron_entry *entry)
{
    return (int32_t)gqa__max(1, entry->params->config.neuron_cp_degree);
}

int32_t gqa__neuron_parts_of(const struct gqa__neuron_entry *entry,
                             const struct gqa__neuron_choice *choice)
{
    if (choice->profile == GQA_NEURON_FLASH_DECODING) {
        return entry->params->shape.hkv;
    }
    return choice->profile == GQA_NEURON_CTE ? gqa__neuron_degree(entry) : 1;
}

/* Of one dimension n indices, from first on, step apart. */
static void keep_slice(gqa_tensor *tensor, int32_t dimension, const int32_t slice[3])
{
    const int64_t at = slice[0] * tensor->stride[dimension];

    if (!gqa__present(tensor)) {
        return;
    }
    tensor->data = (unsigned char *)tensor->data + at * (int64_t)gqa__dtype_size(tensor->dtype);
    tensor->shape[dimension] = slice[1];
    tensor->stride[dimension] *= slice[2];
}

static void narrow_to_rank(const struct gqa__neuron_entry *entry, int32_t rank, gqa_neuron_call *in,
                           gqa_neuron_output *out)
{
    const gqa_config *const config = &entry->params->config;
    const int32_t degree = gqa__neuron_degree(entry);
    const int32_t share = (int32_t)in->q.shape[1] / degree;
    const bool strided = config->neuron_cp_strided != 0;
    const int32_t slice[3] = {strided ? rank : rank * share, share, strided ? degree : 1};

    if (degree > 1) {
        keep_slice(&in->q, 1, slice);
        keep_slice(&out->out, 1, slice);
        in->cp_degree = degree;
        in->cp_strided = config->neuron_cp_strided;
        in->cp_offset = slice[0];
    }
}

static void narrow_to_group(const struct gqa__neuron_entry *entry, int32_t kv_head,
                            gqa_neuron_call *in, gqa_neuron_output *out)
{
    const int32_t group = entry->params->shape.group;
    const int32_t queries[3] = {kv_head * group, group, 1}, keys[3] = {kv_head, 1, 1};

    keep_slice(&in->q, 2, queries);
    keep_slice(&out->out, 2, queries);
    keep_slice(&in->sinks, 0, queries);
    keep_slice(&in->k, 2, keys);
    keep_slice(&in->v, 2, keys);
    keep_slice(&in->k_prior, 2, keys);
    keep_slice(&in->v_prior, 2, keys);
    in->ranks = entry->params->config.neuron_kv_ranks;
}

void gqa__neuron_narrow(const struct gqa__neuron_entry *entry,
                        const struct gqa__neuron_choice *choice, int32_t part, gqa_neuron_call *in,
                        gqa_neuron_output *out)
{
    if (choice->profile == GQA_NEURON_CTE) {
        narrow_to_rank(entry, part, in, out);
    } else if (choice->profile == GQA_NEURON_FLASH_DECODING) {
        narrow_to_group(entry, part, in, out);
    }
}

size_t gqa__neuron_decoding_bytes(const struct gqa__params *params,
                                  const struct gqa__neuron_limits *limits)
{
    const struct gqa__shape *const shape = &params->shape;
    const int32_t ranks = params->config.neuron_kv_ranks;
    struct gqa__neuron call = {.path = &gqa__neuron_flash_decoding,
                               .in.ranks = ranks,
                               .batch = 1,
                               .tokens = limits->tokens,
                               .keys = limits->tokens,
                               .hq = shape->group,
                               .hkv = 1,
                               .group = shape->group,
                               .dim = shape->dk,
                               .io = gqa__neuron_io(params),
                               .slots = gqa__thread_count(limits->runtime)};

    if (ranks == 0 || limits->tokens == 0) {
        return 0;
    }
    call.prior = (int32_t)gqa__round_up(limits->keys, ranks);
    return gqa__neuron_bytes(&call);
}
