/* SPDX-License-Identifier: Apache-2.0 */
/* amx.h - what the files of the AMX kernels share: tile shapes, conversions, entries.
 *
 * Every tile is 16 rows of 64 bytes. A tile A holds 16 rows of 32 bf16 as they lie in memory (keys,
 * value dimensions or outputs); a tile B holds 16 pairs of k for 16 lanes: [pair][lane][2]. The
 * instruction gives C [16 rows of A][16 lanes] f32 in the order that scalar/bf16.h writes down.
 * The files of kernel/amx are compiled with the flags of AMX and AVX-512 and nothing else is.
 */
#ifndef GQA__KERNEL_AMX_AMX_H
#define GQA__KERNEL_AMX_AMX_H

#include "kernel/contract/integer.h"
#include "kernel/contract/kernel.h"

enum {
    AMX_ROWS = 16,  /* rows of a tile, and lanes of a tile B or C */
    AMX_DEPTH = 32, /* bf16 values of a tile row: one k32 */
    AMX_TILE_BYTES = 1024,
    AMX_TILE_ROWS = 128,          /* lanes of an attention tile */
    AMX_SCRATCH_BYTES = 48 << 10, /* the most that an entry needs */
};

/* amx/attention.c */
size_t gqa__amx_q_bytes(int32_t dk, int32_t ld);
void gqa__amx_pack_q(const struct gqa__pack_q_args *args);
void gqa__amx_score(const struct gqa__score_args *args);
void gqa__amx_softmax(const struct gqa__softmax_args *args);
void gqa__amx_accumulate(const struct gqa__accumulate_args *args);

/* amx/block.c */
void gqa__amx_block(const struct gqa__block *block);

/* amx/linear.c */
size_t gqa__amx_weight_bytes(int64_t out, int64_t in);
void gqa__amx_pack_weight(void *dst, int64_t row, const float *src, int64_t out, int64_t in);
size_t gqa__amx_int8_bytes(int64_t out, int64_t in);
void gqa__amx_pack_int8(void *dst, int64_t row, const int8_t *src, int64_t out, int64_t in);
size_t gqa__amx_x_bytes(int32_t tokens, int64_t in);
void gqa__amx_pack_x(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in);
void gqa__amx_linear(const struct gqa__linear_args *args);

/* amx/weights_in_place.c */
void gqa__amx_pack_rows(void *dst, const struct gqa__rows *rows);
bool gqa__amx_linear_rows(const struct gqa__linear_args *args, const struct gqa__rows *rows);

/* amx/integer.c: NULL where the compiler cannot build it. Its entries run between enter and leave
 * of the table for bf16. */
const struct gqa__integer_kernels *gqa__amx_integer(void);

/* amx.c: the table for bf16, NULL for f32, and for both where the compiler cannot build it. */
const struct gqa__kernels *gqa__amx(gqa_numerics numerics);

#endif
