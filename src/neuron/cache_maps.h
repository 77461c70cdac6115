/* SPDX-License-Identifier: Apache-2.0 */
/* cache_maps.h - which token lies in which slot, and which slots a token sees.
 *
 * The arguments were checked; gqa/neuron_maps.h says what they and the arrays are. Arrays may be
 * NULL.
 */
#ifndef GQA__NEURON_CACHE_MAPS_H
#define GQA__NEURON_CACHE_MAPS_H

#include <stdbool.h>

#include "gqa/neuron_maps.h"

/* Slots that tokens take turns in, and the width of a decode mask. */
int32_t gqa__neuron_window_slots(const gqa_neuron_window *window);
int32_t gqa__neuron_window_width(const gqa_neuron_window *window);

/* Of `last` and the n - 1 positions before it, or of 0 .. n - 1 if those begin before 0, the one
 * that lies in this slot of n. */
int32_t gqa__neuron_rolled(int32_t n, int32_t last, int32_t slot);

/* Does a token at this position see the slot? */
bool gqa__neuron_window_sees(const gqa_neuron_window *window, int32_t position, int32_t slot);

/* The position that a slot holds before a step of several tokens that begins at first; below 0 if
 * none. */
int32_t gqa__neuron_window_logical(const gqa_neuron_window *window, int32_t first, int32_t slot);

/* Does this rank count new token `key` for new token `query`? */
bool gqa__neuron_flash_decoding_sees(const gqa_neuron_flash_decoding *in, int32_t query,
                                     int32_t key);

/* Slots of this rank that hold a token before the first new one. */
int32_t gqa__neuron_flash_decoding_prior(const gqa_neuron_flash_decoding *in);

/* --- paged caches ---
 */

/* Blocks that so many tokens fill. */
int64_t gqa__neuron_blocks_of(int32_t tokens, int32_t block_size);

/* Slot of a position of a request. Its block is not below 0. */
int64_t gqa__neuron_slot(const gqa_neuron_block_table *blocks, int32_t request, int32_t position);

/* Are all n slots below 0? */
bool gqa__neuron_inactive(const int32_t *slots, int32_t n);

void gqa__neuron_block_diagonal(const gqa_neuron_block_diagonal *in, uint8_t *mask);

#endif
