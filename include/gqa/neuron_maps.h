/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/neuron_maps.h - what AWS Neuron's attention decides in integers, before any arithmetic: which
 * path and kernel a call takes, which head lies on which rank, which token in which slot of a
 * cache, and in which order tiles are visited.
 *
 * For engineers who port to or from NeuronX Distributed Inference (releases 2.26 to 2.29). These
 * are pure functions of numbers: no layer, no memory of the library's, no state; all are
 * thread-safe. Names are Neuron's. Where a release has a defect, the result is the defective one,
 * and the comment says so.
 *
 * Results go to arrays of the caller. Where a length follows from the arguments it stands beside
 * the array. Where it does not, an array comes with its `room`, and *count receives what is there:
 * with the array NULL the count alone is wanted; with too little room nothing is written to the
 * array, *count says how much is needed, and the status is GQA_ERR_SHAPE.
 *
 * Masks are bytes: 1 = may attend. -1 stands for "no head", "no slot" and "padding".
 */
#ifndef GQA_NEURON_MAPS_H
#define GQA_NEURON_MAPS_H

#include "gqa/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- the schedule of paged prefill (releases 2.26 and 2.27) --------------------------------------
 *
 * flash_paged_attention_with_schedule takes the new tokens of all requests in one row, and their
 * cached tokens as one list of blocks. GridTileScheduler cuts both into tiles and lists those
 * pairs of a query tile and a key tile that share a request.
 *
 * Neuron decides by ranges of requests, not by tokens: a pair may be scheduled although all that it
 * shares is the unused end of a block. Its mask is then 0. */

#define GQA_NEURON_PARTITIONS 128 /* of the on-chip memory SBUF: rows of a tile as it is loaded */

/* A query tile may meet every key tile: more pairs than this are refused. */
#define GQA_NEURON_TILES_MAX (1 << 26)

typedef struct gqa_neuron_schedule_input {
    int32_t requests;            /* at least 1 */
    const int32_t *query_lens;   /* [requests] new tokens, at least 0 */
    const int32_t *context_lens; /* [requests] tokens in the cache, at least 0 */
    int32_t q_tile;              /* rows of a query tile (device: a multiple of 128) */
    int32_t kv_tile;             /* keys of a key tile (device: a multiple of 512) */
    int32_t block_size;          /* tokens of a block; divides kv_tile */
    int32_t row_order;           /* 0: key tile by key tile (column_order); 1: by query tiles */
    int32_t padded_tiles;        /* pad_schedule: how many tiles there are in the end; 0 = all that
                                    are needed, no padding */
    int32_t partitions;          /* what key_order is built for; 0 = GQA_NEURON_PARTITIONS */
    const int32_t *active_table; /* [active_blocks] blocks of the contexts, request by request
                                    (gqa_neuron_active_blocks); NULL if no block table is wanted */
    int32_t active_blocks;
    int32_t skip_value; /* stands in a block table for "load nothing, keep the keys of the tile
                           before" (Neuron: 1000 times the number of blocks of the pool) */
} gqa_neuron_schedule_input;

/* Arrays of the caller; NULL = not wanted. Padded tiles come last: query tile 0, offset 0, request
 * 0 for rows and 1 for columns, so that nothing is visible; their keys are never loaded. */
typedef struct gqa_neuron_schedule {
    int32_t tiles;                     /* with padding */
    int32_t skips;                     /* tiles whose keys are those of the tile before */
    int32_t *tile_q_indices;           /* [tiles] query tile */
    int32_t *tile_block_table_offsets; /* [tiles] the key tile's first entry of active_table */
    int32_t *tile_q_seq_ids;           /* [tiles][q_tile] request of each row; requests = padding */
    int32_t *tile_kv_seq_ids;          /* [tiles][kv_tile] request of each key, in linear order;
                                          requests + 1 = padding */
    int32_t *tile_kv_skip_indices;     /* [skips] rising */
    int32_t *tile_block_tables;        /* [tiles][kv_tile / block_size]; beyond the end of
                                          active_table its first block */
    uint8_t *tile_masks;               /* [tiles][q_tile][kv_tile] columns in kernel order */
    int32_t *key_order;                /* [kv_tile] linear place in the tile of each column */
} gqa_neuron_schedule;

/* Set tiles and skips of *schedule; its arrays are not read.
 *
 * GQA_ERR_ARG: a number out of its range, a tile that the blocks or the partitions do not divide,
 * fewer padded_tiles than tiles, or padding where no tile is needed (Neuron: "Can't skip the first
 * tile"). GQA_ERR_UNSUPPORTED: more than GQA_NEURON_TILES_MAX pairs to look at. */
GQA_API gqa_status gqa_neuron_schedule_size(const gqa_neuron_schedule_input *input,
                                            gqa_neuron_schedule *schedule, gqa_error *err);

/* Fill the arrays of *schedule, whose tiles and skips are those of gqa_neuron_schedule_size: else
 * GQA_ERR_SHAPE. GQA_ERR_ARG as there, or if tile_block_tables is wanted and active_blocks is less
 * than the contexts need. */
GQA_API gqa_status gqa_neuron_schedule_fill(const gqa_neuron_schedule_input *input,
                                            const gqa_neuron_schedule *schedule, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
