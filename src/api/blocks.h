/* SPDX-License-Identifier: Apache-2.0 */
/* blocks.h - the checks of a call on the host's blocks: gqa_forward and gqa_attend alike. */
#ifndef GQA__API_BLOCKS_H
#define GQA__API_BLOCKS_H

#include "api/rules.h"

/* Import the caller's struct into call->blocks, check its tensors and numbers, and set call->keys.
 * NULL: the call has none. Its arrays are not read. */
void gqa__blocks_check(struct gqa__call_check *check, const gqa_block_kv *given);

/* The ids of sequences: NULL, or -1 (inactive) and each entry's own number. */
gqa_status gqa__blocks_sequences(const struct gqa__call *call, gqa_error *err);

/* Length, table and positions of batch entry b, which is active, when the call adds `more` keys to
 * it; and its view, of all keys that it has then. *ordered (may be NULL) is cleared if the
 * positions of the new keys do not rise. */
gqa_status gqa__blocks_view(const struct gqa__call *call, int32_t b, int32_t more, bool *ordered,
                            gqa_error *err);

/* Where the new tokens of all entries go: each place belongs to its token, and to no other one. */
gqa_status gqa__blocks_places(const struct gqa__call *call, gqa_error *err);

#endif
