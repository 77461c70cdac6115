/* SPDX-License-Identifier: Apache-2.0 */
/* cte.h - attention_cte as numbers: the axis of keys, its sections and tiles, which of them a group
 * of queries computes, and which keys a query sees. */
#ifndef GQA__NEURON_CTE_H
#define GQA__NEURON_CTE_H

#include "neuron/neuron.h"

enum {
    GQA__CTE_GROUP = 128,               /* _Q_GRP_SZ: queries of a group */
    GQA__CTE_K_TILE = 512,              /* _K_TILE_SZ: keys of a product, a mask and a sum */
    GQA__CTE_V_TILE = 128,              /* _V_TILE_SZ */
    GQA__CTE_LARGE_TILE = 2048,         /* _LARGE_TILE_SZ: keys of one PSUM group of P v */
    GQA__CTE_SECTION_THRESHOLD = 10240, /* _FLASH_ATTENTION_THRESHOLD: more slots are cut .. */
    GQA__CTE_SECTION = 8192,            /* _FLASH_ATTENTION_SECTION_LENGTH: .. into sections */
    GQA__CTE_SMALL_WINDOW = 128         /* _SWA_ALLOCATION_STRATEGY_THRESHOLD: up to it masks are
                                           range selects */
};

/* The axis of keys has a slot for each prior key, padded to whole K tiles, then one for each active
 * key that is loaded. */
struct gqa__cte_plan {
    bool skips;        /* tiles beyond the diagonal or the window are not computed (is_causal) */
    bool range_select; /* masks of active keys are known at run time only (dynamic_sel_mask) */
    bool packed;
    int32_t prior_padded;
    int32_t active, active_offset; /* active keys loaded, from this index of K on */
    int32_t slots;
    int32_t section_len, sections;
    int32_t k_tiles, v_tiles, large_tiles; /* of a section */
    int32_t groups;
};

struct gqa__cte_plan gqa__cte_plan(const struct gqa__neuron *call);

/* Some slots of the axis: the keys that lie there. */
struct gqa__cte_tile {
    int32_t slot;  /* the first */
    int32_t first; /* index among the prior keys, or among the active keys loaded */
    int32_t keys;  /* 0: there are none */
    bool prior;
};

/* The tile of `size` slots (of one part: size divides 512, slot is a multiple of it). */
struct gqa__cte_tile gqa__cte_tile(const struct gqa__neuron *call, const struct gqa__cte_plan *plan,
                                   int32_t slot, int32_t size);

/* Does group g compute the tile? WHOLE if so, else why not. size: the tile's, full or not. */
gqa_neuron_fate gqa__cte_computes(const struct gqa__neuron *call, const struct gqa__cte_plan *plan,
                                  int32_t g, const struct gqa__cte_tile *tile, int32_t size);

/* Does group g compute anything of section s (s may be one beyond the last)? */
bool gqa__cte_computes_section(const struct gqa__neuron *call, const struct gqa__cte_plan *plan,
                               int32_t g, int32_t s);

gqa_neuron_masking gqa__cte_masking(const struct gqa__neuron *call,
                                    const struct gqa__cte_plan *plan, int32_t g,
                                    const struct gqa__cte_tile *tile);

/* The keys that row t sees of a part, by index among the prior keys, or among the active keys
 * loaded: from begin to end - 1; they may lie outside of the part. */
struct gqa__cte_range {
    int64_t begin, end;
};
struct gqa__cte_range gqa__cte_sees(const struct gqa__neuron *call,
                                    const struct gqa__cte_plan *plan, int32_t t, bool prior);

/* The profile's limits and warnings (cte_check.c). */
gqa_status gqa__cte_check(struct gqa__neuron *call, gqa_error *err);

#endif
