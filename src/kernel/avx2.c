/* avx2.c - the table "avx2/f32": the vector_*.h with vectors of 8. */
#include "kernel/avx2.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "kernel/vector_avx2.h"

#include "kernel/vector_block.h"
#include "kernel/vector_rows.h"
#include "kernel/vector_stage.h"

static const struct gqa__kernels avx2_f32 = {
    .name = "avx2/f32",
    .isa = GQA_ISA_AVX2,
    .numerics = GQA_NUMERICS_F32,
    .tile_rows = SCALAR_TILE_ROWS,
    .lanes = VEC,
    .panel_keys = BLOCK_PANEL,
    .depth_step = 1,
    .value_step = 1,
    .v_transposed = false,
    .operand = GQA_F32,
    .out_step = OUTS,
    .token_step = 96,
    .q_bytes = q_bytes_f32,
    .pack_q = pack_q_vector,
    .append_k = append_k_lanes,
    .append_v = append_v_lanes,
    .score = score_vector,
    .modify = modify_scores,
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
    .norm = norm_lanes,
    .rope = rope_lanes,
    .add = add_vectors,
    .scale = scale_vector,
    .scale_add = scale_add_vectors,
    .clip = clip_vector,
    .sincos = sincos_values,
    .gate = gate_lanes,
};

const struct gqa__kernels *gqa__avx2(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_F32 ? &avx2_f32 : NULL;
}

#else

const struct gqa__kernels *gqa__avx2(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}

#endif
