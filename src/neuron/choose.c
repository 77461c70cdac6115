/* SPDX-License-Identifier: Apache-2.0 */
/* choose.c - the profile of a batch entry: NeuronAttentionBase.forward, the four paths behind it
 * and get_flash_attention_strategy, turned into the profile that computes what they call. */
#include "neuron/entry.h"

#include "base/error.h"
#include "neuron/strategy.h"

static bool is_229(const gqa_config *config)
{
    return gqa__neuron_release(config->neuron_release) == GQA_NEURON_2_29;
}

/* has_attention_mask: causal. */
static gqa_neuron_strategy_input strategy_input(const struct gqa__neuron_entry *entry,
                                                bool has_attention_mask, int32_t q_len)
{
    const gqa_config *const config = &entry->params->config;
    const gqa_neuron_strategy_input input = {.release = config->neuron_release,
                                             .attn_kernel_enabled = config->neuron_attn_kernel,
                                             .logical_nc_config = config->neuron_logical_nc_config,
                                             .sliding_window = config->sliding_window,
                                             .head_dim = entry->params->shape.dk,
                                             .cp_degree = gqa__neuron_degree(entry),
                                             .strided = config->neuron_cp_strided,
                                             .q_len = q_len,
                                             .has_attention_mask = has_attention_mask,
                                             .trn1 = config->neuron_trn1};

    return input;
}

/* A prefill over ranks asks for its share of the tokens. */
static gqa_neuron_flash_strategy strategy_of(const struct gqa__neuron_entry *entry,
                                             bool has_attention_mask)
{
    const gqa_neuron_strategy_input input =
        strategy_input(entry, has_attention_mask, entry->tokens / gqa__neuron_degree(entry));
    gqa_neuron_flash_strategy strategy;

    (void)gqa__neuron_strategy(&input, &strategy); /* check_degree has seen that it does */
    return strategy;
}

static gqa_status refuse_strides(gqa_error *err)
{
    return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_cp_strided",
                     "is 1; the strided kernel needs two cores, more tokens than head_dim and no "
                     "window (get_flash_attention_strategy_cp: ValueError)");
}

/* split_along_dim divides exactly; prep_qkv_tensors asks for the strategy of all tokens, and must
 * be told what perform_prefill is told for its share. */
static gqa_status check_degree(const struct gqa__neuron_entry *entry, gqa_error *err)
{
    const int32_t degree = gqa__neuron_degree(entry);
    gqa_neuron_strategy_input input = strategy_input(entry, false, entry->tokens);
    gqa_neuron_flash_strategy whole, share;

    if (degree == 1) {
        return GQA_OK;
    }
    if (entry->tokens % degree != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_cp_degree",
                         "is %d; it must divide the %d tokens of the call (split_along_dim)",
                         (int)degree, (int)entry->tokens);
    }
    if (gqa__neuron_strategy(&input, &whole)) {
        input.q_len = entry->tokens / degree;
        if (gqa__neuron_strategy(&input, &share) && share == whole) {
            return GQA_OK;
        }
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_cp_degree",
                         "is %d; a kernel is taken for %d tokens, but none for a rank's %d "
                         "(perform_prefill raises)",
                         (int)degree, (int)entry->tokens, (int)input.q_len);
    }
    return refuse_strides(err);
}

static const char *kernel_name(gqa_neuron_flash_strategy strategy)
{
    static const char *const names[] = {"NONE", "UNSHARDED_KERNEL", "SHARDED_KERNEL",
                                        "CONTEXT_PARALLEL_KERNEL",
                                        "STRIDED_CONTEXT_PARALLEL_KERNEL"};

    return names[strategy];
}

/* The kernel of a strategy on the full and windowed paths. */
static gqa_status take_kernel(const struct gqa__neuron_entry *entry,
                              struct gqa__neuron_choice *choice, gqa_error *err)
{
    const gqa_config *const config = &entry->params->config;

    if (choice->strategy == GQA_NEURON_STRATEGY_SLIDING_WINDOW_KERNEL) {
        choice->profile = GQA_NEURON_FLASH_FWD;
        return GQA_OK;
    }
    if (!is_229(config)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_release",
                         "is %d; for %d tokens it takes %s, a kernel in machine form whose "
                         "arithmetic is not public",
                         (int)config->neuron_release, (int)entry->tokens,
                         kernel_name(choice->strategy));
    }
    choice->profile = GQA_NEURON_CTE;
    return GQA_OK;
}

/* chunked_attention_forward, context encoding: native in 2.29; before, a kernel over the chunks
 * where the strategy names one. */
static gqa_status take_chunked(const struct gqa__neuron_entry *entry,
                               struct gqa__neuron_choice *choice, gqa_error *err)
{
    const gqa_config *const config = &entry->params->config;

    if (gqa__neuron_degree(entry) > 1 && config->attention_chunk_size % gqa__neuron_degree(entry)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_cp_degree",
                         "is %d; it must divide config.attention_chunk_size, %d",
                         (int)config->neuron_cp_degree, (int)config->attention_chunk_size);
    }
    choice->strategy =
        is_229(config) ? GQA_NEURON_STRATEGY_NONE : strategy_of(entry, !config->bidirectional);
    if (choice->strategy != GQA_NEURON_STRATEGY_NONE) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.attention_chunk_size",
                         "is %d; release %d takes a kernel for each chunk of %d tokens, which no "
                         "profile is",
                         config->attention_chunk_size, (int)config->neuron_release,
                         (int)entry->tokens);
    }
    choice->profile = GQA_NEURON_NATIVE_PREFILL;
    return GQA_OK;
}

static gqa_status take_context_encode(const struct gqa__neuron_entry *entry,
                                      const gqa_neuron_route *route,
                                      struct gqa__neuron_choice *choice, gqa_error *err)
{
    const gqa_config *const config = &entry->params->config;

    if (entry->past > 0) {
        return gqa__fail(
            err, GQA_ERR_UNSUPPORTED, "inputs.phase",
            "is context encoding over %d cached keys; the windowed and chunked paths have "
            "no prior keys there",
            (int)entry->past);
    }
    if (route->path == GQA_NEURON_PATH_CHUNKED_ATTENTION ||
        route->path == GQA_NEURON_PATH_CHUNKED_ATTENTION_WITH_CONTEXT_PARALLEL) {
        return take_chunked(entry, choice, err);
    }
    choice->strategy = strategy_of(entry, !config->bidirectional);
    if (choice->strategy == GQA_NEURON_STRATEGY_NONE) {
        choice->profile = GQA_NEURON_NATIVE_PREFILL;
        return GQA_OK;
    }
    return take_kernel(entry, choice, err);
}

/* perform_prefix_prefill asks for a strategy as if there were no mask. With a past nothing is
 * divided (standard_causal_attention_forward: is_context_parallel needs past_key_value None), so it
 * asks for all tokens, and raises where get_flash_attention_strategy_cp names a kernel. */
static gqa_status take_prefix(const struct gqa__neuron_entry *entry,
                              struct gqa__neuron_choice *choice, gqa_error *err)
{
    const gqa_neuron_strategy_input input = strategy_input(entry, false, entry->tokens);

    if (!gqa__neuron_strategy(&input, &choice->strategy)) {
        return refuse_strides(err);
    }
    if (gqa__neuron_degree(entry) > 1 && choice->strategy != GQA_NEURON_STRATEGY_NONE) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_cp_degree",
                         "is %d; over %d cached keys it takes %s, with which "
                         "perform_prefix_prefill raises ValueError",
                         (int)gqa__neuron_degree(entry), (int)entry->past,
                         kernel_name(choice->strategy));
    }
    if (choice->strategy == GQA_NEURON_STRATEGY_NONE) {
        choice->profile = GQA_NEURON_NATIVE_PREFIX;
        return GQA_OK;
    }
    return take_kernel(entry, choice, err);
}

static gqa_status choose_as_neuron(const struct gqa__neuron_entry *entry,
                                   struct gqa__neuron_choice *choice, gqa_error *err)
{
    const gqa_config *const config = &entry->params->config;
    const gqa_neuron_route_input input = {.release = config->neuron_release,
                                          .attention_chunk_size = config->attention_chunk_size,
                                          .sliding_window = config->sliding_window,
                                          .cp_degree = config->neuron_cp_degree,
                                          .flash_decoding_enabled = config->neuron_kv_ranks > 0,
                                          .input_len = entry->tokens,
                                          .has_past = entry->tkg || entry->past > 0,
                                          .windowed_context_encoding = !entry->tkg,
                                          .is_prefix_caching = config->neuron_prefix_caching};
    const gqa_neuron_route route = gqa__neuron_find_route(&input);
    const bool divided = route.operation == GQA_NEURON_ATTENTION_CONTEXT_ENCODE;
    const gqa_status status = divided ? check_degree(entry, err) : GQA_OK;

    if (status != GQA_OK) {
        return status;
    }
    switch (route.operation) {
    case GQA_NEURON_ATTENTION_CONTEXT_ENCODE:
        return take_context_encode(entry, &route, choice, err);
    case GQA_NEURON_PERFORM_PREFIX_PREFILL:
        return take_prefix(entry, choice, err);
    case GQA_NEURON_COMPUTE_FOR_FLASH_DECODING:
        choice->profile = GQA_NEURON_FLASH_DECODING;
        return GQA_OK;
    default: /* TOKENGEN, TOKENGEN_PREFIX_CACHING: no other was asked for */
        choice->profile = GQA_NEURON_NATIVE_TKG;
        return GQA_OK;
    }
}

gqa_status gqa__neuron_choose(const struct gqa__neuron_entry *entry,
                              struct gqa__neuron_choice *choice, gqa_error *err)
{
    const gqa_neuron_profile named = entry->params->config.neuron_profile;
    const bool prefill = named == GQA_NEURON_FLASH_FWD || named == GQA_NEURON_NATIVE_PREFILL;

    *choice = (struct gqa__neuron_choice){GQA_NEURON_STRATEGY_NONE, named};
    if (named == GQA_NEURON_NO_PROFILE) {
        return choose_as_neuron(entry, choice, err);
    }
    if (named == GQA_NEURON_CTE && entry->tokens % gqa__neuron_degree(entry) != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_cp_degree",
                         "is %d; it must divide the %d tokens of the call (split_along_dim)",
                         (int)gqa__neuron_degree(entry), (int)entry->tokens);
    }
    if (prefill && entry->past > 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_profile",
                         "is %s, which has no prior keys; there are %d",
                         gqa__neuron_path(named)->name, (int)entry->past);
    }
    return GQA_OK;
}
