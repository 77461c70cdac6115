/* SPDX-License-Identifier: Apache-2.0 */
/* paged_batch.c - see paged_batch.h.
 *
 * Rows lie request after request, without the padding of the call, and zeros up to the bucket: a
 * power of two, as the kernel asserts, at least one tile. No bit of a row depends on how many there
 * are. The blocks of a context are the pages of its sequence, copied in the I/O type; which numbers
 * they have changes no bit either, but their size does: it decides about tiles and the order of
 * keys. */
#include "neuron/paged_batch.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "neuron/cache_maps.h"
#include "neuron/entry_rules.h"
#include "neuron/entry_values.h"
#include "neuron/paged.h"
#include "neuron/stages.h"
#include "parallel/tasks.h"

static const struct gqa__neuron_choice paged_choice = {GQA_NEURON_STRATEGY_NONE,
                                                       GQA_NEURON_PAGED_SCHEDULE};

/* Rows of the kernel's call: the next power of two from a tile of 128 on. */
static int64_t bucket_of(int64_t rows)
{
    int64_t bucket = GQA__PARTITIONS;

    while (bucket < rows) {
        bucket *= 2;
    }
    return bucket;
}

/* --- memory ------------------------------------------------------------------------------------
 */

/* Scratch for so many rows and blocks: most of it where all of them are one request's, for then all
 * tiles are computed. */
static size_t batch_bytes(const struct gqa__params *params, const gqa_runtime *runtime,
                          int64_t rows, const int64_t cache[4])
{
    const struct gqa__shape *const shape = &params->shape;
    const int64_t context = cache[0] * cache[2];
    const int32_t query_len = (int32_t)rows, context_len = (int32_t)context;
    struct gqa__neuron call = {.path = &gqa__neuron_paged_schedule,
                               .batch = 1,
                               .tokens = (int32_t)rows,
                               .keys = (int32_t)rows,
                               .hq = shape->hq,
                               .hkv = shape->hkv,
                               .group = shape->group,
                               .dim = shape->dk,
                               .io = gqa__neuron_io(params),
                               .slots = gqa__thread_count(runtime)};

    if (rows > INT32_MAX / 2 || context > INT32_MAX / 2) {
        return SIZE_MAX;
    }
    call.in.requests = 1;
    call.in.query_lens = &query_len;
    call.in.context_lens = &context_len;
    call.in.k_cache = gqa_tensor_4d(NULL, call.io, cache[0], cache[1], cache[2], cache[3]);
    gqa__paged_defaults(&call);
    return gqa__neuron_bytes(&call);
}

void gqa__neuron_batch_carve(struct gqa__neuron_attention *attention, struct gqa__arena *arena,
                             const struct gqa__params *params,
                             const struct gqa__neuron_limits *limits)
{
    const struct gqa__shape *const shape = &params->shape;
    const size_t io = gqa__dtype_size(gqa__neuron_io(params));
    const int64_t rows = bucket_of(limits->rows);
    const int64_t queries = rows * shape->hq * shape->dk, keys = rows * shape->hkv * shape->dk;
    const int64_t width = gqa__max(1, gqa__neuron_blocks_of(limits->keys, limits->page_size));
    const int64_t cache[4] = {gqa__max(1, limits->batch) * width, shape->hkv, limits->page_size,
                              shape->dk};
    struct gqa__neuron_batch *const batch = &attention->batch;
    const size_t scratch = batch_bytes(params, limits->runtime, rows, cache);
    const int64_t cached = scratch > INT64_MAX ? 0 : cache[0] * cache[1] * cache[2] * cache[3];

    attention->q = gqa__arena_take(arena, queries, io);
    attention->out = gqa__arena_take(arena, queries, io);
    attention->k = gqa__arena_take(arena, keys, io);
    attention->v = gqa__arena_take(arena, keys, io);
    attention->row = gqa__arena_take(arena, shape->dk, sizeof(float));
    batch->block_size = limits->page_size;
    batch->width = (int32_t)width;
    batch->query_lens = gqa__arena_take(arena, limits->batch, sizeof(int32_t));
    batch->context_lens = gqa__arena_take(arena, limits->batch, sizeof(int32_t));
    batch->block_table = gqa__arena_take(arena, cache[0], sizeof(int32_t));
    batch->k_cache = gqa__arena_take(arena, cached, io);
    batch->v_cache = gqa__arena_take(arena, cached, io);
    arena->failed = arena->failed || scratch > INT64_MAX;
    attention->workspace_size = scratch;
    attention->workspace = gqa__arena_take(arena, scratch > INT64_MAX ? 0 : (int64_t)scratch, 1);
}

/* --- requests ----------------------------------------------------------------------------------
 */

void gqa__neuron_batch_open(struct gqa__neuron_attention *attention,
                            const struct gqa__params *params)
{
    struct gqa__neuron_batch *const batch = &attention->batch;

    batch->requests = batch->rows = batch->blocks = 0;
    batch->whole = (struct gqa__neuron_entry){.params = params, .consecutive = true};
}

gqa_status gqa__neuron_batch_add(struct gqa__neuron_attention *attention,
                                 const struct gqa__neuron_entry *entry, gqa_error *err)
{
    struct gqa__neuron_batch *const batch = &attention->batch;
    struct gqa__neuron_entry *const whole = &batch->whole;
    const gqa_status status = gqa__neuron_entry_refuse(entry, &paged_choice, err);
    int32_t *table;

    if (status != GQA_OK) {
        return status;
    }
    if (batch->requests > 0 && entry->tkg != whole->tkg && gqa__stage_two_phases(entry->params)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "inputs.phase",
                         "is AUTO; paged_schedule takes all tokens of a call together, by one set "
                         "of projections, but some entries have a past and some have none");
    }
    table = batch->block_table + (int64_t)batch->requests * batch->width;
    for (int64_t b = 0; b < gqa__neuron_blocks_of(entry->past, batch->block_size); b++) {
        table[b] = batch->blocks++;
    }
    batch->query_lens[batch->requests] = entry->n;
    batch->context_lens[batch->requests++] = entry->past;
    batch->rows += entry->n;
    whole->tokens = whole->n = batch->rows;
    whole->tkg = entry->tkg;
    whole->sinks = whole->sinks || entry->sinks;
    whole->mask = whole->mask || entry->mask;
    whole->active_mask = whole->active_mask || entry->active_mask;
    return GQA_OK;
}

/* --- the call of the kernel --------------------------------------------------------------------
 */

static gqa_status make_batch_call(const struct gqa__neuron_attention *attention, const float *sinks,
                                  struct gqa__neuron *call, gqa_error *err)
{
    const struct gqa__neuron_batch *const batch = &attention->batch;
    const struct gqa__params *const params = batch->whole.params;
    const struct gqa__shape *const shape = &params->shape;
    const gqa_dtype io = gqa__neuron_io(params);
    const int64_t rows = bucket_of(batch->rows);
    const int64_t queries[3] = {rows, shape->hq, shape->dk},
                  keys[3] = {rows, shape->hkv, shape->dk};
    const int64_t blocks = gqa__max(1, batch->blocks);
    gqa_neuron_call in;
    gqa_neuron_output out;
    gqa_status status;

    gqa_neuron_call_init(&in);
    gqa_neuron_output_init(&out);
    in.profile = GQA_NEURON_PAGED_SCHEDULE;
    in.release = params->config.neuron_release;
    in.accumulation = params->config.neuron_accumulation;
    in.divisor = params->config.neuron_divisor;
    in.lift_limits = params->config.neuron_lift_limits;
    in.q = gqa__neuron_heads_at(attention->q, io, 0, queries);
    in.k = gqa__neuron_heads_at(attention->k, io, 0, keys);
    in.v = gqa__neuron_heads_at(attention->v, io, 0, keys);
    in.k_cache =
        gqa_tensor_4d(batch->k_cache, io, blocks, shape->hkv, batch->block_size, shape->dk);
    in.v_cache = in.k_cache;
    in.v_cache.data = batch->v_cache;
    if (sinks != NULL) {
        in.sinks = gqa_tensor_1d(sinks, GQA_F32, shape->hq);
    }
    in.requests = batch->requests;
    in.query_lens = batch->query_lens;
    in.context_lens = batch->context_lens;
    in.block_table = batch->block_table;
    in.block_table_width = batch->width;
    out.out = gqa__neuron_heads_at(attention->out, io, 0, queries);
    status = gqa__neuron_check(call, &in, &out, 0, err);
    if (status == GQA_OK) {
        call->runtime = attention->runtime;
        call->slots = gqa__thread_count(&attention->runtime);
        status = gqa__neuron_entry_limits(call, &batch->whole, &paged_choice, err);
    }
    return status;
}

gqa_status gqa__neuron_batch_check(const struct gqa__neuron_attention *attention, gqa_error *err)
{
    struct gqa__neuron call;
    gqa_status status = GQA_OK;

    if (attention->batch.requests > 0) {
        status = make_batch_call(attention, NULL, &call, err);
        assert(status != GQA_OK || gqa__neuron_bytes(&call) <= attention->workspace_size);
    }
    return status;
}

/* --- a run -------------------------------------------------------------------------------------
 */

static void load_context(const struct gqa__neuron_attention *attention,
                         const struct gqa__segment *segment, int32_t request)
{
    const struct gqa__neuron_batch *const batch = &attention->batch;
    const struct gqa__shape *const shape = &batch->whole.params->shape;
    const gqa_dtype io = gqa__neuron_io(batch->whole.params);
    const int32_t *const table = batch->block_table + (int64_t)request * batch->width;
    const int64_t head = (int64_t)batch->block_size * shape->dk, block = shape->hkv * head;
    const size_t bytes = (size_t)block * gqa__dtype_size(io);
    const int32_t past = batch->context_lens[request];

    if (past % batch->block_size != 0) { /* the last block is not full */
        const int32_t last = table[past / batch->block_size];
        memset((unsigned char *)batch->k_cache + (size_t)last * bytes, 0, bytes);
        memset((unsigned char *)batch->v_cache + (size_t)last * bytes, 0, bytes);
    }
    for (int32_t j = 0; j < past; j++) {
        const int64_t at =
            table[j / batch->block_size] * block + (int64_t)(j % batch->block_size) * shape->dk;
        for (int32_t h = 0; h < shape->hkv; h++) {
            const struct gqa__neuron_key key = {&segment->view, h, j, io, attention->row};
            gqa__neuron_load_key(&key, batch->k_cache, batch->v_cache, at + h * head);
        }
    }
}

void gqa__neuron_batch_load(const struct gqa__neuron_attention *attention,
                            const struct gqa__segment *segment)
{
    const struct gqa__neuron_batch *const batch = &attention->batch;
    const struct gqa__shape *const shape = &batch->whole.params->shape;
    const gqa_dtype io = gqa__neuron_io(batch->whole.params);
    const int32_t request = batch->requests - 1, past = batch->context_lens[request];
    const int64_t queries = (int64_t)shape->hq * shape->dk, keys = (int64_t)shape->hkv * shape->dk;
    const int64_t first = batch->rows - segment->n;

    load_context(attention, segment, request);
    for (int32_t t = 0; t < segment->n; t++) {
        gqa__neuron_to_io(io, (const float *)segment->q + t * segment->q_stride, queries,
                          attention->q, (first + t) * queries);
        for (int32_t h = 0; h < shape->hkv; h++) {
            const struct gqa__neuron_key key = {&segment->view, h, past + t, io, attention->row};
            gqa__neuron_load_key(&key, attention->k, attention->v,
                                 (first + t) * keys + (int64_t)h * shape->dk);
        }
    }
}

/* Zeros behind the last request, and a block of them where no request has a context. */
static void clear_rest(const struct gqa__neuron_attention *attention)
{
    const struct gqa__neuron_batch *const batch = &attention->batch;
    const struct gqa__shape *const shape = &batch->whole.params->shape;
    const size_t io = gqa__dtype_size(gqa__neuron_io(batch->whole.params));
    const size_t queries = (size_t)shape->hq * (size_t)shape->dk * io;
    const size_t keys = (size_t)shape->hkv * (size_t)shape->dk * io;
    const size_t rows = (size_t)batch->rows;
    const size_t rest = (size_t)bucket_of(batch->rows) - rows;

    memset((unsigned char *)attention->q + rows * queries, 0, rest * queries);
    memset((unsigned char *)attention->k + rows * keys, 0, rest * keys);
    memset((unsigned char *)attention->v + rows * keys, 0, rest * keys);
    if (batch->blocks == 0) {
        memset(batch->k_cache, 0, (size_t)batch->block_size * keys);
        memset(batch->v_cache, 0, (size_t)batch->block_size * keys);
    }
}

/* Padding rows have averages, but nobody is given them. */
static void forget_padding(gqa_neuron_output *out)
{
    int32_t kept = 0;

    for (int32_t i = 0; i < out->warning_count; i++) {
        if (out->warnings[i].code != GQA_NEURON_WARN_PADDING_ROWS) {
            out->warnings[kept++] = out->warnings[i];
        }
    }
    out->warning_count = kept;
}

void gqa__neuron_batch_run(struct gqa__neuron_attention *attention, const float *sinks)
{
    struct gqa__neuron call;
    gqa_status status = GQA_OK;

    if (attention->batch.requests == 0) {
        return;
    }
    clear_rest(attention);
    status = make_batch_call(attention, sinks, &call, NULL);
    assert(status == GQA_OK);
    if (status == GQA_OK) {
        gqa__neuron_run(&call, attention->workspace, attention->workspace_size);
        forget_padding(&call.out);
        gqa__neuron_add_report(&attention->report, &call.out);
    }
}

void gqa__neuron_batch_give(const struct gqa__neuron_attention *attention, int32_t row,
                            const struct gqa__segment *segment)
{
    gqa__neuron_widen(attention->batch.whole.params, attention->out, row, segment);
}
