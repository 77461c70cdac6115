/* SPDX-License-Identifier: Apache-2.0 */
/* runs.c - see runs.h. */
#include "attention/runs.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/storage.h"
#include "base/tensor.h"

/* The block as the integer kernels take it: its keys in their pages or the host's blocks, without
 * those that a panel would be filled up with where there is none: one that has a key has as many
 * slots as a run has keys at least. rules: room for those of fewer keys. */
static void find_integers(const struct gqa__tile *tile, int32_t first,
                          const struct gqa__block *block, struct gqa__score_rules *rules,
                          struct gqa__integer_block *integer)
{
    const struct gqa__kv_view *const view = &tile->segment->view;
    const int64_t exist = gqa__round_up(view->length - first, GQA__INT_KEY_STEP);
    struct gqa__integer_run *const run = tile->scratch->lists->integer_run;

    *integer = (struct gqa__integer_block){.q = tile->scratch->integer_q,
                                           .ld = block->ld,
                                           .dk = block->dk,
                                           .dv = block->dv,
                                           .rows = tile->id.count,
                                           .keys = (int32_t)gqa__min(block->keys, exist),
                                           .run = run,
                                           .type_k = gqa__view_dtype(view, false),
                                           .type_v = gqa__view_dtype(view, true),
                                           .s = block->s,
                                           .p = block->p,
                                           .scratch = block->scratch,
                                           .state = block->state,
                                           .prefetch = block->prefetch,
                                           .prefetches = block->prefetches};
    if (block->rules != NULL) {
        *rules = *block->rules;
        rules->keys = integer->keys;
        integer->rules = rules;
    }
    for (int32_t done = 0; done < integer->keys; done += run[integer->runs++].keys) {
        assert(integer->runs < GQA__BLOCK_PANELS);
        gqa__view_integer_run(view, tile->id.head, first + done, integer->keys - done,
                              tile->scratch->panel, &run[integer->runs]);
    }
}

/* Where is V of a panel large, by its scale? */
static void mark_large_scales(const struct gqa__kv_panel *panel, uint8_t *mark)
{
    for (int32_t key = 0; key < panel->keys; key++) {
        const float scale = panel->v_scale[key];
        mark[key] = scale >= GQA__LARGE_SCALE && scale < INFINITY;
    }
}

/* Where is V of a panel large? mark [keys]; only kernels of bf16 operands ask. */
static void mark_large(const struct gqa__tile *tile, const struct gqa__kv_panel *panel,
                       uint8_t *mark)
{
    const struct gqa__kernels *kernels = tile->params->kernels;
    const int64_t key_step = kernels->v_transposed ? 1 : panel->v_stride;
    const int64_t d_step = kernels->v_transposed ? panel->v_stride : 1;
    const uint16_t *v = panel->v;

    if (panel->v_scale != NULL && kernels->operand == GQA_BF16) {
        mark_large_scales(panel, mark);
        return;
    }
    for (int32_t d = 0; d < tile->params->shape.dv && kernels->operand == GQA_BF16; d++) {
        for (int32_t key = 0; key < panel->keys; key++) {
            const unsigned size = v[d * d_step + key * key_step] & 0x7fffu;
            mark[key] |= size >= GQA__LARGE_BF16 && size < 0x7f80u;
        }
    }
}

/* The runs of keys [first, end) in panels, as they are stored where `stored`. */
static bool find_panels(struct gqa__tile *tile, int32_t first, int32_t end, bool stored,
                        struct gqa__block *block, uint8_t *mark)
{
    struct gqa__key_run *const run = tile->scratch->lists->run;
    struct gqa__kv_panel panel;
    bool special = false;

    block->run = run;
    block->runs = 0;
    for (int32_t k = first; k < end; k += panel.keys) {
        (stored ? gqa__view_stored_panel : gqa__view_panel)(&tile->segment->view, tile->id.head, k,
                                                            end - k, tile->scratch->panel, &panel);
        if (panel.special) {
            if (!special) {
                memset(mark, 0, (size_t)(end - first));
            }
            special = true;
            mark_large(tile, &panel, mark + (k - first));
        }
        if (k == first) { /* the scales of the other panels follow; types are the same */
            block->k_scale = panel.k_scale;
            block->v_scale = panel.v_scale;
            block->k_type = panel.k_type;
            block->v_type = panel.v_type;
        }
        assert(block->runs < GQA__BLOCK_PANELS);
        run[block->runs++] =
            (struct gqa__key_run){panel.k, panel.k_stride, panel.v, panel.v_stride, panel.keys};
    }
    return special;
}

/* May the kernel set's block read the keys as they are stored, and take a part? */
static bool reads_stored(const struct gqa__tile *tile)
{
    return tile->id.count <= tile->params->kernels->stored_rows;
}

bool gqa__tile_find_runs(struct gqa__tile *tile, int32_t first, int32_t end,
                         struct gqa__block *block, uint8_t *mark)
{
    const bool stored = reads_stored(tile);
    const bool special = find_panels(tile, first, end, stored, block, mark);

    return special && stored ? find_panels(tile, first, end, false, block, mark) : special;
}

static void score_panels(const struct gqa__kernels *kernels, const struct gqa__block *block)
{
    struct gqa__score_args score = {
        .q = block->q, .ld = block->ld, .dk = block->dk, .scratch = block->scratch};

    for (int32_t i = 0, key = 0; i < block->runs; key += block->run[i++].keys) {
        score.s = block->s + (int64_t)key * block->ld;
        score.k = block->run[i].k;
        score.k_stride = block->run[i].k_stride;
        score.keys = block->run[i].keys;
        score.scale = block->k_scale != NULL ? block->k_scale + key : NULL;
        kernels->score(&score);
    }
}

/* From scores to the state. */
static void weigh_panels(const struct gqa__kernels *kernels, const struct gqa__block *block,
                         const uint8_t *mark)
{
    const size_t p_size = (size_t)block->ld * gqa__dtype_size(kernels->operand);
    const struct gqa__softmax_args softmax = {.p = block->p,
                                              .m = block->state.m,
                                              .l = block->state.l,
                                              .s = block->s,
                                              .mark = mark,
                                              .scale = block->v_scale,
                                              .keys = block->keys,
                                              .ld = block->ld};
    struct gqa__accumulate_args accumulate = {.o = block->state.o,
                                              .ld = block->ld,
                                              .dv = block->dv,
                                              .flags = GQA__ACC_FIRST |
                                                       (mark != NULL ? GQA__ACC_MARKED : 0),
                                              .scratch = block->scratch};

    kernels->softmax(&softmax);
    for (int32_t i = 0, key = 0; i < block->runs; key += block->run[i++].keys) {
        accumulate.p = (const unsigned char *)block->p + (size_t)key * p_size;
        accumulate.v = block->run[i].v;
        accumulate.v_stride = block->run[i].v_stride;
        accumulate.keys = block->run[i].keys;
        kernels->accumulate(&accumulate);
        accumulate.flags &= ~GQA__ACC_FIRST;
    }
}

/* A part by the entry `block`. What is read next is prefetched with the last part that it makes. */
static void walk_part(const struct gqa__tile *tile, const struct gqa__block *block,
                      enum gqa__block_part part)
{
    struct gqa__block own = *block;

    own.part = part;
    own.rules = NULL;
    if (part == GQA__BLOCK_SCORES && !tile->integer_v) {
        own.prefetches = 0;
    }
    tile->params->kernels->block(&own);
}

/* Scores and values, one after the other. */
static void walk_parts(const struct gqa__tile *tile, int32_t first, const struct gqa__block *block,
                       const struct gqa__integer_block *integer, const uint8_t *mark)
{
    const struct gqa__kernels *const kernels = tile->params->kernels;
    const bool by_block = reads_stored(tile) && mark == NULL;

    if (tile->integer_k) {
        tile->params->integer->score(integer);
    } else if (by_block) {
        walk_part(tile, block, GQA__BLOCK_SCORES);
    } else {
        score_panels(kernels, block);
    }
    if (block->rules != NULL) {
        kernels->apply_rules(block->s, block->rules);
    }
    if (tile->health != NULL) {
        gqa__tile_note_scores(tile, first, block->keys, block->s);
    }
    if (tile->integer_v) {
        tile->params->integer->values(integer);
    } else if (by_block) {
        walk_part(tile, block, GQA__BLOCK_VALUES);
    } else {
        weigh_panels(kernels, block, mark);
    }
}

void gqa__tile_walk_runs(const struct gqa__tile *tile, int32_t first,
                         const struct gqa__block *block, const uint8_t *mark)
{
    struct gqa__integer_block integer;
    struct gqa__score_rules rules;

    if (!tile->integer_k && !tile->integer_v) {
        walk_parts(tile, first, block, NULL, mark);
        return;
    }
    find_integers(tile, first, block, &rules, &integer);
    if (tile->integer_k && tile->integer_v && tile->trace == NULL && tile->health == NULL) {
        tile->params->integer->block(&integer);
    } else {
        walk_parts(tile, first, block, &integer, mark);
    }
}
