/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.h - GridTileScheduler: the tiles of the paged kernel, in the order in which it takes
 * them.
 *
 * What each array holds is said in gqa/neuron_maps.h. For users within this room: a profile asks
 * gqa__neuron_schedule_size once, carves the arrays that it wants, and has them filled.
 */
#ifndef GQA__NEURON_SCHEDULE_H
#define GQA__NEURON_SCHEDULE_H

#include "gqa/neuron_maps.h"

/* Check the input; set tiles and skips. */
gqa_status gqa__neuron_schedule_size(const gqa_neuron_schedule_input *in, gqa_neuron_schedule *out,
                                     gqa_error *err);

/* The input was checked, and tiles and skips of out are its own. active_table has all blocks of the
 * contexts (gqa__neuron_context_blocks) if tile_block_tables is wanted. Arrays may be NULL. */
void gqa__neuron_schedule_fill(const gqa_neuron_schedule_input *in, const gqa_neuron_schedule *out);

/* Blocks that the contexts fill. The input was checked. */
int64_t gqa__neuron_context_blocks(const gqa_neuron_schedule_input *in);

#endif
