/* SPDX-License-Identifier: Apache-2.0 */
/* run_cache.c - see run_cache.h. */
#include "tool/run_cache.h"

#include <stdlib.h>
#include <string.h>

/* A sequence's tokens, packed: k [n, Hkv, Dk], v [n, Hkv, Dv]. */
struct block {
    float *k, *v;
    int32_t *positions;
};

static bool alloc_block(struct block *block, const struct tool_case *c, int32_t n,
                        struct tool_fault *fault)
{
    size_t rows = (size_t)n * (size_t)c->hkv;

    block->k = malloc(rows * (size_t)c->dk * sizeof(float));
    block->v = malloc(rows * (size_t)c->dv * sizeof(float));
    block->positions = malloc((size_t)n * sizeof(int32_t));
    if (block->k == NULL || block->v == NULL || block->positions == NULL) {
        return tool_fault_set(fault, c->path, "no memory for %d cached tokens", n);
    }
    return true;
}

static void free_block(struct block *block)
{
    free(block->k);
    free(block->v);
    free(block->positions);
}

static bool append_past(struct tool_session *session, gqa_cache *cache, int32_t b,
                        struct tool_fault *fault)
{
    const struct tool_case *c = session->c;
    const int32_t *order = session->feed.past_order + (int64_t)b * c->past;
    int32_t n = session->feed.past_count[b];
    int64_t k_row = (int64_t)c->hkv * c->dk, v_row = (int64_t)c->hkv * c->dv;
    struct block block = {0};
    bool good = false;

    if (n == 0) {
        return true;
    }
    if (alloc_block(&block, c, n, fault)) {
        gqa_tensor key = gqa_tensor_3d(block.k, GQA_F32, n, c->hkv, c->dk);
        gqa_tensor value = gqa_tensor_3d(block.v, GQA_F32, n, c->hkv, c->dv);
        gqa_error err;

        for (int32_t i = 0; i < n; i++) {
            int64_t from = (int64_t)b * c->past + order[i];
            memcpy(block.k + i * k_row, c->past_k + from * k_row, (size_t)k_row * sizeof(float));
            memcpy(block.v + i * v_row, c->past_v + from * v_row, (size_t)v_row * sizeof(float));
            block.positions[i] = c->k_pos[(int64_t)b * c->keys + order[i]];
        }
        good = gqa_cache_append(cache, b, &key, &value, block.positions, &err) == GQA_OK ||
               tool_fault_gqa(fault, c->path, "gqa_cache_append", &err);
    }
    free_block(&block);
    return good;
}

bool tool_cache_make(struct tool_session *session, gqa_cache **cache, struct tool_fault *fault)
{
    const struct tool_case *c = session->c;
    gqa_cache_options options;
    gqa_error err;

    gqa_cache_options_init(&options, session->layer);
    options.max_sequences = c->batch;
    options.max_tokens = session->feed.columns;
    if (session->store_k != NULL && session->store_v != NULL) {
        tool_kv_store(session->store_k, session->store_v, &options);
    }
    if (gqa_cache_create(cache, session->layer, &options, &err) != GQA_OK) {
        return tool_fault_gqa(fault, c->path, "gqa_cache_create", &err);
    }
    for (int32_t b = 0; b < c->batch; b++) {
        if (!append_past(session, *cache, b, fault)) {
            return false;
        }
    }
    return true;
}

/* The read layout [Hkv, n, D] of a packed [n, Hkv, D] block. */
static gqa_tensor heads_first(float *data, int64_t n, int64_t heads, int64_t dim)
{
    gqa_tensor tensor = gqa_tensor_3d(data, GQA_F32, heads, n, dim);

    tensor.stride[0] = dim;
    tensor.stride[1] = heads * dim;
    return tensor;
}

/* Token i of the block to its place: the past's row, or the new token's. */
static void scatter(const struct tool_session *session, const struct block *block, int32_t b,
                    int32_t i, struct tool_values *values)
{
    const struct tool_case *c = session->c;
    int64_t k_row = (int64_t)c->hkv * c->dk, v_row = (int64_t)c->hkv * c->dv;
    int32_t past = session->feed.past_count[b];
    bool old = i < past;
    int64_t to = old ? (int64_t)b * c->past + session->feed.past_order[(int64_t)b * c->past + i]
                     : (int64_t)b * c->tokens + session->feed.begin[b] + (i - past);

    memcpy((old ? values->past_k : values->cache_k) + to * k_row, block->k + i * k_row,
           (size_t)k_row * sizeof(float));
    memcpy((old ? values->past_v : values->cache_v) + to * v_row, block->v + i * v_row,
           (size_t)v_row * sizeof(float));
}

static bool collect_sequence(struct tool_session *session, const gqa_cache *cache, int32_t b,
                             struct tool_values *values, struct tool_fault *fault)
{
    const struct tool_case *c = session->c;
    const struct tool_feed *feed = &session->feed;
    int32_t past = feed->past_count[b];
    int32_t n = past + feed->end[b] - feed->begin[b];
    struct block block = {0};
    bool good = false;

    if (gqa_cache_length(cache, b) != n) {
        return tool_fault_set(fault, c->path,
                              "the cache holds %d tokens of sequence %d; %d were "
                              "given",
                              gqa_cache_length(cache, b), b, n);
    }
    if (n == 0) {
        return true;
    }
    if (alloc_block(&block, c, n, fault)) {
        gqa_tensor key = heads_first(block.k, n, c->hkv, c->dk);
        gqa_tensor value = heads_first(block.v, n, c->hkv, c->dv);
        gqa_error err;

        good = gqa_cache_read(cache, b, 0, &key, &value, block.positions, &err) == GQA_OK ||
               tool_fault_gqa(fault, c->path, "gqa_cache_read", &err);
        for (int32_t i = 0; good && i < n; i++) {
            int32_t position =
                i < past
                    ? c->k_pos[(int64_t)b * c->keys + feed->past_order[(int64_t)b * c->past + i]]
                    : c->q_pos[(int64_t)b * c->tokens + feed->begin[b] + i - past];
            if (block.positions[i] != position) {
                good = tool_fault_set(fault, c->path,
                                      "the cache holds position %d for token %d of "
                                      "sequence %d; it was given %d",
                                      block.positions[i], i, b, position);
            }
            scatter(session, &block, b, i, values);
        }
    }
    free_block(&block);
    return good;
}

bool tool_cache_collect(struct tool_session *session, const gqa_cache *cache,
                        struct tool_values *values, struct tool_fault *fault)
{
    for (int32_t b = 0; b < session->c->batch; b++) {
        if (!collect_sequence(session, cache, b, values, fault)) {
            return false;
        }
    }
    return true;
}
