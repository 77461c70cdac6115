/* SPDX-License-Identifier: Apache-2.0 */
/* tile.c - tiles of a call's tensors, and the events. */
#include "neuron/neuron.h"

#include <string.h>

#include "base/tensor.h"

static int64_t place(const struct gqa__neuron_rows *rows, int32_t i)
{
    const gqa_tensor *const t = rows->tensor;

    return rows->batch * t->stride[0] + ((int64_t)rows->first + i) * t->stride[1] +
           rows->head * t->stride[2];
}

/* n values of row i, from dimension d on. Those of a transposed tensor do not lie together. */
static void load_row_values(const struct gqa__neuron_rows *rows, int32_t i, int64_t d, int64_t n,
                            float *to)
{
    const int64_t step = rows->tensor->stride[3];

    if (step == 1) {
        gqa__load_f32(to, rows->tensor, place(rows, i) + d, n);
        return;
    }
    for (int64_t e = 0; e < n; e++) {
        gqa__load_f32(to + e, rows->tensor, place(rows, i) + (d + e) * step, 1);
    }
}

void gqa__neuron_load(const struct gqa__neuron_rows *rows, float *to)
{
    const int64_t dim = rows->tensor->shape[3];

    for (int32_t i = 0; i < rows->n; i++) {
        load_row_values(rows, i, 0, dim, to + i * dim);
    }
}

void gqa__neuron_load_turned(const struct gqa__neuron_rows *rows, float *to, int64_t step)
{
    const int64_t dim = rows->tensor->shape[3];
    float piece[GQA__PARTITIONS];

    for (int32_t i = 0; i < rows->n; i++) {
        for (int64_t d = 0; d < dim; d += GQA__PARTITIONS) {
            const int64_t n = dim - d < GQA__PARTITIONS ? dim - d : GQA__PARTITIONS;
            load_row_values(rows, i, d, n, piece);
            for (int64_t e = 0; e < n; e++) {
                to[(d + e) * step + i] = piece[e];
            }
        }
    }
}

void gqa__neuron_store(const struct gqa__neuron_rows *rows, const float *from)
{
    const int64_t dim = rows->tensor->shape[3];

    for (int32_t i = 0; i < rows->n; i++) {
        gqa__store_f32(rows->tensor, place(rows, i), from + i * dim, dim);
    }
}

bool gqa__neuron_sees(const gqa_tensor *mask, int32_t batch, int32_t t, int32_t c)
{
    return mask->data == NULL ||
           gqa__mask_at(mask, batch * mask->stride[0] + t * mask->stride[2] + c);
}

float gqa__neuron_sink(const struct gqa__neuron *call, int32_t head)
{
    float sink;

    gqa__load_f32(&sink, &call->in.sinks, head * call->in.sinks.stride[0], 1);
    return gqa__engine_round(call->io, sink);
}

gqa_neuron_tile gqa__neuron_event(const struct gqa__neuron_worker *worker, gqa_neuron_event event)
{
    gqa_neuron_tile tile;

    memset(&tile, 0, sizeof tile);
    tile.struct_size = (uint32_t)sizeof tile;
    tile.profile = worker->call->path->profile;
    tile.event = event;
    tile.dim = worker->call->dim;
    return tile;
}

void gqa__neuron_emit(const struct gqa__neuron_worker *worker, gqa_neuron_tile *tile)
{
    struct gqa__neuron_count *const count = worker->count;
    const bool computed = tile->fate <= GQA_NEURON_ALL_MASKED;

    if (tile->event == GQA_NEURON_MM1) {
        count->tiles += computed;
        count->tiles_skipped += !computed;
    }
    count->hbm_bytes += tile->hbm_bytes;
    count->madds += tile->madds;
    tile->order = count->events++;
    if (worker->call->in.trace != NULL) {
        worker->call->in.trace(worker->call->in.trace_user, tile);
    }
}
