/* SPDX-License-Identifier: Apache-2.0 */
/* block_maps.c - caches of blocks, and requests side by side (kvcache/utils.py,
 * attention/utils.py). */
#include <string.h>

#include "base/memory.h"
#include "neuron/cache_maps.h"

int64_t gqa__neuron_blocks_of(int32_t tokens, int32_t block_size)
{
    return gqa__round_up(tokens, block_size) / block_size;
}

int64_t gqa__neuron_slot(const gqa_neuron_block_table *blocks, int32_t request, int32_t position)
{
    const int32_t *const row = blocks->table + (int64_t)request * blocks->width;
    const int64_t block = row[position / blocks->block_size];

    return block * blocks->block_size + position % blocks->block_size;
}

bool gqa__neuron_inactive(const int32_t *slots, int32_t n)
{
    bool inactive = true;

    for (int32_t i = 0; i < n; i++) {
        inactive = inactive && slots[i] < 0;
    }
    return inactive;
}

/* Query t of a request has key_len - query_len + t of its keys before it, and is itself one. */
void gqa__neuron_block_diagonal(const gqa_neuron_block_diagonal *in, uint8_t *mask)
{
    const int64_t columns = in->keys;
    int64_t row = 0;
    int64_t column = 0;

    memset(mask, 0, (size_t)in->queries * (size_t)in->keys);
    for (int32_t s = 0; s < in->requests; s++) {
        const int32_t prior = in->key_lens[s] - in->query_lens[s];
        for (int32_t t = 0; t < in->query_lens[s]; t++) {
            const int64_t seen = in->is_prior != 0 ? prior : (int64_t)prior + t + 1;
            memset(mask + (row + t) * columns + column, 1, (size_t)seen);
        }
        row += in->query_lens[s];
        column += in->key_lens[s];
    }
}
