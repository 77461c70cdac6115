/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c - see tile.h: what a tile, and the one after it, will read next. */
#include "attention/tile.h"
#include "base/fold.h"
#include "base/memory.h"
#include "base/tensor.h"

/* What the thread's next tile reads first: its query rows, and keys and values of one block. */
static int32_t next_tile_prefetch(const struct gqa__tile *tile, struct gqa__prefetch *list)
{
    const struct gqa__segment *const segment = tile->segment;
    const struct gqa__tile_id *const next = &tile->next;
    const int32_t group = tile->map.group;
    const int64_t width = (int64_t)group * tile->params->shape.dk; /* of the KV head's rows */
    int32_t first, last, n = 0;

    if (next->count == 0 || next->segment != tile->id.segment) { /* there may be no next */
        return 0;
    }
    first = next->first / group;
    last = (next->first + next->count - 1) / group;
    for (int32_t i = first; i <= last && n < GQA__BLOCK_PREFETCHES - GQA__KEY_PREFETCHES; i++) {
        const unsigned char *const rows =
            gqa__values_at(segment->q, i * segment->q_stride + next->head * width, segment->q_type);
        list[n++] = (struct gqa__prefetch){rows, (size_t)width * gqa__dtype_size(segment->q_type)};
    }
    if (tile->span_lo[first] < tile->span_hi[first]) {
        const int32_t begin = tile->span_lo[first] - tile->span_lo[first] % GQA__FOLD_BLOCK;
        n += gqa__view_prefetch(&segment->view, next->head, begin, GQA__FOLD_BLOCK, list + n);
    }
    return n;
}

/* What the tile's tokens have in a mask or bias for keys [first, first + keys): not of each head,
 * and not a part of a cache line. list: room entries. Returns how many. */
static int32_t rows_prefetch(const struct gqa__tile *tile, const gqa_tensor *t, int32_t first,
                             int32_t keys, struct gqa__prefetch *list, int32_t room)
{
    const struct gqa__segment *const segment = tile->segment;
    const int32_t group = tile->map.group;
    const size_t size = t->dtype == GQA_U8 ? 1 : gqa__dtype_size(t->dtype);
    const int32_t last = (tile->id.first + tile->id.count - 1) / group;
    int64_t column;
    int32_t n = 0;

    if (!gqa__present(t) || t->shape[1] != 1 || (size_t)keys * size < 64) {
        return 0;
    }
    column = gqa__view_column(&segment->view, first);
    for (int32_t i = tile->id.first / group; i <= last && n < room; i++) {
        const int64_t at = gqa__mask_row(segment, t, 0, i) + column;
        list[n++] = (struct gqa__prefetch){(const unsigned char *)t->data + (size_t)at * size,
                                           (size_t)keys * size};
    }
    return n;
}

/* The tile's keys [first, first + keys), and what masks say of them. */
static int32_t block_prefetch(const struct gqa__tile *tile, int32_t first, int32_t keys,
                              struct gqa__prefetch *list)
{
    const struct gqa__segment *const segment = tile->segment;
    int32_t n = gqa__view_prefetch(&segment->view, tile->id.head, first, keys, list);

    n += rows_prefetch(tile, &segment->mask, first, keys, list + n, GQA__BLOCK_PREFETCHES - n);
    n += rows_prefetch(tile, &segment->bias, first, keys, list + n, GQA__BLOCK_PREFETCHES - n);
    return n;
}

int32_t gqa__tile_prefetch(const struct gqa__tile *tile, int32_t end, struct gqa__prefetch *list)
{
    const int64_t rest = gqa__min((int64_t)tile->key_end - end, GQA__FOLD_BLOCK);

    if (rest <= 0) {
        return next_tile_prefetch(tile, list);
    }
    return block_prefetch(tile, end, (int32_t)rest, list);
}
