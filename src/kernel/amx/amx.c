/* SPDX-License-Identifier: Apache-2.0 */
/* amx.c - the table "amx/bf16": AMX products, AVX-512 for everything else.
 *
 * What is no product it shares with the AVX-512 kernels (kernel/vector); the simplest passes are
 * the scalar kernels' source, which this file's flags turn into AVX-512 code with the same bits.
 */
#include "kernel/amx/amx.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AMX

#include <immintrin.h>

#include "kernel/avx512/append.h"
#include "kernel/avx512/expand.h"
#include "kernel/avx512/gather.h"
#include "kernel/scalar/attention.h"
#include "kernel/scalar/bf16.h"
#include "kernel/scalar/stage.h"
#include "kernel/vector/convert.h"
#include "kernel/vector/softmax.h"
#include "kernel/vector/stage.h"
#include "kernel/vector/words_avx512.h"

/* Palette 1, eight tiles of 16 rows of 64 bytes. The instruction reads all 64 bytes. */
struct tile_config {
    uint8_t palette, start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static const struct tile_config config = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

#ifndef GQA__LOAD_TILE_CONFIG /* a build for tests may bring tiles in software */
#define GQA__LOAD_TILE_CONFIG(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(config)))
#endif

static void enter_tiles(void)
{
    GQA__LOAD_TILE_CONFIG(&config);
}

static void leave_tiles(void)
{
    _tile_release();
}

static const struct gqa__kernels amx_bf16 = {
    .name = "amx/bf16",
    .isa = GQA_ISA_AMX,
    .numerics = GQA_NUMERICS_BF16,
    .tile_rows = AMX_TILE_ROWS,
    .lanes = AMX_ROWS,
    .panel_keys = 32,
    .depth_step = AMX_DEPTH,
    .value_step = 16,
    .v_transposed = true,
    .operand = GQA_BF16,
    .out_step = 16,
    .token_step = 128,
    .stream_weights = true,
    .scratch_bytes = AMX_SCRATCH_BYTES,
    .enter = enter_tiles,
    .leave = leave_tiles,
    .q_bytes = gqa__amx_q_bytes,
    .pack_q = gqa__amx_pack_q,
    .append_k = append_k_rows,
    .append_v = append_v_transposed,
    .gather = gather_operands,
    .expand = expand_codes,
    .score = gqa__amx_score,
    .apply_rules = apply_rules,
    .softmax = gqa__amx_softmax,
    .accumulate = gqa__amx_accumulate,
    .block = gqa__amx_block,
    .block_ends = true,
    .lane_bias = true,
    .merge = merge_vector,
    .finish = finish_vector,
    .weight_bytes = gqa__amx_weight_bytes,
    .pack_weight = gqa__amx_pack_weight,
    .int8_bytes = gqa__amx_int8_bytes,
    .pack_int8 = gqa__amx_pack_int8,
    .x_bytes = gqa__amx_x_bytes,
    .pack_x = gqa__amx_pack_x,
    .linear = gqa__amx_linear,
    .pack_rows = gqa__amx_pack_rows,
    .linear_rows = gqa__amx_linear_rows,
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

const struct gqa__kernels *gqa__amx(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_BF16 ? &amx_bf16 : NULL;
}

#else

const struct gqa__kernels *gqa__amx(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}

#endif
