/* SPDX-License-Identifier: Apache-2.0 */
/* key_bits.h - a set of keys of one fold block, a bit for each. */
#ifndef GQA__KEY_BITS_H
#define GQA__KEY_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fold.h"
#include "gqa/types.h"

enum { GQA__KEY_WORDS = GQA__FOLD_BLOCK / 64 };

/* Key k is bit k % 64 of word k / 64. */
struct gqa__key_bits {
    uint64_t word[GQA__KEY_WORDS];
};

/* The keys [begin, end). */
void gqa__key_bits_set(struct gqa__key_bits *bits, int32_t begin, int32_t end);

/* Leaves those of [begin, end). */
void gqa__key_bits_keep(struct gqa__key_bits *bits, int32_t begin, int32_t end);

void gqa__key_bits_drop(struct gqa__key_bits *bits, int32_t key);

/* Leaves those of [begin, end) that a mask (GQA_U8 or GQA_BITS) allows, whose element `at` is that
 * of key begin; others are not looked at. */
void gqa__key_bits_mask(struct gqa__key_bits *bits, int32_t begin, int32_t end,
                        const gqa_tensor *mask, int64_t at);

static inline bool gqa__key_bits_has(const struct gqa__key_bits *bits, int32_t key)
{
    return (bits->word[key / 64] >> (key % 64) & 1u) != 0;
}

/* The keys [*low, *high) from the first to the last of the set, both 0 if it is empty. True if it
 * has all of them. */
bool gqa__key_bits_run(const struct gqa__key_bits *bits, int32_t *low, int32_t *high);

#endif
