/* SPDX-License-Identifier: Apache-2.0 */
/* strips.c - weights in place: products with the caller's rows, unit by unit.
 *
 * A unit is a few outputs. Their weights are packed into the running thread's slice of the scratch,
 * once for all tokens; the kernel set then sees a small matrix. Where it can do without that copy
 * (linear_rows) it gets the rows as they lie.
 */
#include "linear/product.h"

#include <assert.h>
#include <string.h>

#include "base/tensor.h"
#include "kernel/contract/convert.h"

/* Outputs of a unit: more with many tokens, for each unit streams all activations once. */
enum { MOST_OUTS = GQA__UNIT_ROWS / 2, FEW_OUTS = MOST_OUTS / 2 };

int64_t gqa__strips_unit(const struct gqa__kernels *kernels)
{
    assert(kernels->out_step <= MOST_OUTS);
    return gqa__round_up(MOST_OUTS, kernels->out_step);
}

static size_t unit_bytes(const struct gqa__linear *linear)
{
    const int64_t out = gqa__strips_unit(linear->kernels);
    const size_t bytes = linear->int8 ? linear->kernels->int8_bytes(out, linear->in)
                                      : linear->kernels->weight_bytes(out, linear->in);
    return (size_t)gqa__round_up((int64_t)bytes, GQA__ALIGN);
}

/* One unit of outputs: their rows, and the formats of each (they may come from several tensors). */
struct unit {
    struct gqa__rows rows;
    gqa_dtype dtypes[GQA__UNIT_ROWS];
    bool mixed; /* of several formats */
};

enum { UNIT_BYTES = (sizeof(struct unit) + GQA__ALIGN - 1) / GQA__ALIGN * GQA__ALIGN };

/* A slice behind the kernel set's scratch: the unit, its packed weights, a row of f32. */
size_t gqa__strips_bytes(const struct gqa__linear *linear)
{
    const size_t row = (size_t)linear->in * sizeof(float);
    return UNIT_BYTES + unit_bytes(linear) + (size_t)gqa__round_up((int64_t)row, GQA__ALIGN);
}

/* The strip that holds the row. */
static int32_t find_strip(const struct gqa__linear *linear, int64_t row)
{
    int32_t low = 0, high = linear->strip_count - 1;
    while (low < high) {
        const int32_t middle = low + (high - low + 1) / 2;
        if (linear->strips[middle].first <= row) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

static const void *row_at(const struct gqa__strip *strip, int64_t row)
{
    const int64_t at = (row - strip->first) * strip->stride;
    return (const unsigned char *)strip->data + (size_t)at * gqa__dtype_size(strip->dtype);
}

/* Rows beyond the last output repeat its row. */
static void find_rows(struct unit *unit, const struct gqa__linear *linear, int64_t out, int64_t n)
{
    struct gqa__rows *const rows = &unit->rows;
    int32_t s = find_strip(linear, out);
    unit->mixed = false;
    rows->next = n * linear->strips[s].stride * (int64_t)gqa__dtype_size(linear->strips[s].dtype);
    rows->in = linear->in;
    rows->valid = (int32_t)n;
    rows->count = (int32_t)gqa__round_up(n, linear->kernels->out_step);
    rows->dtype = linear->strips[s].dtype;
    for (int32_t i = 0; i < rows->count; i++) {
        const int64_t row = out + gqa__min(i, n - 1);
        while (s + 1 < linear->strip_count && linear->strips[s + 1].first <= row) {
            s++;
        }
        rows->row[i] = row_at(&linear->strips[s], row);
        unit->dtypes[i] = linear->strips[s].dtype;
        unit->mixed = unit->mixed || unit->dtypes[i] != rows->dtype;
    }
}

/* Packs a unit row by row, as gqa_create packs a matrix: integers as they are, the others through
 * f32. buffer: [in] */
static void pack_slowly(void *packed, const struct unit *unit, const struct gqa__linear *linear,
                        float *buffer)
{
    const struct gqa__rows *const rows = &unit->rows;
    memset(packed, 0, unit_bytes(linear));
    for (int32_t i = 0; i < rows->valid; i++) {
        const gqa_tensor row = gqa_tensor_1d(rows->row[i], unit->dtypes[i], rows->in);
        if (linear->int8) {
            linear->kernels->pack_int8(packed, i, rows->row[i], rows->count, rows->in);
            continue;
        }
        gqa__load(linear->kernels, buffer, &row, 0, rows->in);
        linear->kernels->pack_weight(packed, i, buffer, rows->count, rows->in);
    }
}

/* Packs a unit in the fastest way. */
static void pack_unit(void *packed, const struct unit *unit, const struct gqa__linear *linear)
{
    if (unit->mixed || linear->int8 || linear->kernels->pack_rows == NULL) {
        float *const buffer =
            (float *)(void *)((unsigned char *)packed + unit_bytes(linear)); /* [in] */
        pack_slowly(packed, unit, linear, buffer);
    } else {
        linear->kernels->pack_rows(packed, &unit->rows);
    }
    if (linear->flush && !linear->int8) {
        const size_t bytes = linear->kernels->weight_bytes(unit->rows.count, linear->in);
        linear->kernels->flush(packed, (int64_t)(bytes / sizeof(float)));
    }
}

/* The product of one unit, n outputs from out on, for the packets of tokens of the share. */
static void run_unit(const struct gqa__product *p, const struct gqa__share *share, int64_t out,
                     int64_t n, void *slice)
{
    const bool once = share->packet_end - share->packet_begin == 1;
    const struct gqa__kernels *const kernels = p->linear->kernels;
    const bool as_they_lie = p->linear->int8 || (once && !p->linear->flush);
    unsigned char *const own = (unsigned char *)slice + kernels->scratch_bytes;
    struct unit *const unit = (struct unit *)(void *)own;
    unsigned char *const packed_unit = own + UNIT_BYTES;
    bool packed = false;
    find_rows(unit, p->linear, out, n);
    for (int64_t packet = share->packet_begin; packet < share->packet_end; packet++) {
        struct gqa__linear_args args;
        gqa__product_args(p, packet, slice, &args);
        args.weight = packed_unit;
        args.out = n;
        args.out_begin = 0;
        args.out_end = n;
        args.y += out;
        args.after.add = args.after.add == NULL ? NULL : args.after.add + out;
        args.scale = args.scale == NULL ? NULL : args.scale + out;
        args.bias = args.bias == NULL ? NULL : args.bias + out;
        if (!packed && !unit->mixed && kernels->linear_rows != NULL && as_they_lie &&
            kernels->linear_rows(&args, &unit->rows)) {
            continue;
        }
        if (!packed) {
            pack_unit(packed_unit, unit, p->linear);
            packed = true;
        }
        kernels->linear(&args);
    }
}

void gqa__strips_run(const struct gqa__product *p, const struct gqa__share *share, int32_t slot)
{
    const bool once = share->packet_end - share->packet_begin == 1;
    const int64_t few = gqa__round_up(FEW_OUTS, p->linear->kernels->out_step);
    const int64_t unit = once ? few : gqa__strips_unit(p->linear->kernels);
    void *const slice = gqa__product_slice(p, slot);
    for (int64_t out = share->out_begin; out < share->out_end; out += unit) {
        run_unit(p, share, out, gqa__min(unit, share->out_end - out), slice);
    }
}
