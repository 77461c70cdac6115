/* SPDX-License-Identifier: Apache-2.0 */
/* shape.c - see shape.h. */
#include "config/shape.h"

#include <math.h>

static void derive_heads(struct gqa__shape *shape, const gqa_config *config)
{
    const int32_t hq = config->num_attention_heads;

    shape->hidden = config->hidden_size;
    shape->hidden_true =
        config->hidden_size_unpadded != 0 ? config->hidden_size_unpadded : config->hidden_size;
    shape->hq = hq;
    shape->hkv = config->num_key_value_heads;
    shape->group = hq / shape->hkv;
    shape->dk = config->head_dim != 0 ? config->head_dim : config->hidden_size / hq;
    shape->dv = config->v_head_dim != 0 ? config->v_head_dim : shape->dk;
}

static void derive_rows(struct gqa__shape *shape, const gqa_config *config)
{
    const bool tail = config->gate == GQA_GATE_Q_TAIL;

    shape->q_head_rows = tail ? shape->dk + shape->dv : shape->dk;
    shape->q_rows = shape->hq * shape->q_head_rows;
    shape->k_rows = shape->hkv * shape->dk;
    shape->v_rows = config->k_eq_v ? 0 : shape->hkv * shape->dv;
    shape->o_in = shape->hq * shape->dv;
    shape->gate_dim = 0;
    shape->gate_rows = 0;
    if (config->gate == GQA_GATE_HEAD) {
        shape->gate_dim = 1;
        shape->gate_rows = shape->hq;
    } else if (config->gate != GQA_GATE_NONE) {
        shape->gate_dim = shape->dv;
        shape->gate_rows = tail ? 0 : shape->hq * shape->dv;
    }
}

static void derive_rope(struct gqa__shape *shape, const gqa_config *config)
{
    shape->rotary_dim = 0;
    shape->rope_axes = 0;
    if (config->rope == GQA_ROPE_NONE) {
        return;
    }
    shape->rotary_dim = config->rotary_dim != 0 ? config->rotary_dim : shape->dk;
    shape->rope_axes = 1;
    if (config->mrope != GQA_MROPE_NONE) {
        shape->rope_axes = config->mrope_sections[3] > 0 ? 4 : 3;
    }
}

void gqa__shape_derive(struct gqa__shape *shape, const gqa_config *config)
{
    derive_heads(shape, config);
    derive_rows(shape, config);
    derive_rope(shape, config);
    shape->window = config->sliding_window;
    shape->right = config->bidirectional ? config->right_window : 0;
    if (config->bidirectional && config->right_window == 0) {
        shape->right = -1;
    }
    shape->chunk = config->attention_chunk_size;
    shape->score_scale = config->score_scale;
    if (config->score_scale == 0.0f) {
        shape->score_scale = (float)(1.0 / sqrt((double)shape->dk));
    }
    shape->flush = config->denormals == GQA_DENORMALS_FLUSH && config->numerics == GQA_NUMERICS_F32;
}
