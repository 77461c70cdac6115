/* avx512.c - the table "avx512/f32": the vector_*.h with vectors of 16. */
#include "kernel/avx512.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include "kernel/avx512_bf16.h"
#include "kernel/vector_avx512.h"

#include "kernel/vector_block.h"
#include "kernel/vector_rows.h"
#include "kernel/vector_stage.h"

static const struct gqa__kernels avx512_f32 = {
    .name = "avx512/f32",
    .isa = GQA_ISA_AVX512,
    .numerics = GQA_NUMERICS_F32,
    .tile_rows = SCALAR_TILE_ROWS,
    .lanes = VEC,
    .panel_keys = BLOCK_PANEL,
    .depth_step = 1,
    .value_step = 1,
    .v_transposed = false,
    .operand = GQA_F32,
    .out_step = OUTS,
    .token_step = 128,
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

const struct gqa__kernels *gqa__avx512(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_F32 ? &avx512_f32 : gqa__avx512_bf16();
}

#else

const struct gqa__kernels *gqa__avx512(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}

#endif
