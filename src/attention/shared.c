/* SPDX-License-Identifier: Apache-2.0 */
/* shared.c - see tile.h: a tile with the rows of several segments, over keys that all of them see.
 */
#include "attention/tile.h"
#include "base/fold.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "base/units.h"

/* Row r of member s, as row `lane` of the tile: its slope and position, and its query. */
static void set_row(struct gqa__tile *tile, const struct gqa__segment *segment, int32_t r,
                    int32_t lane)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const struct gqa__shape *const shape = &tile->params->shape;
    const float *const slopes = tile->params->slopes;
    const int32_t token = r / shape->group;
    const int32_t head = tile->id.head * shape->group + r % shape->group;

    scratch->lo[lane] = tile->key_begin;
    scratch->hi[lane] = tile->key_end;
    scratch->q_pos[lane] = segment->positions[token];
    scratch->slope[lane] = slopes != NULL ? (float)((double)slopes[head] * GQA__LOG2E) : 0.0f;
    tile->params->kernels->load(
        scratch->gathered + (int64_t)lane * shape->dk,
        gqa__values_at(segment->q, token * segment->q_stride + (int64_t)head * shape->dk,
                       segment->q_type),
        shape->dk, segment->q_type);
}

void gqa__tile_begin_shared(struct gqa__tile *tile)
{
    const struct gqa__shared_rows *const shared = tile->shared;
    const struct gqa__shape *const shape = &tile->params->shape;
    const struct gqa__kernels *const kernels = tile->params->kernels;
    int32_t lane = 0;

    tile->map =
        (struct gqa__row_map){.token_stride = shape->dk, .group = 1, .count = tile->id.count};
    tile->ld = (int32_t)gqa__round_up(tile->id.count, kernels->lanes);
    tile->key_begin = tile->last_lo = shared->block_begin * GQA__FOLD_BLOCK;
    tile->key_end = tile->first_hi = shared->block_end * GQA__FOLD_BLOCK;
    for (int32_t i = 0; i < shared->members; i++) {
        const struct gqa__segment *const segment = &shared->segments[shared->member[i]];
        for (int32_t r = 0; r < segment->n * shape->group; r++) {
            set_row(tile, segment, r, lane++);
        }
    }
    for (; lane < tile->ld; lane++) {
        tile->scratch->lo[lane] = tile->scratch->hi[lane] = tile->scratch->q_pos[lane] = 0;
        tile->scratch->slope[lane] = 0.0f;
    }
    gqa__tile_pack(tile, tile->scratch->gathered, GQA_F32);
}
