/* SPDX-License-Identifier: Apache-2.0 */
/* paged_check.c - what the paged kernel takes: its asserts, and where the caller's blocks lie. */
#include "neuron/paged.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"

enum {
    Q_TILE = 128,   /* chunked_prefill_config.kernel_q_tile_size */
    KV_TILE = 1024, /* chunked_prefill_config.kernel_kv_tile_size */
    LEAST_DIM = 16,
    MOST_DIM = 128
};

int32_t gqa__paged_block_size(const struct gqa__neuron *call)
{
    return (int32_t)call->in.k_cache.shape[2];
}

int32_t gqa__paged_blocks(const struct gqa__neuron *call)
{
    return call->in.kv_tile / gqa__paged_block_size(call);
}

int64_t gqa__paged_context_blocks(const struct gqa__neuron *call, int32_t request)
{
    const int64_t size = gqa__paged_block_size(call);

    return (call->in.context_lens[request] + size - 1) / size;
}

gqa_neuron_schedule_input gqa__paged_input(const struct gqa__neuron *call)
{
    const gqa_neuron_call *const in = &call->in;

    return (gqa_neuron_schedule_input){.requests = in->requests,
                                       .query_lens = in->query_lens,
                                       .context_lens = in->context_lens,
                                       .q_tile = in->q_tile,
                                       .kv_tile = in->kv_tile,
                                       .block_size = gqa__paged_block_size(call),
                                       .row_order = in->row_order,
                                       .padded_tiles = in->tiles_padded,
                                       .skip_value = in->skip_value};
}

static bool power_of_two(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

/* The asserts of the kernel. The last one, that a load fills 128 partitions with whole pieces of
 * blocks, follows from these. */
static gqa_status check_paged_limits(struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;
    const int32_t blocks = gqa__paged_blocks(call);
    const struct {
        bool holds;
        struct gqa__neuron_limit limit;
    } limits[] = {
        {power_of_two(call->dim) && call->dim >= LEAST_DIM && call->dim <= MOST_DIM,
         {"call.q", "head_dim", call->dim, "16, 32, 64 or 128 (the paged kernel asserts it)"}},
        {power_of_two(call->tokens),
         {"call.q", "the number of rows", call->tokens,
          "a power of two (the paged kernel asserts it)"}},
        {call->tokens % in->q_tile == 0,
         {"call.q", "the number of rows", call->tokens,
          "a multiple of q_tile (the paged kernel asserts it)"}},
        {in->q_tile % GQA__PARTITIONS == 0,
         {"call.q_tile", "it", in->q_tile, "a multiple of 128 (the paged kernel asserts it)"}},
        {in->kv_tile % GQA__PSUM_FREE == 0,
         {"call.kv_tile", "it", in->kv_tile, "a multiple of 512 (the paged kernel asserts it)"}},
        {power_of_two(blocks),
         {"call.kv_tile", "the blocks of a tile", blocks,
          "a power of two (the paged kernel asserts it)"}},
    };

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        const gqa_status status = gqa__neuron_hold(call, limits[i].holds, &limits[i].limit, err);
        if (status != GQA_OK) {
            return status;
        }
    }
    return GQA_OK;
}

static gqa_status check_paged_numbers(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;

    if (in->release == GQA_NEURON_2_29) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.release",
                         "is 2.29, which has no chunked prefill; it must be 2.26 or 2.27");
    }
    if (call->batch != 1) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.q",
                         "shape[0] is %d; it must be 1 (the paged kernel asserts it): requests lie "
                         "one after the other",
                         (int)call->batch);
    }
    if (call->keys != call->tokens) {
        return gqa__fail(err, GQA_ERR_SHAPE, "call.k", "shape[1] is %d; it must be call.q's, %d",
                         (int)call->keys, (int)call->tokens);
    }
    if (gqa__paged_block_size(call) < 1 || in->kv_tile < 1 ||
        in->kv_tile % gqa__paged_block_size(call) != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "call.kv_tile",
                         "is %d; it must be a multiple of the block size, %d", (int)in->kv_tile,
                         (int)gqa__paged_block_size(call));
    }
    if (in->q_tile < 1) {
        return gqa__fail(err, GQA_ERR_ARG, "call.q_tile", "is %d; it must be at least 1",
                         (int)in->q_tile);
    }
    if (in->skip_value < in->k_cache.shape[0]) {
        return gqa__fail(err, GQA_ERR_ARG, "call.skip_value",
                         "is %d; it must be no block of call.k_cache, at least %d",
                         (int)in->skip_value, (int)in->k_cache.shape[0]);
    }
    return GQA_OK;
}

/* A request's context lies in blocks of the cache. */
static gqa_status check_block_table(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;

    for (int32_t r = 0; r < in->requests; r++) {
        const int64_t blocks = gqa__paged_context_blocks(call, r);
        if (blocks > in->block_table_width || (blocks > 0 && in->block_table == NULL)) {
            return gqa__fail(err, GQA_ERR_SHAPE, "call.block_table",
                             "has %d blocks for a request; request %d has a context of %lld",
                             in->block_table == NULL ? 0 : (int)in->block_table_width, (int)r,
                             (long long)blocks);
        }
        for (int64_t b = 0; b < blocks; b++) {
            const int32_t block = in->block_table[(int64_t)r * in->block_table_width + b];
            if (block < 0 || block >= in->k_cache.shape[0]) {
                return gqa__fail(err, GQA_ERR_ARG, "call.block_table",
                                 "[%d, %lld] is %d; it must be 0..%lld", (int)r, (long long)b,
                                 (int)block, (long long)in->k_cache.shape[0] - 1);
            }
        }
    }
    return GQA_OK;
}

/* What GridTileScheduler takes; its fields are those of the call. */
static gqa_status check_schedule(const struct gqa__neuron *call, gqa_error *err)
{
    static const char *const fields[] = {"call.requests", "call.query_lens", "call.context_lens",
                                         "call.q_tile",   "call.kv_tile",    "call.row_order"};
    const gqa_neuron_schedule_input input = gqa__paged_input(call);
    const size_t prefix = strlen("call.");
    const char *field = "call.tiles_padded";
    gqa_neuron_schedule schedule = {0};
    gqa_error found;
    const gqa_status status = gqa__neuron_schedule_size(&input, &schedule, &found);

    if (status == GQA_OK) {
        return GQA_OK;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        field = strcmp(fields[i] + prefix, found.field) == 0 ? fields[i] : field;
    }
    return gqa__fail(err, status, field, "%s", found.message + strlen(found.field) + 2);
}

static int64_t valid_rows(const struct gqa__neuron *call)
{
    int64_t rows = 0;

    for (int32_t r = 0; r < call->in.requests; r++) {
        rows += call->in.query_lens[r];
    }
    return rows;
}

static void warn_of_paged(struct gqa__neuron *call)
{
    if (gqa__present(&call->in.sinks)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_SINKS_DROPPED, "call.sinks",
                         "paged_schedule drops learned sinks");
    }
    if (valid_rows(call) < call->tokens) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_PADDING_ROWS, "call.query_lens",
                         "paged_schedule leaves averages in the rows behind the last request");
    }
    if (call->io == GQA_F32) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_OUT_ROUNDED, "output.out",
                         "paged_schedule rounds operands and result to bf16, for f32 I/O too");
    }
}

void gqa__paged_defaults(struct gqa__neuron *call)
{
    gqa_neuron_call *const in = &call->in;

    in->release = in->release == GQA_NEURON_NEWEST ? GQA_NEURON_2_27 : in->release;
    in->q_tile = in->q_tile == 0 ? Q_TILE : in->q_tile;
    in->kv_tile = in->kv_tile == 0 ? KV_TILE : in->kv_tile;
    if (in->skip_value == 0) { /* pa_num_blocks * 1000 */
        in->skip_value = (int32_t)gqa__min(in->k_cache.shape[0] * 1000, INT32_MAX);
    }
    if (in->scale == 0.0f) {
        in->scale = (float)(1.0 / sqrt((double)call->dim));
    }
}

gqa_status gqa__paged_check(struct gqa__neuron *call, gqa_error *err)
{
    gqa_status status;

    gqa__paged_defaults(call);
    status = check_paged_numbers(call, err);
    if (status == GQA_OK) {
        status = check_paged_limits(call, err);
    }
    if (status == GQA_OK) {
        status = check_schedule(call, err);
    }
    if (status == GQA_OK && valid_rows(call) > call->tokens) {
        status = gqa__fail(err, GQA_ERR_SHAPE, "call.query_lens", "make %lld rows; call.q has %d",
                           (long long)valid_rows(call), (int)call->tokens);
    }
    if (status == GQA_OK) {
        status = check_block_table(call, err);
    }
    if (status == GQA_OK) {
        warn_of_paged(call);
    }
    return status;
}
