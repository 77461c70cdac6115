/* SPDX-License-Identifier: Apache-2.0 */
/* trace_call.c - see trace_call.h. What the profiles of prior and active keys get: the last tokens
 * are active, the others prior. */
#include "tool/trace_call.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD_DIM = 64, RANKS = 8, BLOCK = 32, PAGED_ROWS = 128, PAGED_KEYS = 512 };

static void *trace_memory(struct tool_trace_call *made, int64_t count, size_t size,
                          struct tool_fault *fault)
{
    void *const memory = calloc((size_t)count + 1, size);

    if (memory == NULL || made->count == 32) {
        free(memory);
        tool_fault_set(fault, NULL, "no memory for %lld numbers", (long long)count);
        return NULL;
    }
    made->made[made->count++] = memory;
    return memory;
}

void tool_trace_call_free(struct tool_trace_call *made)
{
    for (int i = 0; i < made->count; i++) {
        free(made->made[i]);
    }
    made->count = 0;
}

/* --- masks and parts ---------------------------------------------------------------------------
 */

/* Tokens [first, first + n) of a tensor [B, tokens, heads, D], where they lie. */
static gqa_tensor part_of(const gqa_tensor *whole, int64_t first, int64_t n)
{
    const size_t size = whole->dtype == GQA_BF16 ? 2 : 4;
    const int64_t row = whole->shape[2] * whole->shape[3];
    gqa_tensor part = *whole;

    part.data = (char *)whole->data + (size_t)(first * row) * size;
    part.stride[3] = 1;
    part.stride[2] = whole->shape[3];
    part.stride[1] = row;
    part.stride[0] = row * whole->shape[1];
    part.shape[1] = n;
    return part;
}

/* [1, 1, rows, keys]: row t, at position first + t, sees key j <= its position within the window.
 */
struct mask_rule {
    int64_t rows, keys, first, window;
};

static bool make_mask(struct tool_trace_call *made, const struct mask_rule *rule, gqa_tensor *mask,
                      struct tool_fault *fault)
{
    uint8_t *const bytes = trace_memory(made, rule->rows * rule->keys, 1, fault);

    if (bytes == NULL) {
        return false;
    }
    for (int64_t t = 0; t < rule->rows; t++) {
        for (int64_t j = 0; j < rule->keys; j++) {
            const int64_t back = rule->first + t - j;
            bytes[t * rule->keys + j] = back >= 0 && (rule->window == 0 || back < rule->window);
        }
    }
    *mask = gqa_tensor_4d(bytes, GQA_U8, 1, 1, rule->rows, rule->keys);
    return true;
}

/* The last `active` tokens are the call's, the others its prior keys. */
static void split_tokens(gqa_neuron_call *call, int64_t active)
{
    const gqa_tensor k = call->k, v = call->v;
    const int64_t prior = call->q.shape[1] - active;

    call->q = part_of(&call->q, prior, active);
    call->k_prior = part_of(&k, 0, prior);
    call->v_prior = part_of(&v, 0, prior);
    call->k = part_of(&k, prior, active);
    call->v = part_of(&v, prior, active);
}

/* --- one profile each --------------------------------------------------------------------------
 */

static bool for_prefill(struct tool_trace_call *made, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &made->call;
    const struct mask_rule rule = {call->q.shape[1], call->q.shape[1], 0, call->window};

    call->window = 0;
    return make_mask(made, &rule, &call->mask, fault);
}

static bool for_prefix(struct tool_trace_call *made, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &made->call;
    const int64_t active = (call->q.shape[1] + 3) / 4;
    const struct mask_rule rule = {active, active, 0, 0};

    split_tokens(call, active);
    call->window = 0;
    return make_mask(made, &rule, &call->active_mask, fault);
}

static bool for_tkg(struct tool_trace_call *made, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &made->call;
    const int64_t prior = call->q.shape[1] - 1;
    const struct mask_rule rule = {1, prior, prior, call->window};

    split_tokens(call, 1);
    call->window = 0;
    return make_mask(made, &rule, &call->prior_mask, fault);
}

/* As many slots on each rank; the token that is computed comes after the last of them. */
static bool for_decoding(struct tool_trace_call *made, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &made->call;
    const int64_t slots = (call->q.shape[1] - 1) / RANKS * RANKS;
    int32_t *const position = trace_memory(made, 1, sizeof *position, fault);

    if (position == NULL) {
        return false;
    }
    split_tokens(call, 1);
    call->k_prior.shape[1] = call->v_prior.shape[1] = slots;
    *position = (int32_t)slots;
    call->positions = position;
    call->ranks = RANKS;
    call->window = 0;
    return true;
}

/* The prior tokens in blocks of a cache, one after the other: [blocks, heads, block, D]. */
static bool make_cache(struct tool_trace_call *made, const gqa_tensor *prior, gqa_tensor *cache,
                       struct tool_fault *fault)
{
    const int64_t blocks = (prior->shape[1] + BLOCK - 1) / BLOCK;
    const int64_t heads = prior->shape[2], dim = prior->shape[3];
    const size_t row = (size_t)dim * (prior->dtype == GQA_BF16 ? 2 : 4);
    char *const data = trace_memory(made, blocks * heads * BLOCK, row, fault);

    if (data == NULL) {
        return false;
    }
    for (int64_t t = 0; t < prior->shape[1]; t++) {
        for (int64_t h = 0; h < heads; h++) {
            const int64_t to = (t / BLOCK * heads + h) * BLOCK + t % BLOCK;
            memcpy(data + (size_t)to * row,
                   (const char *)prior->data + (size_t)(t * heads + h) * row, row);
        }
    }
    *cache = gqa_tensor_4d(data, prior->dtype, blocks, heads, BLOCK, dim);
    return true;
}

/* One request: its last 128 tokens are computed, the others are its context. */
static bool for_paged(struct tool_trace_call *made, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &made->call;
    int32_t *const numbers =
        trace_memory(made, call->q.shape[1] / BLOCK + 3, sizeof *numbers, fault);

    if (numbers == NULL) {
        return false;
    }
    if (call->q.shape[1] <= PAGED_ROWS) {
        return tool_fault_set(fault, NULL,
                              "paged_schedule needs more than %d tokens, there are %lld",
                              PAGED_ROWS, (long long)call->q.shape[1]);
    }
    split_tokens(call, PAGED_ROWS);
    numbers[0] = PAGED_ROWS;
    numbers[1] = (int32_t)call->k_prior.shape[1];
    call->requests = 1;
    call->query_lens = numbers;
    call->context_lens = numbers + 1;
    call->block_table = numbers + 2;
    call->block_table_width = (numbers[1] + BLOCK - 1) / BLOCK;
    for (int32_t b = 0; b < call->block_table_width; b++) {
        numbers[2 + b] = b;
    }
    call->kv_tile = PAGED_KEYS;
    call->window = 0;
    if (!make_cache(made, &call->k_prior, &call->k_cache, fault) ||
        !make_cache(made, &call->v_prior, &call->v_cache, fault)) {
        return false;
    }
    call->k_prior.data = call->v_prior.data = NULL;
    return true;
}

/* A call of q, k, v, sinks and a window, as the profile takes it. */
static bool shape_call(struct tool_trace_call *made, struct tool_fault *fault)
{
    const gqa_neuron_profile profile = made->call.profile;
    const bool entries = profile == GQA_NEURON_NATIVE_PREFIX || profile == GQA_NEURON_NATIVE_TKG ||
                         profile == GQA_NEURON_FLASH_DECODING ||
                         profile == GQA_NEURON_PAGED_SCHEDULE;

    if (entries && (made->call.q.shape[0] != 1 || made->call.q.shape[1] < 2)) {
        return tool_fault_set(fault, NULL,
                              "profile %s needs one batch entry of at least 2 tokens here",
                              gqa_neuron_profile_name(profile));
    }
    switch (profile) {
    case GQA_NEURON_NATIVE_PREFILL:
        return for_prefill(made, fault);
    case GQA_NEURON_NATIVE_PREFIX:
        return for_prefix(made, fault);
    case GQA_NEURON_NATIVE_TKG:
        return for_tkg(made, fault);
    case GQA_NEURON_FLASH_DECODING:
        return for_decoding(made, fault);
    case GQA_NEURON_PAGED_SCHEDULE:
        return for_paged(made, fault);
    default: /* the kernels take them as they are */
        return true;
    }
}

/* The same; and the queries of plain become those of the call: the last ones. */
static bool convert(struct tool_trace_call *made, struct tool_fault *fault)
{
    const gqa_tensor q = made->plain.q;
    const bool good = shape_call(made, fault);

    if (good) {
        made->plain.q = part_of(&q, q.shape[1] - made->call.q.shape[1], made->call.q.shape[1]);
    }
    return good;
}

/* --- calls -------------------------------------------------------------------------------------
 */

/* n bf16 numbers in [-scale, scale). */
static bool make_random(struct tool_trace_call *made, gqa_tensor *tensor, uint32_t seed,
                        float scale, struct tool_fault *fault)
{
    const int64_t n = tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
    uint16_t *const numbers = trace_memory(made, n, sizeof *numbers, fault);
    uint32_t state = seed;

    if (numbers == NULL) {
        return false;
    }
    for (int64_t i = 0; i < n; i++) {
        float x;
        uint32_t bits;
        state = state * 1664525U + 1013904223U;
        x = ((float)(state >> 8) * 0x1p-23f - 1.0f) * scale;
        memcpy(&bits, &x, sizeof bits);
        numbers[i] = (uint16_t)(bits >> 16);
    }
    tensor->data = numbers;
    return true;
}

bool tool_trace_call_random(struct tool_trace_call *made, const struct tool_trace_options *options,
                            struct tool_fault *fault)
{
    gqa_neuron_call *const call = &made->call;
    gqa_tensor sink = gqa_tensor_4d(NULL, GQA_BF16, 1, 1, 1, options->heads);

    memset(made, 0, sizeof *made);
    gqa_neuron_call_init(call);
    call->profile = options->profile == GQA_NEURON_NO_PROFILE ? GQA_NEURON_CTE : options->profile;
    call->release = options->release;
    call->window = options->window;
    call->q = gqa_tensor_4d(NULL, GQA_BF16, 1, options->tokens, options->heads, HEAD_DIM);
    call->k = call->v = gqa_tensor_4d(NULL, GQA_BF16, 1, options->tokens, 1, HEAD_DIM);
    if (!make_random(made, &call->q, 1, 3.0f, fault) ||
        !make_random(made, &call->k, 2, 3.0f, fault) ||
        !make_random(made, &call->v, 3, 1.0f, fault) || !make_random(made, &sink, 4, 2.0f, fault)) {
        return false;
    }
    call->sinks = gqa_tensor_1d(sink.data, GQA_BF16, options->heads);
    made->plain = *call;
    if (call->profile == GQA_NEURON_PAGED_SCHEDULE || call->profile == GQA_NEURON_FLASH_DECODING) {
        call->sinks = (gqa_tensor){0};
    }
    return convert(made, fault);
}

/* Is it a call of as many queries as keys, and nothing else? */
static bool is_plain(const gqa_neuron_call *call)
{
    return call->q.rank == 4 && call->k.rank == 4 && call->v.rank == 4 &&
           call->q.shape[1] == call->k.shape[1] && call->k_prior.data == NULL &&
           call->k_cache.data == NULL;
}

bool tool_trace_call_case(struct tool_trace_call *made, const struct tool_neuron_case *c,
                          const struct tool_trace_options *options, struct tool_fault *fault)
{
    const gqa_neuron_call *const from = &c->call;

    memset(made, 0, sizeof *made);
    made->call = *from;
    if (is_plain(from)) {
        made->plain = *from;
    }
    if (options->release != GQA_NEURON_NEWEST) {
        made->call.release = options->release;
    }
    if (options->profile == GQA_NEURON_NO_PROFILE || options->profile == from->profile) {
        return true;
    }
    if (!is_plain(from)) {
        return tool_fault_set(fault, c->path,
                              "has other keys than those of its queries; for another profile it "
                              "must not");
    }
    gqa_neuron_call_init(&made->call);
    made->call.profile = options->profile;
    made->call.release = options->release;
    made->call.q = from->q;
    made->call.k = from->k;
    made->call.v = from->v;
    made->call.sinks = from->sinks;
    made->call.window = from->window;
    return convert(made, fault);
}
