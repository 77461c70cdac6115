/* SPDX-License-Identifier: Apache-2.0 */
/* route.c - NeuronAttentionBase.forward and what follows it (attention_base.py), and what the model
 * takes a call for (model_base.py). */
#include "neuron/strategy.h"

#define PREFIX_BUCKET_MIN                                                                          \
    128 /* with prefix caching: the smallest bucket of a prefix that is not 0 */

static gqa_neuron_path path_of(const gqa_neuron_route_input *in, bool chunked)
{
    if (chunked) {
        return in->cp_degree > 1 ? GQA_NEURON_PATH_CHUNKED_ATTENTION_WITH_CONTEXT_PARALLEL
                                 : GQA_NEURON_PATH_CHUNKED_ATTENTION;
    }
    return in->sliding_window > 0 ? GQA_NEURON_PATH_WINDOWED_ATTENTION
                                  : GQA_NEURON_PATH_STANDARD_CAUSAL_ATTENTION;
}

/* The chunked paths are not told of windows, and only the standard one minds prefixes. */
static bool is_token_gen(const gqa_neuron_route_input *in, gqa_neuron_path path)
{
    const bool standard = path == GQA_NEURON_PATH_STANDARD_CAUSAL_ATTENTION;
    const bool told = standard || path == GQA_NEURON_PATH_WINDOWED_ATTENTION;

    if (in->has_past == 0 || (told && in->windowed_context_encoding != 0)) {
        return false;
    }
    return !standard || in->is_prefix_caching == 0 || in->input_len < PREFIX_BUCKET_MIN;
}

static gqa_neuron_operation context_encoding(const gqa_neuron_route_input *in)
{
    if (in->attn_block_cte_kernel != 0 && in->is_prefix_caching == 0) {
        return GQA_NEURON_ATTENTION_BLOCK_CTE;
    }
    return in->has_past != 0 ? GQA_NEURON_PERFORM_PREFIX_PREFILL
                             : GQA_NEURON_ATTENTION_CONTEXT_ENCODE;
}

/* In the order in which forward asks. */
static gqa_neuron_operation token_gen(const gqa_neuron_route_input *in)
{
    const bool older = gqa__neuron_release(in->release) < GQA_NEURON_2_29;
    const bool other_names = in->attn_tkg_builtin_kernel != 0 || in->attn_tkg_nki_kernel != 0;

    if (in->attn_block_tkg_kernel != 0 || (!older && other_names)) {
        return GQA_NEURON_ATTENTION_BLOCK_TKG;
    }
    if (in->attn_tkg_builtin_kernel != 0) {
        return GQA_NEURON_ATTENTION_TKG_BUILTIN;
    }
    if (in->attn_tkg_nki_kernel != 0) {
        return GQA_NEURON_ATTENTION_TKG_NKI;
    }
    if (in->is_prefix_caching != 0) {
        return GQA_NEURON_TOKENGEN_PREFIX_CACHING;
    }
    if (older && in->is_chunked_prefill != 0 && in->input_len > 1) {
        return GQA_NEURON_PERFORM_CONTEXTED_PREFILL;
    }
    return in->flash_decoding_enabled != 0 ? GQA_NEURON_COMPUTE_FOR_FLASH_DECODING
                                           : GQA_NEURON_ATTENTION_TOKENGEN;
}

static gqa_neuron_operation operation_of(const gqa_neuron_route_input *in,
                                         const gqa_neuron_route *route)
{
    if (route->path != GQA_NEURON_PATH_STANDARD_CAUSAL_ATTENTION) {
        return route->is_token_gen != 0 ? GQA_NEURON_ATTENTION_TOKENGEN
                                        : GQA_NEURON_ATTENTION_CONTEXT_ENCODE;
    }
    return route->is_token_gen != 0 ? token_gen(in) : context_encoding(in);
}

gqa_neuron_route gqa__neuron_find_route(const gqa_neuron_route_input *in)
{
    gqa_neuron_route route = {0};
    const bool given = in->attention_chunk_size > 0;
    const bool dropped = given && in->seq_len > 0 && in->attention_chunk_size >= in->seq_len;
    const bool chunked = given && !dropped;

    route.path = path_of(in, chunked);
    route.is_token_gen = is_token_gen(in, route.path);
    route.is_for_speculation = in->input_len == in->speculation_length;
    route.is_context_encoding = in->input_len > 1 && route.is_for_speculation == 0;
    route.chunk_dropped = dropped;
    route.window_ignored = chunked && in->sliding_window > 0;
    route.operation = operation_of(in, &route);
    return route;
}
