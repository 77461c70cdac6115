/* SPDX-License-Identifier: Apache-2.0 */
/* neuron.c - see neuron.h. */
#include "layer/neuron.h"

#include "base/error.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "neuron/paged_batch.h"
#include "neuron/stages.h"

/* --- what a call may not have ------------------------------------------------------------------
 */

struct call_part {
    bool given;
    const char *field, *what;
};

static gqa_status refuse_parts(const struct gqa__call *call, gqa_error *err)
{
    const gqa_tensor *const mask = &call->in.mask;
    const struct call_part parts[] = {
        {gqa__present(&call->in.bias), "inputs.bias", "adds nothing to scores"},
        {gqa__present(mask) && mask->shape[1] > 1, "inputs.mask", "has one mask for all heads"},
        {gqa__present(&call->out.lse), "output.lse", "returns none"},
        {call->out.health != NULL, "output.health", "has no such report"},
        {gqa__present(&call->attend.states.m), "output.states", "returns none"},
        {gqa__present(&call->attend.prior.m), "inputs.prior", "merges none"},
        {call->in_blocks, "inputs.blocks", "reads plain keys or a cache"},
        {call->attend.range_begin != 0, "inputs.range_begin", "takes all keys"},
        {call->attend.range_end != 0, "inputs.range_end", "takes all keys"},
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].given) {
            return gqa__fail(err, GQA_ERR_UNSUPPORTED, parts[i].field,
                             "is given; Neuron's attention %s", parts[i].what);
        }
    }
    return GQA_OK;
}

/* K and V have been rounded to the I/O type: the cache keeps them as they are, or rounds again. */
static gqa_status check_cache(const struct gqa__call *call, gqa_error *err)
{
    const gqa_dtype io = gqa__neuron_io(call->params);
    const struct gqa_cache *const cache = call->cache;

    if (cache == NULL || (cache->layout.dtype_k == GQA_F32 && cache->layout.dtype_v == GQA_F32) ||
        (cache->layout.dtype_k == io && cache->layout.dtype_v == io)) {
        return GQA_OK;
    }
    return gqa__fail(err, GQA_ERR_UNSUPPORTED, "cache",
                     "holds dtypes %d and %d; backend neuron keeps K and V in its I/O type, %d, or "
                     "in GQA_F32",
                     (int)cache->layout.dtype_k, (int)cache->layout.dtype_v, (int)io);
}

gqa_status gqa__neuron_call_check(const struct gqa__call *call, gqa_error *err)
{
    gqa_neuron_report report;
    gqa_status status = GQA_OK;

    if (call->out.neuron != NULL && call->address == 0) {
        status = gqa__import(&report, sizeof report, call->out.neuron, "output.neuron", err);
    }
    if (status != GQA_OK) {
        return status;
    }
    if (call->params->backend != GQA_BACKEND_NEURON) {
        return call->out.neuron == NULL
                   ? GQA_OK
                   : gqa__fail(err, GQA_ERR_ARG, "output.neuron",
                               "is given; config.backend is not GQA_BACKEND_NEURON");
    }
    status = refuse_parts(call, err);
    return status == GQA_OK ? check_cache(call, err) : status;
}

/* --- entries -----------------------------------------------------------------------------------
 */

/* Does each position stand one above that before it, from the first key to the last query? Which
 * is in *origin the first. */
static bool is_consecutive(const struct gqa__call *call, int32_t b, int32_t *origin)
{
    const struct gqa__batch_entry *const entry = &call->entries[b];
    struct gqa__kv_view view = {0};
    int64_t next = 0;
    int32_t keys = entry->past;

    *origin = gqa__call_position(call, b, entry->first_valid);
    if (!call->append) {
        view = call->views[b];
    } else if (call->cache != NULL) {
        gqa__view_cache(&view, call->cache, entry->sequence);
    }
    for (int32_t j = 0; j < keys; j++, next++) {
        const int32_t position = gqa__view_position(&view, j);
        if (j > 0 && position != next) {
            return false;
        }
        *origin = j > 0 ? *origin : position;
        next = position;
    }
    for (int32_t t = 0; t < entry->n; t++, next++) {
        const int32_t position = gqa__call_position(call, b, entry->first_valid + t);
        const bool own = call->append || gqa__view_position(&view, keys + t) == position;
        if ((keys + t > 0 && position != next) || !own) {
            return false;
        }
        next = position;
    }
    return true;
}

static struct gqa__neuron_entry neuron_entry_of(const struct gqa__call *call, int32_t b)
{
    const struct gqa__batch_entry *const from = &call->entries[b];
    int32_t origin = 0;
    const bool consecutive = from->past >= 0 && is_consecutive(call, b, &origin);
    const struct gqa__neuron_entry entry = {
        .params = call->params,
        .tokens = from->tokens,
        .first_valid = from->first_valid,
        .n = from->n,
        .past = from->past,
        .tkg = from->tkg,
        .sinks = !call->attend.leave_out_sinks && gqa__stage_sinks(call->params, from->tkg) != NULL,
        .mask = gqa__present(&call->in.mask),
        .active_mask = gqa__present(&call->in.active_mask),
        .bounds = call->in.key_begin != NULL,
        .consecutive = consecutive,
        .from_zero = origin == 0};

    return entry;
}

/* Tokens of a block of the paged kernel: a page, or this many where keys lie in plain tensors. */
enum { PLAIN_BLOCK = 32 };

struct gqa__neuron_limits gqa__neuron_limits_of(const struct gqa__call *call)
{
    const int64_t rows = (int64_t)call->outer * call->tokens;
    const struct gqa__neuron_limits limits = {
        .tokens = call->tokens,
        .keys = call->keys,
        .batch = call->batch,
        .rows = (int32_t)gqa__min(rows, INT32_MAX),
        .page_size = call->cache != NULL ? call->cache->layout.page_size : PLAIN_BLOCK,
        .runtime = call->runtime};

    return limits;
}

static bool takes_batch(const struct gqa__call *call)
{
    return call->params->config.neuron_profile == GQA_NEURON_PAGED_SCHEDULE;
}

static gqa_status check_entry(struct gqa__spine *spine, const struct gqa__neuron_entry *entry,
                              struct gqa__neuron_choice *choice, gqa_error *err)
{
    if (takes_batch(spine->call)) {
        choice->profile = GQA_NEURON_PAGED_SCHEDULE;
        return gqa__neuron_batch_add(spine->neuron, entry, err);
    }
    return gqa__neuron_entry_check(spine->neuron, entry, choice, err);
}

gqa_status gqa__neuron_spine_check(struct gqa__spine *spine, gqa_error *err)
{
    const struct gqa__call *const call = spine->call;
    gqa_status status = GQA_OK;
    bool any = false;

    gqa__neuron_batch_open(spine->neuron, call->params);
    for (int32_t b = 0; b < call->batch && status == GQA_OK; b++) {
        if (call->entries[b].sequence >= 0 && call->entries[b].n > 0) {
            const struct gqa__neuron_entry entry = neuron_entry_of(call, b);
            struct gqa__neuron_choice choice = {GQA_NEURON_STRATEGY_NONE, GQA_NEURON_NO_PROFILE};
            status = check_entry(spine, &entry, &choice, err);
            spine->choice = any ? spine->choice : choice;
            any = true;
        }
    }
    return status == GQA_OK && takes_batch(call) ? gqa__neuron_batch_check(spine->neuron, err)
                                                 : status;
}

/* All runs are the requests of one call. What could be refused of them has been. */
static void attend_batch(struct gqa__spine *spine, int32_t runs)
{
    gqa__neuron_batch_open(spine->neuron, spine->call->params);
    for (int32_t i = 0; i < runs; i++) {
        const struct gqa__neuron_entry entry = neuron_entry_of(spine->call, spine->runs[i].b);
        (void)gqa__neuron_batch_add(spine->neuron, &entry, NULL);
        gqa__neuron_batch_load(spine->neuron, &spine->segments[i]);
    }
    gqa__neuron_batch_run(spine->neuron, spine->segments[0].sinks);
    for (int32_t i = 0; i < runs; i++) {
        gqa__neuron_batch_give(spine->neuron, spine->runs[i].at, &spine->segments[i]);
    }
}

void gqa__neuron_spine_attend(struct gqa__spine *spine, int32_t runs)
{
    if (takes_batch(spine->call)) {
        attend_batch(spine, runs);
        return;
    }
    for (int32_t i = 0; i < runs; i++) {
        const struct gqa__neuron_entry entry = neuron_entry_of(spine->call, spine->runs[i].b);
        gqa__neuron_entry_run(spine->neuron, &entry, &spine->segments[i]);
    }
}
