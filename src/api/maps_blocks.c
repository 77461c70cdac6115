/* SPDX-License-Identifier: Apache-2.0 */
/* maps_blocks.c - slots and blocks of paged caches: arguments checked, arrays filled. */
#include <string.h>

#include "api/maps_check.h"
#include "base/error.h"
#include "base/memory.h"
#include "neuron/cache_maps.h"

static void check_table(struct gqa__maps_check *check, const gqa_neuron_block_table *blocks)
{
    gqa__maps_pointer(check, "blocks", blocks);
    if (check->status != GQA_OK) {
        return;
    }
    gqa__maps_number(check, "blocks.requests", blocks->requests, 1, INT32_MAX);
    gqa__maps_number(check, "blocks.width", blocks->width, 1, INT32_MAX);
    gqa__maps_number(check, "blocks.block_size", blocks->block_size, 1, INT32_MAX);
    gqa__maps_pointer(check, "blocks.table", blocks->table);
}

/* The contexts' blocks are in the table; *total: how many. */
static void check_contexts(struct gqa__maps_check *check, const gqa_neuron_block_table *blocks,
                           const int32_t *context_lens, int64_t *total)
{
    gqa__maps_list(check, "context_lens", context_lens, blocks->requests, 0);
    *total = 0;
    for (int32_t r = 0; r < blocks->requests && check->status == GQA_OK; r++) {
        const int64_t n = gqa__neuron_blocks_of(context_lens[r], blocks->block_size);
        if (n > blocks->width) {
            check->status =
                gqa__fail(check->err, GQA_ERR_ARG, "context_lens",
                          "[%d] is %d; a row of the table has %d blocks of %d", (int)r,
                          (int)context_lens[r], (int)blocks->width, (int)blocks->block_size);
        }
        *total += n;
    }
    gqa__maps_number(check, "context_lens", *total, 0, INT32_MAX);
}

gqa_status gqa_neuron_active_blocks(const gqa_neuron_block_table *blocks,
                                    const int32_t *context_lens, int32_t *active, int32_t room,
                                    int32_t *count, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};
    int64_t total;

    check_table(&check, blocks);
    gqa__maps_pointer(&check, "count", count);
    if (check.status != GQA_OK) {
        return check.status;
    }
    check_contexts(&check, blocks, context_lens, &total);
    if (check.status != GQA_OK) {
        return check.status;
    }
    *count = (int32_t)total;
    if (active == NULL) {
        return GQA_OK;
    }
    if (room < total) {
        return gqa__fail(err, GQA_ERR_SHAPE, "room", "is %d; the contexts fill %lld blocks",
                         (int)room, (long long)total);
    }
    for (int32_t r = 0; r < blocks->requests; r++) {
        const int64_t n = gqa__neuron_blocks_of(context_lens[r], blocks->block_size);
        if (n > 0) {
            memcpy(active, blocks->table + (int64_t)r * blocks->width, (size_t)n * sizeof *active);
        }
        active += n;
    }
    return GQA_OK;
}

/* An active request's tokens lie in blocks of the table, and their slots are numbers. */
static void check_request(struct gqa__maps_check *check, const gqa_neuron_block_table *blocks,
                          int32_t request, int32_t position, int32_t tokens)
{
    const int64_t room = gqa__min((int64_t)blocks->width * blocks->block_size, INT32_MAX);

    if (check->status == GQA_OK && (position < 0 || (int64_t)position + tokens > room)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "positions",
                                  "[%d] is %d with %d tokens; its blocks have room for %lld",
                                  (int)request, (int)position, (int)tokens, (long long)room);
    }
    for (int32_t t = 0; t < tokens && check->status == GQA_OK; t++) {
        const int64_t slot = gqa__neuron_slot(blocks, request, position + t);
        if (slot < 0 || slot > INT32_MAX) {
            check->status =
                gqa__fail(check->err, GQA_ERR_ARG, "blocks.table",
                          "puts position %d of request %d into slot %lld; it must be "
                          "0..%d",
                          (int)(position + t), (int)request, (long long)slot, (int)INT32_MAX);
        }
    }
}

gqa_status gqa_neuron_token_slots(const gqa_neuron_block_table *blocks, int32_t tokens,
                                  const int32_t *positions, const int32_t *given, int32_t *slots,
                                  gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    check_table(&check, blocks);
    gqa__maps_number(&check, "tokens", tokens, 1, INT32_MAX);
    gqa__maps_pointer(&check, "positions", positions);
    gqa__maps_pointer(&check, "given", given);
    gqa__maps_pointer(&check, "slots", slots);
    for (int32_t r = 0; check.status == GQA_OK && r < blocks->requests; r++) {
        if (!gqa__neuron_inactive(given + (int64_t)r * tokens, tokens)) {
            check_request(&check, blocks, r, positions[r], tokens);
        }
    }
    for (int32_t r = 0; check.status == GQA_OK && r < blocks->requests; r++) {
        const int64_t row = (int64_t)r * tokens;
        const bool inactive = gqa__neuron_inactive(given + row, tokens);
        for (int32_t t = 0; t < tokens; t++) {
            slots[row + t] = inactive ? -1 : (int32_t)gqa__neuron_slot(blocks, r, positions[r] + t);
        }
    }
    return check.status;
}

gqa_status gqa_neuron_write_slots(gqa_neuron_paged_layout layout, int32_t blocks,
                                  int32_t block_size, const int32_t *slots, int32_t *written,
                                  int32_t count, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_number(&check, "layout", (int32_t)layout, 0, 1);
    gqa__maps_number(&check, "blocks", blocks, 1, INT32_MAX);
    gqa__maps_number(&check, "block_size", block_size, 1, INT32_MAX);
    gqa__maps_number(&check, "blocks", (int64_t)blocks * block_size, 1, INT32_MAX);
    gqa__maps_number(&check, "count", count, 1, INT32_MAX);
    gqa__maps_pointer(&check, "slots", slots);
    gqa__maps_pointer(&check, "written", written);
    for (int32_t i = 0; i < count && check.status == GQA_OK; i++) {
        if (slots[i] >= blocks * block_size) {
            check.status = gqa__fail(err, GQA_ERR_ARG, "slots", "[%d] is %d; there are %d slots",
                                     (int)i, (int)slots[i], (int)(blocks * block_size));
        }
    }
    for (int32_t i = 0; i < count && check.status == GQA_OK; i++) {
        const int32_t lost = blocks * block_size - (layout == GQA_NEURON_CHUNKED_PREFILL);
        written[i] = slots[i] < 0 ? lost : slots[i];
    }
    return check.status;
}

static void check_diagonal(struct gqa__maps_check *check, const gqa_neuron_block_diagonal *in)
{
    int64_t queries = 0;
    int64_t keys = 0;

    gqa__maps_number(check, "requests", in->requests, 1, INT32_MAX);
    gqa__maps_number(check, "queries", in->queries, 1, INT32_MAX);
    gqa__maps_number(check, "keys", in->keys, 1, INT32_MAX);
    gqa__maps_flag(check, "is_prior", in->is_prior);
    gqa__maps_list(check, "query_lens", in->query_lens, in->requests, 0);
    gqa__maps_list(check, "key_lens", in->key_lens, in->requests, 0);
    for (int32_t r = 0; r < in->requests && check->status == GQA_OK; r++) {
        if (in->key_lens[r] < in->query_lens[r]) {
            check->status = gqa__fail(check->err, GQA_ERR_ARG, "key_lens",
                                      "[%d] is %d; it must be at least query_lens[%d] %d", (int)r,
                                      (int)in->key_lens[r], (int)r, (int)in->query_lens[r]);
        }
        queries += in->query_lens[r];
        keys += in->key_lens[r];
    }
    gqa__maps_number(check, "queries", in->queries, queries, INT32_MAX);
    gqa__maps_number(check, "keys", in->keys, keys, INT32_MAX);
}

gqa_status gqa_neuron_block_diagonal_mask(const gqa_neuron_block_diagonal *input, uint8_t *mask,
                                          gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_pointer(&check, "input", input);
    gqa__maps_pointer(&check, "mask", mask);
    if (check.status == GQA_OK) {
        check_diagonal(&check, input);
    }
    if (check.status == GQA_OK) {
        gqa__neuron_block_diagonal(input, mask);
    }
    return check.status;
}
