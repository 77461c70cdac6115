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
static gqa_neuron_flash_strategy strategy_of(const struct gqa__neuron_entry *entry,
                                             bool has_attention_mask)
{
    const gqa_config *const config = &entry->params->config;
    const gqa_neuron_strategy_input input = {.release = config->neuron_release,
                                             .attn_kernel_enabled = config->neuron_attn_kernel,
                                             .logical_nc_config = config->neuron_logical_nc_config,
                                             .sliding_window = config->sliding_window,
                                             .head_dim = entry->params->shape.dk,
                                             .q_len = entry->tokens,
                                             .has_attention_mask = has_attention_mask,
                                             .trn1 = config->neuron_trn1};
    gqa_neuron_flash_strategy strategy;

    (void)gqa__neuron_strategy(&input, &strategy); /* it refuses strided ranks only */
    return strategy;
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
                         choice->strategy == GQA_NEURON_STRATEGY_SHARDED_KERNEL
                             ? "SHARDED_KERNEL"
                             : "UNSHARDED_KERNEL");
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
    if (route->path == GQA_NEURON_PATH_CHUNKED_ATTENTION) {
        return take_chunked(entry, choice, err);
    }
    choice->strategy = strategy_of(entry, !config->bidirectional);
    if (choice->strategy == GQA_NEURON_STRATEGY_NONE) {
        choice->profile = GQA_NEURON_NATIVE_PREFILL;
        return GQA_OK;
    }
    return take_kernel(entry, choice, err);
}

/* perform_prefix_prefill asks for a strategy as if there were no mask. */
static gqa_status take_prefix(const struct gqa__neuron_entry *entry,
                              struct gqa__neuron_choice *choice, gqa_error *err)
{
    choice->strategy = strategy_of(entry, false);
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
                                          .input_len = entry->tokens,
                                          .has_past = entry->tkg || entry->past > 0,
                                          .windowed_context_encoding = !entry->tkg,
                                          .is_prefix_caching = config->neuron_prefix_caching};
    const gqa_neuron_route route = gqa__neuron_find_route(&input);

    switch (route.operation) {
    case GQA_NEURON_ATTENTION_CONTEXT_ENCODE:
        return take_context_encode(entry, &route, choice, err);
    case GQA_NEURON_PERFORM_PREFIX_PREFILL:
        return take_prefix(entry, choice, err);
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
    if (prefill && entry->past > 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.neuron_profile",
                         "is %s, which has no prior keys; there are %d",
                         gqa__neuron_path(named)->name, (int)entry->past);
    }
    return GQA_OK;
}
