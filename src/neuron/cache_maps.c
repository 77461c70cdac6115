/* SPDX-License-Identifier: Apache-2.0 */
/* cache_maps.c - caches of a fixed number of slots: rolling windows and flash decoding
 * (model_base.py, kv_cache_manager.py, gpt_oss_kv_cache_manager.py, attention/utils.py,
 * flashdecode/utils.py). */
#include "neuron/cache_maps.h"

#include "base/memory.h"
#include "neuron/strategy.h"

#define CACHE_BUCKET 128 /* the kernel's caches come in multiples of this */

static bool is_226(const gqa_neuron_window *window)
{
    return gqa__neuron_release(window->release) == GQA_NEURON_2_26;
}

/* 2.26 keeps the token that is about to leave the window and masks its slot; from 2.27 on there is
 * no slot for it (attention_base.py of 2.27 writes at position % (sliding_window - 1)). Drafts need
 * a slot each until they are accepted. */
int32_t gqa__neuron_window_slots(const gqa_neuron_window *window)
{
    const int32_t drafts = (int32_t)gqa__max(window->speculation_length, 1) - 1;

    return is_226(window) ? window->window : window->window - 1 + drafts;
}

/* get_kernel_cache_size_bucket: above the slots, never equal. */
int32_t gqa__neuron_window_width(const gqa_neuron_window *window)
{
    return window->speculation_length > 1
               ? (gqa__neuron_window_slots(window) / CACHE_BUCKET + 1) * CACHE_BUCKET
               : window->window;
}

int32_t gqa__neuron_rolled(int32_t n, int32_t last, int32_t slot)
{
    const int32_t end = (int32_t)gqa__max(last, n - 1); /* the last position that lies in a slot */
    const int32_t back = (end % n - slot + n) % n;

    return end - back;
}

bool gqa__neuron_window_sees(const gqa_neuron_window *window, int32_t position, int32_t slot)
{
    const int32_t slots = gqa__neuron_window_slots(window);

    if (position < slots) {
        return slot < position;
    }
    return is_226(window) ? slot != position % slots : slot < slots;
}

int32_t gqa__neuron_window_logical(const gqa_neuron_window *window, int32_t first, int32_t slot)
{
    const int32_t slots = gqa__neuron_window_slots(window);

    return first - slots + (slot - first % slots + slots) % slots;
}

static int32_t owner(const gqa_neuron_flash_decoding *in, int32_t token)
{
    return (int32_t)(((int64_t)in->first_position + token) % in->ranks);
}

bool gqa__neuron_flash_decoding_sees(const gqa_neuron_flash_decoding *in, int32_t query,
                                     int32_t key)
{
    return key <= query && owner(in, key) == in->rank;
}

int32_t gqa__neuron_flash_decoding_prior(const gqa_neuron_flash_decoding *in)
{
    return (int32_t)(((int64_t)in->first_position + in->ranks - 1 - in->rank) / in->ranks);
}
