/* SPDX-License-Identifier: Apache-2.0 */
/* runs.h - the keys of a fold block as the kernels take them, and the block in parts, or by the
 * integer kernels. */
#ifndef GQA__RUNS_H
#define GQA__RUNS_H

#include "attention/tile.h"

/* The runs of keys [first, end) in panels, into the block, and where V is large, mark [end -
 * first]. As they are stored where the kernel set's block takes them so and V cannot be special.
 * Returns whether it may be. Not where K and V are integers.
 */
bool gqa__tile_find_runs(struct gqa__tile *tile, int32_t first, int32_t end,
                         struct gqa__block *block, uint8_t *mark);

/* The state of a block, from key `first` on: for sets without `block`, where V may be special,
 * where K or V is integers, and where somebody looks at scores or states. mark: or NULL. */
void gqa__tile_walk_runs(const struct gqa__tile *tile, int32_t first,
                         const struct gqa__block *block, const uint8_t *mark);

#endif
