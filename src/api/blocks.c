/* SPDX-License-Identifier: Apache-2.0 */
/* blocks.c - see blocks.h. */
#include "api/blocks.h"

#include "api/positions.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/import.h"
#include "base/storage.h"

void gqa_block_kv_init_sized(gqa_block_kv *blocks, size_t size)
{
    gqa__init_struct(blocks, size);
}

/* --- what does not depend on the entries -------------------------------------------------------
 */

static const char *scaled_name(gqa_dtype dtype)
{
    return dtype == GQA_I4 ? "GQA_I4" : dtype == GQA_E4M3 ? "GQA_E4M3" : "GQA_E4M3_240";
}

/* Where a call writes each element lies by itself. */
static void check_written(struct gqa__call_check *check, const gqa_tensor *t, const char *field)
{
    for (int i = 0; i < t->rank && check->status == GQA_OK && check->call->append; i++) {
        if (t->stride[i] == 0 && t->shape[i] > 1) {
            check->status = gqa__fail(check->err, GQA_ERR_SHAPE, field,
                                      "stride[%d] is 0; the call writes there", i);
        }
    }
}

/* [blocks, Hkv, block_size, dim]; holds: keys, or values */
static void check_block_tensor(struct gqa__call_check *check, gqa_tensor *t, const char *field,
                               const char *holds, const int64_t shape[4])
{
    struct gqa__call *const call = check->call;
    const struct gqa__form form = {.field = field,
                                   .formats =
                                       GQA__FLOATS | GQA__INT8 | GQA__ANY_STRIDES | call->address,
                                   .rank = 4,
                                   .shape = shape};

    if (check->status != GQA_OK) {
        return;
    }
    if (!gqa__present(t)) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "is required: it holds the %s", holds);
        return;
    }
    if (gqa__scaled(t->dtype) && t->dtype != GQA_I8) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, field,
                                  "is %s; blocks are GQA_F32, GQA_BF16, GQA_F16 or GQA_I8",
                                  scaled_name(t->dtype));
        return;
    }
    check->status = gqa__tensor_fit(t, &form, t, check->err);
    check_written(check, t, field);
}

/* Scales of a tensor of blocks that is of this type: [blocks, Hkv, block_size]. */
static void check_scales(struct gqa__call_check *check, gqa_tensor *t, const char *field,
                         const gqa_tensor *of, const char *of_field)
{
    const struct gqa__form form = {.field = field,
                                   .formats =
                                       GQA__ONLY_F32 | GQA__ANY_STRIDES | check->call->address,
                                   .rank = 3,
                                   .shape = of->shape};

    if (check->status != GQA_OK || (of->dtype != GQA_I8 && !gqa__present(t))) {
        return;
    }
    if (of->dtype != GQA_I8) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "must be absent: %s is not GQA_I8", of_field);
        return;
    }
    if (!gqa__present(t)) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "is required: %s is GQA_I8", of_field);
        return;
    }
    check->status = gqa__tensor_fit(t, &form, t, check->err);
    check_written(check, t, field);
}

static void check_block_sizes(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    const gqa_block_kv *const blocks = &call->blocks;
    const int64_t size = blocks->key.shape[2];
    const int64_t most = INT32_MAX - GQA__FOLD_BLOCK;

    if (check->status != GQA_OK) {
        return;
    }
    if (size < 16 || size % 16 != 0 || size > most) {
        check->status =
            gqa__fail(check->err, GQA_ERR_SHAPE, "inputs.blocks.key",
                      "has blocks of %lld keys; it must be a multiple of 16, at most %lld",
                      (long long)size, (long long)(most - most % 16));
    } else if (blocks->key.shape[0] > INT32_MAX) {
        check->status = gqa__fail(check->err, GQA_ERR_SHAPE, "inputs.blocks.key",
                                  "has %lld blocks; the limit is %d",
                                  (long long)blocks->key.shape[0], INT32_MAX);
    } else if (blocks->max_blocks < 0 || blocks->max_blocks > most / size) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.blocks.max_blocks",
                                  "is %d; with blocks of %lld keys it must be 0..%lld",
                                  blocks->max_blocks, (long long)size, (long long)(most / size));
    } else if (blocks->lengths == NULL && call->batch > 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.blocks.lengths", "is NULL");
    } else if (blocks->block_table == NULL && blocks->max_blocks > 0 && call->batch > 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.blocks.block_table", "is NULL");
    } else if (blocks->slot_mapping != NULL && !call->append) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.blocks.slot_mapping",
                                  "must be NULL: the call appends no keys");
    }
}

void gqa__blocks_check(struct gqa__call_check *check, const gqa_block_kv *given)
{
    struct gqa__call *const call = check->call;
    const struct gqa__shape *const shape = &call->params->shape;
    gqa_block_kv *const blocks = &call->blocks;

    if (check->status != GQA_OK || given == NULL) {
        return;
    }
    check->status = gqa__import(blocks, sizeof *blocks, given, "inputs.blocks", check->err);
    if (check->status == GQA_OK && call->cache != NULL) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.blocks",
                                  "must be NULL: the keys come from the cache");
    }
    check_block_tensor(check, &blocks->key, "inputs.blocks.key", "keys",
                       (const int64_t[4]){-1, shape->hkv, -1, shape->dk});
    check_block_tensor(
        check, &blocks->value, "inputs.blocks.value", "values",
        (const int64_t[4]){blocks->key.shape[0], shape->hkv, blocks->key.shape[2], shape->dv});
    check_scales(check, &blocks->key_scale, "inputs.blocks.key_scale", &blocks->key,
                 "inputs.blocks.key");
    check_scales(check, &blocks->value_scale, "inputs.blocks.value_scale", &blocks->value,
                 "inputs.blocks.value");
    check_block_sizes(check);
    if (check->status == GQA_OK) {
        call->keys = blocks->max_blocks * (int32_t)blocks->key.shape[2];
    }
}

/* --- the entries -------------------------------------------------------------------------------
 */

gqa_status gqa__blocks_sequences(const struct gqa__call *call, gqa_error *err)
{
    const int32_t *const sequences = call->in.sequences;

    for (int32_t b = 0; b < call->batch && sequences != NULL; b++) {
        if (sequences[b] != -1 && sequences[b] != b) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.sequences",
                             "[%d] is %d; with inputs.blocks it must be -1 (inactive) or %d", b,
                             sequences[b], b);
        }
    }
    return GQA_OK;
}

/* The table's row of an entry with n keys. */
static gqa_status check_table_row(const struct gqa__call *call, int32_t b, int32_t n,
                                  gqa_error *err)
{
    const gqa_block_kv *const blocks = &call->blocks;
    const int32_t size = (int32_t)blocks->key.shape[2];
    const int32_t used = n / size + (n % size != 0);

    for (int32_t i = 0; i < used; i++) {
        const int32_t id = blocks->block_table[(int64_t)b * blocks->max_blocks + i];
        if (id < 0 || id >= blocks->key.shape[0]) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.blocks.block_table",
                             "[%d][%d] is %d; there are blocks 0..%lld", b, i, id,
                             (long long)blocks->key.shape[0] - 1);
        }
    }
    return GQA_OK;
}

/* Position ids of the n keys of an entry, of which the last `more` are new. */
static gqa_status check_block_ids(const struct gqa__call *call, int32_t b, int32_t n, int32_t more,
                                  bool *ordered, gqa_error *err)
{
    const gqa_inputs *const in = &call->in;
    const int32_t *const ids = call->blocks.position_ids != NULL
                                   ? call->blocks.position_ids + (int64_t)b * call->keys
                                   : NULL;
    struct gqa__ids keys = {.of = GQA__IDS_BLOCKS, .ids = ids, .n = n - more, .entry = b};
    gqa_status status;

    keys.any_order =
        gqa__present(&in->mask) || gqa__present(&in->active_mask) || in->key_begin != NULL;
    keys.above = -1;
    status = gqa__check_ids(&keys, ordered, err);
    if (status == GQA_OK && ids != NULL) {
        keys.ids = ids + (n - more);
        keys.n = more;
        keys.first = n - more;
        keys.above = n > more ? ids[n - more - 1] : -1;
        status = gqa__check_ids(&keys, ordered, err);
    }
    for (int32_t i = 0; i < more && status == GQA_OK && in->position_ids != NULL; i++) {
        const int64_t at = gqa__call_token(call, b, call->entries[b].first_valid + i);
        const int32_t index = n - more + i, is = ids != NULL ? ids[index] : index;
        if (in->position_ids[at] != is) {
            status =
                gqa__fail(err, GQA_ERR_ARG, "inputs.position_ids",
                          "batch entry %d, token %d is %d; it must be %d, the position of key "
                          "%d in inputs.blocks",
                          b, call->entries[b].first_valid + i, in->position_ids[at], is, index);
        }
    }
    return status;
}

/* scale: of int8 */
static struct gqa__host_rows block_rows(const gqa_tensor *t, const gqa_tensor *scale)
{
    struct gqa__host_rows rows = {.data = t->data,
                                  .dtype = t->dtype,
                                  .block = t->stride[0],
                                  .head = t->stride[1],
                                  .token = t->stride[2],
                                  .step = t->stride[3]};

    if (t->dtype == GQA_I8) {
        rows.scale = scale->data;
        rows.scale_block = scale->stride[0];
        rows.scale_head = scale->stride[1];
        rows.scale_token = scale->stride[2];
    }
    return rows;
}

gqa_status gqa__blocks_view(const struct gqa__call *call, int32_t b, int32_t more, bool *ordered,
                            gqa_error *err)
{
    const gqa_block_kv *const blocks = &call->blocks;
    const int32_t length = blocks->lengths[b];
    const struct gqa__host_keys keys = {.k = block_rows(&blocks->key, &blocks->key_scale),
                                        .v = block_rows(&blocks->value, &blocks->value_scale),
                                        .table =
                                            blocks->block_table + (int64_t)b * blocks->max_blocks,
                                        .block_size = (int32_t)blocks->key.shape[2]};
    gqa_status status;

    if (length < 0) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.blocks.lengths",
                         "[%d] is %d; it must be at least 0", b, length);
    }
    if (more > call->keys - length) {
        return gqa__fail(err, GQA_ERR_SHAPE, "inputs.blocks.max_blocks",
                         "is %d, room for %d keys; batch entry %d holds %d, and the call adds %d",
                         blocks->max_blocks, call->keys, b, length, more);
    }
    status = check_table_row(call, b, length + more, err);
    if (status == GQA_OK) {
        status = check_block_ids(call, b, length + more, more, ordered, err);
    }
    if (status == GQA_OK) {
        struct gqa__kv_view *const view = &call->views[b];
        gqa__view_host(view, call->params->kernels, &keys, length + more,
                       blocks->position_ids != NULL ? blocks->position_ids + (int64_t)b * call->keys
                                                    : NULL);
        view->dk = call->params->shape.dk;
        view->dv = call->params->shape.dv;
        view->flush = call->params->shape.flush;
        view->integer = call->params->integer;
    }
    return status;
}

/* --- where new tokens go -----------------------------------------------------------------------
 */

/* The place of new token i of batch entry b by the table. */
static int64_t place_in_table(const struct gqa__call *call, int32_t b, int32_t i)
{
    const gqa_block_kv *const blocks = &call->blocks;
    const int32_t size = (int32_t)blocks->key.shape[2];
    const int32_t index = call->entries[b].past + i;

    return (int64_t)blocks->block_table[(int64_t)b * blocks->max_blocks + index / size] * size +
           index % size;
}

/* The places of an entry's tokens, behind the n that are listed: 2 * place, + 1 where the token is
 * written (a place is below 2^62); n rises. */
static gqa_status list_places(const struct gqa__call *call, int32_t b, int64_t *n, gqa_error *err)
{
    const int64_t *const slots = call->blocks.slot_mapping;
    const struct gqa__batch_entry *const entry = &call->entries[b];

    for (int32_t i = 0; i < entry->n; i++) {
        const int64_t at = gqa__call_token(call, b, entry->first_valid + i);
        const int64_t place = place_in_table(call, b, i);
        const bool skipped = slots != NULL && slots[at] == -1;
        if (slots != NULL && slots[at] != place && !skipped) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.blocks.slot_mapping",
                             "[%lld] is %lld; it must be -1, or %lld: the place of key %d of batch "
                             "entry %d by block_table",
                             (long long)at, (long long)slots[at], (long long)place, entry->past + i,
                             b);
        }
        call->places[(*n)++] = 2 * place + (skipped ? 0 : 1);
    }
    return GQA_OK;
}

/* Let the number at `top` of a heap of n, largest first, sink to its place. */
static void sink_place(int64_t *heap, int64_t n, int64_t top)
{
    const int64_t place = heap[top];

    for (int64_t child = 2 * top + 1; child < n; child = 2 * top + 1) {
        if (child + 1 < n && heap[child] < heap[child + 1]) {
            child++;
        }
        if (place >= heap[child]) {
            break;
        }
        heap[top] = heap[child];
        top = child;
    }
    heap[top] = place;
}

/* Heapsort, unless they rise as they are. */
static void sort_places(int64_t *places, int64_t n)
{
    int64_t rising = 1;

    while (rising < n && places[rising - 1] < places[rising]) {
        rising++;
    }
    if (rising >= n) {
        return;
    }
    for (int64_t top = n / 2 - 1; top >= 0; top--) {
        sink_place(places, n, top);
    }
    for (int64_t end = n - 1; end > 0; end--) {
        const int64_t largest = places[0];
        places[0] = places[end];
        places[end] = largest;
        sink_place(places, end, 0);
    }
}

/* A place that a token of the call is written to belongs to another one, which is written there
 * too, or counts on what lies there. */
static gqa_status refuse_place(int64_t place, int64_t size, bool both, gqa_error *err)
{
    const long long slot = (long long)(place % size), block = (long long)(place / size);

    if (both) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.blocks.block_table",
                         "sends two tokens of the call to slot %lld of block %lld", slot, block);
    }
    return gqa__fail(err, GQA_ERR_ARG, "inputs.blocks.slot_mapping",
                     "is -1 for a token whose key is to lie in slot %lld of block %lld already, "
                     "where another token of the call is written",
                     slot, block);
}

gqa_status gqa__blocks_places(const struct gqa__call *call, gqa_error *err)
{
    const int64_t size = call->blocks.key.shape[2];
    int64_t n = 0;
    gqa_status status = GQA_OK;

    for (int32_t b = 0; b < call->batch && status == GQA_OK; b++) {
        if (call->entries[b].sequence >= 0) {
            status = list_places(call, b, &n, err);
        }
    }
    if (status != GQA_OK) {
        return status;
    }
    sort_places(call->places, n);
    for (int64_t i = 1; i < n; i++) {
        const int64_t place = call->places[i] / 2;
        if (call->places[i - 1] / 2 == place && call->places[i] % 2 == 1) {
            return refuse_place(place, size, call->places[i - 1] % 2 == 1, err);
        }
    }
    return GQA_OK;
}
