/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.h - the table of an f32 kernel set: avx2/f32, avx512/f32 or neon/f32, whichever the flags
 * of the compilation make words.h choose. */
#ifndef GQA__KERNEL_VECTOR_KERNELS_H
#define GQA__KERNEL_VECTOR_KERNELS_H

#include "kernel/vector/block.h"
#include "kernel/vector/convert.h"
#include "kernel/vector/expand.h"
#include "kernel/vector/gather.h"
#include "kernel/vector/stage.h"
#include "kernel/vector/weights_in_place.h"
#include "kernel/vector/words.h"

static const struct gqa__kernels vector_f32 = {
    .name = VECTOR_NAME,
    .isa = VECTOR_ISA,
    .numerics = GQA_NUMERICS_F32,
    .tile_rows = SCALAR_TILE_ROWS,
    .lanes = VEC,
    .panel_keys = BLOCK_PANEL,
    .depth_step = 1,
    .value_step = 1,
    .v_transposed = false,
    .operand = GQA_F32,
    .out_step = OUTS,
    .token_step = VECTOR_TOKENS,
    .stored_rows = VEC / 2,
    .scratch_bytes = sizeof(struct vector_scratch),
    .q_bytes = q_bytes_f32,
    .pack_q = pack_q_vector,
    .append_k = append_k_lanes,
    .append_v = append_v_lanes,
    .gather = gather_lanes,
    .expand = expand_lanes,
    .score = score_vector,
    .apply_rules = apply_rules,
    .softmax = softmax_vector,
    .accumulate = accumulate_vector,
    .block = block_vector,
    .merge = merge_vector,
    .finish = finish_vector,
    .weight_bytes = weight_bytes_vector,
    .pack_weight = pack_weight_vector,
    .int8_bytes = int8_bytes_vector,
    .pack_int8 = pack_int8_vector,
    .x_bytes = x_bytes_vector,
    .pack_x = pack_x_vector,
    .linear = linear_vector,
    .pack_rows = pack_rows_vector,
    .linear_rows = linear_rows_vector,
    .load = load_run,
    .store = store_run,
    .flush = flush_values,
    .norm = norm_lanes,
    .rope = rope_lanes,
    .add = add_vectors,
    .scale = scale_vector,
    .scale_add = scale_add_vectors,
    .clip = clip_vector,
    .sincos = sincos_values,
    .gate = gate_lanes,
};

#endif
