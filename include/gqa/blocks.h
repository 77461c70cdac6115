/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/blocks.h - keys and values in the host's own blocks, which a block table puts in order.
 *
 * A host that keeps its KV cache itself, in blocks of `block_size` tokens, hands it over where it
 * lies: to gqa_attend, which reads it, or to gqa_forward, which writes the call's new keys and
 * values into it and attends to all of them. docs/cache.md has a picture.
 *
 * The key with index i of batch entry b lies in slot i % block_size of block
 * block_table[b][i / block_size]. Blocks may be shared by entries and lie in any order. What lies
 * in other blocks, and behind an entry's last key, is not read.
 *
 * Bits: those of a gqa_cache that holds the same values. Where a row of the host's is what the
 * layer's kernel set reads (format f32 with numerics f32, bf16 with numerics bf16; D contiguous
 * and, for bf16, a multiple of 32; tokens not a multiple of 2 KiB apart; int8 with D contiguous and
 * a multiple of 16) it is read in place, else gathered for each tile.
 */
#ifndef GQA_BLOCKS_H
#define GQA_BLOCKS_H

#include "gqa/layer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tensors of blocks have these dimensions, in this order, whatever the order in memory: that is
 * said by the strides, none of which needs to be 1. gqa_blocks_of sets them. f32, bf16, f16 or int8
 * (GQA_I8, with a scale for each row of D); K and V may differ. */
typedef struct gqa_block_kv {
    uint32_t struct_size;
    gqa_tensor key;   /* [blocks, Hkv, block_size, Dk]; block_size a multiple of 16 */
    gqa_tensor value; /* [blocks, Hkv, block_size, Dv] */

    const int32_t *block_table; /* [B, max_blocks] 0 .. blocks-1, also where a window or chunk sees
                                   the keys no more; behind the last key it is not looked at */
    int32_t max_blocks;         /* most blocks of an entry */
    const int32_t *lengths;     /* [B] keys that are held before the call; 0 or more. In a call of
                                   gqa_forward that appends nothing the queries are the last of them */

    /* gqa_forward, appending: where new tokens go, [B, T] (flat: [N]), as block * block_size + slot
     * of a block: the token's place by block_table, or -1: it is not written, and what lies there
     * is its key and value (a prefix that another request has computed). NULL: all go to their
     * places. Those of padding are not looked at. Two tokens of a call may have one place only
     * where neither is written. */
    const int64_t *slot_mapping;

    /* Position ids of the keys, [B, max_blocks * block_size], those of the call's own included; at
     * least 0, rising unless a mask, an active mask or key bounds are given. NULL: a key's position
     * is its index. inputs.position_ids of gqa_forward, where given, must be the same for the new
     * tokens; inputs.rotary_position_ids may be any (an offset of the rotation alone). */
    const int32_t *position_ids;

    /* Of int8: f32 [blocks, Hkv, block_size], any strides (all 0 mean packed); else absent. An
     * element is its code, -128..127, times its row's scale. What gqa_forward appends is quantised
     * as in a cache of int8 (codes -127..127; scales that are 0, normal or NaN), and it writes
     * both. Of the host's own scales a denormal counts as 0, and what is not finite as NaN: then so
     * is the whole row. They may be negative. */
    gqa_tensor key_scale, value_scale;
} gqa_block_kv;

GQA_API void gqa_block_kv_init_sized(gqa_block_kv *blocks, size_t size);

static inline void gqa_block_kv_init(gqa_block_kv *blocks)
{
    gqa_block_kv_init_sized(blocks, sizeof *blocks);
}

/* How blocks lie in memory, packed. */
typedef enum gqa_block_order {
    GQA_BLOCKS_HEADS = 0,  /* [blocks, Hkv, block_size, D] */
    GQA_BLOCKS_TOKENS = 1, /* [blocks, block_size, Hkv, D] */
    GQA_BLOCKS_TURNED = 2  /* [blocks, Hkv, D, block_size] */
} gqa_block_order;

/* A tensor of blocks that lie like this. (`block_size`, D: its last two dimensions.) */
static inline gqa_tensor gqa_blocks_of(const void *data, gqa_dtype dtype, gqa_block_order order,
                                       int64_t blocks, int64_t kv_heads, int64_t block_size,
                                       int64_t dim)
{
    gqa_tensor t = gqa_tensor_4d(data, dtype, blocks, kv_heads, block_size, dim);
    if (order == GQA_BLOCKS_TOKENS) {
        t.stride[1] = dim;
        t.stride[2] = (int64_t)((uint64_t)kv_heads * (uint64_t)dim);
    } else if (order == GQA_BLOCKS_TURNED) {
        t.stride[2] = 1;
        t.stride[3] = block_size;
    }
    return t;
}

#ifdef __cplusplus
}
#endif
#endif
