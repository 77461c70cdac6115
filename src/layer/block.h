/* SPDX-License-Identifier: Apache-2.0 */
/* block.h - the stages before and after attention, on one block of tokens. */
#ifndef GQA__BLOCK_H
#define GQA__BLOCK_H

#include "layer/spine.h"

/* The first `runs` runs of the spine, n tokens together. makes: GQA__MAKE_*. */
void gqa__block_before(struct gqa__spine *spine, int32_t runs, int32_t n, int makes);
void gqa__block_after(struct gqa__spine *spine, int32_t runs, int32_t n);

#endif
