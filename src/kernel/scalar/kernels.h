/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.h - the tables "scalar/f32" and "scalar/bf16". Included by scalar/baseline.c and
 * avx2/scalar_fma.c alone: everything in kernel/scalar is static, so each gets its own compilation.
 */
#ifndef GQA__KERNEL_SCALAR_KERNELS_H
#define GQA__KERNEL_SCALAR_KERNELS_H

#include "kernel/scalar/attention.h"
#include "kernel/scalar/bf16.h"
#include "kernel/scalar/convert.h"
#include "kernel/scalar/f32.h"
#include "kernel/scalar/gather.h"
#include "kernel/scalar/stage.h"

static const struct gqa__kernels scalar_f32 = {
    .name = "scalar/f32",
    .isa = GQA_ISA_SCALAR,
    .numerics = GQA_NUMERICS_F32,
    .tile_rows = SCALAR_TILE_ROWS,
    .lanes = SCALAR_LANES,
    .panel_keys = 16,
    .depth_step = 1,
    .value_step = 1,
    .v_transposed = false,
    .operand = GQA_F32,
    .out_step = SCALAR_OUT_STEP,
    .token_step = 32,
    .scratch_bytes = SCRATCH_F32,
    .q_bytes = q_bytes_f32,
    .pack_q = pack_q_f32,
    .append_k = append_k_f32,
    .append_v = append_v_f32,
    .gather = gather_f32,
    .expand = expand_f32,
    .score = score_f32,
    .apply_rules = apply_rules,
    .softmax = softmax_f32,
    .accumulate = accumulate_f32,
    .merge = merge_states,
    .finish = finish_rows,
    .weight_bytes = weight_bytes_f32,
    .pack_weight = pack_weight_f32,
    .int8_bytes = int8_bytes_f32,
    .pack_int8 = pack_int8_f32,
    .x_bytes = x_bytes_f32,
    .pack_x = pack_x_f32,
    .linear = linear_f32,
    .load = load_plain,
    .store = store_plain,
    .flush = flush_values,
    .norm = norm_vector,
    .rope = rope_heads,
    .add = add_vectors,
    .scale = scale_vector,
    .scale_add = scale_add_vectors,
    .clip = clip_vector,
    .sincos = sincos_values,
    .gate = gate_vector,
};

static const struct gqa__kernels scalar_bf16 = {
    .name = "scalar/bf16",
    .isa = GQA_ISA_SCALAR,
    .numerics = GQA_NUMERICS_BF16,
    .tile_rows = SCALAR_TILE_ROWS,
    .lanes = SCALAR_LANES,
    .panel_keys = K32,
    .depth_step = K32,
    .value_step = 16,
    .v_transposed = true,
    .operand = GQA_BF16,
    .out_step = SCALAR_OUT_STEP,
    .token_step = 32,
    .scratch_bytes = SCRATCH_BF16,
    .q_bytes = q_bytes_bf16,
    .pack_q = pack_q_bf16,
    .append_k = append_k_bf16,
    .append_v = append_v_bf16,
    .gather = gather_bf16,
    .expand = expand_bf16,
    .score = score_bf16,
    .apply_rules = apply_rules,
    .softmax = softmax_bf16,
    .accumulate = accumulate_bf16,
    .merge = merge_states,
    .finish = finish_rows,
    .weight_bytes = weight_bytes_bf16,
    .pack_weight = pack_weight_bf16,
    .int8_bytes = int8_bytes_bf16,
    .pack_int8 = pack_int8_bf16,
    .x_bytes = x_bytes_bf16,
    .pack_x = pack_x_bf16,
    .linear = linear_bf16,
    .load = load_plain,
    .store = store_plain,
    .flush = flush_values,
    .norm = norm_vector,
    .rope = rope_heads,
    .add = add_vectors,
    .scale = scale_vector,
    .scale_add = scale_add_vectors,
    .clip = clip_vector,
    .sincos = sincos_values,
    .gate = gate_vector,
};

#endif
