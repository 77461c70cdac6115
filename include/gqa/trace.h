/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/trace.h - the attention of backend cpu, tile by tile.
 *
 * For people who lay it beside the kernels of AWS Neuron (gqa/neuron.h has their trace), or who
 * want to know what a mask, a window or a chunk costs. A tile is some rows of one KV head, a row
 * being a (token, query head) pair, against one fold block of keys (gqa_fold_block()), as gqa_work
 * counts them. docs/neuron-paths.md shows pictures.
 */
#ifndef GQA_TRACE_H
#define GQA_TRACE_H

#include "gqa/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What became of a tile. */
typedef enum gqa_tile_fate {
    GQA_TILE_WHOLE = 0,         /* computed; every row sees every key, no mask is applied */
    GQA_TILE_MASKED = 1,        /* computed, then masked element by element */
    GQA_TILE_SKIPPED_LEFT = 2,  /* not computed: left of the rows' windows, chunks or ranges */
    GQA_TILE_SKIPPED_RIGHT = 3, /* not computed: right of the diagonal, or of those */
    GQA_TILE_SKIPPED_HIDDEN = 4 /* not computed: mask, bias, key bounds, active mask, or positions
                                   that do not rise, hide every key from every row */
} gqa_tile_fate;

/* One tile. Keys are indices in their sequence. The rows of a KV head count token after token: with
 * Hq query heads on Hkv KV heads and group = Hq / Hkv, row n is query head head * group + n % group
 * of the call's column n / group. Pointers live until the callback returns. */
typedef struct gqa_tile {
    uint32_t struct_size; /* of the library's struct */
    gqa_tile_fate fate;
    int64_t order;       /* tiles of the call before this one */
    int32_t batch, head; /* batch entry, KV head */
    int32_t row, rows;   /* first row, and how many */
    int32_t block;       /* the fold block */
    int32_t key, keys;   /* first key and how many: those that were read; of a tile that is not
                            computed those of the block, of the ones there will be when the call
                            ends */
    int32_t rows_without_keys; /* rows that see no key of the tile */
    /* NULL where the tile is not computed. Row r sees the keys key + seen_begin[r] .. key +
     * seen_end[r] - 1, with a mask perhaps not all between; none where the two are equal. */
    const int32_t *seen_begin, *seen_end; /* [rows] */
    /* State of the rows over the keys of this tile alone, before it is merged with others: scores
     * in base-2 units, l = sum 2^(s - m) (docs/numerics.md, the fold); -inf and 0 without a key. */
    const float *m, *l;               /* [rows] */
    int64_t kv_bytes;                 /* read, as gqa_work counts them */
    int64_t score_madds, value_madds; /* multiply-adds, as gqa_work counts them */
} gqa_tile;

/* Called on the calling thread, which walks a traced call's attention alone: head by head, the last
 * rows of a call first, keys in rising order. So the order depends on neither threads nor the
 * runtime; it depends on the kernel set (rows of a tile), and a long call is walked in blocks of
 * tokens. It is the order of one thread. A trace changes no bit of a result, and costs nothing
 * where there is none. All events together are gqa_work: as many tiles, bytes and multiply-adds.
 * The callback runs in the library's floating-point mode, and may call the library. */
typedef void (*gqa_trace)(void *user, const gqa_tile *tile);

#ifdef __cplusplus
}
#endif
#endif
