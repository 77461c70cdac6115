/* SPDX-License-Identifier: Apache-2.0 */
/* shape.h - a checked config turned into the numbers the rest of the library works with. */
#ifndef GQA__SHAPE_H
#define GQA__SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

struct gqa__shape {
    int32_t hidden;      /* 0 = attention only */
    int32_t hidden_true; /* without padding: what means are taken over */
    int32_t hq, hkv;     /* heads */
    int32_t group;       /* hq / hkv */
    int32_t dk, dv;
    int32_t q_head_rows; /* projection rows per query head: dk, or dk + dv with GQA_GATE_Q_TAIL */
    int32_t q_rows;      /* hq * q_head_rows */
    int32_t k_rows;      /* hkv * dk */
    int32_t v_rows;      /* hkv * dv; 0 with k_eq_v */
    int32_t gate_rows;   /* rows of wgate: hq * dv, hq or 0 */
    int32_t gate_dim;    /* gate logits per head: dv, 1 or 0 */
    int32_t o_in;        /* hq * dv */
    int32_t rotary_dim;  /* 0 without rope */
    int32_t rope_axes;   /* 1, or 3 or 4 with mrope; 0 without rope */
    int64_t window;      /* keys including self; 0 = off */
    int64_t right;       /* keys after self a row may see: 0 causal, -1 all */
    int64_t chunk;       /* 0 = off */
    float score_scale;   /* multiplies q.k, resolved */
    bool flush;          /* operands that are denormal count as zero; false where they do anyway */
};

/* config must have passed gqa_config_check. */
void gqa__shape_derive(struct gqa__shape *shape, const gqa_config *config);

#endif
