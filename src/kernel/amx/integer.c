/* SPDX-License-Identifier: Apache-2.0 */
/* integer.c - attention over int8 K and V by AMX tiles of bytes; int4 by the vectors of
 * vector/integer.h, whose operations and packed q these are. */
#include "kernel/amx/amx.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AMX

#include "kernel/amx/integer_scores.h"
#include "kernel/amx/integer_values.h"

/* --- entries ---------------------------------------------------------------------------------- */

static void score_turns(const struct gqa__integer_block *block, float *s, struct ahead *ahead)
{
    if (block->type_k == GQA_I8) {
        score_few_tiles(block, s, ahead);
    } else {
        score_few(block, s, ahead);
    }
}

static void values_turns(const struct gqa__integer_block *block, struct ahead *ahead)
{
    if (block->type_v == GQA_I8) {
        values_few_tiles(block, ahead);
    } else {
        values_few(block, ahead);
    }
}

/* block->s [keys][ld] */
static void score_rows(const struct gqa__integer_block *block, struct ahead *ahead)
{
    if (few_rows(block)) {
        score_turns(block, block->p, ahead);
        split_rows(block->s, block->p, block->keys);
    } else if (block->type_k == GQA_I8) {
        score_many_tiles(block, ahead);
    } else {
        score_ahead(block, ahead);
    }
}

static void values_rows(const struct gqa__integer_block *block, struct ahead *ahead)
{
    if (few_rows(block)) {
        join_rows(block->s, block->s, block->keys);
        values_turns(block, ahead);
    } else if (block->type_v == GQA_I8) {
        values_many_tiles(block, ahead);
    } else {
        values_ahead(block, ahead);
    }
}

static void score_entry(const struct gqa__integer_block *block)
{
    struct ahead none = {NULL, 0, 0, 0};
    score_rows(block, &none);
}

static void values_entry(const struct gqa__integer_block *block)
{
    struct ahead none = {NULL, 0, 0, 0};
    values_rows(block, &none);
}

/* The prefetches are shared out over the steps that int8 takes. int4 takes more: the first of them
 * get all. */
static void block_entry(const struct gqa__integer_block *block)
{
    const int32_t steps = block->keys / AMX_ROWS + chunks_of(block->dv) * block->keys / 4;
    struct ahead ahead = look_ahead(block->prefetch, block->prefetches, steps);

    if (few_rows(block) && block->rules == NULL) {
        score_turns(block, block->s, &ahead);
        values_turns(block, &ahead);
        return;
    }
    score_rows(block, &ahead);
    if (block->rules != NULL) {
        apply_rules(block->s, block->rules);
    }
    values_rows(block, &ahead);
}

static size_t tiles_scratch_bytes(int32_t dk, int32_t dv)
{
    const size_t vectors = scratch_integer_lanes(dk, dv), tiles = sizeof(struct tile_scratch);
    return vectors > tiles ? vectors : tiles;
}

static const struct gqa__integer_kernels amx_integer = {
    .lanes = AMX_ROWS,
    .q_bytes = tiles_q_bytes,
    .scratch_bytes = tiles_scratch_bytes,
    .pack_q = pack_q_tiles,
    .score = score_entry,
    .values = values_entry,
    .block = block_entry,
    .gather = gather_integers_lanes,
};

const struct gqa__integer_kernels *gqa__amx_integer(void)
{
    return &amx_integer;
}

#else

const struct gqa__integer_kernels *gqa__amx_integer(void)
{
    return NULL;
}

#endif
