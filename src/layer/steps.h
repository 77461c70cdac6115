/* SPDX-License-Identifier: Apache-2.0 */
/* steps.h - steps on some tokens of a block, and the one place that runs them in tasks.
 *
 * A step reads and writes the rows of its own tokens and nothing else of the block, so steps may
 * run on any ranges in any order, and the bits do not depend on how a block is divided.
 */
#ifndef GQA__STEPS_H
#define GQA__STEPS_H

#include "base/tensor.h"
#include "layer/spine.h"

/* Tokens [begin, end) of a block. */
struct gqa__token_range {
    struct gqa__spine *spine;
    int32_t runs; /* of the whole block */
    int32_t begin, end;
    int makes;    /* GQA__MAKE_*: what this pass of the call makes */
    int32_t slot; /* of the task, for scratch */
};

struct gqa__step {
    void (*run)(const struct gqa__token_range *range);
    void (*show)(const struct gqa__token_range *block); /* to the tap */
};

/* Run the steps on all of block (begin 0): without a tap all of them on a few tokens at a time, in
 * tasks; with a tap one after the other on the whole block, each shown when it is done. */
void gqa__block_run(const struct gqa__token_range *block, const struct gqa__step *steps,
                    int32_t count);

/* The part of run i that lies in the range; false if there is none. */
bool gqa__token_range_run(const struct gqa__token_range *range, int32_t i,
                          struct gqa__token_run *part);

/* Rows of the range to a place in the workspace, from the caller's tensor [B, T, H, D] or [B, T,
 * D], and the way back. Nothing is done where the place is that tensor, nor to store to an absent
 * one. */
void gqa__load_tokens(const struct gqa__token_range *range, const struct gqa__place *to,
                      const gqa_tensor *from);
void gqa__store_tokens(const struct gqa__token_range *range, const struct gqa__place *from,
                       const gqa_tensor *to);
/* present_key_value has heads before tokens: [B, Hkv, T, D]. */
void gqa__store_present_tokens(const struct gqa__token_range *range, const struct gqa__place *from,
                               const gqa_tensor *to);

#endif
