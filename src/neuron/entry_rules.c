/* SPDX-License-Identifier: Apache-2.0 */
/* entry_rules.c - see entry_rules.h. */
#include "neuron/entry_rules.h"

#include "base/error.h"

bool gqa__neuron_is_kernel(gqa_neuron_profile profile)
{
    return profile == GQA_NEURON_FLASH_FWD || profile == GQA_NEURON_CTE;
}

static bool chosen(const struct gqa__neuron_entry *entry)
{
    return entry->params->config.neuron_profile == GQA_NEURON_NO_PROFILE;
}

bool gqa__neuron_drops_sinks(const struct gqa__neuron_entry *entry,
                             const struct gqa__neuron_choice *choice)
{
    return choice->profile == GQA_NEURON_CTE && entry->past > 0 && chosen(entry);
}

int32_t gqa__neuron_rows_of(const struct gqa__neuron_entry *entry,
                            const struct gqa__neuron_choice *choice)
{
    return gqa__neuron_is_kernel(choice->profile) ? entry->tokens : entry->n;
}

/* --- refused -----------------------------------------------------------------------------------
 */

/* Kernels mask by place: who is causal, inside the window, and nothing else. */
static gqa_status refuse_kernel(const struct gqa__neuron_entry *entry, const char *name,
                                gqa_error *err)
{
    const struct gqa__shape *const shape = &entry->params->shape;

    if (entry->first_valid > 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "inputs.first_valid",
                         "is %d; %s sees padding on the left (Neuron asserts padding_side == "
                         "\"right\" or one sequence)",
                         (int)entry->first_valid, name);
    }
    if (shape->right > 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.right_window", "is %lld; %s has none",
                         (long long)shape->right, name);
    }
    if (shape->chunk > 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.attention_chunk_size",
                         "is %lld; %s has no chunks", (long long)shape->chunk, name);
    }
    if (!entry->consecutive) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "inputs.position_ids",
                         "are not consecutive; %s masks by place, not by position", name);
    }
    return GQA_OK;
}

gqa_status gqa__neuron_entry_refuse(const struct gqa__neuron_entry *entry,
                                    const struct gqa__neuron_choice *choice, gqa_error *err)
{
    const char *const name = gqa__neuron_path(choice->profile)->name;
    const bool decoding = choice->profile == GQA_NEURON_FLASH_DECODING;
    const bool prefix = choice->profile == GQA_NEURON_NATIVE_PREFIX || decoding ||
                        choice->profile == GQA_NEURON_PAGED_SCHEDULE;
    const bool kernel = gqa__neuron_is_kernel(choice->profile);

    if (entry->past < 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "inputs.query",
                         "has %d rows for %d keys; Neuron's queries have keys of their own",
                         (int)entry->n, (int)(entry->past + entry->n));
    }
    if (entry->bounds && (kernel || prefix)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "inputs.key_begin",
                         "is given; %s is passed no key bounds", name);
    }
    if (prefix && entry->params->config.bidirectional != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "config.bidirectional",
                         "is 1; %s is causal among the new tokens", name);
    }
    if (decoding && !(entry->consecutive && entry->from_zero)) {
        return gqa__fail(
            err, GQA_ERR_UNSUPPORTED, "inputs.position_ids",
            "do not count up from 0; flash_decoding keeps position p in slot p / %d of "
            "rank p %% %d",
            (int)entry->params->config.neuron_kv_ranks, (int)entry->params->config.neuron_kv_ranks);
    }
    return kernel ? refuse_kernel(entry, name, err) : GQA_OK;
}

/* --- limits and silent losses ------------------------------------------------------------------
 */

static void warn_of_losses(struct gqa__neuron *call, const struct gqa__neuron_entry *entry,
                           const struct gqa__neuron_choice *choice)
{
    const gqa_config *const config = &entry->params->config;
    const bool prefix = choice->profile == GQA_NEURON_NATIVE_PREFIX;
    const bool decoding = choice->profile == GQA_NEURON_FLASH_DECODING;
    const bool paged = choice->profile == GQA_NEURON_PAGED_SCHEDULE;

    if (entry->sinks && gqa__neuron_drops_sinks(entry, choice)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_SINKS_DROPPED, "weights.sinks",
                         "perform_prefix_prefill passes no learned sinks to its kernel");
    }
    if (paged && (config->attention_chunk_size > 0 || config->sliding_window > 0)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_WINDOW_IGNORED, "config.sliding_window",
                         "paged_schedule has neither window nor chunks");
    } else if (decoding && (config->attention_chunk_size > 0 || config->sliding_window > 0)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_WINDOW_IGNORED, "config.sliding_window",
                         "flash_decoding has neither window nor chunks");
    } else if (config->attention_chunk_size > 0 && config->sliding_window > 0 && !prefix) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_WINDOW_IGNORED, "config.sliding_window",
                         "a layer with chunks takes the chunked path, which has no window");
    }
    if (prefix && (config->attention_chunk_size > 0 || config->sliding_window > 0)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_WINDOW_IGNORED, "config.sliding_window",
                         "native_prefix has neither window nor chunks");
    }
    if (entry->mask && (prefix || gqa__neuron_is_kernel(choice->profile))) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_MASK_IGNORED, "inputs.mask",
                         "of the mask only its presence counts: causal attention");
    }
    if (decoding && (entry->mask || entry->active_mask)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_MASK_IGNORED, "inputs.mask",
                         "flash_decoding makes its masks of positions (mask_util)");
    }
    if (paged && (entry->mask || entry->active_mask)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_MASK_IGNORED, "inputs.mask",
                         "paged_schedule makes its masks of the requests' lengths");
    }
    if (entry->active_mask && gqa__neuron_is_kernel(choice->profile)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_MASK_IGNORED, "inputs.active_mask",
                         "a prefill kernel takes no active mask");
    }
}

gqa_status gqa__neuron_entry_limits(struct gqa__neuron *call, const struct gqa__neuron_entry *entry,
                                    const struct gqa__neuron_choice *choice, gqa_error *err)
{
    const gqa_config *const config = &entry->params->config;
    const int32_t chunk = config->attention_chunk_size;
    const bool windowed = config->sliding_window > 0 && chunk == 0;
    const bool paged = choice->profile == GQA_NEURON_PAGED_SCHEDULE;
    const struct {
        bool holds;
        struct gqa__neuron_limit limit;
    } limits[] = {
        {!(chunk > 0 && paged),
         {"config.attention_chunk_size", "attention_chunk_size", chunk,
          "0 with chunked prefill (chunked attention refuses it: ValueError)"}},
        {!(chunk > 0 && entry->tkg && entry->tokens > 1 && !paged),
         {"config.attention_chunk_size", "the number of new tokens", entry->tokens,
          "1 with chunks (compute_for_token_gen: NotImplementedError for speculation)"}},
        {!(chunk > 0 && config->neuron_kv_ranks > 0),
         {"config.neuron_kv_ranks", "neuron_kv_ranks", config->neuron_kv_ranks,
          "0 with chunks (chunked attention refuses flash decoding: ValueError)"}},
        {!(chunk > 0 && entry->sinks && choice->profile == GQA_NEURON_NATIVE_PREFILL),
         {"config.learned_sinks_size", "learned_sinks_size", 1,
          "0 with chunks (chunked_attention_forward: ValueError)"}},
        {!(windowed && config->rope == GQA_ROPE_INTERLEAVED),
         {"config.rope", "rope", (int64_t)config->rope,
          "GQA_ROPE_HALF with a window (windowed_attention_forward passes no "
          "use_polar_compatible_rope)"}},
    };
    gqa_status status = GQA_OK;

    for (size_t i = 0; status == GQA_OK && i < sizeof limits / sizeof limits[0]; i++) {
        status = gqa__neuron_hold(call, limits[i].holds, &limits[i].limit, err);
    }
    if (status == GQA_OK) {
        warn_of_losses(call, entry, choice);
    }
    return status;
}

/* --- who sees whom -----------------------------------------------------------------------------
 */

struct gqa__segment gqa__neuron_told(const struct gqa__neuron_choice *choice,
                                     const struct gqa__segment *segment)
{
    struct gqa__segment told = *segment;

    if (choice->profile == GQA_NEURON_NATIVE_PREFIX) {
        told.mask.data = NULL;
    }
    return told;
}

struct gqa__shape gqa__neuron_told_shape(const struct gqa__neuron_entry *entry,
                                         const struct gqa__neuron_choice *choice)
{
    struct gqa__shape shape = entry->params->shape;

    if (shape.chunk > 0 || choice->profile == GQA_NEURON_NATIVE_PREFIX) {
        shape.window = 0; /* a chunk beats a window */
    }
    if (choice->profile == GQA_NEURON_NATIVE_PREFIX) {
        shape.chunk = 0;
    }
    return shape;
}
