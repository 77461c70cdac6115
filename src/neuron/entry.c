/* SPDX-License-Identifier: Apache-2.0 */
/* entry.c - see entry.h: from a batch entry to a call of a profile, and back. */
#include "neuron/entry.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/tensor.h"
#include "neuron/cte.h"
#include "neuron/entry_rules.h"
#include "neuron/entry_values.h"
#include "neuron/paged_batch.h"
#include "neuron/stages.h"
#include "parallel/tasks.h"

/* --- the call of the profile -------------------------------------------------------------------
 */

/* Bits [rows][columns], rows of whole bytes. */
static int64_t bit_step(int64_t columns)
{
    return gqa__round_up(columns, 8);
}

static gqa_tensor bits_of(const void *data, int32_t rows, int32_t columns)
{
    gqa_tensor mask = gqa_tensor_4d(data, GQA_BITS, 1, 1, rows, columns);

    mask.stride[2] = bit_step(columns);
    mask.stride[0] = mask.stride[1] = rows * mask.stride[2];
    return mask;
}

static void set_tensors(const struct gqa__neuron_attention *attention,
                        const struct gqa__neuron_entry *entry,
                        const struct gqa__neuron_choice *choice, gqa_neuron_call *in,
                        gqa_neuron_output *out)
{
    const struct gqa__shape *const shape = &entry->params->shape;
    const gqa_dtype io = gqa__neuron_io(entry->params);
    const int32_t rows = gqa__neuron_rows_of(entry, choice);
    const int64_t queries[3] = {rows, shape->hq, shape->dk};
    const int64_t keys[3] = {rows, shape->hkv, shape->dk};
    const int32_t slots = gqa__neuron_prior_slots(entry, choice);
    const int64_t prior[3] = {slots, shape->hkv, shape->dk};

    in->q = gqa__neuron_heads_at(attention->q, io, 0, queries);
    in->k = gqa__neuron_heads_at(attention->k, io, slots, keys);
    in->v = gqa__neuron_heads_at(attention->v, io, slots, keys);
    out->out = gqa__neuron_heads_at(attention->out, io, 0, queries);
    if (choice->profile == GQA_NEURON_NATIVE_PREFIX || choice->profile == GQA_NEURON_NATIVE_TKG ||
        choice->profile == GQA_NEURON_FLASH_DECODING ||
        (choice->profile == GQA_NEURON_CTE && entry->past > 0)) {
        in->k_prior = gqa__neuron_heads_at(attention->k, io, 0, prior);
        in->v_prior = gqa__neuron_heads_at(attention->v, io, 0, prior);
    }
}

static void set_numbers(const struct gqa__neuron_entry *entry,
                        const struct gqa__neuron_choice *choice, gqa_neuron_call *in)
{
    const gqa_config *const config = &entry->params->config;
    const bool kernel = gqa__neuron_is_kernel(choice->profile);

    in->profile = choice->profile;
    in->release = config->neuron_release;
    in->accumulation = config->neuron_accumulation;
    in->divisor = config->neuron_divisor;
    in->lift_limits = config->neuron_lift_limits;
    if (entry->params->shape.score_scale != (float)(1.0 / sqrt((double)entry->params->shape.dk))) {
        in->softmax_scale = 1.0f / config->score_scale;
    }
    if (kernel) {
        in->window = config->sliding_window;
        in->bidirectional = config->bidirectional;
    }
    in->prior_used = choice->profile == GQA_NEURON_CTE ? entry->past : 0;
}

/* The call, checked, with all that the layer refuses and warns of. masks and sinks: those of a
 * segment, or absent where an entry is only checked. */
struct entry_data {
    int32_t part; /* of the entry, where it has several */
    gqa_tensor sinks, mask, prior_mask, active_mask;
    int formats; /* GQA__ANY_ADDRESS: nothing lies at the addresses yet */
};

/* The positions of the new tokens, which follow the past ones. */
static const int32_t *number_queries(const struct gqa__neuron_attention *attention,
                                     const struct gqa__neuron_entry *entry)
{
    for (int32_t t = 0; t < entry->n; t++) {
        attention->queries[t] = entry->past + t;
    }
    return attention->queries;
}

static gqa_status make_call(const struct gqa__neuron_attention *attention,
                            const struct gqa__neuron_entry *entry,
                            const struct gqa__neuron_choice *choice, const struct entry_data *data,
                            struct gqa__neuron *call, gqa_error *err)
{
    gqa_neuron_call in;
    gqa_neuron_output out;
    gqa_status status = gqa__neuron_entry_refuse(entry, choice, err);

    if (status != GQA_OK) {
        return status;
    }
    memset(&in, 0, sizeof in);
    memset(&out, 0, sizeof out);
    in.struct_size = sizeof in;
    out.struct_size = sizeof out;
    set_numbers(entry, choice, &in);
    set_tensors(attention, entry, choice, &in, &out);
    in.sinks = data->sinks;
    in.mask = data->mask;
    in.prior_mask = data->prior_mask;
    in.active_mask = data->active_mask;
    if (gqa__neuron_drops_sinks(entry, choice)) {
        in.sinks.data = NULL;
    }
    if (choice->profile == GQA_NEURON_FLASH_DECODING) {
        in.positions = number_queries(attention, entry);
    }
    gqa__neuron_narrow(entry, choice, data->part, &in, &out);
    status = gqa__neuron_check(call, &in, &out, data->formats, err);
    if (status == GQA_OK) {
        call->runtime = attention->runtime;
        call->slots = gqa__thread_count(&attention->runtime);
        status = gqa__neuron_entry_limits(call, entry, choice, err);
    }
    return status;
}

/* --- memory ------------------------------------------------------------------------------------
 */

/* Tensors of a call that is only checked: a place that could be theirs. */
static void *anywhere(void)
{
    return (void *)(uintptr_t)GQA__ALIGN;
}

/* Scratch of a profile for so many rows and prior keys. */
static size_t profile_bytes(const struct gqa__params *params,
                            const struct gqa__neuron_limits *limits, gqa_neuron_profile profile,
                            int32_t past)
{
    const struct gqa__neuron_choice choice = {GQA_NEURON_STRATEGY_NONE, profile};
    struct gqa__params lifted = *params;
    struct gqa__neuron_attention attention = {0};
    struct gqa__neuron_entry entry = {.params = &lifted,
                                      .tokens = limits->tokens,
                                      .n = limits->tokens,
                                      .past = past,
                                      .consecutive = true};
    const struct entry_data none = {.formats = GQA__ANY_ADDRESS};
    struct gqa__neuron call;

    lifted.config.neuron_lift_limits = 1;
    attention.q = attention.k = attention.v = attention.out = anywhere();
    attention.runtime = *limits->runtime;
    if (make_call(&attention, &entry, &choice, &none, &call, NULL) != GQA_OK) {
        return 0; /* no entry of this call takes it */
    }
    return gqa__neuron_bytes(&call);
}

/* Of attention_cte the largest section is not that of the most keys: up to a threshold all keys are
 * one section. The prior keys with which they reach it: */
static int32_t longest_section(const struct gqa__neuron_limits *limits)
{
    const int32_t rest = GQA__CTE_SECTION_THRESHOLD - limits->tokens;

    return rest <= 0 ? 0
                     : (int32_t)gqa__min(rest / GQA__CTE_K_TILE * GQA__CTE_K_TILE, limits->keys);
}

static size_t most_bytes(const struct gqa__params *params, const struct gqa__neuron_limits *limits)
{
    const int32_t pasts[] = {0, longest_section(limits), limits->keys};
    size_t most = gqa__neuron_decoding_bytes(params, limits);

    for (int profile = GQA_NEURON_FLASH_FWD; profile <= GQA_NEURON_NATIVE_TKG; profile++) {
        for (size_t i = 0; i < sizeof pasts / sizeof pasts[0]; i++) {
            const size_t size =
                limits->tokens == 0
                    ? 0
                    : profile_bytes(params, limits, (gqa_neuron_profile)profile, pasts[i]);
            most = size > most ? size : most;
        }
    }
    return most;
}

void gqa__neuron_attention_carve(struct gqa__neuron_attention *attention, struct gqa__arena *arena,
                                 const struct gqa__params *params,
                                 const struct gqa__neuron_limits *limits)
{
    const struct gqa__shape *const shape = &params->shape;
    const size_t io = gqa__dtype_size(gqa__neuron_io(params));
    const int64_t queries = (int64_t)limits->tokens * shape->hq * shape->dk;
    const int64_t ranks = params->config.neuron_kv_ranks;
    const int64_t most = (int64_t)limits->keys + ranks + limits->tokens;
    const int64_t keys = most * shape->hkv * shape->dk;
    size_t scratch;

    memset(attention, 0, sizeof *attention);
    attention->runtime = *limits->runtime;
    if (params->config.neuron_profile == GQA_NEURON_PAGED_SCHEDULE) {
        gqa__neuron_batch_carve(attention, arena, params, limits);
        return;
    }
    scratch = most_bytes(params, limits);
    attention->tokens = limits->tokens;
    attention->keys = limits->keys;
    attention->q = gqa__arena_take(arena, queries, io);
    attention->out = gqa__arena_take(arena, queries, io);
    attention->k = gqa__arena_take(arena, keys, io);
    attention->v = gqa__arena_take(arena, keys, io);
    attention->queries = gqa__arena_take(arena, limits->tokens, sizeof(int32_t));
    attention->row = gqa__arena_take(arena, shape->dk, sizeof(float));
    attention->positions = gqa__arena_take(arena, most, sizeof(int32_t));
    attention->columns = gqa__arena_take(arena, most, sizeof(int32_t));
    attention->prior = gqa__arena_take(arena, limits->tokens, (size_t)bit_step(limits->keys) / 8);
    attention->active =
        gqa__arena_take(arena, limits->tokens, (size_t)bit_step(limits->tokens) / 8);
    arena->failed = arena->failed || scratch > INT64_MAX;
    attention->workspace_size = scratch;
    attention->workspace = gqa__arena_take(arena, scratch > INT64_MAX ? 0 : (int64_t)scratch, 1);
}

gqa_status gqa__neuron_entry_check(const struct gqa__neuron_attention *attention,
                                   const struct gqa__neuron_entry *entry,
                                   struct gqa__neuron_choice *choice, gqa_error *err)
{
    const struct entry_data none = {.formats = GQA__ANY_ADDRESS};
    struct gqa__neuron call;
    gqa_status status = gqa__neuron_choose(entry, choice, err);

    if (status == GQA_OK) {
        status = make_call(attention, entry, choice, &none, &call, err);
    }
    assert(status != GQA_OK || gqa__neuron_bytes(&call) <= attention->workspace_size);
    return status;
}

/* --- a run -------------------------------------------------------------------------------------
 */

static void load_queries(const struct gqa__neuron_attention *attention,
                         const struct gqa__neuron_entry *entry, int32_t rows,
                         const struct gqa__segment *segment)
{
    const gqa_dtype io = gqa__neuron_io(entry->params);
    const int64_t width = (int64_t)entry->params->shape.hq * entry->params->shape.dk;
    const size_t bytes = (size_t)(rows * width) * gqa__dtype_size(io);

    memset(attention->q, 0, bytes);
    for (int64_t t = 0; t < segment->n; t++) {
        gqa__neuron_to_io(io, (const float *)segment->q + t * segment->q_stride, width,
                          attention->q, t * width);
    }
}

/* The key, by index, in a slot of the call: prior ones, then the new tokens'. -1: none. */
static int32_t key_in_slot(const struct gqa__neuron_entry *entry,
                           const struct gqa__neuron_choice *choice, int32_t slot)
{
    const int32_t slots = gqa__neuron_prior_slots(entry, choice);
    const int32_t j =
        slot < slots ? gqa__neuron_slot_key(entry, choice, slot) : entry->past + slot - slots;

    return slot < slots && j >= entry->past ? -1 : j;
}

/* Keys [begin, end), of so many bytes each. */
static void clear_slots(const struct gqa__neuron_attention *attention, int64_t vector,
                        int32_t begin, int32_t end)
{
    const size_t size = (size_t)((end - begin) * vector);

    memset((unsigned char *)attention->k + begin * vector, 0, size);
    memset((unsigned char *)attention->v + begin * vector, 0, size);
}

static void load_keys(const struct gqa__neuron_attention *attention,
                      const struct gqa__neuron_entry *entry,
                      const struct gqa__neuron_choice *choice, const struct gqa__segment *segment)
{
    const gqa_dtype io = gqa__neuron_io(entry->params);
    const struct gqa__shape *const shape = &entry->params->shape;
    const int64_t width = (int64_t)shape->hkv * shape->dk;
    const int32_t slots = gqa__neuron_prior_slots(entry, choice);
    const int32_t all = slots + gqa__neuron_rows_of(entry, choice);
    const int64_t vector = width * (int64_t)gqa__dtype_size(io);

    clear_slots(attention, vector, (int32_t)gqa__min(slots, entry->past), slots);
    clear_slots(attention, vector, slots + segment->n, all);
    for (int32_t slot = 0; slot < slots + segment->n; slot++) {
        const int32_t j = key_in_slot(entry, choice, slot);
        if (j < 0) {
            continue;
        }
        for (int32_t h = 0; h < shape->hkv; h++) {
            const struct gqa__neuron_key key = {&segment->view, h, j, io, attention->row};
            gqa__neuron_load_key(&key, attention->k, attention->v,
                                 (int64_t)slot * width + (int64_t)h * shape->dk);
        }
    }
}

/* Bits of who sees keys [first, first + keys). True if all see all. */
static bool look(const struct gqa__neuron_attention *attention, const struct gqa__shape *shape,
                 const struct gqa__segment *segment, const gqa_tensor *bits, int32_t first)
{
    unsigned char *const to = bits->data;
    bool all = true;

    memset(to, 0, (size_t)(bits->shape[2] * bits->stride[2] / 8));
    for (int32_t t = 0; t < bits->shape[2]; t++) {
        unsigned char *const row = to + t * bits->stride[2] / 8;
        for (int32_t j = 0; j < bits->shape[3]; j++) {
            const bool sees = gqa__neuron_rule(shape, segment, t, attention->positions[first + j],
                                               attention->columns[first + j]);
            row[j / 8] = (unsigned char)(row[j / 8] | (sees ? 1u << j % 8 : 0u));
            all = all && sees;
        }
    }
    return all;
}

/* What the framework's paths are told of who sees whom. */
static void make_masks(const struct gqa__neuron_attention *attention,
                       const struct gqa__neuron_entry *entry,
                       const struct gqa__neuron_choice *choice, const struct gqa__segment *segment,
                       struct entry_data *data)
{
    const struct gqa__segment told = gqa__neuron_told(choice, segment);
    const struct gqa__shape shape = gqa__neuron_told_shape(entry, choice);
    const int32_t slots = gqa__neuron_prior_slots(entry, choice);
    const gqa_tensor prior = bits_of(attention->prior, entry->n, slots);
    const gqa_tensor active = bits_of(attention->active, entry->n, entry->n);

    for (int32_t slot = 0; slot < slots + entry->n; slot++) {
        const int32_t j = key_in_slot(entry, choice, slot);
        attention->positions[slot] = gqa__view_position(&segment->view, j);
        attention->columns[slot] = gqa__view_column(&segment->view, j);
    }
    if (choice->profile == GQA_NEURON_NATIVE_PREFILL) {
        (void)look(attention, &shape, &told, &active, 0);
        data->mask = active;
        return;
    }
    if (choice->profile == GQA_NEURON_NATIVE_TKG && !look(attention, &shape, &told, &prior, 0)) {
        data->prior_mask = prior;
    }
    if (!look(attention, &shape, &told, &active, slots)) {
        data->active_mask = active;
    }
}

void gqa__neuron_entry_run(struct gqa__neuron_attention *attention,
                           const struct gqa__neuron_entry *entry,
                           const struct gqa__segment *segment)
{
    struct entry_data data = {0};
    struct gqa__neuron_choice choice;
    struct gqa__neuron call;
    gqa_status status = gqa__neuron_choose(entry, &choice, NULL);
    const int32_t rows = gqa__neuron_rows_of(entry, &choice);

    load_queries(attention, entry, rows, segment);
    load_keys(attention, entry, &choice, segment);
    if (!gqa__neuron_is_kernel(choice.profile) && choice.profile != GQA_NEURON_FLASH_DECODING) {
        make_masks(attention, entry, &choice, segment, &data);
    }
    if (segment->sinks != NULL) {
        data.sinks = gqa_tensor_1d(segment->sinks, GQA_F32, entry->params->shape.hq);
    }
    for (; status == GQA_OK && data.part < gqa__neuron_parts_of(entry, &choice); data.part++) {
        status = make_call(attention, entry, &choice, &data, &call, NULL);
        if (status == GQA_OK) {
            gqa__neuron_run(&call, attention->workspace, attention->workspace_size);
            gqa__neuron_add_report(&attention->report, &call.out);
        }
    }
    assert(status == GQA_OK);
    gqa__neuron_widen(entry->params, attention->out, 0, segment);
}
